"""The projection that an image is asked for in."""

from __future__ import annotations

from casa_ml_tasks.data.projections import PROJECTIONS


def checked_projection(projection: str, beside: tuple[str, ...] = ()) -> str:
    """Return the name of a projection in capitals.

    Args:
        projection: the parameter.
        beside: other names that the task knows, such as HEALPIX.

    Raises:
        ValueError: it is unknown.
    """
    name = str(projection).upper()
    if name not in (*PROJECTIONS, *beside):
        raise ValueError(f"projection='{projection}' is unknown; use one of {', '.join((*PROJECTIONS, *beside))}")
    return name
