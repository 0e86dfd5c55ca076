"""The minor cycle of jointdeconv's inference."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_cell
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.minor.resolve.joint import JointResolve, JointSky, WeightedMap
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.request.inference import Inference
from casa_ml_tasks.tasks.log_lines import log_iteration
from casa_ml_tasks.tasks.major_cycles import beam_areas
from casa_ml_tasks.tasks.resolve_minor_cycle import given_priors
from casa_ml_tasks.tasks.single_dish_data import DishData

#: Of the minor cycles whose states are saved.
SCHEMAS = (Resolve.schema,)


def joint_resolve_minor_cycle(
    major: MajorCycle, maps: Sequence[DishData], noise: NDArray, inference: Inference
) -> JointResolve:
    """Return the inference.

    Args:
        major: a mosaic of one channel in sky units.
        maps: of the same sky.
        noise: of the dirty image, (1, 1), Jy/beam.
        inference: of the task; what is empty or negative is chosen.

    Raises:
        ValueError: the image has several channels.
    """
    if major.shape[0] > 1:
        raise ValueError(f"inference='posterior' images one channel, not {major.shape[0]}; use specmode='mfs'")
    assert major.mosaic is not None, "of every image in sky units"
    cell, area = read_cell(major.product("psf")), float(beam_areas(major)[0])
    weighted = [WeightedMap(each.dish[0], each.sky_map.scale) for each in maps]
    sky = JointSky(major.mosaic, float(noise[0, 0]), weighted, area, cell)
    settings = Settings(
        samples=inference.nsamples if inference.nsamples > 0 else Settings.samples,
        most_iterations=Settings.most_iterations if inference.maxglobal < 0 else inference.maxglobal,
        seed=inference.seed,
    )
    return JointResolve(sky, given_priors(inference.priors), settings, log_iteration)
