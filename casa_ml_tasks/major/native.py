"""Major cycles by our own kernels: CASA's images, beams and normalisation, our visibilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond
from scipy.stats import median_abs_deviation

from casa_ml_tasks.data.casa_image import read_cell, read_channels, read_direction, read_frequencies
from casa_ml_tasks.data.visibility_store import ImageFrame, Origins
from casa_ml_tasks.engine.field_layout import FieldLayout
from casa_ml_tasks.engine.protocols import ComparedVisibilities, Fold, Image, MinorCycle, Reduced
from casa_ml_tasks.kernels.cuda.device import PycudaDevice
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.visibilities import Origin, Visibilities
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.channel_weights import weighted_by_channel, with_errors
from casa_ml_tasks.major.closing import closed_on_error
from casa_ml_tasks.major.imaged_visibilities import ImagedVisibilities
from casa_ml_tasks.major.measurement_sets import read_visibilities, write_model_column
from casa_ml_tasks.major.native_images import NativeImages
from casa_ml_tasks.major.transform import TOLERANCE, Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.request.request import Request


class NativeMajorCycle(NativeImages):
    """Reads the Measurement Sets once; every residual is then one pass over a compact store of visibilities.

    The images, their coordinates, the primary beam and the fit of the CLEAN beam are CASA's.

    Attributes:
        observed: the visibilities as they were read, with their natural weights.
        imaged: what `image_with` was given last, or `observed` with its weights.
        origins: what the numbers in `observed.origin` stand for; empty where origins were not asked for.
        operator: what is imaged now.

    What was read stays in memory for other weights, 40 bytes a visibility, or in files where that is too much.
    """

    mosaic: Mosaic | None = None  # there is one pointing

    def __init__(
        self,
        request: Request,
        directory: str | Path,
        w_term: bool = True,
        tolerance: float = TOLERANCE,
        folds: int = 0,
        origins: bool = False,
    ):
        """Read the visibilities, weight and sort them, and make the PSF.

        Args:
            request: what is imaged, which our own kernels can.
            directory: an existing folder for the images; what is in it is used again but for PSF and primary beam.
            w_term: respect it, where it matters; CASA's standard gridder does not.
            tolerance: relative l2 error of model visibilities.
            folds: split the visibilities into so many for cross-validation, and the core. Not for cubes.
            origins: tell visibilities apart by where they come from, for a data model. Not for cubes, nor for averages.

        Raises:
            ValueError: the selection selects nothing, or nothing that this image can hold.
        """
        origins = origins or bool(request.noise.freedom)
        super().__init__(request, directory)
        with closed_on_error(self):
            self.cell = read_cell(self.product("pb")) * arcsecond
            self._fold_count = folds
            device = PycudaDevice if request.gridding.device == "gpu" else None
            self._transform = Transform((self.shape[2], self.shape[3]), self.cell, w_term, tolerance, device)
            self._frame = ImageFrame(
                *read_direction(self.product("pb")),
                lsrk=request.grid.continuum,
                channels=None if request.grid.continuum else read_channels(self.product("pb")),
                tracks=request.grid.tracks,
            )
            self._open_visibilities(Path(directory) / "visibilities", origins)

    def _open_visibilities(self, directory: Path, origins: bool) -> None:
        """Read, weigh and plan the visibilities. directory: for files, if memory does not suffice."""
        numbering = Origins() if origins else None
        self.observed = self._read(directory, numbering)
        self.origins: Sequence[Origin] = [] if numbering is None else numbering.known
        self.imaged = (self.observed, self.observed.weight, self.observed.weight)
        self._held = self._planned(*self.imaged)
        self._image_by(self._held)

    def _read(self, directory: Path, numbering: Origins | None) -> Visibilities:
        """Return the selected visibilities. directory: for files, if memory does not suffice."""
        return read_visibilities(self._request, self._frame, self._transform, directory, numbering)

    @property
    def fields(self) -> Sequence[NativeMajorCycle]:
        """The main field, which this is."""
        return [self]

    @property
    def layout(self) -> FieldLayout:
        """That of one field."""
        return FieldLayout((self._transform.shape,))

    @property
    def visibilities(self) -> NativeMajorCycle:
        """The visibilities, which this keeps."""
        return self

    @property
    def size(self) -> int:
        """How many visibilities there are."""
        return self.observed.size

    def _image_by(self, operator: ImagedVisibilities) -> None:
        """Image by an operator from now on, and write its PSF: one on disk may be of other weights."""
        self.operator: ImagedVisibilities = operator
        self.write_psf(self.psf(), operator.sums.weight)

    def _planned(
        self,
        store: Visibilities,
        nominal: NDArray[np.floating],
        thermal: NDArray[np.floating],
        plans: Sequence[MeasurementOperator] = (),
    ) -> VisibilityOperator:
        """Set the imaging weights, make the PSF, and plan the visibilities or use their plans again.

        Args:
            store: visibilities and natural weights to image with.
            nominal, thermal: as in `image_with`.
            plans: of these visibilities with other weights.
        """
        weighting = self._request.weighting.of_channels(read_frequencies(self.product("pb")))
        channels, shape = self.shape[0], self._transform.shape
        parts = weighted_by_channel(store, nominal, thermal, weighting, channels, shape, self.cell)
        return VisibilityOperator.planned(self._transform, channels, parts, self._fold_count, plans)

    def image_with(
        self, visibilities: Visibilities, nominal: NDArray[np.floating], thermal: NDArray[np.floating]
    ) -> None:
        """Image other visibilities, or with other weights, from now on.

        Args:
            visibilities: `observed` with corrected data or weights.
            nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
            thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
        """
        self.imaged = (visibilities, nominal, thermal)
        self._held = self._planned(*self.imaged, self._held.plans)
        self._image_by(self._held)

    def replace_observed(self, visibilities: Visibilities) -> None:
        """Take `observed` with corrected data and weights for what was read, and image it from now on."""
        self.observed = visibilities
        self.image_with(visibilities, visibilities.weight, visibilities.weight)

    def near(self, minor: MinorCycle) -> MinorCycle:
        """Return a minor cycle: the visibilities are here."""
        return minor

    def psf(self) -> Image:
        """Return the PSF on twice the field, without w, (channel, 1, 2 ny, 2 nx), Jy/beam."""
        return self.operator.psf()

    def noise(self) -> NDArray[np.float64]:
        r"""Return the r.m.s. of each dirty image, (channel, 1), Jy/beam, if WEIGHT is $1/\sigma^2$.

        It is infinite for a channel without data.
        """
        return self.operator.noise()

    def thermal_noise(self) -> NDArray[np.float64]:
        """Return `noise` without the errors of calibration that the weights count, (channel, 1), Jy/beam."""
        return self.image_noise(lambda uvdist: np.zeros(uvdist.shape), 1.0)

    def image_noise(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> NDArray[np.float64]:
        """Return the r.m.s. of each dirty image, (channel, 1), Jy/beam, with the imaging weights of now.

        Args:
            error: gives errors of calibration, Jy, at uv distances, wavelengths.
            noise_scale: true thermal noise over the noise that WEIGHT claims; 0 leaves the errors alone.
        """
        return self.operator.image_noise(error, noise_scale)

    def predicted(self, model: Image) -> NDArray[np.complexfloating]:
        """Return the visibilities of a model of the continuum, (n,), Jy, in the order of `observed`."""
        return self._held.predicted(self._sky(model))

    def reduced(self, model: Image, reduce: Callable[[Iterable[ComparedVisibilities]], Reduced]) -> list[Reduced]:
        """Return what a function makes of the visibilities with those of a model (channel, 1, ny, nx), Jy/pixel."""
        return self.operator.reduced(self._sky(model), reduce)

    def weigh_with_errors(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> None:
        """Image from now on with weights of thermal noise and errors of calibration together.

        Args:
            error: gives errors of calibration, Jy, at uv distances, wavelengths.
            noise_scale: true thermal noise over the noise that WEIGHT claims; the new weights claim it as well.
        """
        weighted = with_errors(self.observed, error, noise_scale)
        self.image_with(weighted, weighted.weight, self.observed.weight)

    def noise_beside(self, model: Image, left_out: float = 0.0) -> NDArray[np.float64]:
        """Return the r.m.s. of the residual in the next field to the North-East, (channel, 1), Jy/beam, by its median.

        The model has nothing there, neither sky nor what it took for sky: so that is the noise with the sidelobes of
        all that no image explains, such as errors of calibration.

        Args:
            model: (channel, 1, ny, nx), Jy/pixel.
            left_out: share of the visibilities that are left out, the shortest. The others then stand for them.
        """
        sums, squares = self.operator.sums_beside(self._sky(model), self.operator.uv_distance(left_out))
        pixels = self._in_flat_noise(sums)[..., self._field()]
        beside = median_abs_deviation(pixels, axis=-1, scale="normal")
        all_squares = self.operator.sums.squares
        return beside * np.sqrt(all_squares / np.where(squares > 0, squares, 1))[:, None]

    def folds(self) -> list[Fold]:
        """Return the visibilities in the folds that were asked for, and last the core, which may be empty.

        Raises:
            ValueError: another fold is empty.
        """
        found = self.operator.folds()
        if not all(fold.weight for fold in found[:-1]):
            raise ValueError(
                "the visibilities fill too little of the uv plane to be split for cross-validation; give regstrength "
                "as numbers"
            )
        return found

    def draw_noise(self, seed: int) -> Image:
        r"""Return the dirty image of nothing but the noise that the weights claim, (channel, 1, ny, nx), Jy/beam.

        Random visibilities are gridded, so that its covariance is $F^H W F$ itself, in natural weights.
        """
        sums = self.operator.noise_sums(np.random.default_rng(seed))
        return self._normalised(sums).astype(np.float32)

    def residual(self, model: Image) -> Image:
        """Return F^H W (d - F model) / sum of W, Jy/beam. model: (channel, 1, ny, nx), Jy/pixel."""
        residual = self._normalised(self.operator.residual_sums(self._sky(model)))
        self.write_residual(residual)
        return residual.astype(np.float32)

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the model and, if asked, the restored image, also over the primary beam."""
        self.restore(model, restoration, pbcor)

    def predict(self, model: Image) -> None:
        """Write the model's visibilities into MODEL_DATA, or let CASA note the model, as `savemodel` says."""
        if self._request.output.savemodel == "none":
            return
        if self._request.output.savemodel == "virtual":
            self.note_model(model)
            return
        self.close()  # CASA's imager keeps a Measurement Set with MODEL_DATA locked
        self._write_model_column(self._sky(model)[:, 0].astype(np.float32))

    def _write_model_column(self, images: NDArray[np.float32]) -> None:
        """Write the visibilities of the sky, (channel, ny, nx), Jy/pixel, into MODEL_DATA."""
        write_model_column(self._request.selection.selections, self._frame, self._transform, images)

    def _sky(self, model: Image) -> Image:
        """Return the sky whose visibilities are the model's, (channel, 1, ny, nx), Jy/pixel."""
        return model

    def _normalised(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return images, (channel, 1, ny, nx), Jy/beam, of sums of gridded visibilities."""
        return self.operator.normalised(sums)

    def _in_flat_noise(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the same with a noise that is the same in all pixels."""
        return self._normalised(sums)

    def _field(self) -> NDArray[np.bool_]:
        """Return where there is an image, (ny, nx)."""
        return np.ones(self._transform.shape, bool)
