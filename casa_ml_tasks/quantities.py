"""Numbers and their units as a reader wants them: a prefix that fits, and no digit that the error makes meaningless."""

import math

#: Of the SI, by the power of ten.
PREFIXES = dict(zip(range(-24, 27, 3), [*"yzafpnµm", "", *"kMGTPEZY"], strict=True))
#: Units of angles: name, length in arcsec, and the smallest angle, arcsec, that is given in it.
ANGLES = (("deg", 3600.0, 18000.0), ("arcmin", 60.0, 600.0), ("arcsec", 1.0, 0.1), ("mas", 1e-3, 1e-3))
SMALLEST_ANGLE = ("µas", 1e-6)


def si_prefix(value: float) -> tuple[float, str]:
    """The factor and the SI prefix in which a value has one to three digits before the point."""
    if not (math.isfinite(value) and value > 0):
        return 1.0, ""
    exponent = min(max(3 * math.floor(math.log10(value) / 3), -24), 24)
    return 10.0**exponent, PREFIXES[exponent]


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """A value with its unit and an SI prefix, e.g. ``1.52 mJy/beam``."""
    rounded = float(f"{value:.{digits}g}")
    factor, prefix = si_prefix(abs(rounded))
    return f"{rounded / factor:.{digits}g} {prefix}{unit}"


def with_error(value: float, error: float) -> str:
    """A value and its error to two digits of the error, e.g. ``0.234 ± 0.012``."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.3g} ± {error:g}"
    decimals = 1 - math.floor(math.log10(float(f"{error:.2g}")))
    shown = max(decimals, 0)
    return f"{round(value, decimals):.{shown}f} ± {round(error, decimals):.{shown}f}"


def measurement(value: float, error: float, unit: str) -> str:
    """A value, its error and their unit with an SI prefix, to two digits of the error, e.g. ``234 ± 12 mJy``."""
    factor, prefix = si_prefix(max(abs(value), error))
    return f"{with_error(value / factor, error / factor)} {prefix}{unit}"


def angular_unit(size: float) -> tuple[float, str]:
    """The length, arcsec, and the name of the unit for angles of about this size, arcsec."""
    for name, length, smallest in ANGLES:
        if size >= smallest:
            return length, name
    return SMALLEST_ANGLE[1], SMALLEST_ANGLE[0]


def angle(size: float, digits: int = 2) -> str:
    """An angle, arcsec, in the unit that fits, e.g. ``42 µas``."""
    length, unit = angular_unit(abs(size))
    rounded = float(f"{size / length:.{digits}g}")
    return f"{rounded:g} {unit}"


def casa_angle(size: float, digits: int = 3) -> str:
    """An angle, arcsec, as CASA's tasks take it, e.g. ``2uarcsec``."""
    for unit, length, smallest in (("arcsec", 1.0, 1e-2), ("marcsec", 1e-3, 1e-5)):
        if size >= smallest:
            return f"{size / length:.{digits}g}{unit}"
    return f"{size / 1e-6:.{digits}g}uarcsec"
