"""Whether the samples of an inference fit in memory."""

from __future__ import annotations

from casa_ml_tasks.data.visibility_store import free_memory
from casa_ml_tasks.request.inference import Inference

#: For every pixel of a plane: samples, their copies where some are added and compared; slopes along the spectra.
BYTES_OF_SAMPLE, BYTES_OF_SPECTRA = 20, 1000


def check_memory(shape: tuple[int, ...], inference: Inference) -> None:
    """Check that there is room for the samples.

    Args:
        shape: of the images, (channel or term, 1, ny, nx).
        inference: how many samples of what are wanted.

    Raises:
        ValueError: there is not.
    """
    images, _, ny, nx = shape
    planes = images * (2 if inference.components or inference.sources_everywhere else 1)
    needed = planes * ny * nx * (BYTES_OF_SAMPLE * inference.most_samples + BYTES_OF_SPECTRA)
    if needed > (free := free_memory()):
        raise ValueError(
            f"samples of {planes} planes of {nx} x {ny} pixels need {needed / 1e9:.3g} GB of memory, of which "
            f"{free / 1e9:.3g} GB are free; use fewer channels (nchan, width) or a smaller imsize"
        )
