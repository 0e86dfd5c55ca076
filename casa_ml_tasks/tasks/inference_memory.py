"""Whether the samples of an inference fit in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casa_ml_tasks.data.inference_checks import SOURCES_EVERYWHERE, listed, most_samples
from casa_ml_tasks.data.visibility_store import free_memory

#: For every pixel of a plane: samples, their copies where some are added and compared; slopes along the spectra.
BYTES_OF_SAMPLE, BYTES_OF_SPECTRA = 20, 1000


def check_memory(shape: tuple[int, ...], parameters: Mapping[str, Any]) -> None:
    """Raise ValueError where the samples do not fit in memory. shape: of the images, (channel or term, 1, ny, nx)."""
    images, _, ny, nx = shape
    has_more = listed(parameters["components"]) or SOURCES_EVERYWHERE in listed(parameters["pointsources"])
    planes = images * (2 if has_more else 1)
    needed = planes * ny * nx * (BYTES_OF_SAMPLE * most_samples(parameters) + BYTES_OF_SPECTRA)
    if needed > (free := free_memory()):
        raise ValueError(
            f"samples of {planes} planes of {nx} x {ny} pixels need {needed / 1e9:.3g} GB of memory, of which "
            f"{free / 1e9:.3g} GB are free; use fewer channels (nchan, width) or a smaller imsize"
        )
