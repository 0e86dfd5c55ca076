"""The minor cycle of a cube on the workers that hold the visibilities of its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState, StateSchema
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.state import joined_latent, latent_of_channels
from casa_ml_tasks.parallel.arguments import ByChannel, ByPart
from casa_ml_tasks.parallel.part import Part
from casa_ml_tasks.parallel.workers import PartsOnWorkers

Updated = tuple[Image, MinorState]


class MinorCycleByChannel:
    """Takes the steps of a minor cycle whose channels know nothing of each other, some channels on each worker."""

    def __init__(self, minor: RegularisedMaximumLikelihood, parts: PartsOnWorkers, channels: Sequence[slice]):
        """Remember whose steps are taken.

        Args:
            minor: of the cube, with independent channels.
            parts: of the visibilities.
            channels: of each part.
        """
        self.schema: StateSchema = minor.schema
        self._minor, self._parts, self._channels = minor, parts, channels
        self._of_parts = ByPart([minor.of_channels(own) for own in channels])

    def update(self, residual: Image, model: Image, state: MinorState) -> Updated:
        """Return the model after one minor cycle, and its state; arguments as those of the minor cycle."""
        updated: list[Updated] = self._parts.gathered(
            update_part,
            self._of_parts,
            ByChannel(self._minor.support()),
            ByChannel(residual),
            ByChannel(model),
            ByPart([_of_channels(state, own) for own in self._channels]),
        )
        states = [of_part for _, of_part in updated]
        if all(each.converged for each in states):
            return model, replace(state, converged=True)
        done = sum(each.iterations - state.iterations for each in states)
        predicted = [
            residual[own] if each.predicted_residual is None else each.predicted_residual
            for own, each in zip(self._channels, states, strict=True)
        ]
        latent = joined_latent([each.latent for each in states], [own.start for own in self._channels])
        new = np.concatenate([each for each, _ in updated])
        return new, MinorState(state.iterations + done, np.concatenate(predicted), latent=latent)


def update_part(
    part: Part,
    minor: RegularisedMaximumLikelihood,
    support: NDArray[np.bool_],
    residual: Image,
    model: Image,
    state: MinorState,
) -> Updated:
    """Return what a minor cycle makes of the channels of a part. support: where emission may lie, of these channels."""
    return minor.supported_by(support).update(residual, model, state)


def _of_channels(state: MinorState, channels: slice) -> MinorState:
    predicted = None if state.predicted_residual is None else state.predicted_residual[channels]
    return replace(state, predicted_residual=predicted, latent=latent_of_channels(state.latent, channels))
