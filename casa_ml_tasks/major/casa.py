"""CASA's imager as a `MajorCycle`: every gridder, weighting and selection that tclean has."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.casa_compat import ImagerParameters, PySynthesisImager
from casa_ml_tasks.data.casa_image import (
    read_cell,
    read_direction,
    read_frequencies,
    read_image,
    read_images,
    set_unit,
    write_image,
)
from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM, SINGLE_POINTING, cell_with_unit
from casa_ml_tasks.data.measurement_set import selections
from casa_ml_tasks.data.stokes import stokes_planes, two_hands, weights_over_sumwt
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import product_path, product_paths, taylor_terms
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.major.pointings import mosaic_of

#: Names that tclean's parameters have inside CASA's imager.
_IMAGER_NAMES = {
    "vis": "msname",
    "timerange": "timestr",
    "uvrange": "uvdist",
    "observation": "obs",
    "intent": "state",
    "gain": "loopgain",
    "smallscalebias": "scalebias",
}

EMPTY_MODEL = "Restoring with an empty model image"  # how CASA's warning begins


def deconvolution_parameters(parameters: Mapping[str, Any], imagename: str | Path) -> tuple[dict, dict]:
    """What casatools' deconvolver and iteration control want to know, for images under `imagename`."""
    translated = imager_parameters(parameters, imagename)
    return translated.getDecPars()["0"], translated.getIterPars()


def imager_parameters(parameters: Mapping[str, Any], imagename: str | Path, **changes: Any) -> ImagerParameters:
    """tclean's reading of the task parameters, for products under another imagename."""
    renamed = {_IMAGER_NAMES.get(name, name): value for name, value in {**parameters, **changes}.items()}
    renamed |= {"imagename": str(imagename), "startmodel": "", "outlierfile": "", "restart": True}
    renamed["savemodel"] = changes.get("savemodel", "none")
    renamed |= {"parallel": False, "interactive": False, "cell": cell_with_unit(renamed["cell"])}
    if renamed["specmode"] in CONTINUUM:
        renamed |= {"specmode": "mfs", "perchanweightdensity": False}
    if renamed["gridder"] == "native":
        renamed["gridder"] = "standard"
    renamed["mosweight"] = renamed["mosweight"] and renamed["gridder"] in ("mosaic", "awp2")
    known = inspect.signature(ImagerParameters.__init__).parameters
    return ImagerParameters(**{name: value for name, value in renamed.items() if name in known})


