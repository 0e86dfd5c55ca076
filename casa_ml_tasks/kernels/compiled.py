"""How the loops over visibilities and pixels are compiled."""

from __future__ import annotations

from typing import Any

import numba

#: With Python's lock released, and kept on disk for the next start; sums may be reordered.
compiled: Any = numba.njit(nogil=True, cache=True, fastmath=True, boundscheck=False, error_model="numpy")

#: The same with every operation as written, where infinities or bit-equal results matter.
compiled_as_written: Any = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
