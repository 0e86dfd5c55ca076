"""The antennas of real arrays, as casadata lists them."""

from __future__ import annotations

from pathlib import Path

import casadata
import numpy as np
from numpy.typing import NDArray

CONFIGURATIONS = Path(casadata.datapath) / "alma" / "simmos"


def read_antennas(configuration: str, count: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places of antennas, (3, antenna), metres, and their diameters, (antenna,), metres.

    Places are East, North and up of the site where the file says so (coordsys=LOC, as ALMA's do), else geocentric.

    Args:
        configuration: one of casadata's files in alma/simmos, as 'alma.cycle9.2' or 'aca.cycle9'.
        count: how many antennas of it; all by default.

    Raises:
        ValueError: casadata has no such configuration.
    """
    path = CONFIGURATIONS / f"{configuration}.cfg"
    if not path.is_file():
        raise ValueError(f"configuration={configuration!r} is none of casadata's; {CONFIGURATIONS} has the names")
    columns = np.loadtxt(path, usecols=range(4))[:count].T
    return columns[:3], columns[3]
