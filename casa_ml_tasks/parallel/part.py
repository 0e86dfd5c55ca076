"""A part of the visibilities of an image, as a worker holds it: read once into a store of its own."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Worker, get_worker

from casa_ml_tasks.data.measurement_set import Selection
from casa_ml_tasks.data.visibility_store import SHARE_OF_MEMORY, ImageFrame, chunks, free_memory, read
from casa_ml_tasks.engine.protocols import ComparedVisibilities, Image, Reduced
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.channel_weights import density_of, weighted_by_channel, with_errors
from casa_ml_tasks.major.imaged_visibilities import ErrorOfDistance
from casa_ml_tasks.major.imaging_weights import Densities, WeightDensity
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.major.weighted_visibilities import WeightSums
from casa_ml_tasks.request.weighting import Weighting

#: Errors of calibration by uv distance, and the noise scale that they are weighted with; None where none are known.
Errors = tuple[ErrorOfDistance, float] | None
#: What the data of each Measurement Set are divided by, by its absolute path; none where they are as observed.
Factors = Mapping[str, float]
#: Of weights in the uv plane: of all visibilities, or of groups of pointings.
Density = WeightDensity | Densities


class PartIsLost(Exception):
    """The process that is asked about a part of the data does not hold it: the one that did has ended."""


@dataclass(frozen=True)
class Part:
    """What a worker must know to read a part of the visibilities, and to read it again elsewhere.

    Attributes:
        run: no other run has the same.
        number: of the part.
        selections: of its rows.
        frame: of the image.
        transform: between the image and visibilities.
        channels: of the image, that the part has visibilities of; the frame has these alone.
        weighting: how the visibilities are weighted.
        smearing: as that of `data.visibility_store.read`.
        fold_count: folds for cross-validation; 0 for none.
        share_of_memory: of the free memory of its machine, for the visibilities; more are kept in files.
    """

    run: str
    number: int
    selections: tuple[Selection, ...]
    frame: ImageFrame
    transform: Transform
    channels: slice
    weighting: Weighting
    smearing: float = 0.0
    fold_count: int = 0
    share_of_memory: float = SHARE_OF_MEMORY

    @property
    def channel_count(self) -> int:
        """How many channels its images have."""
        return self.channels.stop - self.channels.start

    @property
    def most_bytes(self) -> float:
        """Of its visibilities that stay in memory, and as much of their plans."""
        return self.share_of_memory * free_memory()

    def read(self, directory: Path) -> tuple[HeldPart, int]:
        """Return the visibilities, and how many the image does not see. directory: for files."""
        radius = self.transform.cell * float(np.hypot(*self.transform.shape)) / 2
        outside = self.weighting.has_one_density
        store = read(
            self.selections, self.frame, directory, self.smearing, radius, outside=outside, most_bytes=self.most_bytes
        )
        inside = within_nyquist(store.uvw, self.transform.cell)
        held = store if inside.all() else store[inside]
        return HeldPart(held, held), store.size - held.size

    def corrected(self, held: HeldPart, factors: Factors) -> Visibilities:
        """Return the visibilities as they were read over the factor of their Measurement Set."""
        assert not factors, "of data sets that are imaged together"
        return held.observed

    def density(self, held: HeldPart) -> Density:
        """Return the density of its natural weights of now, which is empty where the weighting needs none."""
        pieces = list(chunks(held.imaged.size))
        return density_of(held.imaged, pieces, self.weighting, self.transform.shape, self.transform.cell)

    def planned(self, held: HeldPart, density: Density | None) -> VisibilityOperator:
        """Plan the visibilities, or use their plans again. density: of those of all parts."""
        assert not isinstance(density, Densities), "of a mosaic"
        transform, channels = self.transform, self.channel_count
        pieces = weighted_by_channel(
            held.imaged,
            held.imaged.weight,
            held.observed.weight,
            self.weighting,
            channels,
            transform.shape,
            transform.cell,
            density,
        )
        return VisibilityOperator.planned(
            transform, channels, pieces, self.fold_count, held.plans, most_bytes=self.most_bytes
        )


@dataclass(frozen=True)
class Reading:
    """What the reading of a part has found.

    Attributes:
        worker: address of the worker that holds it.
        size: visibilities that the grid of the image holds.
        beyond: visibilities beyond it.
    """

    worker: str
    size: int
    beyond: int


@dataclass
class HeldPart:
    """What a worker holds of a part.

    Attributes:
        observed: the visibilities as they were read, or over factors.
        imaged: those with the weights that they are imaged with.
        operator: of these; None before they are planned.
    """

    observed: Visibilities
    imaged: Visibilities
    operator: VisibilityOperator | None = None

    @property
    def plans(self) -> list[MeasurementOperator]:
        """Those that are kept."""
        return [] if self.operator is None else self.operator.plans


_HELD: dict[tuple[str, int], HeldPart] = {}  # in the process of a worker


def read_part(part: Part) -> Reading:
    """Read a part, and hold it from now on.

    Raises:
        ValueError: this machine does not have the Measurement Set.
        RuntimeError: the disk of this worker cannot hold the visibilities.
    """
    worker = get_worker()
    for selection in part.selections:
        if not Path(selection.vis).exists():
            raise ValueError(
                f"vis='{selection.vis}' does not exist on {socket.gethostname()}, where a worker should read it; put "
                "it on a file system that all workers see"
            )
    directory = Path(worker.local_directory) / f"{part.run}-{part.number}"
    try:
        held, beyond = part.read(directory)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise RuntimeError(
            f"a worker on {socket.gethostname()} cannot keep its part of the visibilities in {directory.parent} "
            f"({error.strerror}); give the workers a larger local-directory, or use more of them"
        ) from error
    _HELD[part.run, part.number] = held
    return Reading(worker.address, held.observed.size, beyond)


def count_part(part: Part, errors: Errors, factors: Factors) -> Density:
    """Weigh a part from now on with errors of calibration, its data over factors; return the density of its weights."""
    held = held_part(part)
    held.observed = part.corrected(held, factors)
    held.imaged = held.observed if errors is None else with_errors(held.observed, *errors)
    return part.density(held)


def plan_part(part: Part, density: Density | None) -> WeightSums:
    """Plan a part, or use its plans again, with the imaging weights of a density of all parts; return its sums."""
    held = held_part(part)
    held.operator = part.planned(held, density)
    return held.operator.sums


def read_again(part: Part, errors: Errors, factors: Factors, density: Density | None) -> str:
    """Read, weigh and plan a part whose worker has ended. Returns the address of the worker that holds it now."""
    reading = read_part(part)
    count_part(part, errors, factors)
    plan_part(part, density)
    return reading.worker


def ask_part(part: Part, question: Callable[..., Any], *arguments: Any) -> Any:
    """Return the answer of a planned part: question(operator, *arguments), large images in single precision."""
    operator = held_part(part).operator
    if operator is None:
        raise PartIsLost(part.number)
    answer = question(operator, *arguments)
    return tuple(map(_single, answer)) if isinstance(answer, tuple) else _single(answer)


def reduce_part(part: Part, model: Image, reduce: Callable[[Iterable[ComparedVisibilities]], Reduced]) -> list[Reduced]:
    """Return what a function makes of the visibilities of a part beside those of a model of its channels."""

    def in_image(compared: Iterable[ComparedVisibilities]) -> Reduced:
        return reduce(replace(each, channel=each.channel + part.channels.start) for each in compared)

    return ask_part(part, VisibilityOperator.reduced, model, in_image)


def noise_of_part(part: Part, seed: int) -> Any:
    """Return the gridded random visibilities of a part, which no other part has. seed: of all parts together."""
    return ask_part(part, VisibilityOperator.noise_sums, np.random.default_rng([seed, part.number]))


def forget_parts(run: str, dask_worker: Worker) -> None:
    """Let go of all parts of a run, and of their files. dask_worker: given by dask."""
    for held_run, number in list(_HELD):
        if held_run == run:
            del _HELD[held_run, number]
            shutil.rmtree(Path(dask_worker.local_directory) / f"{run}-{number}", ignore_errors=True)


def held_part(part: Part) -> HeldPart:
    try:
        return _HELD[part.run, part.number]
    except KeyError:
        raise PartIsLost(part.number) from None


def _single(value: Any) -> Any:
    """Return an image as it travels: half as long; sums of parts lose less than the kernels' tolerance."""
    is_image = isinstance(value, np.ndarray) and value.ndim >= 3 and value.dtype == np.float64
    return value.astype(np.float32) if is_image else value


def joined(answers: Sequence[Any]) -> Any:
    """Return answers whose channels come one part after the other, or each of their elements, as one."""
    if isinstance(answers[0], tuple):
        return tuple(joined(each) for each in zip(*answers, strict=True))
    return WeightSums.of_channels(answers) if isinstance(answers[0], WeightSums) else np.concatenate(answers)


def added(one: Any, other: Any) -> Any:
    """Return the sum of two answers, or of each of their elements."""
    if isinstance(one, tuple):
        return tuple(added(*pair) for pair in zip(one, other, strict=True))
    return one + other
