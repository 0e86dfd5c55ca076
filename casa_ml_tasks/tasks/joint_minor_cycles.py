"""The minor cycles of jointdeconv: visibilities and single-dish maps in one likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.minor.rml.minor_cycle import OtherData, Planes, RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.tasks.joint_sky import embedded
from casa_ml_tasks.tasks.major_cycles import beam_areas
from casa_ml_tasks.tasks.prior_image import prior_image
from casa_ml_tasks.tasks.single_dish_data import DishData

#: Of the minor cycles whose states are saved.
SCHEMAS = (RegularisedMaximumLikelihood.schema,)


def most_probable_sky(
    major: SkyMosaic,
    maps: Sequence[DishData],
    noise: NDArray[np.floating],
    regularisation: Regularisation,
    image_shape: tuple[int, int],
) -> RegularisedMaximumLikelihood:
    """Return the minor cycle that finds the most probable sky.

    Args:
        major: a mosaic in sky units.
        maps: on the same sky.
        noise: of the residual of the visibilities where they are most sensitive, (channel, stokes), Jy/beam.
        regularisation: of the sky.
        image_shape: (ny, nx) of the image that was asked for.
    """
    *_, ny, nx = major.sky_shape
    assert regularisation.regstrength is not None, "the strengths follow from the noise"
    bar = tqdm(desc="minor cycle", unit=" iterations", leave=False, disable=None)

    def show(iterations: int, objective: float) -> None:
        bar.update(iterations - bar.n)
        bar.set_postfix_str(f"objective {objective:.6g}")

    return RegularisedMaximumLikelihood(
        major.psf_of_sky(),
        noise,
        major.pixels_of_sky * beam_areas(major),
        regularisation.regularizer,
        regularisation.regstrength,
        positivity=regularisation.positivity,
        prior=embedded(prior_image(regularisation.priorimage, image_shape), (ny, nx)),
        on_progress=show,
        operator=major.normal(np.float32),
        other_data=_likelihood_of(maps, major) if maps else None,
    )


def _likelihood_of(maps: Sequence[DishData], major: SkyMosaic) -> OtherData:
    """Return the likelihood of all maps, of the planes that are asked for."""

    def likelihood(planes: Planes, model: NDArray[np.floating]) -> QuadraticLikelihood:
        image = major.seen(model)
        return major.of_sky(reduce(add, [each.likelihood(planes[0], image) for each in maps]), model)

    return likelihood
