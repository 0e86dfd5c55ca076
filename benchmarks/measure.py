"""What every benchmark needs: a clock, markdown tables, and the parameters of a task."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_beam, read_cell
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.request.request import Request


def timed(task: Callable[..., Any], **parameters: Any) -> tuple[Any, float]:
    """What the task returns, and the wall time in seconds."""
    start = time.perf_counter()
    result = task(**parameters)
    return result, time.perf_counter() - start


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print markdown, one row after the other as they come."""
    for row in (columns, ["---"] * len(columns)):
        print("| " + " | ".join(row) + " |", flush=True)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive numbers."""
    return float(np.exp(np.mean(np.log(list(values)))))


def rmlclean_parameters(**changes: Any) -> dict[str, Any]:
    """Every parameter of rmlclean, at its default where `changes` does not name it."""
    signature = inspect.signature(type(rmlclean).__call__).parameters
    defaults = {name: parameter.default for name, parameter in signature.items() if name != "self"}
    return {**defaults, "imagename": "image", **changes}


@dataclass(frozen=True)
class Deconvolution:
    """What a minor cycle works on, in natural weighting.

    Attributes:
        psf: (1, 1, 2 ny, 2 nx), Jy/beam.
        dirty: (1, 1, ny, nx), Jy/beam.
        sigma: noise of the dirty image if WEIGHT is right, Jy/beam.
        beam_area: solid angle of the CLEAN beam, pixels.
    """

    psf: Image
    dirty: Image
    sigma: float
    beam_area: float

    @classmethod
    def of(cls, directory: Path, **parameters: Any) -> Deconvolution:
        """Make PSF and dirty image by CASA's imager, in an existing folder."""
        major = CasaMajorCycle(Request.from_parameters(**rmlclean_parameters(**parameters)), directory)
        try:
            beam = read_beam(major.product("psf"))
            if beam is None:
                raise ValueError(f"vis='{parameters['vis']}' has too few visibilities: its PSF has no beam")
            area = beam.area(read_cell(major.product("psf")))
            return cls(major.psf(), major.residual(np.zeros(major.shape, np.float32)), major.noise()[0, 0], area)
        finally:
            major.close()

    def minor_cycle(self, regularisers: Sequence[str], **options: Any) -> RegularisedMaximumLikelihood:
        """The minor cycle for this image, every regulariser at strength 1."""
        strengths = [1.0] * len(regularisers)
        return RegularisedMaximumLikelihood(self.psf, self.sigma, self.beam_area, regularisers, strengths, **options)
