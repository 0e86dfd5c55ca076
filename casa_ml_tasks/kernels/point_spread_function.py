"""PSFs on twice the field by one gridding of the weights: what makes the normal operator exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.normal_operator import transfer_function

TOLERANCE = 1e-6  # the best that single precision attains: nothing corrects the PSF afterwards

#: Added to all eigenvalues, of the largest: those of CASA's PSFs go down to -2e-4 of it, as was measured for cubes.
DAMPING = 3e-4


def psf_of_weights(
    uvw: NDArray[np.floating],
    wavenumber: ArrayLike,
    weight: NDArray[np.floating],
    shape: tuple[int, int],
    cell: float,
    threads: int = 0,
) -> NDArray[np.float64]:
    r"""Return $\sum_k w_k \cos(2\pi(u_k l + v_k m))$ at all lags of an image, (2 ny, 2 nx), not normalised, without w.

    Args:
        uvw: (row, 3), metres, or wavelengths with a wavenumber of 1.
        wavenumber: (channel,), frequency / speed of light, 1/m.
        weight: (row, channel); 0 leaves a visibility out.
        shape: (ny, nx) of the image.
        cell: pixel size, radians.
        threads: how many; 0 for all cores.

    Raises:
        ValueError: as `fourier_operator`, which is asked for twice the field.
    """
    doubled = (2 * shape[0], 2 * shape[1])
    operator = fourier_operator(uvw, wavenumber, doubled, cell, TOLERANCE, np.float32, weight != 0, threads)
    return operator.grid(operator.sort(weight).astype(np.complex64)).astype(float)


def damped(psf: NDArray[np.floating]) -> NDArray[np.floating]:
    r"""Return the PSF of $H + \epsilon$ for that of H: a little more in the middle, so that no eigenvalue is negative.

    Where H has negative eigenvalues, an image can grow along them without bound while $\chi^2$ seems to fall. The
    added term, $\epsilon |\Delta|^2 / 2 \sigma^2$ for a change $\Delta$ of the model, makes the way longer. It does not
    move its end, where a major cycle asks for no change.

    Args:
        psf: on twice the field, (..., 2 ny, 2 nx), Jy/beam, peak in the pixel (ny, nx).
    """
    largest = np.abs(transfer_function(psf)).max(axis=(-2, -1))
    result = psf.copy()
    result[..., psf.shape[-2] // 2, psf.shape[-1] // 2] += DAMPING * largest
    return result
