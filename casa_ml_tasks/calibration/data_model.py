"""What the visibilities are beyond an image: noise scales, outliers, and gains and positions of execution blocks.

The image and the data model are found in turn. With the image fixed, the data model is fitted to the visibilities and
those of the image; with the data model fixed, corrected visibilities and weights take the place of the observed ones,
and imaging is what it always is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.calibration.block_model import BlockTerms, fit_blocks
from casa_ml_tasks.calibration.noise_model import NoiseFactors, fit_noise, student_t_weights
from casa_ml_tasks.data.visibility_store import chunks
from casa_ml_tasks.kernels.visibilities import Origin, Visibilities
from casa_ml_tasks.quantities import angular_unit, quantity, with_error
from casa_ml_tasks.request.noise import Freedom

AT_ONCE = 1 << 20  # visibilities in double precision
OUTLIER = 5.0  # sigma of the noise, for the count that is reported
SETTLED_ERRORS, SETTLED_BLOCKS = 0.5, 1e-3  # change of a block's terms that is none: of its error, or relative

Array = NDArray[np.floating]
Visibility = NDArray[np.complexfloating]


@dataclass(frozen=True)
class Groups:
    """Visibilities that share a parameter.

    Attributes:
        names: (group,).
        of_origin: (origin,), the group of each origin.
    """

    names: tuple[str, ...]
    of_origin: NDArray[np.intp]

    @classmethod
    def by(cls, name: Callable[[Origin], str], origins: Sequence[Origin]) -> Groups:
        """Return one group for all origins of a name, in the order in which the names occur."""
        names = [name(origin) for origin in origins]
        distinct = tuple(dict.fromkeys(names))
        return cls(distinct, np.array([distinct.index(each) for each in names], np.intp))


@dataclass(frozen=True)
class DataModel:
    """Noise scales and terms of execution blocks.

    Attributes:
        freedom: what was fitted.
        noise_groups, noise: factors on top of the noise scale of all visibilities.
        block_groups, blocks: amplitudes and positions.
        outliers: visibilities whose residual is beyond OUTLIER sigma.
        rounds: how often it was fitted.
    """

    freedom: Freedom
    noise_groups: Groups
    noise: NoiseFactors
    block_groups: Groups
    blocks: BlockTerms
    outliers: int = 0
    rounds: int = 0

    @classmethod
    def none(cls, freedom: Freedom, origins: Sequence[Origin]) -> DataModel:
        """Return the model of weights and visibilities that are right as they are."""
        noise_groups = Groups.by(_noise_name(freedom), origins)
        block_groups = Groups.by(_block_name, origins)
        noise = NoiseFactors.none(len(noise_groups.names))
        return cls(freedom, noise_groups, noise, block_groups, BlockTerms.none(len(block_groups.names)))

    def fitted(self, observed: Visibilities, model: Visibility, noise_scale: float) -> DataModel:
        """Return the next data model, fitted to the visibilities of an image.

        Args:
            observed: with their origins.
            model: (n,), Jy.
            noise_scale: true noise over the noise that the weights claim, of all visibilities together.
        """
        found = replace(self, rounds=self.rounds + 1)
        if self.freedom.block:
            found = replace(found, blocks=self._fitted_blocks(observed, model, noise_scale))
        power = found._power(observed, model, noise_scale)
        group, uvdist = self.noise_groups.of_origin[observed.origin], _uvdist(observed)
        if self.freedom.noise:
            along = uvdist if "uvdist" in self.freedom.noise else None
            found = replace(found, noise=fit_noise(power, group, len(self.noise_groups.names), self._by_group, along))
        outliers = np.count_nonzero(power > (OUTLIER * found.noise.of(group, uvdist)) ** 2)
        return replace(found, outliers=int(outliers))

    def _fitted_blocks(self, observed: Visibilities, model: Visibility, noise_scale: float) -> BlockTerms:
        block = self.block_groups.of_origin[observed.origin]
        corrected, credence = self.corrected(observed, model, noise_scale)
        weight = corrected.weight * credence / (self.blocks.amplitude[block] * noise_scale) ** 2
        free = ("amplitude" in self.freedom.block, "position" in self.freedom.block)
        return fit_blocks(observed.visibility, model, weight, observed.uvw[:, :2], block, self.blocks, *free)

    def corrected(
        self, observed: Visibilities, model: Visibility, noise_scale: float
    ) -> tuple[Visibilities, NDArray[np.float32]]:
        """Return the visibilities as the reference block would have seen them, and how far to trust each.

        Args:
            observed, model, noise_scale: as in `fitted`.

        Returns:
            Visibilities with weights that claim the noise truly, but for `noise_scale`; and what Student's t multiplies
            these by, (n,), 1 without it.
        """
        visibility, weight = np.empty(observed.size, np.complex64), np.empty(observed.size, np.float32)
        credence = np.ones(observed.size, np.float32)
        for part in chunks(observed.size, AT_ONCE):
            some = observed[part]
            gain, factor = self._gain(some), self._factor(some)
            visibility[part] = some.visibility / gain
            weight[part] = some.weight * np.abs(gain / factor) ** 2
            if self.freedom.student_t:
                credence[part] = student_t_weights(self._power(some, model[part], noise_scale) / factor**2)
        return replace(observed, visibility=visibility, weight=weight), credence

    def differs_in_blocks(self, before: DataModel) -> bool:
        """Whether amplitudes or positions of blocks differ from those of another data model noticeably."""
        mine, other = self.blocks, before.blocks
        amplitude = np.abs(np.log(mine.amplitude / other.amplitude))
        offset = np.hypot(*(mine.offset - other.offset).T)
        return bool(
            np.any(amplitude > np.maximum(SETTLED_ERRORS * mine.amplitude_error, SETTLED_BLOCKS))
            or np.any(offset > SETTLED_ERRORS * np.hypot(*mine.offset_error.T))
        )

    def as_lists(self, noise_scale: float) -> dict[str, Any]:
        """Return names, values and errors as plain numbers. noise_scale: of all visibilities together."""
        blocks = self.blocks
        return {
            "likelihood": "studentt" if self.freedom.student_t else "gaussian",
            "rounds": self.rounds,
            "outliers": self.outliers,
            "noise": {
                "group": list(self.noise_groups.names),
                "scale": (noise_scale * self.noise.group).tolist(),
                "measured": self.noise.measured.tolist(),
                "uvdist": self.noise.uvdist.tolist(),
                "uvdist_factor": self.noise.curve.tolist(),
            },
            "blocks": {
                "block": list(self.block_groups.names),
                "reference": self.block_groups.names[blocks.reference],
                "fitted": blocks.fitted.tolist(),
                "amplitude": blocks.amplitude.tolist(),
                "amplitude_error": blocks.amplitude_error.tolist(),
                "east": (blocks.offset[:, 0] / arcsecond).tolist(),
                "north": (blocks.offset[:, 1] / arcsecond).tolist(),
                "east_error": (blocks.offset_error[:, 0] / arcsecond).tolist(),
                "north_error": (blocks.offset_error[:, 1] / arcsecond).tolist(),
            },
        }

    def failures(self) -> list[str]:
        """Return a sentence for every group and block that could not be fitted."""
        noise, block = [], []
        if self._by_group:
            noise = [
                f"{name}: too few visibilities to measure their noise; the noise scale of all data is used"
                for name, measured in zip(self.noise_groups.names, self.noise.measured, strict=True)
                if not measured
            ]
        if "uvdist" in self.freedom.noise and not self.noise.uvdist.size:
            noise.append("too few visibilities to measure how their noise depends on baseline length")
        if self.freedom.block and len(self.block_groups.names) == 1:
            block = [
                f"{self.block_groups.names[0]} is the only execution block; blockmodel has nothing to compare it with"
            ]
        elif self.freedom.block:
            block = [
                f"{name}: the model is too faint or too far off to fit its {' and '.join(self.freedom.block)}"
                for name, fitted in zip(self.block_groups.names, self.blocks.fitted, strict=True)
                if not fitted
            ]
        return noise + block

    def facts(self, noise_scale: float) -> dict[str, str]:
        """Return what was found in words, by what it is about. noise_scale: of all visibilities together."""
        found: dict[str, str] = {}
        if self._by_group:
            scales = zip(self.noise_groups.names, noise_scale * self.noise.group, strict=True)
            found |= {name: f"noise {scale:.3f} times 1/sqrt(WEIGHT)" for name, scale in scales}
        if self.noise.uvdist.size:
            nodes = zip(self.noise.uvdist, self.noise.curve, strict=True)
            found["noise by uv distance"] = ", ".join(f"times {f:.3f} at {quantity(q, 'λ')}" for q, f in nodes)
        if self.freedom.student_t:
            found["outliers"] = f"{self.outliers} visibilities more than {OUTLIER:g} sigma from the model"
        if self.freedom.block:
            found |= {name: self._about_block(number) for number, name in enumerate(self.block_groups.names)}
        return found

    def _about_block(self, number: int) -> str:
        blocks = self.blocks
        if number == blocks.reference:
            return "reference of the other execution blocks"
        offset, error = blocks.offset[number] / arcsecond, blocks.offset_error[number] / arcsecond
        length, unit = angular_unit(float(np.max(np.abs([offset, error]))))
        east, north = (with_error(*each) for each in zip(offset / length, error / length, strict=True))
        said = {
            "amplitude": f"amplitude {with_error(blocks.amplitude[number], blocks.amplitude_error[number])}",
            "position": f"{east} {unit} East, {north} {unit} North",
        }
        return ", ".join(text for name, text in said.items() if name in self.freedom.block)

    @property
    def _by_group(self) -> bool:
        return not {"ms", "spw"}.isdisjoint(self.freedom.noise)

    def _gain(self, observed: Visibilities) -> NDArray[np.complex128]:
        return self.blocks.gain(observed.uvw[:, :2], self.block_groups.of_origin[observed.origin])

    def _factor(self, observed: Visibilities) -> Array:
        return self.noise.of(self.noise_groups.of_origin[observed.origin], _uvdist(observed))

    def _power(self, observed: Visibilities, model: Visibility, noise_scale: float) -> NDArray[np.float32]:
        """Return w |r|^2 over the square of the noise scale, (n,)."""
        power = np.empty(observed.size, np.float32)
        for part in chunks(observed.size, AT_ONCE):
            some = observed[part]
            residual = some.visibility - self._gain(some) * model[part]
            with np.errstate(over="ignore"):  # of garbage, to infinity, which gets no weight
                power[part] = some.weight * np.abs(residual) ** 2 / noise_scale**2
        return power


def _uvdist(observed: Visibilities) -> Array:
    return np.hypot(observed.uvw[:, 0], observed.uvw[:, 1])


def _noise_name(freedom: Freedom) -> Callable[[Origin], str]:
    if "spw" in freedom.noise:
        return lambda origin: f"{origin.vis}, spw {origin.spw}"
    if "ms" in freedom.noise:
        return lambda origin: origin.vis
    return lambda origin: "all data"


def _block_name(origin: Origin) -> str:
    return f"{origin.vis}, observation {origin.observation}"
