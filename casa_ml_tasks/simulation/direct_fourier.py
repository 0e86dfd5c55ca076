"""Direct Fourier transforms of images, in double precision: the truth that kernels are compared with."""

import numpy as np
from numpy.typing import NDArray


def _phases(uvw: NDArray[np.floating], shape: tuple[int, int], cell: float, w_term: bool) -> NDArray[np.float64]:
    """(visibility, y, x): u l + v m + w (n - 1), in turns; East is towards smaller x."""
    ny, nx = shape
    m, l = np.meshgrid((np.arange(ny) - ny // 2) * cell, -(np.arange(nx) - nx // 2) * cell, indexing="ij")  # noqa: E741
    n_minus_one = -(l**2 + m**2) / (1 + np.sqrt(1 - l**2 - m**2)) if w_term else np.zeros(shape)
    return np.tensordot(uvw, np.stack([l, m, n_minus_one]), axes=(1, 0))


def visibilities_of(
    image: NDArray[np.floating], uvw: NDArray[np.floating], cell: float, w_term: bool = False
) -> NDArray[np.complex128]:
    r"""$V = \sum I \exp(2\pi i(ul + vm + w(n-1)))$ over all pixels.

    Args:
        image: (ny, nx), Jy/pixel; the phase centre is pixel (ny // 2, nx // 2).
        uvw: (visibility, 3), wavelengths.
        cell: of a pixel, radians.
        w_term: whether w counts; else the sky is flat.

    Returns:
        (visibility,), Jy.
    """
    phases = _phases(uvw, image.shape, cell, w_term)
    return np.tensordot(np.exp(2j * np.pi * phases), image.astype(float), axes=2)


def image_of(
    visibilities: NDArray[np.complexfloating],
    uvw: NDArray[np.floating],
    shape: tuple[int, int],
    cell: float,
    w_term: bool = False,
) -> NDArray[np.float64]:
    """The adjoint of `visibilities_of`: the sum, not the mean, over visibilities.

    Args:
        visibilities: (visibility,), Jy.
        uvw: (visibility, 3), wavelengths.
        shape: (ny, nx) of the image.
        cell: of a pixel, radians.
        w_term: whether w counts; else the sky is flat.

    Returns:
        (ny, nx), Jy.
    """
    phases = _phases(uvw, shape, cell, w_term)
    return np.tensordot(visibilities, np.exp(-2j * np.pi * phases), axes=(0, 0)).real


def relative_error(actual: NDArray[np.inexact], expected: NDArray[np.inexact]) -> float:
    """The l2 norm of the difference over that of what is expected."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
