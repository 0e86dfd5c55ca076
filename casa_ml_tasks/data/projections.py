"""Names of projections of the sky."""

from __future__ import annotations

#: Those of FITS (Calabretta & Greisen 2002, A&A 395, 1077) that need no parameters, but PCO, whose central meridian
#: wcslib leaves out.
PROJECTIONS = (
    *("SIN", "TAN", "ARC", "STG", "ZEA", "AZP", "SZP", "AIR"),
    *("CAR", "CEA", "CYP", "MER", "SFL", "PAR", "MOL", "AIT", "TSC", "CSC", "QSC", "HPX"),
)
HEALPIX = "HEALPIX"  # which is none of FITS: pixels without rows and columns
