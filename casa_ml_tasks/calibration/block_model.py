r"""The amplitude scale and the position of each execution block, fitted to the visibilities of an image.

Execution blocks of one source disagree in their flux scale by some percent and in their astrometry by a fraction of the
beam. Block b sees the model visibilities V of the image as

$$d = a_b\, e^{2\pi i (u\, l_b + v\, m_b)}\, V + n,$$

its sky brighter by a and moved by (l, m) to the East and the North. To the image an amplitude or a movement of all
blocks together is the same as one of the sky, so the first block that can be fitted is the reference, with a = 1 and no
offset.

With $y = w\, d\, V^* e^{-2\pi i (u l + v m)}$, least squares give $a = \sum \mathrm{Re}\, y / \sum w|V|^2$, and the
offset follows in steps of Gauss and Newton,

$$\delta = \frac{1}{2\pi a} \Big(\sum w|V|^2\, q q^T\Big)^{-1} \sum q\, \mathrm{Im}\, y, \qquad q = (u, v).$$

The two do not mix, as the derivatives of the model visibility by them are perpendicular in the complex plane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.visibility_store import chunks

DETECTED = 5.0  # sigma of the model in a block: below it, the block stays as it is
MOST_STEPS = 50
SMALL_STEP, LARGEST_STEP = 1e-6, 0.5  # in the offset: phase, radians, at the r.m.s. baseline
SUMMED_AT_ONCE = 1 << 20  # visibilities

Array = NDArray[np.floating]
Visibility = NDArray[np.complexfloating]


@dataclass(frozen=True)
class BlockTerms:
    """How each execution block differs from the reference.

    Attributes:
        amplitude: (block,), a.
        offset: (block, 2), where its sky lies: East and North of the reference's, radians.
        amplitude_error, offset_error: standard deviations of the same shapes, given the image, reference included.
        fitted: (block,), False where the model is too faint to be seen, or the fit did not converge.
        reference: number of the reference block.
    """

    amplitude: Array
    offset: Array
    amplitude_error: Array
    offset_error: Array
    fitted: NDArray[np.bool_]
    reference: int = 0

    @classmethod
    def none(cls, blocks: int) -> BlockTerms:
        """Return the terms of blocks that are all alike."""
        nothing = np.zeros((blocks, 2))
        return cls(np.ones(blocks), nothing, np.zeros(blocks), nothing, np.zeros(blocks, bool))

    def gain(self, uv: Array, block: NDArray[np.integer]) -> NDArray[np.complex128]:
        """Return what the model visibilities are multiplied by, (n,), at uv (n, 2), wavelengths."""
        return self.amplitude[block] * np.exp(2j * np.pi * np.sum(uv * self.offset[block], axis=1))

    def relative_to(self, reference: int) -> BlockTerms:
        """Return the terms with another reference, whose error is added to that of the others."""
        others = self.fitted & (np.arange(self.fitted.size) != reference)
        amplitude = np.where(others, self.amplitude / self.amplitude[reference], 1.0)
        share = self.amplitude_error / self.amplitude
        return BlockTerms(
            amplitude,
            np.where(others[:, None], self.offset - self.offset[reference], 0.0),
            np.where(others, amplitude * np.hypot(share, share[reference]), 0.0),
            np.where(others[:, None], np.hypot(self.offset_error, self.offset_error[reference]), 0.0),
            self.fitted,
            reference,
        )


@dataclass(frozen=True)
class _Sums:
    """Sums over the visibilities of each block."""

    aligned: Array  # (block,), Re y
    slope: Array  # (block, 2), q Im y
    power: Array  # (block,), w |V|^2
    spread: Array  # (block, 2, 2), w |V|^2 q q^T


def fit_blocks(
    data: Visibility,
    model: Visibility,
    weight: Array,
    uv: Array,
    block: NDArray[np.integer],
    start: BlockTerms,
    amplitude: bool = True,
    position: bool = True,
) -> BlockTerms:
    """Fit amplitude and offset of each block by weighted least squares, relative to the first that can be fitted.

    The offset is found where it begins within about half a beam of the truth.

    Args:
        data, model: (n,), Jy.
        weight: (n,), 1 / variance of the real, and of the imaginary part, Jy^-2.
        uv: (n, 2), wavelengths; larger arrays are fine.
        block: (n,), number of the block of each visibility.
        start: where the offsets begin.
        amplitude, position: fit it; else it stays 1, or none.
    """
    terms = replace(start, offset=start.offset if position else np.zeros_like(start.offset))
    sums = _sum(data, model, weight, uv, block, terms.offset)
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = 2 * np.pi * np.sqrt(np.trace(sums.spread, axis1=1, axis2=2) / sums.power)  # radians a radian
        inverse = np.linalg.pinv(np.nan_to_num(sums.spread / sums.power[:, None, None]), hermitian=True)
        inverse /= sums.power[:, None, None]
    converged = np.full(sums.power.size, not position)
    for _ in range(MOST_STEPS if position else 0):
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.einsum("bij,bj->bi", inverse, sums.slope) / (2 * np.pi * sums.aligned / sums.power)[:, None]
        step = np.where(np.isfinite(step) & (sums.aligned > 0)[:, None], step, 0)
        phase = np.hypot(*step.T) * np.nan_to_num(turn)
        converged = phase < SMALL_STEP
        terms = replace(terms, offset=terms.offset + step / np.maximum(phase / LARGEST_STEP, 1)[:, None])
        sums = _sum(data, model, weight, uv, block, terms.offset)
        if converged.all():
            break
    return _terms_at(sums, inverse, terms.offset, converged, amplitude, position)


def _terms_at(
    sums: _Sums, inverse: Array, offset: Array, converged: NDArray[np.bool_], amplitude: bool, position: bool
) -> BlockTerms:
    """Return the amplitudes at the offsets that were found, with errors and reference."""
    power = np.where(sums.power > 0, sums.power, 1)
    found = sums.aligned / power
    fitted = converged & (sums.power > 0) & (sums.aligned > DETECTED * np.sqrt(power))
    variance = np.diagonal(inverse, axis1=1, axis2=2) / (2 * np.pi * np.where(fitted, found, 1)[:, None]) ** 2
    terms = BlockTerms(
        np.where(fitted & amplitude, found, 1.0),
        np.where(fitted[:, None] & position, offset, 0.0),
        np.where(fitted & amplitude, power**-0.5, 0.0),
        np.where(fitted[:, None] & position, np.sqrt(np.maximum(variance, 0)), 0.0),
        fitted,
    )
    return terms.relative_to(int(np.argmax(fitted)))


def _sum(
    data: Visibility, model: Visibility, weight: Array, uv: Array, block: NDArray[np.integer], offset: Array
) -> _Sums:
    blocks = len(offset)
    total = np.zeros((7, blocks))
    for part in chunks(block.size, SUMMED_AT_ONCE):
        where, q, v = block[part], uv[part], model[part].astype(complex)
        power = weight[part] * np.abs(v) ** 2
        y = weight[part] * data[part] * v.conj() * np.exp(-2j * np.pi * np.sum(q * offset[where], axis=1))
        terms = (
            y.real, q[:, 0] * y.imag, q[:, 1] * y.imag,
            power, power * q[:, 0] ** 2, power * q[:, 0] * q[:, 1], power * q[:, 1] ** 2,
        )  # fmt: skip
        total += [np.bincount(where, term, blocks) for term in terms]
    aligned, slope_u, slope_v, power, uu, u_v, vv = total
    spread = np.stack([np.stack([uu, u_v], axis=1), np.stack([u_v, vv], axis=1)], axis=1)
    return _Sums(aligned, np.stack([slope_u, slope_v], axis=1), power, spread)
