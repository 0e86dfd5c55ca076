"""What a value of a task's parameter says: a quantity with a unit, a list of names, a direction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from casatools import quanta

FRAMES = ("J2000", "B1950", "ICRS", "GALACTIC")  # of directions


def value_in(quantity: Any, unit: str, unit_optional: bool = False) -> float | None:
    """Return the finite value in `unit` of a number (already in it) or a string; None if it cannot be had."""
    if isinstance(quantity, int | float | np.number) and not isinstance(quantity, bool):
        value = float(quantity)
    else:
        tool = quanta()
        try:
            if not isinstance(quantity, str) or not quantity or not tool.isquantity(quantity):
                return None
            parsed = tool.quantity(quantity)
            if parsed["unit"] == "" and (unit_optional or parsed["value"] == 0):
                value = parsed["value"]
            elif tool.compare(quantity, f"1{unit}"):
                value = tool.convert(parsed, unit)["value"]
            else:
                return None
        finally:
            tool.done()
    return value if math.isfinite(value) else None


def as_list(value: Any) -> list[Any]:
    """Return a list of the values that a parameter has, whether one is given or several."""
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


def listed(value: Any) -> tuple[str, ...]:
    """Return the names in a parameter that takes one or several; '' names nothing."""
    return tuple(str(each) for each in as_list(value) if str(each))


def is_direction(text: str) -> bool:
    """Return whether it is a direction such as 'J2000 19:58:40.9 +40.55.58'."""
    frame, *angles = text.split() or [""]
    return frame.upper() in FRAMES and len(angles) == 2 and all(value_in(each, "rad") is not None for each in angles)
