"""CASA's imager as a `MajorCycle`: every gridder, weighting and selection that tclean has, with outlier fields.

A bright source far outside the image leaves sidelobes in it. An outlier field of its own takes it up: major cycles
predict the visibilities of all fields together, minor cycles treat each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.engine.field_layout import FieldLayout
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.casa_field import CasaField
from casa_ml_tasks.major.closing import closed_on_error
from casa_ml_tasks.major.field_overlap import refuse_overlaps
from casa_ml_tasks.major.imager import open_imager
from casa_ml_tasks.request.request import Request


class CasaMajorCycle(CasaField):
    """Major cycles by casatools' synthesisimager. It is the main field; outlier fields are imaged with it."""

    visibilities = None  # the imager reads them in every cycle

    def __init__(
        self,
        request: Request,
        directory: str | Path,
        outliers: Sequence[tuple[Request, str | Path]] = (),
    ):
        """Open the Measurement Sets, set the imaging weights and make the PSF of every field.

        Args:
            request: what is imaged.
            directory: an existing folder for the images; what is in it is used again.
            outliers: request and folder of each outlier field.

        Raises:
            ValueError: fields overlap.
        """
        fieldofview = ""
        if outliers:
            fieldofview = f"{request.grid.shape[1] * request.grid.cells[0]}arcsec"
        super().__init__(request, directory, fieldofview)
        self._outliers = [CasaField(*each, fieldofview) for each in outliers]
        self._imager = self._open()
        with closed_on_error(self):
            self._prepare()
            refuse_overlaps(self.fields)
            self.layout = FieldLayout(tuple((field.shape[2], field.shape[3]) for field in self.fields))

    @property
    def fields(self) -> Sequence[CasaField]:
        """The main field, which this is, and the outlier fields."""
        return [self, *self._outliers]

    def _open(self, **changes: Any) -> PySynthesisImager:
        """Return one imager of all fields."""
        return open_imager([field.imager_parameters(**changes) for field in self.fields], self._fieldofview)

    def _have(self, extension: str) -> bool:
        return all(field.product(extension).exists() for field in self.fields)

    def _prepare(self) -> None:
        """Make the PSFs and the primary beams where they are not there yet."""
        self._imager.setWeighting()
        if not self._have("psf"):
            self._imager.makePSF()
            self._imager.makePB()

    def _write_models(self, model: Image) -> None:
        for field, part in zip(self.fields, self.layout.unpack(model), strict=True):
            field.write_model(part)

    def residual(self, model: Image) -> Image:
        """Return F^H W (d - F model) / sum of W, Jy/beam, in the shape of the model.

        Args:
            model: (channel or term, stokes, ny, nx), Jy/pixel; of several fields as `layout` packs them.
        """
        if model.any() and not self._have("residual"):
            self._imager.runMajorCycle(isCleanCycle=False)  # the model's image is made like the residual's
        if self._have("residual"):
            self._write_models(model)
        self._imager.runMajorCycle(isCleanCycle=False)
        return self.layout.pack([field.read_residual() for field in self.fields])

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the model of each field and, if asked, the restored image, also over the primary beam."""
        if not self._have("residual"):  # killed while it published
            self.residual(model)
        for field, part in zip(self.fields, self.layout.unpack(model), strict=True):
            field.restore(part, restoration, pbcor)

    def predict(self, model: Image) -> None:
        """Write the model's visibilities into the Measurement Set, as `savemodel` says."""
        savemodel = self._request.output.savemodel
        if savemodel == "none":
            return
        self._write_models(model)
        self._imager.deleteTools()
        self._imager = self._open(savemodel=savemodel)
        self._imager.setWeighting()
        self._imager.predictModel()

    def close(self) -> None:
        """Let go of every file."""
        self._imager.deleteTools()
        super().close()
        for outlier in self._outliers:
            outlier.close()
