"""What the inference keeps between two global iterations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from enum import IntEnum
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import StateSchema
from casa_ml_tasks.minor.resolve.log_normal_sky import Position
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration


class Stage(IntEnum):
    """What a global iteration is for."""

    WARM = 0  # chains forget where they began, while the noise falls to the true one
    SAMPLE = 1  # samples are kept
    FINISHED = 2


class Latent(NamedTuple):
    """What the inference keeps between two global iterations.

    Attributes:
        excitations: (chain, field, ny, nx).
        spectra: parameters of the power spectra, (chain, parameters).
        steps: of the leapfrog, (chain,).
        heat: the noise as the chains take it now, over the true noise.
        warm_excitations, warm_spectra: of the chains before there were samples, where their mass is made: it must not
            depend on the samples.
        mean: of the planes of the sky in the last iteration without samples, (plane, ny, nx), Jy/pixel.
        sources: places y, x of the point sources, pixels, (source, 2).
        samples: of the posterior so far, planes of the sky without the point sources, (sample, plane, ny, nx),
            Jy/pixel; of every chain in turn.
        sampled_fluxes: of the point sources, (sample, source), Jy.
        sampled_spectra: (sample, parameters).
        records: (iteration, fields of `GlobalIteration`).
        stage: of the next iteration.
        since: iterations with the true noise since their stage began.
    """

    excitations: NDArray[np.float64]
    spectra: NDArray[np.float64]
    steps: NDArray[np.float64]
    heat: NDArray[np.float64]
    warm_excitations: NDArray[np.float64]
    warm_spectra: NDArray[np.float64]
    mean: NDArray[np.float64]
    sources: NDArray[np.float64]
    samples: NDArray[np.float32]
    sampled_fluxes: NDArray[np.float64]
    sampled_spectra: NDArray[np.float64]
    records: NDArray[np.float64]
    stage: NDArray[np.int64]
    since: NDArray[np.int64]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Latent:
        """Return the arrays of `MinorState.latent` as a tuple."""
        return cls(**{name: arrays[name] for name in cls._fields})

    def iterations(self) -> tuple[GlobalIteration, ...]:
        """Return the records by name."""
        return tuple(
            GlobalIteration(int(number), Stage(int(stage)).name.lower(), int(samples), energy, error, int(count), *rest)
            for number, stage, samples, energy, error, count, *rest in self.records.tolist()
        )

    def positions(self) -> list[Position]:
        """Return where the chains are."""
        return _positions(self.excitations, self.spectra)

    def warm_positions(self) -> list[Position]:
        """Return where the chains were before there were samples."""
        return _positions(self.warm_excitations, self.warm_spectra)

    def with_warm_chains(self, mean: NDArray[np.float64]) -> Latent:
        """Return the state after an iteration without samples. mean: of its planes, (plane, ny, nx), Jy/pixel."""
        return self._replace(warm_excitations=self.excitations, warm_spectra=self.spectra, mean=mean)

    def at_start_of(self, stage: Stage) -> Latent:
        """Return the same at the beginning of a stage."""
        return self._replace(stage=np.array(stage), since=np.array(0))

    def without_samples(self) -> Latent:
        """Return the same without any samples."""
        return self.with_last_samples(0)

    def with_last_samples(self, count: int) -> Latent:
        """Return the same with so many of the last samples alone."""
        first = len(self.samples) - count
        return self._replace(
            samples=self.samples[first:],
            sampled_fluxes=self.sampled_fluxes[first:],
            sampled_spectra=self.sampled_spectra[first:],
        )


SCHEMA = StateSchema(
    name="resolve",
    version=1,
    arrays={
        "excitations": ("chain", "field", "y", "x"),
        "spectra": ("chain", "parameter"),
        "steps": ("chain",),
        "heat": (),
        "warm_excitations": ("chain", "field", "y", "x"),
        "warm_spectra": ("chain", "parameter"),
        "mean": ("plane", "y", "x"),
        "sources": ("source", "coordinate"),
        "samples": ("sample", "plane", "y", "x"),
        "sampled_fluxes": ("sample", "source"),
        "sampled_spectra": ("sample", "parameter"),
        "records": ("iteration", "number"),
        "stage": (),
        "since": (),
    },
)


def _positions(excitations: NDArray[np.float64], spectra: NDArray[np.float64]) -> list[Position]:
    return [Position(*map(jnp.asarray, each)) for each in zip(excitations, spectra, strict=True)]


def as_numbers(record: GlobalIteration) -> list[float]:
    """Return a row of `Latent.records`."""
    number, stage, *rest = astuple(record)
    return [number, Stage[stage.upper()], *rest]
