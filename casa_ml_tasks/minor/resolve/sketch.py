"""A first image by regularised maximum likelihood, which takes seconds: where the inference begins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.minor.resolve.coarse_likelihood import width_of
from casa_ml_tasks.minor.resolve.point_sources import standing_out
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.state import point_image, sources_of

NO_SOURCES = np.zeros((0, 2))


class Sketch(NamedTuple):
    """A first image.

    Attributes:
        planes: of the sky without the point sources, (plane, ny, nx), Jy/pixel.
        sources: places y, x of the point sources, pixels, (source, 2).
    """

    planes: NDArray[np.floating]
    sources: NDArray[np.float64]


def sketching_cycle(
    problem: ImagingProblem, finds_sources: bool, may_end_early: bool = False
) -> RegularisedMaximumLikelihood:
    """Return the minor cycle that sketches: of the same channels, or of the first Taylor term.

    Args:
        problem: whose data they are.
        finds_sources: whether point sources are to be found.
        may_end_early: as `RegularisedMaximumLikelihood` has it.
    """
    with_points = finds_sources or problem.composition.of_points.any()
    names = ["l1", "log_smoothness", *(["points"] if with_points else [])]
    response, channels = problem.response, len(problem.response.sigma)
    is_one_image = len(problem.composition.synthesis) == 1
    return RegularisedMaximumLikelihood(
        response.psfs[:channels, None],
        response.sigma[:, None],
        problem.beam_areas,
        names,
        [1.0] * len(names),
        positivity=not problem.composition.is_signed,
        support=lambda: np.broadcast_to(response.seen(), (channels, 1, *response.shape)),
        operator=problem.operators[1] if response.exact is not None else None,
        unresolved=is_one_image,
        may_end_early=may_end_early,
    )


def sketch_of(
    problem: ImagingProblem,
    sources: NDArray[np.floating] | None,
    residual: Image,
    model: Image,
    state: MinorState,
) -> Sketch:
    """Return a first image of the sky.

    Args:
        problem: whose data they are.
        sources: places y, x of point sources, pixels, (source, 2); None to find them.
        residual: of the model, (channel or term, 1, ny, nx), Jy/beam.
        model: (channel or term, 1, ny, nx), Jy/pixel.
        state: what an earlier sketch left.
    """
    response, composition = problem.response, problem.composition
    some = np.s_[: len(response.sigma)]  # of Taylor terms the first
    before = MinorState(latent=state.latent)
    found, state = sketching_cycle(problem, sources is None).update(residual[some], model[some], before)
    images, places = found[:, 0].astype(float), NO_SOURCES if sources is None else sources
    unresolved = sources_of(state.latent, 0, 0)
    rendered = response.rendering(unresolved.places()).image(unresolved.flux, response.shape)
    images[0] -= rendered
    of_points = point_image(state)
    if of_points is not None:
        points = np.maximum(of_points[:, 0] - rendered, 0)
        if composition.of_points.any():
            images = np.concatenate([images - points, points])
        else:
            pixels = standing_out(points[0], float(response.sigma[0]), problem.beam_area)
            images[0, *pixels.T] -= points[0, *pixels.T]
            places = pixels.astype(float)
    places = _with_unresolved(np.asarray(places, float), unresolved.places(), width_of(problem.beam_area))
    return Sketch(composition.divide(images), places)


def _with_unresolved(places: NDArray[np.float64], unresolved: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return places of sources, (source, 2), and those of unresolved ones that are not within a beam of them.

    width: FWHM of the beam, pixels.
    """
    distances = np.linalg.norm(unresolved[:, None] - places, axis=-1).min(axis=1, initial=np.inf)
    return np.concatenate([places, unresolved[distances > width]])
