"""Major cycles by our own kernels: CASA's images, beams and normalisation, our visibilities."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors, fit_errors
from casa_ml_tasks.calibration.data_model import SETTLED_WEIGHTS, DataModel
from casa_ml_tasks.calibration.residual_visibilities import (
    ROTATIONS,
    AnnulusSums,
    annulus_edges,
    annulus_of,
    longest_on_grid,
    rotation_beside,
    turns_of,
)
from casa_ml_tasks.data.casa_image import (
    empty_copy,
    note,
    read_cell,
    read_channels,
    read_direction,
    read_frequencies,
    write_image,
)
from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM
from casa_ml_tasks.data.measurement_set import SPEED_OF_LIGHT, blocks, selections
from casa_ml_tasks.data.model_column import ModelColumn
from casa_ml_tasks.data.visibility_store import ImageFrame, Origins, Visibilities, baselines, chunks, read
from casa_ml_tasks.engine.protocols import Fold, Image
from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.uv_split import folds
from casa_ml_tasks.kernels.w_term import MeasurementOperator, wide_field_operator
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
from casa_ml_tasks.quantities import casa_angle
from casa_ml_tasks.request.noise import Freedom
from casa_ml_tasks.request.weighting import Weighting

TOLERANCE = 1e-5  # relative l2 error of model visibilities
MOST_ROUNDS = 10  # of fits of the data model
MOST_COMPARED = 1 << 20  # visibilities that tell errors of calibration


@dataclass(frozen=True)
class _Planned:
    """Some visibilities of one image channel, in the order of their plan."""

    channel: int
    operator: MeasurementOperator
    data: NDArray[np.complexfloating]  # (visibility,), Jy
    weight: NDArray[np.floating]  # (visibility,), imaging weights
    nominal: NDArray[np.floating]  # (visibility,), natural weights, Jy^-2; the same array where they are equal
    thermal: NDArray[np.floating]  # (visibility,), those of thermal noise alone; the same array where they are equal
    annulus: NDArray[np.uint16]  # (visibility,), of uv distance
    turns: NDArray[np.uint8]  # (visibility,), of ROTATIONS, towards the next field


class NativeMajorCycle(CasaMajorCycle):
    """Reads the Measurement Sets once; every residual is then one pass over a compact store of visibilities.

    The images, their coordinates, the primary beam and the fit of the CLEAN beam are CASA's.

    Attributes:
        data_model: noise scales, outliers, amplitudes and positions of execution blocks; None where the parameters ask
            for none.

    What was read stays in memory for other weights, 40 bytes a visibility, or in files where that is too much.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        directory: str | Path,
        w_term: bool = True,
        tolerance: float = TOLERANCE,
        smearing: float = 0.0,
        folds: int = 0,
    ):
        """Read the visibilities, weight and sort them, and make the PSF.

        Args:
            parameters: tclean's, all of them, `specmode` 'mfs' or 'cubedata'; and those of a data model, for continuum.
            directory: an existing folder for the images; what is in it is used again.
            w_term: respect it, where it matters; CASA's standard gridder does not.
            tolerance: relative l2 error of model visibilities.
            smearing: average the visibilities as far as this bound on a point source's error anywhere in the image
                allows; 0 does not. Not for cubes, nor with a data model.
            folds: split the visibilities into so many for cross-validation, and the core. Not for cubes.

        Raises:
            ValueError: the selection selects nothing, or nothing that this image can hold.
        """
        self._freedom = Freedom.from_parameters(**parameters)
        super().__init__(parameters, directory)
        self._plan_operator = wide_field_operator if w_term else fourier_operator
        self._tolerance = tolerance
        self._folds = folds
        self.data_model: DataModel | None = None
        self._channels, _, self._ny, self._nx = self.shape
        self._cell = read_cell(self.product("pb")) * ARCSEC
        continuum = self._continuum
        self._frame = ImageFrame(
            *read_direction(self.product("pb")),
            lsrk=continuum,
            channels=None if continuum else read_channels(self.product("pb")),
            tracks=tracked(parameters["phasecenter"]),
        )
        with self._closed_on_error():
            self._read(Path(directory) / "visibilities", smearing)
            if not self.product("residual").exists():
                self._write_psf()

    @property
    def _continuum(self) -> bool:
        return self._parameters["specmode"] in CONTINUUM

    def _prepare(self) -> None:
        if self._freedom:
            for image in self.imagename.parent.glob("image.*"):  # of other weights, which are forgotten
                shutil.rmtree(image)
        if self.product("pb").exists():
            return
        if self._continuum:
            self._imager.makePB()
        else:
            self._imager.makePSF()  # which is where CASA makes a cube's primary beam

    def _read(self, directory: Path, smearing: float) -> None:
        radius = self._cell * float(np.hypot(self._ny, self._nx)) / 2
        origins = Origins() if self._freedom else None
        weighting = Weighting.from_parameters(**self._parameters)
        store = self._within_nyquist(
            read(
                selections(self._parameters),
                self._frame,
                directory,
                smearing,
                radius,
                progress=True,
                origins=origins,
                outside=weighting.needs_density and not weighting.per_channel,
            )
        )
        self._observed, self._weight = store, store.weight
        if origins is not None:
            self.data_model = DataModel.none(self._freedom, origins.known)
        self._planned: list[_Planned] = []
        self._weigh(store, store.weight, store.weight)

    def _weigh(self, store: Visibilities, nominal: NDArray[np.floating], thermal: NDArray[np.floating]) -> None:
        """Set the imaging weights, make the PSF, and plan the visibilities or use their plans again.

        Args:
            store: visibilities and natural weights to image with.
            nominal: (visibility,), weights that claim the noise of each, errors of calibration included, Jy^-2.
            thermal: (visibility,), those of thermal noise alone, Jy^-2.
        """
        doubled = (2 * self._ny, 2 * self._nx)
        self._psf = np.zeros((self._channels, 1, *doubled), np.float32)
        self._fold_psf = np.zeros((self._folds + 1, *doubled) if self._folds else 0, np.float32)
        self._fold_of: list[NDArray[np.uint8]] = []
        self._sum_of_weights, self._sigma = np.zeros((2, self._channels))
        plans, self._planned = [each.operator for each in self._planned], []
        for channel, members, weights in self._weighted(store):
            visibilities, claimed, alone = store[members], nominal[members], thermal[members]
            total = weights.sum(dtype=float)
            self._sum_of_weights[channel] = total
            trusted = visibilities.weight > 0
            squares = np.divide(
                weights.astype(float) ** 2, visibilities.weight, where=trusted, out=np.zeros(trusted.size)
            )
            self._sigma[channel] = np.sqrt(squares.sum()) / total
            for part in chunks(visibilities.size):
                some = visibilities[part]
                self._psf[channel, 0] += self._lags(some.uvw, weights[part]) / total
                plan = plans[len(self._planned)] if plans else self._plan(some)
                self._planned.append(self._sorted(channel, plan, some, claimed[part], alone[part], weights[part]))
                if self._folds:
                    self._fold_of.append(plan.sort(self._split(some.uvw, weights[part])))

    def refit(self, model: Image, noise_scale: float) -> bool:
        """Fit the data model to the visibilities and those of an image, and image with it from now on.

        Args:
            model: (1, 1, ny, nx), Jy/pixel.
            noise_scale: true noise over the noise that WEIGHT claims, of all visibilities together.

        Returns:
            Whether that changes anything: False where there is no data model, or it has settled.
        """
        if self.data_model is None:
            return False
        before, image = self.data_model, model[0, 0].astype(np.float32)
        visibilities = np.concatenate([each.operator.restore(each.operator.degrid(image)) for each in self._planned])
        self.data_model = before.fitted(self._observed, visibilities, noise_scale)
        corrected, credence = self.data_model.corrected(self._observed, visibilities, noise_scale)
        weight = corrected.weight * credence
        change = np.sum(np.abs(weight - self._weight), dtype=float) / np.sum(self._weight, dtype=float)
        self._log_data_model(before, noise_scale, change)
        if change < SETTLED_WEIGHTS and not self.data_model.moved(before):
            return False
        if self.data_model.rounds > MOST_ROUNDS:
            casalog.post(f"the data model still changes after {MOST_ROUNDS} rounds; the last one is used", "WARN")
            return False
        self._weight = weight
        self._weigh(replace(corrected, weight=weight), corrected.weight, corrected.weight)
        self._write_psf()
        return True

    def calibration_errors(self, model: Image, noise_scale: float, beside: NDArray[np.floating]) -> CalibrationErrors:
        """What the residual visibilities, and the residual beside the image, tell of errors of calibration.

        Args:
            model: (channel, 1, ny, nx), Jy/pixel.
            noise_scale: true thermal noise over the noise that WEIGHT claims.
            beside: what `noise_beside` gives for this model.
        """
        images, radii = model[:, 0].astype(np.float32), annulus_edges(longest_on_grid(self._cell))[1:]
        stride = -(-sum(each.data.size for each in self._planned) // MOST_COMPARED)
        parts = []
        for each in self._planned:
            left = each.data - each.operator.degrid(images[each.channel])
            known = each.thermal > 0
            columns = (left, each.data, noise_scale**2 / np.where(known, each.thermal, 1), radii[each.annulus])
            parts.append([column[known][::stride] for column in columns])
        errors = fit_errors(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        expected, of_amplitude = self._image_noise(errors.at, noise_scale), self._image_noise(errors.amplitude_at, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            missing = np.nanmedian((beside**2 - expected**2) / of_amplitude**2)
        return errors.raised(float(np.sqrt(missing))) if np.isfinite(missing) and missing > 0 else errors

    def count_errors(self, errors: CalibrationErrors, noise_scale: float) -> None:
        """Image from now on with weights of thermal noise and errors of calibration together.

        Args:
            errors: of the visibilities.
            noise_scale: true thermal noise over the noise that WEIGHT claims; the new weights claim it as well.
        """
        observed = self._observed
        error = errors.at(np.hypot(observed.uvw[:, 0], observed.uvw[:, 1]))
        weight = (observed.weight / (1 + observed.weight * (error / noise_scale) ** 2)).astype(np.float32)
        self._weigh(replace(observed, weight=weight), weight, observed.weight)
        self._write_psf()

    def thermal_noise(self) -> NDArray[np.float64]:
        """As `noise`, of thermal noise alone: without the errors of calibration that the weights count."""
        return self._image_noise(lambda uvdist: np.zeros(uvdist.shape), 1.0)

    def _image_noise(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> NDArray[np.float64]:
        r"""R.m.s. of each dirty image, (channel, 1), Jy/beam: $\sqrt{\sum g^2 (s^2/w + c^2)}\,/\sum g$.

        Args:
            error: gives errors c, Jy, at uv distances, wavelengths.
            noise_scale: s, of the weights of thermal noise w.
        """
        radii, squares = annulus_edges(longest_on_grid(self._cell))[1:], np.zeros(self._channels)
        for each in self._planned:
            known = each.thermal > 0
            variance = noise_scale**2 / np.where(known, each.thermal, np.inf) + error(radii)[each.annulus] ** 2
            squares[each.channel] += np.sum(each.weight.astype(float) ** 2 * variance)
        sums = self._sum_of_weights
        return np.where(sums > 0, np.sqrt(squares) / np.where(sums > 0, sums, 1), np.inf)[:, None]

    def _log_data_model(self, before: DataModel, noise_scale: float, change: float) -> None:
        """What was fitted, each round; what could not be, only where the round before has not said so."""
        assert self.data_model is not None
        rounds = self.data_model.rounds
        casalog.post(f"data model, round {rounds}: weights change by {100 * change:.2g} %", "INFO", "data_model")
        known = before.failures() if before.rounds else []
        for sentence in (each for each in self.data_model.failures() if each not in known):
            casalog.post(f"data model: {sentence}", "WARN", "data_model")
        for name, fact in self.data_model.facts(noise_scale).items():
            casalog.post(f"{name}: {fact}", "INFO", "data_model")

    def psf(self) -> Image:
        """The PSF on twice the field, without w, (channel, 1, 2 ny, 2 nx), Jy/beam."""
        return self._psf

    def noise(self) -> NDArray[np.float64]:
        r"""R.m.s. of each dirty image, (channel, 1), Jy/beam, if WEIGHT is $1/\sigma^2$: $\sqrt{\sum g^2/w}\,/\sum g$.

        g are the imaging weights and w the natural ones; infinite for a channel without data.
        """
        return np.where(self._sum_of_weights > 0, self._sigma, np.inf)[:, None]

    def folds(self) -> list[Fold]:
        """The visibilities in the folds that were asked for, and last the core, which may be empty.

        Raises:
            ValueError: another fold is empty.
        """
        count = self._folds + 1
        dirty, power, weight = np.zeros((count, self._ny, self._nx)), np.zeros(count), np.zeros(count)
        for each, fold in zip(self._planned, self._fold_of, strict=True):
            weighted = each.weight * each.data
            weight += np.bincount(fold, each.weight, count)
            power += np.bincount(fold, each.weight * np.abs(each.data) ** 2, count)
            for number in np.unique(fold):
                dirty[number] += each.operator.grid(np.where(fold == number, weighted, 0))
        if not weight[:-1].all():
            raise ValueError(
                "the visibilities fill too little of the uv plane to be split for cross-validation; give regstrength "
                "as numbers"
            )
        total = np.where(weight > 0, weight, 1)
        return [
            Fold(self._fold_psf[k] / total[k], dirty[k] / total[k], weight[k], power[k] / total[k])
            for k in range(count)
        ]

    def residual(self, model: Image) -> Image:
        """model: (channel, 1, ny, nx), Jy/pixel. Returns F^H W (d - F model) / sum of W, Jy/beam."""
        residual = np.zeros(self.shape)
        images = model[:, 0].astype(np.float32)
        for each in self._planned:
            _, gradient = each.operator.gradient(images[each.channel], each.data, each.weight)
            residual[each.channel, 0] -= gradient
        residual /= self._per_channel(self._sum_of_weights)
        if self._continuum and not self.product("residual").exists():
            self._make_residual_image()
        self._write("residual", residual)
        return residual.astype(np.float32)

    def draw_noise(self, seed: int) -> Image:
        r"""The dirty image of nothing but the noise that the weights claim, (channel, 1, ny, nx), Jy/beam.

        Random visibilities are gridded, so that its covariance is $F^H W F$ itself, in natural weights.
        """
        generator = np.random.default_rng(seed)
        noise = np.zeros(self.shape)
        for each in self._planned:
            size = each.data.shape
            visibilities = generator.normal(size=size) + 1j * generator.normal(size=size)
            weighted = (np.sqrt(each.weight) * visibilities).astype(each.data.dtype)
            noise[each.channel, 0] += each.operator.grid(weighted)
        return (noise / self._per_channel(self._sum_of_weights)).astype(np.float32)

    def residual_visibilities(self, model: Image) -> AnnulusSums:
        """model: (channel, 1, ny, nx), Jy/pixel. Returns the sums over all channels."""
        sums = AnnulusSums.none(longest_on_grid(self._cell))
        images = model[:, 0].astype(np.float32)
        for each in self._planned:
            sums = sums.plus(each.annulus, each.data, each.operator.degrid(images[each.channel]), each.nominal)
        return sums

    def noise_beside(self, model: Image) -> NDArray[np.float64]:
        """R.m.s. of the residual in the next field to the North-East, (channel, 1), Jy/beam, by its median.

        The model has nothing there, neither sky nor what it took for sky: so that is the noise with the sidelobes of
        all that no image explains, such as errors of calibration.

        Args:
            model: (channel, 1, ny, nx), Jy/pixel.
        """
        beside, images = np.zeros(self.shape), model[:, 0].astype(np.float32)
        for each in self._planned:
            left = each.data - each.operator.degrid(images[each.channel])
            beside[each.channel, 0] += each.operator.grid(each.weight * left * ROTATIONS[each.turns])
        beside /= self._per_channel(self._sum_of_weights)
        return median_abs_deviation(beside, axis=(-2, -1), scale="normal")

    def predict(self, model: Image) -> None:
        """Write the model's visibilities into MODEL_DATA, or let CASA note the model, as `savemodel` says."""
        if self._parameters["savemodel"] != "modelcolumn":
            super().predict(model)
            return
        self.close()  # CASA's imager keeps a Measurement Set with MODEL_DATA locked
        images = model[:, 0].astype(np.float32)
        for selection in selections(self._parameters):
            with ModelColumn(selection.vis) as column:
                for block in blocks(selection, progress=True):
                    uvw, phase = baselines(block, selection.vis, self._frame)
                    wavelengths = uvw[:, None] * (block.frequency[:, None] / SPEED_OF_LIGHT)
                    channel = np.zeros(block.frequency.size, int)
                    if self._frame.channels is not None:
                        channel = self._frame.channels.of(block.frequency)
                    column.write(block, np.conj(phase) * self._degrid(images, wavelengths, channel))

    def _degrid(
        self, images: NDArray[np.float32], uvw: NDArray[np.float64], channel: NDArray[np.integer]
    ) -> NDArray[np.complexfloating]:
        """Model visibilities, (data channel, row), Jy; 0 where the image has no channel.

        Args:
            images: (channel, ny, nx), Jy/pixel.
            uvw: (3, data channel, row), wavelengths.
            channel: (data channel,), of the image, or -1.
        """
        result = np.zeros(uvw.shape[1:], np.complex64)
        for number in np.unique(channel[channel >= 0]):
            image, group = images[number], np.flatnonzero(channel == number)
            points = uvw[:, group].reshape(3, -1).T
            usable = np.isfinite(points).all(axis=1) & within_nyquist(points, self._cell)
            if usable.any() and image.any():
                operator = self._plan_operator(
                    points, 1.0, (self._ny, self._nx), self._cell, self._tolerance, usable=usable[:, None]
                )
                result[group] = operator.restore(operator.degrid(image)).reshape(result[group].shape)
        return result

    def _within_nyquist(self, store: Visibilities) -> Visibilities:
        inside = within_nyquist(store.uvw, self._cell)
        if not inside.any():
            raise ValueError(
                f"cell='{casa_angle(self._cell / ARCSEC)}' is too coarse for every selected visibility; use a smaller "
                "one"
            )
        if inside.all():
            return store
        casalog.post(
            f"{np.count_nonzero(~inside)} of {store.size} visibilities lie beyond the grid of this cell and are left "
            "out; use a smaller cell",
            "WARN",
        )
        return store[inside]

    def _weighted(self, store: Visibilities) -> Iterator[tuple[int, slice | NDArray[np.bool_], NDArray[np.float32]]]:
        """Image channel, which visibilities it has, and their imaging weights."""
        weighting = Weighting.from_parameters(**self._parameters).of_channels(read_frequencies(self.product("pb")))
        density = self._density(weighting, store)
        for channel in range(self._channels):
            members: slice | NDArray[np.bool_] = slice(None) if self._continuum else store.channel == channel
            part = store[members]
            if part.size == 0:
                continue
            if weighting.per_channel:
                density = self._density(weighting, part)
            weights = np.empty(part.size, np.float32)
            for some in chunks(part.size):
                weights[some] = imaging_weights(part.uvw[some, 0], part.uvw[some, 1], part.weight[some], density)
            yield channel, members, weights

    def _density(self, weighting: Weighting, visibilities: Visibilities) -> WeightDensity:
        density = WeightDensity(weighting, (self._ny, self._nx), self._cell, visibilities.hands)
        if weighting.needs_density:
            for part in chunks(visibilities.size):
                density.add(visibilities.uvw[part, 0], visibilities.uvw[part, 1], visibilities.weight[part])
        return density

    def _lags(self, uvw: NDArray[np.float64], weights: NDArray[np.float32]) -> NDArray[np.float64]:
        return psf_of_weights(uvw, 1.0, weights[:, None], (self._ny, self._nx), self._cell)

    def _split(self, uvw: NDArray[np.float64], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The fold of each visibility, after adding its weight to the PSF of the fold."""
        fold = folds(uvw[:, :2], self._cell * min(self._ny, self._nx), self._folds)
        for number in np.unique(fold):
            members = fold == number
            self._fold_psf[number] += self._lags(uvw[members], weights[members])
        return fold

    def _plan(self, part: Visibilities) -> MeasurementOperator:
        return self._plan_operator(part.uvw, 1.0, (self._ny, self._nx), self._cell, self._tolerance)

    def _sorted(
        self,
        channel: int,
        plan: MeasurementOperator,
        part: Visibilities,
        nominal: NDArray[np.floating],
        thermal: NDArray[np.floating],
        weights: NDArray[np.float32],
    ) -> _Planned:
        weight = plan.sort(weights)
        claimed = weight if np.array_equal(weights, nominal) else plan.sort(nominal)
        alone = claimed if np.array_equal(nominal, thermal) else plan.sort(thermal)
        annulus = plan.sort(annulus_of(part.uvw, longest_on_grid(self._cell)))
        turns = turns_of(plan.sort(rotation_beside(part.uvw, (self._ny, self._nx), self._cell)))
        return _Planned(channel, plan, plan.sort(part.visibility), weight, claimed, alone, annulus, turns)

    def _write_psf(self) -> None:
        y, x = self._ny - self._ny // 2, self._nx - self._nx // 2
        centre = self._psf[..., y : y + self._ny, x : x + self._nx]
        sums = self._sum_of_weights[:, None, None, None]
        self._write("sumwt", sums)
        shutil.rmtree(self.product("psf"), ignore_errors=True)  # or CASA would keep its beam
        if self._continuum:
            self._write("psf", centre * sums)
            self._imager.PStools[0].dividepsfbyweight()
            self._disown_weight()
        else:
            self._write("psf", centre)
            self._imager.PStools[0].makepsfbeamset()

    def _make_residual_image(self) -> None:
        """Let CASA's normaliser make the image of a zero residual, for the mask of `pblimit` that it sets."""
        self._write("residual", np.zeros(self.shape))
        self._imager.PStools[0].divideresidualbyweight()
        self._disown_weight()

    def _disown_weight(self) -> None:
        """Forget the image of weights that makePB made: of one pointing, tclean has none, and wants none."""
        shutil.rmtree(self.product("weight"), ignore_errors=True)
        note(self.product("sumwt"), "useweightimage", False)

    @staticmethod
    def _per_channel(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(channel,) along an image; 1 for channels without data."""
        return np.where(values > 0, values, 1)[:, None, None, None]

    def _write(self, extension: str, pixels: NDArray[np.floating]) -> None:
        if not self.product(extension).exists():
            empty_copy(self.product("pb"), self.product(extension), pixels.shape)
        write_image(self.product(extension), pixels, self.product("pb"), "")
