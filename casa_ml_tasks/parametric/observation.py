"""The visibilities that a model is fitted to, and how they come out of Measurement Sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data.directions import TRACKFIELD, directions_of, selected_fields
from casa_ml_tasks.data.measurement_set import MSSELECT, SPEED_OF_LIGHT, Selection, open_table
from casa_ml_tasks.data.visibility_store import ImageFrame, read
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.request.selection import DataSelection

MOST_VISIBILITIES = 200_000  # a gradient of the likelihood takes some 50 ms
SAME_POINTING = 0.1  # arcsec


@dataclass(frozen=True)
class Observation:
    """Visibilities of Stokes I, phased to one centre.

    The real and the imaginary part have the variance noise_scale^2 / weight each.

    Raises:
        ValueError: shapes differ, values are not finite, weights are not positive, or there are no visibilities.
    """

    u: NDArray[np.float64]  # (visibility,), wavelengths
    v: NDArray[np.float64]  # (visibility,), wavelengths
    visibility: NDArray[np.complex128]  # (visibility,), Jy
    weight: NDArray[np.float64]  # (visibility,), nominal, Jy^-2
    noise_scale: float = 1.0  # true sigma over nominal sigma

    def __post_init__(self) -> None:
        for name, kind in (("u", float), ("v", float), ("visibility", complex), ("weight", float)):
            values = np.array(getattr(self, name), kind)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or values.shape != self.u.shape:
                raise ValueError(f"{name} has the shape {values.shape} where u has {self.u.shape}; give (visibility,)")
            if bad := np.count_nonzero(~np.isfinite(values)):
                raise ValueError(f"{name} holds {bad} values that are NaN or infinite; leave these visibilities out")
        if not self.u.size:
            raise ValueError("the Observation holds no visibilities; give at least one")
        if bad := np.count_nonzero(self.weight <= 0):
            raise ValueError(f"weight is 0 or negative for {bad} visibilities; leave these out")
        if not 0 < self.noise_scale < np.inf:
            raise ValueError(f"noise_scale={self.noise_scale} is not positive and finite; give 1 to believe weight")

    @classmethod
    def of(cls, visibilities: Visibilities, noise_scale: float = 1.0) -> Observation:
        """What `visibility_store.read` returned; w is left out."""
        u, v = visibilities.uvw[:, 0], visibilities.uvw[:, 1]
        return cls(u, v, visibilities.visibility.astype(complex), visibilities.weight.astype(float), noise_scale)

    @property
    def sigma(self) -> NDArray[np.float64]:
        """(visibility,), Jy: true noise of the real and of the imaginary part."""
        return self.noise_scale / np.sqrt(self.weight)


def read_observation(
    vis: str | Sequence[str],
    field_radius: float | None = None,
    *,
    smearing: float = 1e-3,
    most: int = MOST_VISIBILITIES,
    progress: bool = False,
    **selection: str,
) -> Observation:
    """Read Measurement Sets of one pointing, averaged as far as `smearing` allows, with the noise measured from them.

    The phase centre is that of the first field; frequencies are taken in LSRK.

    Args:
        vis: path or paths.
        field_radius: arcsec; no emission lies further from the phase centre. Half the primary beam's width by default;
            the smaller, the fewer visibilities remain to be fitted.
        smearing: largest loss of amplitude of a point source within that radius.
        most: visibilities that may remain.
        progress: show progress bars.
        selection: tclean's `field`, `spw`, `timerange`, `uvrange`, `antenna`, `scan`, `observation`, `intent` and
            `datacolumn` (by default "corrected" where there is such a column).

    Raises:
        ValueError: an unreadable Measurement Set, a selection that selects nothing or several pointings, bad values in
            the data, or more than `most` visibilities.
    """
    if unknown := sorted(selection.keys() - {*MSSELECT, "datacolumn"}):
        raise ValueError(f"the selection parameter {unknown[0]}={selection[unknown[0]]!r} is unknown; see tclean's")
    chosen = DataSelection.from_parameters(vis=vis if isinstance(vis, str) else list(vis), **selection).selections
    found = survey(chosen, progress)
    frame = _frame(chosen)
    if field_radius is None:
        field_radius = _half_beam(chosen[0].vis, found.highest_frequency)
    with TemporaryDirectory() as directory:
        visibilities = read(
            chosen, frame, Path(directory) / "visibilities", smearing, field_radius * arcsecond, progress
        )
        if visibilities.size > most:
            raise ValueError(
                f"{visibilities.size} visibilities remain after averaging with smearing={smearing:g}, field_radius="
                f"{field_radius:.3g}, above most={most}; give a smaller field_radius or a larger smearing"
            )
        return Observation.of(visibilities, found.noise_scale)


def _frame(chosen: Sequence[Selection]) -> ImageFrame:
    """The phase centre that all selected fields share; where there are ephemerides, it follows them."""
    found = []
    for each in chosen:
        fields, (first, _) = selected_fields(each)
        found += [(directions_of(each.vis), field, first) for field in fields]
    directions, field, first = found[0]
    own = directions.phase_centre(field, first)
    frame = ImageFrame((own["m0"]["value"], own["m1"]["value"]), own["refer"], tracks=TRACKFIELD)
    for directions, field, first in found:
        x, y, z = directions.turns(field, np.array([first]), frame)[0, :, 2]
        apart = float(np.arctan2(np.hypot(x, y), z)) / arcsecond
        if apart > SAME_POINTING:
            raise ValueError(
                f"the selected fields point {apart:.3g} arcsec apart, where a model has one phase centre; "
                "select one with field"
            )
    return frame


def _half_beam(vis: str, frequency: float) -> float:
    """Half the width of the primary beam, 1.2 wavelengths over the smallest dish, arcsec."""
    with open_table(f"{vis}/ANTENNA") as antennas:
        diameter = float(antennas.getcol("DISH_DIAMETER").min())
    if diameter <= 0:
        raise ValueError(f"vis='{vis}' states no dish diameters to tell the field from; give field_radius in arcsec")
    return 0.6 * SPEED_OF_LIGHT / frequency / diameter / arcsecond
