"""A call of jointdeconv: what its parameters ask for, with the maps that they name."""

from __future__ import annotations

from dataclasses import dataclass

from casa_ml_tasks.data.projections import HEALPIX
from casa_ml_tasks.data.single_dish import SingleDishMap, read_single_dish
from casa_ml_tasks.data.skies import sky_of
from casa_ml_tasks.data.sky_frame import SinImage
from casa_ml_tasks.major.pointings import check_beams
from casa_ml_tasks.major.sky_coordinates import sky_coordinates
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.request.inference import Inference
from casa_ml_tasks.request.single_dish import SingleDishMaps
from casa_ml_tasks.tasks.imaging import ImagingCall
from casa_ml_tasks.tasks.single_dish_data import DishData, shape_of_sky


@dataclass(frozen=True)
class JointCall(ImagingCall):
    """A call of jointdeconv.

    Attributes:
        regularisation: of the sky.
        maps: of single dishes.
        inference: of the posterior; None where the most probable sky is asked for.
        projection: of the sky, one of `data.projections`.
    """

    regularisation: Regularisation
    maps: SingleDishMaps
    inference: Inference | None
    projection: str

    @property
    def fits_fluxes(self) -> bool:
        """Whether the data are divided by the flux scales that are found."""
        return bool(self.request.casa["fluxscale"] == "fit")

    def check_beams(self) -> None:
        """Check that the primary beams of all antennas are known.

        Raises:
            ValueError: that of one is not.
        """
        for vis in self.request.selection.vis:
            try:
                check_beams(vis)
            except ValueError as error:
                raise ValueError(
                    f"vis='{vis}': {error}; correct TELESCOPE_NAME or DISH_DIAMETER, or use rmlclean with "
                    "gridder='mosaic' and a vptable of the beam"
                ) from error

    def check_projection(self) -> None:
        """Check that the sky has pixels in its projection.

        Raises:
            ValueError: HEALPix has none where the image is.
        """
        if self.projection == HEALPIX:
            sky_of(HEALPIX, SinImage.of(sky_coordinates(self.request).celestial, self.request.grid.shape))

    def maps_on_image(self) -> list[SingleDishMap]:
        """Return the maps on the pixels and channels of the image.

        Raises:
            ValueError: one of them does not suit the image.
        """
        if not self.maps.files:
            return []
        coordinates = sky_coordinates(self.request)
        return [read_single_dish(file, coordinates) for file in self.maps.files]

    def data_of_maps(self) -> list[DishData]:
        """Return the maps with their likelihoods on the image."""
        return [DishData(each, each.on(self.request.grid.shape)) for each in self.maps_on_image()]

    def shape_of_sky(self) -> tuple[int, int]:
        """Return (ny, nx) of the sky: that of the image, or as far as the maps reach around it."""
        return shape_of_sky(self.request.grid.shape, self.maps_on_image(), self.request.grid.cells[0])
