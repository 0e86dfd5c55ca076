"""The truth that kernels are tested against: every term of the measurement equation, in double precision."""

import numpy as np
from numpy.typing import NDArray


def _phases(uvw: NDArray, shape: tuple[int, int], cell: float, w_term: bool) -> NDArray:
    """(visibility, y, x): u l + v m + w (n - 1), in turns; East is towards smaller x."""
    ny, nx = shape
    m, l = np.meshgrid((np.arange(ny) - ny // 2) * cell, -(np.arange(nx) - nx // 2) * cell, indexing="ij")  # noqa: E741
    n_minus_one = -(l**2 + m**2) / (1 + np.sqrt(1 - l**2 - m**2)) if w_term else np.zeros(shape)
    return np.tensordot(uvw, np.stack([l, m, n_minus_one]), axes=(1, 0))


def visibilities_of(image: NDArray, uvw: NDArray, cell: float, w_term: bool = False) -> NDArray:
    r"""$V = \sum I \exp(2\pi i(ul + vm + w(n-1)))$; uvw: (visibility, 3), wavelengths. Returns (visibility,)."""
    phases = _phases(uvw, image.shape, cell, w_term)
    return np.tensordot(np.exp(2j * np.pi * phases), image.astype(float), axes=2)


def image_of(visibilities: NDArray, uvw: NDArray, shape: tuple[int, int], cell: float, w_term: bool = False) -> NDArray:
    """The adjoint of `visibilities_of`: (ny, nx)."""
    phases = _phases(uvw, shape, cell, w_term)
    return np.tensordot(visibilities, np.exp(-2j * np.pi * phases), axes=(0, 0)).real


def relative_error(actual: NDArray, expected: NDArray) -> float:
    """In the l2 norm."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
