"""Stokes planes: which an image has, and which correlations of the data they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import Selection, open_table

#: Planes that may be negative wherever the sky is not.
SIGNED = frozenset("QUV")

#: casacore's Stokes::StokesTypes.
_CORRELATIONS = {1: "I", 5: "RR", 6: "RL", 7: "LR", 8: "LL", 9: "XX", 10: "XY", 11: "YX", 12: "YY"}

_LINEAR, _CIRCULAR = ("XX", "YY", "XY", "YX"), ("RR", "LL", "RL", "LR")

#: What each of tclean's `stokes` is made of by either kind of feed; CASA's imager leaves the others empty.
_MADE_OF: tuple[Mapping[str, Sequence[str]], ...] = (
    dict.fromkeys(("Q", "IQ", "XXYY"), _LINEAR[:2])
    | dict.fromkeys(("U", "V", "UV"), _LINEAR[2:])
    | {"XX": _LINEAR[:1], "YY": _LINEAR[1:2], "IQUV": _LINEAR},
    dict.fromkeys(("V", "IV", "RRLL"), _CIRCULAR[:2])
    | dict.fromkeys(("Q", "U", "QU"), _CIRCULAR[2:])
    | {"RR": _CIRCULAR[:1], "LL": _CIRCULAR[1:2], "IQUV": _CIRCULAR},
)


def stokes_planes(stokes: str) -> tuple[str, ...]:
    """The planes of an image by tclean's `stokes`, in their order: IQUV has four, XXYY two, pseudoI one."""
    if stokes == "pseudoI":
        return (stokes,)
    width = 2 if stokes[0] in "XYRL" else 1
    return tuple(stokes[i : i + width] for i in range(0, len(stokes), width))


def weights_over_sumwt(stokes: str) -> NDArray[np.float64]:
    r"""$1/\sigma^2$ of each plane over CASA's `sumwt`, with natural weights: (stokes,).

    A Stokes parameter is half the sum of two correlations and has the weights of both. CASA's `sumwt` counts both for a
    lone I only, else one.
    """
    if stokes in ("I", "pseudoI"):
        return np.ones(1)
    return np.array([2.0 if len(plane) == 1 else 1.0 for plane in stokes_planes(stokes)])


def check_stokes(selections: Sequence[Selection], stokes: str) -> None:
    """Check that the data have the correlations that tclean's `stokes` is made of.

    Raises:
        ValueError: one of the Measurement Sets has not.
    """
    if stokes in ("I", "pseudoI"):
        return
    for selection in selections:
        recorded = correlations(selection.vis)
        if not any(set(made_of.get(stokes, ("none",))) <= recorded for made_of in _MADE_OF):
            able = [name for made_of in _MADE_OF for name, needed in made_of.items() if set(needed) <= recorded]
            raise ValueError(
                f"stokes='{stokes}' cannot be made of the correlations {', '.join(sorted(recorded))} of "
                f"vis='{selection.vis}'; use one of {', '.join(['I', *able])}"
            )


def two_hands(selections: Sequence[Selection]) -> bool:
    """Whether all Measurement Sets have both parallel hands, of linear or of circular feeds."""
    pairs = (set(_LINEAR[:2]), set(_CIRCULAR[:2]))
    return all(any(pair <= correlations(selection.vis) for pair in pairs) for selection in selections)


def correlations(vis: str) -> frozenset[str]:
    """The names of all correlations in a Measurement Set, such as XX."""
    with open_table(f"{vis}/POLARIZATION") as table:
        kinds = [int(kind) for row in range(table.nrows()) for kind in table.getcell("CORR_TYPE", row)]
    return frozenset(_CORRELATIONS[kind] for kind in kinds if kind in _CORRELATIONS)
