"""Outlier fields: several images of one sky, which only the visibilities connect.

A bright source far outside the image leaves sidelobes in it. A small field of its own takes it up: major cycles predict
the visibilities of all fields together, minor cycles treat each by itself. To the solver all fields are one array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.casa_image import read_cell, read_direction, read_images
from casa_ml_tasks.data.input_checks import cells_in_arcsec, image_size
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState, StateSchema
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.casa import CasaImages, CasaMajorCycle, imager_parameters

#: Sidelobes of other fields below this many times the noise are as good as noise.
NEGLIGIBLE = 3.0

#: In `MinorState.latent`: whether the minor cycle of each field has predicted its residual.
PREDICTED = "is_predicted"

#: CASA's names of frames in astropy's; others are close to FK5.
ASTROPY_FRAMES = {"ICRS": "icrs", "B1950": "fk4", "GALACTIC": "galactic"}


@dataclass(frozen=True)
class Fields:
    """The pixels of several images, side by side in one array.

    Attributes:
        shapes: (ny, nx) of each, the main field first.
    """

    shapes: tuple[tuple[int, int], ...]

    def pack(self, images: Sequence[Image]) -> Image:
        """images: (channel, stokes, ny, nx) each. Returns (channel, stokes, 1, pixels of all fields)."""
        return np.concatenate([image.reshape(*image.shape[:2], 1, -1) for image in images], axis=-1)

    def unpack(self, packed: Image) -> list[Image]:
        """The images that `pack` was given."""
        ends = np.cumsum([ny * nx for ny, nx in self.shapes])[:-1]
        parts = np.split(packed, ends, axis=-1)
        return [part.reshape(*part.shape[:2], *shape) for part, shape in zip(parts, self.shapes, strict=True)]


class CasaField(CasaImages):
    """One field of several: its images, PSF, noise, mask and restoration; the major cycles are of all together."""

    def __init__(self, parameters: Mapping[str, Any], workspace: Workspace, fieldofview: str):
        """fieldofview: of the main field, in whose uv cells uniform and Briggs weights are counted."""
        super().__init__(parameters, workspace.directory)
        self.parameters, self.workspace = parameters, workspace
        self._imager = PySynthesisImager(params=imager_parameters(parameters, self.imagename))
        self._fieldofview = fieldofview

    def _weighting_field(self) -> str:
        return self._fieldofview


class CasaFields(CasaMajorCycle):
    """CASA's imager with outlier fields: models and residuals are of all fields, the rest is of the main field."""

    def __init__(self, parameters: Sequence[Mapping[str, Any]], workspaces: Sequence[Workspace]):
        """Open the Measurement Sets, set the imaging weights and make the PSF of every field.

        Args:
            parameters: tclean's, all of them, for the main field and for each outlier.
            workspaces: of the same fields; what is in them is used again.
        """
        main = parameters[0]
        self._fieldofview = f"{image_size(main['imsize'])[0] * cells_in_arcsec(main['cell'])[0]}arcsec"
        self.fields = [CasaField(*each, self._fieldofview) for each in zip(parameters, workspaces, strict=True)]
        self._parameters, self.imagename, self._doubled = main, self.fields[0].imagename, self.fields[0]._doubled
        self._imager = self._open_all()
        with self._closed_on_error():
            self._prepare()
            _refuse_overlaps(self.fields)
        self.layout = Fields(tuple((field.shape[2], field.shape[3]) for field in self.fields))

    def sidelobe(self) -> float:
        """The highest of the PSF at lags of half the main field and more, Jy/beam."""
        psf = np.abs(self.psf())
        ny, nx = self.layout.shapes[0]
        psf[..., ny // 2 : ny // 2 + ny, nx // 2 : nx // 2 + nx] = 0
        return float(psf.max())

    def _open_all(self, **changes: Any) -> PySynthesisImager:
        """One imager of all fields."""
        own = [imager_parameters(field.parameters, field.imagename, **changes) for field in self.fields]
        imager = PySynthesisImager(params=own[0])
        for number, each in enumerate(own[1:], 1):
            imager.allimpars[str(number)] = each.getImagePars()["0"]
            imager.allgridpars[str(number)] = each.getGridPars()["0"]
            imager.alldecpars[str(number)] = each.getDecPars()["0"]
            imager.allnormpars[str(number)] = each.getNormPars()["0"]
        imager.NF = len(own)
        imager.weightpars["fieldofview"] = self._fieldofview
        imager.initializeImagers()
        imager.initializeNormalizers()
        return imager

    def _have(self, extension: str) -> bool:
        return all(field.product(extension).exists() for field in self.fields)

    def _prepare(self) -> None:
        self._imager.setWeighting()
        if not self._have("psf"):
            self._imager.makePSF()
            self._imager.makePB()

    def _write_models(self, model: Image) -> None:
        for field, part in zip(self.fields, self.layout.unpack(model), strict=True):
            field._write_model(part)

    def residual(self, model: Image) -> Image:
        """model: (channel or term, stokes, 1, pixels of all fields), Jy/pixel. Returns the residual alike, Jy/beam."""
        if model.any() and not self._have("residual"):
            self._imager.runMajorCycle(isCleanCycle=False)
        if self._have("residual"):
            self._write_models(model)
        self._imager.runMajorCycle(isCleanCycle=False)
        return self.layout.pack([read_images(field._paths(field.imagename, "residual")) for field in self.fields])

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write and restore the images of every field."""
        if not self._have("residual"):  # killed while it published
            self.residual(model)
        for field, part in zip(self.fields, self.layout.unpack(model), strict=True):
            field.finish(part, restoration, pbcor)

    def predict(self, model: Image) -> None:
        if self._parameters["savemodel"] == "none":
            return
        self._write_models(model)
        self._imager.deleteTools()
        self._imager = self._open_all(savemodel=self._parameters["savemodel"])
        self._imager.setWeighting()
        self._imager.predictModel()

    def main_field(self, progress: Progress) -> Progress:
        """What concerns the images of the main field; the records stay those of all fields."""
        model, residual, dirty = (
            None if packed is None else self.layout.unpack(packed)[0]
            for packed in (progress.model, progress.residual, progress.dirty)
        )
        assert model is not None
        return replace(progress, model=model, residual=residual, dirty=dirty, last_model=None, last_residual=None)

    def close(self) -> None:
        super().close()
        for field in self.fields:
            field.close()


def _refuse_overlaps(fields: Sequence[CasaField]) -> None:
    """Flux on common pixels would be each field's, and minor cycles that know nothing of each other add it twice."""
    for one, other in combinations(fields, 2):
        offset = _centre(one).spherical_offsets_to(_centre(other))
        east, north = (float(abs(angle.to_value("arcsec"))) for angle in offset)
        height, width = ((a + b) / 2 for a, b in zip(_extent(one), _extent(other), strict=True))
        if east < width and north < height:
            name, other_name = one.workspace.imagename, other.workspace.imagename
            raise ValueError(
                f"the field '{other_name}' overlaps '{name}': its centre is {east:.4g} and {north:.4g} arcsec away, "
                f"not {width:.4g} or {height:.4g}; move it in the outlierfile or make a field smaller"
            )


def _centre(field: CasaField) -> SkyCoord:
    (right_ascension, declination), frame = read_direction(field.product("psf"))
    return SkyCoord(right_ascension, declination, unit="rad", frame=ASTROPY_FRAMES.get(frame, "fk5"))


def _extent(field: CasaField) -> tuple[float, float]:
    """Height and width, arcsec."""
    cell = read_cell(field.product("psf"))
    return field.shape[2] * cell, field.shape[3] * cell


class MinorCycleOfFields:
    """Lets the minor cycle of each field update its part, once the sidelobes of the others are gone.

    How far a residual is from what the last minor cycle of its field predicted tells how much that model has still to
    change; the sidelobes of the change reach all other fields. A field in which nothing exceeds them waits. One that
    stands out of them is sketched meanwhile: they count as noise, as CLEAN's cycle threshold has it.

    The latent arrays of each field's own minor cycle stand in the state with the number of the field and a slash before
    their names.
    """

    schema = StateSchema("outlier fields", 1, {PREDICTED: ("field",)})

    def __init__(
        self,
        minors: Sequence[MinorCycle],
        sketches: Sequence[Callable[[float], MinorCycle]],
        layout: Fields,
        noise: NDArray[np.floating],
        sidelobe: float,
    ):
        """Remember the minor cycles.

        Args:
            minors: of each field.
            sketches: make a minor cycle of each field that takes so many times the noise for noise.
            layout: of the fields.
            noise: of the residuals, Jy/beam, to broadcast with (channel or term, stokes, 1, 1).
            sidelobe: highest of the PSF as far from its peak as fields are from each other, Jy/beam.
        """
        self._minors = minors
        self._sketches = sketches
        self._layout = layout
        self._noise = noise
        self._sidelobe = sidelobe

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One minor cycle of each field. residual: Jy/beam, model: Jy/pixel, (channel, stokes, 1, pixels) both.

        A field that still has to be seen without the others' sidelobes has zero for a prediction.
        """
        residuals, models = self._layout.unpack(residual), self._layout.unpack(model)
        expected = np.zeros_like(residual) if state.predicted_residual is None else state.predicted_residual
        predicted = self._layout.unpack(expected)
        change = [each.max() for each in self._layout.unpack(np.abs(residual - expected) / self._noise)]
        is_predicted = np.array(state.latent.get(PREDICTED, np.zeros(len(models), bool)))
        iterations, converged, latent = state.iterations, True, dict(state.latent)
        for field, sidelobes in enumerate(self._sidelobes(change)):
            if sidelobes > max(NEGLIGIBLE, change[field]):
                converged = False
                continue
            final = sidelobes <= NEGLIGIBLE
            minor = self._minors[field] if final else self._sketches[field](sidelobes)
            own = {
                name.removeprefix(f"{field}/"): array for name, array in latent.items() if name.startswith(f"{field}/")
            }
            before = MinorState(iterations, predicted[field] if final and is_predicted[field] else None, latent=own)
            models[field], after = minor.update(residuals[field], models[field], before)
            iterations, converged = after.iterations, converged and final and after.converged
            latent = {name: array for name, array in latent.items() if not name.startswith(f"{field}/")}
            latent |= {f"{field}/{name}": array for name, array in after.latent.items()}
            found = after.predicted_residual if final else None
            predicted[field] = np.zeros_like(residuals[field]) if found is None else found
            is_predicted[field] = found is not None
        latent[PREDICTED] = is_predicted
        return self._layout.pack(models), MinorState(iterations, self._layout.pack(predicted), converged, latent=latent)

    def _sidelobes(self, change: Sequence[float]) -> list[float]:
        """What the changes of the other fields that do not wait may leave in each; both in units of the noise."""
        awake = [one for one in change if one >= self._sidelobe * max(change)]
        loudest, second = sorted([0.0, *awake])[:-3:-1]
        return [self._sidelobe * float(second if one == loudest else loudest) for one in change]
