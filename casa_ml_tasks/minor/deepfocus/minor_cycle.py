"""A minor cycle that begins with the steps of a network, and is finished by another that knows what it expects."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState, StateSchema
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.deepfocus.proposed_steps import Plane, Proposes, exact_operator, take_steps

#: In `MinorState.latent`, absent until the network has had its turn: its steps in each image, and the model that they
#: led to, Jy/pixel, NaN in planes where it is not trusted.
STEPS, EXPECTED = "network_steps", "network_model"
#: The largest dirty image that it is trusted with, noise sigma: as bright as in its training.
BRIGHTEST = 200.0
#: The largest r.m.s. of the residual that it is trusted with, noise sigma.
LARGEST_RESIDUAL = 1.2


class NetworkFirst:
    """Takes the steps that a network proposes, as far as they lower chi^2, and lets another minor cycle go on.

    Both have their turn in the first update, since the residual between them is exact without a major cycle; all later
    updates are the other's alone. Its latent arrays stand in the state under their own names.

    The network knows skies that are not negative. Planes that may be negative, and those whose residual is deeper below
    zero than it is high, as absorption leaves it, are left to the other minor cycle.
    """

    schema = StateSchema("network first", 1, {STEPS: ("channel", "stokes"), EXPECTED: ("channel", "stokes", "y", "x")})

    def __init__(
        self,
        psf: Image,
        noise: NDArray[np.floating],
        propose: Callable[[int, int], Proposes],
        finishing: Callable[[Image], MinorCycle],
        positive: NDArray[np.bool_],
        support: Callable[[], NDArray[np.bool_]] | None = None,
    ):
        """Remember both.

        Args:
            psf: (channel, stokes, 2 ny, 2 nx), Jy/beam; zero in a plane without data.
            noise: of the dirty images, (channel, stokes), Jy/beam.
            propose: makes the network's view of a channel and Stokes plane.
            finishing: makes the minor cycle that goes on from the network's model. It is told that model, (channel,
                stokes, ny, nx), Jy/pixel, NaN in planes where the network is not trusted.
            positive: whether the model of each Stokes plane is kept from being negative, (stokes,).
            support: tells where the model may differ from zero, (channel, stokes, ny, nx); everywhere by default.
        """
        self._psf = psf
        self._noise = noise
        self._propose = propose
        self._finishing = finishing
        self._positive = positive
        self._support = support

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Return the model after one minor cycle, and its state.

        The network's steps are no minor iterations.

        Args:
            residual: (channel, stokes, ny, nx), Jy/beam.
            model: whose residual it is, (channel, stokes, ny, nx), Jy/pixel.
            state: from the minor cycle before.
        """
        if STEPS in state.latent:
            return self._finish(residual, model, state)
        residual, model, steps, is_trusted = self._with_network(residual, model)
        expected = np.where(is_trusted[..., None, None], model, np.float32(np.nan))
        own = {**state.latent, STEPS: steps, EXPECTED: expected}
        new, found = self._finish(residual, model, replace(state, predicted_residual=None, latent=own))
        return new, replace(found, converged=found.converged and not steps.any())

    def _finish(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Let the other minor cycle go on; the network has had its turn."""
        own = {name: state.latent[name] for name in (STEPS, EXPECTED)}
        others = {name: array for name, array in state.latent.items() if name not in own}
        new, found = self._finishing(own[EXPECTED]).update(residual, model, replace(state, latent=others))
        return new, replace(found, latent={**found.latent, **own})

    def _with_network(
        self, residual: Image, model: Image
    ) -> tuple[Image, Image, NDArray[np.integer], NDArray[np.bool_]]:
        """Return residual and model after the network's steps, the steps, and whether it is trusted, of each plane."""
        new_residual, new_model = (np.array(image, np.float32) for image in (residual, model))
        steps, is_trusted = np.zeros(residual.shape[:2], int), np.zeros(residual.shape[:2], bool)
        support = np.ones(residual.shape, bool) if self._support is None else self._support()

        def advance(channel: int, stokes: int) -> None:
            at, noise = (channel, stokes), float(self._noise[channel, stokes])
            start = Plane(residual[at].astype(float) / noise, model[at].astype(float) / noise)
            end = take_steps(start, self._propose(channel, stokes), exact_operator(self._psf[at]), support[at])
            if end.steps:
                new_residual[at], new_model[at], steps[at] = noise * end.residual, noise * end.model, end.steps
                is_trusted[at] = start.residual.max() < BRIGHTEST and end.rms < LARGEST_RESIDUAL

        planes = np.argwhere(self._is_known(residual)).tolist()
        with ThreadPoolExecutor(min(available_cores(), max(len(planes), 1))) as pool:
            list(pool.map(lambda plane: advance(*plane), planes))
        return new_residual, new_model, steps, is_trusted

    def _is_known(self, residual: Image) -> NDArray[np.bool_]:
        """Return which planes have a sky of the kind that the network knows, (channel, stokes)."""
        has_data = self._psf.any(axis=(-2, -1)) & (self._noise > 0)
        is_emission = residual.max(axis=(-2, -1)) > -residual.min(axis=(-2, -1))
        return has_data & is_emission & self._positive