class CasaImages:
    r"""The images of one field that casatools' synthesisimager makes, in a folder of their own.

    They are (channel or term, stokes, y, x): with deconvolver='mtmfs' the Taylor terms of the spectrum, else
    channels. Term s of the residual has the weights times $((\nu - \nu_0)/\nu_0)^s$, and the sum of weights of term 0.

    The PSF on twice the field comes from a second imager, with the imaging weights of the first: uniform and Briggs
    weights are counted in the uv cells of the image, so it is told the first one's field of view. It is always the
    standard gridder's: only without beams and w-terms is the normal operator positive semi-definite for certain (a
    mosaic's PSF gave eigenvalues down to a tenth of the largest below zero, and the minor cycle ran away). So a
    mosaic has the PSFs of its pointings instead.
    """

    _imager: PySynthesisImager  # of whoever makes the images

    def __init__(self, parameters: Mapping[str, Any], directory: str | Path):
        """Say where the images are.

        Args:
            parameters: tclean's, all of them.
            directory: an existing folder for the images; what is in it is used again.
        """
        self._parameters = parameters
        self.imagename = Path(directory) / "image"
        self._doubled = Path(directory) / "doubled"

    def _open(self, imagename: Path, fieldofview: str = "", **changes: Any) -> PySynthesisImager:
        imager = PySynthesisImager(params=imager_parameters(self._parameters, imagename, **changes))
        imager.initializeImagers()
        imager.initializeNormalizers()
        if fieldofview:
            imager.weightpars["fieldofview"] = fieldofview
        return imager

    @property
    def terms(self) -> int:
        """Taylor terms of the spectrum; 0 where the images are of channels."""
        return taylor_terms(self._parameters)

    def product(self, extension: str, term: int = 0) -> Path:
        """The path of a product, for instance of 'residual'; of a Taylor term, where there are any."""
        return product_path(self.imagename, extension, term if self.terms else None)

    def _paths(self, imagename: Path, extension: str) -> list[Path]:
        return product_paths(imagename, extension, self.terms)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channel or term, stokes, ny, nx) of the images."""
        channels, *plane = self.primary_beam().shape
        return (self.terms or channels, *plane)

    def psf(self) -> Image:
        """The PSF on twice the field, (channel or term, stokes, 2 ny, 2 nx), Jy/beam; n terms have 2 n - 1 of them.

        Of a mosaic it is that of all pixels on average.
        """
        if self.mosaic is not None:
            has_data = read_image(self.product("sumwt")) > 0
            return np.where(has_data, self.mosaic.psf().astype(np.float32), np.float32(0))
        self._observe_doubled_field()
        return read_images(self._paths(self._doubled, "psf"))

    @cached_property
    def mosaic(self) -> Mosaic | None:
        """The pointings, for all channels alike; None where there is one, without a beam in the operator.

        CASA's gridders do not tell them apart, so the Measurement Sets are read for them.
        """
        if self._parameters["gridder"] in SINGLE_POINTING:
            return None
        beam = self.product("pb")
        return mosaic_of(
            self._parameters,
            ImageFrame(*read_direction(beam), tracks=tracked(self._parameters["phasecenter"])),
            read_frequencies(beam),
            read_cell(beam) * ARCSEC,
            np.any(self.primary_beam() > 0, axis=(0, 1)),
            self.imagename.parent / "pointings",
        )

    def noise(self) -> NDArray[np.float64]:
        """R.m.s. of each plane of the dirty image, (channel, stokes), Jy/beam, if WEIGHT were exactly 1/sigma^2.

        With natural weights it is 1 / sqrt(sum of weights), infinite for a channel without data. Other weights have
        CASA's apparent sensitivity of all channels together, which is that of Stokes I, shared out like their sums. A
        mosaic's images are normalised to flat noise at the largest of its summed weights. Of Taylor terms it is that
        of the first, (1, stokes).
        """
        stokes = self._parameters["stokes"]
        sums = read_image(self.product("sumwt"))[..., 0, 0] * weights_over_sumwt(stokes)
        with np.errstate(divide="ignore"):
            noise = 1 / np.sqrt(sums)
        if not self._has_natural_weights():
            self._observe_doubled_field()
            sensitivity = json.loads(self._doubled.with_suffix(".sensitivity").read_text())["effSens"]
            lone_hand = len(stokes_planes(stokes)[0]) == 2 and two_hands(selections(self._parameters))
            noise *= sensitivity * np.sqrt(sums[:, 0].sum() * (2 if lone_hand else 1))
        weight = self.product("weight")
        largest = float(read_image(weight).max()) if weight.exists() else 1.0
        return noise / np.sqrt(largest)

    def thermal_noise(self) -> NDArray[np.float64]:
        """As `noise`, of thermal noise alone: all that the weights of a Measurement Set claim."""
        return self.noise()

    def _has_natural_weights(self) -> bool:
        return self._parameters["weighting"] == "natural" and not any(self._parameters["uvtaper"])

    def _observe_doubled_field(self) -> None:
        """Leave the PSF on twice the field in the folder, and the apparent sensitivity where it takes a pass to find.

        The sensitivity is asked of this second imager because the question spoils a mosaic's weight image.
        """
        if self._paths(self._doubled, "psf")[0].exists():
            return
        ny, nx = self.shape[-2:]
        imager = self._open(
            self._doubled, self._weighting_field(), gridder="standard", imsize=[2 * nx, 2 * ny], mask="", usemask="user"
        )
        imager.setWeighting()
        if not self._has_natural_weights():
            self._doubled.with_suffix(".sensitivity").write_text(json.dumps(imager.calcVisAppSens()))
        imager.makePSF()
        imager.deleteTools()

    def _weighting_field(self) -> str:
        """The field of view whose uv cells uniform and Briggs weights are counted in."""
        return f"{self.shape[-1] * read_cell(self.product('psf'))}arcsec"

    def primary_beam(self) -> Image:
        """(channel, stokes, ny, nx), dimensionless; one for all Taylor terms."""
        return read_image(self.product("pb"))

    def _write_model(self, model: Image) -> None:
        paths = self._paths(self.imagename, "model")
        for path, part in zip(paths, np.split(model, len(paths)), strict=True):
            write_image(path, part, self.product("residual"), "Jy/pixel")

    def mask(self) -> Image:
        """Where tclean would search for emission now: (channel, stokes, ny, nx), 1 or 0, from `mask` and `usemask`.

        Taylor terms have one together.
        """
        if self.product("mask").exists() and self._parameters["usemask"] != "auto-multithresh":
            return read_image(self.product("mask"))
        self._imager.initializeDeconvolvers()
        deconvolver = self._imager.SDtools[0]
        deconvolver.initminorcycle()
        deconvolver.setupmask()
        mask = read_image(self.product("mask"))
        self._imager.deleteDeconvolvers()
        self._imager.SDtools = []
        return mask

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the model and, if asked, the restored image (model * CLEAN beam + residual), also over the beam."""
        self._write_model(model)
        for extension in ("residual", "psf"):  # which tclean leaves without a unit
            for path in self._paths(self.imagename, extension):
                set_unit(path, "Jy/beam")
        if not restoration:
            return
        self._imager.alldecpars["0"] |= {"mask": "", "usemask": "user"}  # the deconvolver would object to its own mask
        self._imager.initializeDeconvolvers()
        self._restore()
        if pbcor:
            self._imager.pbcorImages()

    def _restore(self) -> None:
        """Make the restored image. CASA's warning of an empty model is kept for runs that have looked for one."""
        dirty_only = self._parameters.get("niter") == 0
        if dirty_only:
            casalog.filterMsg([EMPTY_MODEL])
        try:
            self._imager.restoreImages()
        finally:
            if dirty_only:
                casalog.clearFilterMsgList()

    def close(self) -> None:
        """Let go of every file."""
        self._imager.deleteTools()


