"""Whether an image follows the objects that its visibilities follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from casatasks import casalog
from scipy.constants import arcsecond

from casa_ml_tasks.data.directions import TRACKFIELD, directions_of, read_fields, selected_fields, tracked
from casa_ml_tasks.data.measurement_set import Selection


def check_tracking(selections: Sequence[Selection], phasecenter: str | int, cell: float) -> None:
    """Check that phasecenter='TRACKFIELD' finds ephemerides, and warn of objects that cross an image at rest.

    Args:
        selections: of the Measurement Sets.
        phasecenter: tclean's.
        cell: the shorter side of a pixel, arcsec.

    Raises:
        ValueError: a selected field has no ephemeris that could be tracked.
    """
    follows = tracked(phasecenter)
    if follows == TRACKFIELD:
        _check_ephemerides(selections)
    elif not follows and any(each.ephemeris for selection in selections for each in read_fields(selection.vis)):
        _warn_of_motion(selections, cell)


def _check_ephemerides(chosen: Sequence[Selection]) -> None:
    for selection in chosen:
        fields = read_fields(selection.vis)
        without = [each for each in selected_fields(selection)[0] if not fields[each].ephemeris]
        if without:
            raise ValueError(
                f"phasecenter='{TRACKFIELD}' follows ephemerides, and field {without[0]} of vis='{selection.vis}' has "
                "none; attach one with ms.addephemeris, or give a planet or a direction"
            )


def _warn_of_motion(chosen: Sequence[Selection], cell: float) -> None:
    """cell: arcsec; what moves less is at rest."""
    for selection in chosen:
        fields, directions = read_fields(selection.vis), directions_of(selection.vis)
        selected, times = selected_fields(selection)
        for number in (each for each in selected if fields[each].ephemeris):
            first, last = directions.axes(number, times, "ICRS")[:, 2]
            moved = float(np.linalg.norm(last - first)) / arcsecond
            if moved > cell:
                casalog.post(
                    f"field {number} of vis='{selection.vis}' moves by {moved:.3g} arcsec while observed, and the "
                    f"image stays where it is; use phasecenter='{TRACKFIELD}' to follow it",
                    "WARN",
                )
                return
