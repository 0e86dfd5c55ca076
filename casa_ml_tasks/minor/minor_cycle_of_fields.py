"""The minor cycles of several fields, which only the visibilities connect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.field_layout import FieldLayout
from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState, StateSchema

#: Sidelobes of other fields below this many times the noise are as good as noise.
NEGLIGIBLE = 3.0

#: In `MinorState.latent`: whether the minor cycle of each field has predicted its residual.
PREDICTED = "is_predicted"


def far_sidelobe(psf: Image) -> float:
    """Return the highest of a PSF at lags of half the field and more, Jy/beam; psf: (..., 2 ny, 2 nx)."""
    ny, nx = (n // 2 for n in psf.shape[-2:])
    far = np.abs(psf)
    far[..., ny // 2 : ny // 2 + ny, nx // 2 : nx // 2 + nx] = 0
    return float(far.max())


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
        layout: FieldLayout,
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
