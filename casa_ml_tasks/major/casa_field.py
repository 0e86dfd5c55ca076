"""One field of CASA's imager: its PSF on twice the field, its noise and the pointings of a mosaic."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.data.casa_image import read_cell, read_direction, read_frequencies, read_image, read_images
from casa_ml_tasks.data.stokes import two_hands, weights_over_sumwt
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import product_paths
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.mosaic_shares import channels_of_images
from casa_ml_tasks.major.casa_images import CasaImages
from casa_ml_tasks.major.casa_mosaic import mosaic_of
from casa_ml_tasks.major.imager import imager_parameters, open_imager
from casa_ml_tasks.request.request import Request


class CasaField(CasaImages):
    """One field that CASA's imager makes, alone or with others.

    The PSF on twice the field comes from a second imager, with the imaging weights of the first: uniform and Briggs
    weights are counted in the uv cells of the image, so it is told the first one's field of view. It is always the
    standard gridder's: only without beams and w-terms is the normal operator positive semi-definite for certain (a
    mosaic's PSF gave eigenvalues down to a tenth of the largest below zero, and the minor cycle ran away). So a
    mosaic has the PSFs of its pointings instead.
    """

    def __init__(self, request: Request, directory: str | Path, fieldofview: str = ""):
        """Say where the images are.

        Args:
            request: of this field.
            directory: an existing folder for the images; what is in it is used again.
            fieldofview: in whose uv cells uniform and Briggs weights are counted; its own by default.
        """
        super().__init__(request, directory)
        self._doubled = Path(directory) / "doubled"
        self._fieldofview = fieldofview

    def psf(self) -> Image:
        """Return the PSF on twice the field, (channel or term, stokes, 2 ny, 2 nx), Jy/beam.

        Of n Taylor terms there are 2 n - 1. Of a mosaic it is that of all pixels on average.
        """
        if self.mosaic is not None:
            has_data = read_image(self.product("sumwt")) > 0
            return np.where(has_data, self.mosaic.psf().astype(np.float32), np.float32(0))
        self._observe_doubled_field()
        return read_images(product_paths(self._doubled, "psf", self.terms))

    @cached_property
    def mosaic(self) -> Mosaic | None:
        """The pointings; None where there is one, without a beam in the operator.

        CASA's gridders do not tell them apart, so the Measurement Sets are read for them. Where a field moves against
        the frequencies of a cube, CASA leaves it out of an outer channel: the image of weights tells which has which.
        """
        if self._request.gridding.single_pointing:
            return None
        beam = self.product("pb")
        mosaic = mosaic_of(
            self._request,
            ImageFrame(*read_direction(beam), tracks=self._request.grid.tracks),
            read_frequencies(beam),
            read_cell(beam) * arcsecond,
            np.any(self.primary_beam() > 0, axis=(0, 1)),
            self.imagename.parent / "pointings",
        )
        weights, sums = (read_image(self.product(name))[:, 0] for name in ("weight", "sumwt"))
        if len(weights) == 1:
            return mosaic
        fields = self.primary_beam()[:, 0] > 0
        return replace(mosaic, channels=channels_of_images(mosaic, weights, sums[:, 0, 0], fields))

    def noise(self) -> NDArray[np.float64]:
        """Return the r.m.s. of each plane of the dirty image, (channel, stokes), Jy/beam, if WEIGHT is 1/sigma^2.

        With natural weights it is 1 / sqrt(sum of weights), infinite for a channel without data. Other weights have
        CASA's apparent sensitivity of all channels together, which is that of Stokes I, shared out like their sums. A
        mosaic's images are normalised to flat noise at the largest of its summed weights. Of Taylor terms it is that
        of the first, (1, stokes).
        """
        stokes = self._request.grid.stokes
        sums = read_image(self.product("sumwt"))[..., 0, 0] * weights_over_sumwt(stokes)
        with np.errstate(divide="ignore"):
            noise = 1 / np.sqrt(sums)
        if not self._request.weighting.is_natural:
            self._observe_doubled_field()
            sensitivity = json.loads(self._doubled.with_suffix(".sensitivity").read_text())["effSens"]
            lone_hand = len(self._request.grid.planes[0]) == 2 and two_hands(self._request.selection.selections)
            noise *= sensitivity * np.sqrt(sums[:, 0].sum() * (2 if lone_hand else 1))
        weight = self.product("weight")
        largest = float(read_image(weight).max()) if weight.exists() else 1.0
        return noise / np.sqrt(largest)

    def thermal_noise(self) -> NDArray[np.float64]:
        """Return `noise`: thermal noise is all that the weights of a Measurement Set claim."""
        return self.noise()

    def _observe_doubled_field(self) -> None:
        """Leave the PSF on twice the field in the folder, and the apparent sensitivity where it takes a pass to find.

        The sensitivity is asked of this second imager because the question spoils a mosaic's weight image.
        """
        if product_paths(self._doubled, "psf", self.terms)[0].exists():
            return
        ny, nx = self.shape[-2:]
        doubled = {"gridder": "standard", "imsize": [2 * nx, 2 * ny], "mask": "", "usemask": "user"}
        fieldofview = self._fieldofview or f"{nx * read_cell(self.product('psf'))}arcsec"
        imager = open_imager([imager_parameters(self._request.casa, self._doubled, **doubled)], fieldofview)
        imager.setWeighting()
        if not self._request.weighting.is_natural:
            self._doubled.with_suffix(".sensitivity").write_text(json.dumps(imager.calcVisAppSens()))
        imager.makePSF()
        imager.deleteTools()
