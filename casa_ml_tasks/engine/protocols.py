"""The components of every imaging algorithm, in the field's words; arrays are (channel or term, stokes, y, x)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.field_layout import FieldLayout
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.visibilities import Origin, Visibilities

Image = NDArray[np.floating]
Reduced = TypeVar("Reduced")


@dataclass(frozen=True)
class StateSchema:
    """What a minor cycle keeps in `MinorState.latent`, which nothing else needs to know.

    Attributes:
        name: of the minor cycle, in checkpoints.
        version: is raised by one whenever an array changes its meaning, so that older checkpoints are not taken up.
        arrays: the axes of each array by its name; an array may be absent.
    """

    name: str
    version: int
    arrays: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MinorState:
    """What one minor cycle leaves for the next, besides the model.

    Attributes:
        iterations: minor iterations so far, all cycles together.
        predicted_residual: what the next major cycle should find, Jy/beam; None before the first minor cycle.
        converged: the model explains the data as well as it will: no major cycle is needed.
        latent: the minor cycle's own arrays by name, as its `StateSchema` describes them.
        unfinished: the minor cycle wants to be called again with the same residual and model before the next major
            cycle; a checkpoint is saved in between.
    """

    iterations: int = 0
    predicted_residual: Image | None = None
    converged: bool = False
    latent: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    unfinished: bool = False


@dataclass(frozen=True)
class Fold:
    """Some of the visibilities, as the image plane sees them.

    Attributes:
        psf: their PSF on twice the field, (2 ny, 2 nx), Jy/beam.
        dirty: their dirty image, (ny, nx), Jy/beam.
        weight: sum of their imaging weights.
        power: weighted mean of their squared moduli, Jy^2.
    """

    psf: Image
    dirty: Image
    weight: float
    power: float


@runtime_checkable
class Field(Protocol):
    """The images of one field: the main field, or an outlier field."""

    @property
    def imagename(self) -> Path:
        """Name of the images in the folder of the run, without extension."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(channel or term, stokes, ny, nx) of the images."""
        ...

    @property
    def terms(self) -> int:
        """Taylor terms of the spectrum; 0 where the images are of channels."""
        ...

    @property
    def mosaic(self) -> Mosaic | None:
        """The pointings; None where there is one, without a beam in the operator."""
        ...

    def product(self, extension: str, term: int = 0) -> Path:
        """Return the path of a product, for instance of 'residual'; of a Taylor term, where there are any."""
        ...

    def psf(self) -> Image:
        """Return the PSF on twice the field, (channel, stokes, 2 ny, 2 nx), Jy/beam, peak in the pixel (ny, nx).

        Of n Taylor terms there are 2 n - 1, with the weights times powers of (nu - nu_0) / nu_0.
        """
        ...

    def primary_beam(self) -> Image:
        """Return (channel, stokes, ny, nx), dimensionless, 1 at its peak; one for all Taylor terms."""
        ...

    def noise(self) -> NDArray[np.floating]:
        """Return the r.m.s. of each dirty image that the weights claim, (channel, stokes), Jy/beam."""
        ...

    def thermal_noise(self) -> NDArray[np.floating]:
        """Return `noise` without errors of calibration, where the weights count any, (channel, stokes), Jy/beam."""
        ...

    def mask(self) -> Image:
        """Return where tclean would search for emission now, (channel, stokes, ny, nx), 1 or 0."""
        ...


@dataclass(frozen=True)
class ComparedVisibilities:
    """Some visibilities of one image channel beside those of a model; arrays are (visibility,).

    Attributes:
        channel: of the image.
        data, model: Jy, conjugated where u < 0.
        nominal: weights that claim the noise of each, counted errors of calibration included, Jy^-2.
        thermal: weights that claim the thermal noise alone, Jy^-2.
        annulus: of uv distance, as `kernels.uv_annuli` numbers them.
    """

    channel: int
    data: NDArray[np.complexfloating]
    model: NDArray[np.complexfloating]
    nominal: NDArray[np.floating]
    thermal: NDArray[np.floating]
    annulus: NDArray[np.integer]