class CasaMajorCycle(CasaImages):
    """Major cycles by casatools' synthesisimager, of one field."""

    def __init__(self, parameters: Mapping[str, Any], directory: str | Path):
        """Open the Measurement Sets and set the imaging weights.

        Args:
            parameters: tclean's, all of them.
            directory: an existing folder for the images; what is in it is used again.
        """
        super().__init__(parameters, directory)
        self._imager = self._open(self.imagename)
        with self._closed_on_error():
            self._prepare()

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """Let go of every file where an exception leaves nobody else to do so."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Make the PSF and the primary beam where they are not there yet."""
        self._imager.setWeighting()
        if not self.product("psf").exists():
            self._imager.makePSF()
            self._imager.makePB()

    def residual(self, model: Image) -> Image:
        """model: (channel or term, stokes, ny, nx), Jy/pixel. Returns F^H W (d - F model) / sum of W, Jy/beam."""
        if model.any() and not self.product("residual").exists():
            self._imager.runMajorCycle(isCleanCycle=False)  # the model's image is made like the residual's
        if self.product("residual").exists():
            self._write_model(model)
        self._imager.runMajorCycle(isCleanCycle=False)
        return read_images(self._paths(self.imagename, "residual"))

    def predict(self, model: Image) -> None:
        """Write the model's visibilities into the Measurement Set, as `savemodel` says."""
        if self._parameters["savemodel"] == "none":
            return
        self._write_model(model)
        self.close()
        self._imager = self._open(self.imagename, savemodel=self._parameters["savemodel"])
        self._imager.setWeighting()
        self._imager.predictModel()
