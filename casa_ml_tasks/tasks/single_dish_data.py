"""Single-dish maps beside the visibilities: their likelihood on the sky that is imaged, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import write_on_grid
from casa_ml_tasks.data.single_dish import SingleDishMap
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.single_dish import SingleDish
from casa_ml_tasks.tasks.joint_sky import sky_shape


@dataclass(frozen=True)
class DishData:
    """One map on a sky.

    Attributes:
        sky_map: as it was read.
        dish: its likelihood for images (channel, ny, nx) of the sky.
    """

    sky_map: SingleDishMap
    dish: SingleDish

    def likelihood(self, channels: int | NDArray[np.integer], model: NDArray[np.floating]) -> QuadraticLikelihood:
        """Return the likelihood of some channels around their model, (..., ny, nx), Jy/pixel."""
        return self.dish[channels].likelihood(np.asarray(model, float), self.sky_map.scale, np.float32)

    def misfit(self, sky: NDArray[np.floating]) -> float:
        """Return the r.m.s. of the residual of a sky, (channel, 1, ny, nx), over the noise of the map."""
        left = self.residual(sky)
        return float(np.sqrt(np.nanmean((left / self.sky_map.noise) ** 2)))

    def residual(self, sky: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the map minus a sky, (channel, 1, ny, nx), Jy/pixel; (channel, ny, nx) of the map, Jy/beam."""
        counted = self.dish.precision.counted & np.isfinite(self.dish.level)[:, None, None]
        return np.where(counted, self.dish.pixels - self.dish.predicted(np.asarray(sky[:, 0], float)), np.nan)

    def write_residual(self, path: Path, sky: NDArray[np.floating], template: Path) -> None:
        """Write the residual of a sky, (channel, 1, ny, nx), Jy/pixel, on the pixels of the map, Jy/beam.

        Args:
            path: of the image.
            sky: the model.
            template: an image of the sky on disk.
        """
        grid = self.sky_map.grid
        write_on_grid(path, self.residual(sky)[:, None], template, grid.origin, grid.step, "Jy/beam")


def shape_of_sky(shape: tuple[int, int], maps: Sequence[SingleDishMap], cell: float) -> tuple[int, int]:
    """Return the shape of the sky, (ny, nx), on which an image and the maps around it are explained.

    Args:
        shape: (ny, nx) of the image.
        maps: on the pixels of that image.
        cell: of a pixel, arcsec.
    """
    if not maps:
        return shape

    def reach(axis: int) -> float:
        ends = [each.grid.positions(axis)[[0, -1]] for each in maps]
        halves = [abs(each.grid.step[axis]) / 2 for each in maps]
        return max(float(np.abs(end - shape[axis] // 2).max()) + half for end, half in zip(ends, halves, strict=True))

    return sky_shape(shape, (reach(0), reach(1)), max(each.width for each in maps) / cell)