@runtime_checkable
class KeepsVisibilities(Protocol):
    """A major cycle that keeps the visibilities, so that they can be compared with a model and weighted anew.

    They need not be in this process: what is done with them is a function that can be sent to where they are. Models
    are (channel, 1, ny, nx), Jy/pixel.
    """

    @property
    def cell(self) -> float:
        """Size of a pixel, radians."""
        ...

    @property
    def size(self) -> int:
        """How many visibilities there are."""
        ...

    def reduced(self, model: Image, reduce: Callable[[Iterable[ComparedVisibilities]], Reduced]) -> list[Reduced]:
        """Return what a function makes of the visibilities with those of a model, for each part of them.

        Args:
            model: that they are compared with.
            reduce: of the visibilities of one part, some at a time so that memory stays bounded.
        """
        ...

    def weigh_with_errors(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> None:
        """Image from now on with weights of thermal noise and errors of calibration together.

        Args:
            error: gives errors of calibration, Jy, at uv distances, wavelengths.
            noise_scale: true thermal noise over the noise that WEIGHT claims; the new weights claim it as well.
        """
        ...

    def near(self, minor: MinorCycle) -> MinorCycle:
        """Return a minor cycle that takes the same steps, where the visibilities are if that is elsewhere."""
        ...

    def image_noise(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> NDArray[np.floating]:
        """Return the r.m.s. of each dirty image, (channel, 1), Jy/beam, with the imaging weights of now.

        Args:
            error: gives errors of calibration, Jy, at uv distances, wavelengths.
            noise_scale: true thermal noise over the noise that WEIGHT claims; 0 leaves the errors alone.
        """
        ...

    def noise_beside(self, model: Image, left_out: float = 0.0) -> NDArray[np.floating]:
        """Return the r.m.s. of the residual in the next field to the North-East, (channel, 1), Jy/beam.

        Args:
            model: whose residual it is.
            left_out: share of the visibilities that are left out, the shortest. The others then stand for them.
        """
        ...

    def folds(self) -> list[Fold]:
        """Return the visibilities in the folds that were asked for, and last the core, which may be empty."""
        ...


@runtime_checkable
class HoldsVisibilities(KeepsVisibilities, Protocol):
    """A major cycle that holds all visibilities in this process, so that they can be corrected one by one."""

    @property
    def observed(self) -> Visibilities:
        """The visibilities as they were read, with their natural weights."""
        ...

    @property
    def imaged(self) -> tuple[Visibilities, NDArray[np.floating], NDArray[np.floating]]:
        """What `image_with` was given last, or `observed` with its weights."""
        ...

    @property
    def origins(self) -> Sequence[Origin]:
        """What the numbers in `observed.origin` stand for; empty where origins were not asked for."""
        ...

    def predicted(self, model: Image) -> NDArray[np.complexfloating]:
        """Return the visibilities of a model of the continuum, (n,), Jy, in the order of `observed`."""
        ...

    def image_with(
        self, visibilities: Visibilities, nominal: NDArray[np.floating], thermal: NDArray[np.floating]
    ) -> None:
        """Image other visibilities, or with other weights, from now on.

        Args:
            visibilities: `observed` with corrected data or weights.
            nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
            thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
        """
        ...

    def replace_observed(self, visibilities: Visibilities) -> None:
        """Take `observed` with corrected data and weights for what was read, and image it from now on."""
        ...


@runtime_checkable
class MajorCycle(Field, Protocol):
    """Goes to the visibilities and back: CASA's major cycle.

    It is the main field as well: what concerns the images of one field is that of the main field. Models and residuals
    are those of all fields, as `layout` has them side by side.
    """

    @property
    def fields(self) -> Sequence[Field]:
        """The main field, which is the major cycle itself, and the outlier fields."""
        ...

    @property
    def layout(self) -> FieldLayout:
        """Where models and residuals have the pixels of each field."""
        ...

    @property
    def visibilities(self) -> KeepsVisibilities | None:
        """The visibilities, where the major cycle keeps them."""
        ...

    def residual(self, model: Image) -> Image:
        """Return F^H W (d - F model) / sum of W, Jy/beam, in the shape of the model.

        Args:
            model: (channel or term, stokes, ny, nx), Jy/pixel; of several fields as `layout` packs them.
        """
        ...

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the model of each field and, if asked, the restored image, also over the primary beam."""
        ...

    def predict(self, model: Image) -> None:
        """Write the visibilities of the model into the Measurement Set, where `savemodel` asks for it."""
        ...

    def close(self) -> None:
        """Let go of every file."""
        ...


@runtime_checkable
class MinorCycle(Protocol):
    """Updates the model in the image plane: CASA's minor cycle.

    The next model and state follow from the arguments alone, so that a run resumed from a checkpoint takes the same
    steps.
    """

    @property
    def schema(self) -> StateSchema:
        """What its states hold beside what all states hold; an attribute of the class."""
        ...

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Improve the model; one that it is not done with (`MinorState.unfinished`) is not taken.

        Args:
            residual: of the model, (channel or term, stokes, ny, nx), Jy/beam.
            model: (channel or term, stokes, ny, nx), Jy/pixel.
            state: what the last call left.

        Returns:
            The next model and state.
        """
        ...
