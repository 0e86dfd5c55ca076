"""Models that may be negative: which planes they have, and regularisers that know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.stokes import SIGNED, stokes_planes
from casa_ml_tasks.minor.rml.regularisers.registry import of_signed_images
from casa_ml_tasks.tasks.regulariser_strengths import given_strengths


def with_signed_regularisers(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with regularisers that know negative brightness, where positivity=False.

    The CASA log says which: nothing in a call tells a default from a regulariser that was named.
    """
    if parameters["positivity"] or parameters["minorcycle"] == "clean":
        return dict(parameters)
    given, strengths = parameters["regularizer"], parameters["regstrength"]
    each = [1.0] * len(given) if isinstance(strengths, str) else given_strengths(parameters)
    pairs = of_signed_images(list(zip(given, each, strict=True)))
    names = [name for name, _ in pairs]
    if names == list(given):
        return dict(parameters)
    casalog.post(
        f"positivity=False: regularizer={names} in place of {list(given)}, of which one needs a positive image",
        "INFO",
        "rmlclean",
    )
    chosen = strengths if isinstance(strengths, str) else [strength for _, strength in pairs]
    return {**parameters, "regularizer": names, "regstrength": chosen}


def positive_planes(parameters: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return whether the model of each Stokes plane is kept from being negative, (stokes,)."""
    planes = stokes_planes(parameters["stokes"])
    positive = parameters["minorcycle"] != "clean" and parameters["positivity"]
    return np.array([positive and name not in SIGNED for name in planes])
