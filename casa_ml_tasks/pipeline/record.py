"""What a stage keeps of an image that it has made: plain numbers and paths, because results are pickled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from casa_ml_tasks.data.workspace import product_paths
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.pipeline.target import Identity


class Returned(Protocol):
    """The dictionary that an imaging task returns."""

    def __getitem__(self, name: str, /) -> Any: ...

    def get(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class Record:
    """What a task returned, as far as the pipeline is concerned.

    Attributes:
        residual: standard deviation of the residual image over the expected noise; None where it is not known.
        largest: largest residual over the expected noise.
        noise: of the image, with errors of calibration, Jy/beam.
        thermal_noise: without, Jy/beam.
        calibration_error: over the amplitude of the visibilities; 0 where there are none, or that is not known.
        stop: why it ended.
        problem: what has not converged, '' where all has.
        cycles, iterations: major cycles, and minor iterations.
        flux: of the model, Jy.
        is_mean: whether the model is the mean of a posterior, or else a single best image.
        flux_error: of the posterior, Jy; None for a single best image and for several channels or terms.
        products: paths.
        report: path of its page, '' where it could not be written.
    """

    residual: float | None
    largest: float | None
    noise: float
    thermal_noise: float
    calibration_error: float
    stop: StopCode
    problem: str
    cycles: int
    iterations: int
    flux: float
    is_mean: bool
    flux_error: float | None
    products: Sequence[str]
    report: str


@dataclass(frozen=True)
class Outcome:
    """What became of one target: an image, or the sentence of the error.

    Attributes:
        identity: of the image.
        record: of it; None where the task failed.
        error: why it failed, '' where it did not.
    """

    identity: Identity
    record: Record | None = None
    error: str = ""


def record_of(returned: Returned) -> Record:
    """Return what is kept of a task's dictionary; the flux of a cube, which is a spectrum, has no single error."""
    image = returned["residual_statistics"]["image"] or {}
    posterior = returned.get("posterior") or {}
    calibration = returned.get("calibration_error") or {}
    return Record(
        residual=image.get("deviation"),
        largest=image.get("largest"),
        noise=float(returned["image_noise"]),
        thermal_noise=float(returned["thermal_noise"]),
        calibration_error=float(calibration.get("fraction", 0.0)),
        stop=StopCode(returned["stopcode"]),
        problem=posterior.get("problem") or "",
        cycles=int(returned["nmajordone"]),
        iterations=int(returned["iterdone"]),
        flux=float(returned["cycles"][-1]["model_flux"]),
        is_mean=bool(posterior),
        flux_error=_only(posterior.get("flux_uncertainty") or []),
        products=tuple(returned["products"]),
        report=returned["report"],
    )


def _only(values: Sequence[Sequence[float]]) -> float | None:
    """Return the number of (channel or term, stokes); None where there are several, or none."""
    return float(values[0][0]) if len(values) == 1 else None


@dataclass(frozen=True)
class Image:
    """An image for the pipeline's list of products, whose exporter writes one FITS file of each.

    Attributes:
        imagename: path.
        kind: extension of the product, such as 'image.pbcor'.
        datatype: of data and product; the exporter keeps one image of each, so tclean's are others.
    """

    imagename: str
    kind: str
    datatype: str


def images_of(outcome: Outcome, task: str, exported: Sequence[str]) -> list[Image]:
    """Return the images that go to the archive: those of `exported` that the task has left.

    Of Taylor terms each is an image of its own.
    """
    if outcome.record is None:
        return []
    identity, found = outcome.identity, []
    for kind in exported:
        for path in dict.fromkeys(map(str, product_paths(identity.imagename, kind, identity.terms))):
            if path in outcome.record.products:
                extension = path.removeprefix(f"{identity.imagename}.")
                found.append(Image(path, kind, f"{identity.datatype}.{task}.{extension}"))
    return found
