r"""The imaging weights of tclean: what a visibility's natural weight is multiplied by before it is gridded.

Uniform and Briggs weighting divide by the density of weights in the uv plane, so they take two passes over the
visibilities: the first counts, block by block, and the second divides.

```python
weighting = Weighting.from_parameters(**parameters)
density = WeightDensity(weighting, shape=(ny, nx), cell=cell)
if weighting.needs_density:
    for u, v, weight in blocks:
        density.add(u, v, weight)
for u, v, weight in blocks:
    grid(imaging_weights(u, v, weight, density))
```

Agreeing with CASA is a matter of conventions:

- u and v are in wavelengths at the frequency in the frame of the image (LSRK), also with `specmode='mfs'`:
  topocentric frequencies, 1e-4 away, move some visibilities into the next uv cell.
- A sample of Stokes I is (XX + YY) / 2, and its weight w_XX + w_YY; it is flagged where either is.
- One density serves all channels, spectral windows, fields and Measurement Sets of an image. With
  `perchanweightdensity` every image channel has its own, and with `mosweight` every field.
- 'briggsbwtaper' lowers the density that a visibility is divided by, the more uv cells it smears over within the
  bandwidth of the image: then channels have beams as alike as those of one continuum image.
- A visibility counts in two uv cells, its own and that of its Hermitian conjugate. The lower edges of the cells (per
  channel: their centres) lie at multiples of 1 / (field of view). Outside the grid, and in its first row and column,
  weights are 0.

`.sumwt` agrees with tclean's to 1e-5. Per channel, CASA treats the edge of the grid differently: where `cell` is so
coarse that the longest baselines fall off it, weights differ by about 1 %, and with `npixels` by up to 10 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.kernels.compiled import compiled_as_written
from casa_ml_tasks.request.weighting import Weighting


class WeightDensity:
    """The sum of weights in every uv cell."""

    def __init__(self, weighting: Weighting, shape: tuple[int, int], cell: float, parallel_hands: int = 2):
        """Start with empty cells.

        Args:
            weighting: which cells a visibility counts in, and what the sums are for.
            shape: (ny, nx) of the image.
            cell: pixel size, radian; a uv cell is one over the field of view.
            parallel_hands: how many correlations a sample is made of. CASA counts the mean of their weights, and per
                channel the sum, which scales uniform weights as a whole and sets what `noise` of 'briggsabs' means.
        """
        self.weighting = weighting
        self.grid = np.zeros(weighting.grid_shape(shape))
        self._uv_cells = cell * np.array(self.grid.shape) * (1, -1)  # a wavelength in cells; x runs against u
        self._offset = 0.5 if weighting.per_channel else 0.0
        self._unit = 1 if weighting.per_channel else parallel_hands
        self._total = 0.0
        self._squares = 0.0

    def add(self, u: ArrayLike, v: ArrayLike, weight: ArrayLike) -> None:
        """Count a block of visibilities.

        Args:
            u: wavelengths; with `v` and `weight` of any shapes that broadcast together.
            v: wavelengths.
            weight: natural weights, Jy^-2; 0 where flagged.
        """
        total, squares = _count(self.grid, *_flat(u, v, weight), *self._uv_cells, self._offset, self.weighting.box)
        self._total += total
        self._squares += squares

    def __iadd__(self, other: WeightDensity) -> Self:
        """Add what another pass has counted over other visibilities."""
        self.grid += other.grid
        self._total += other._total
        self._squares = float(np.vdot(self.grid, self.grid))
        self._unit = max(self._unit, other._unit)
        return self

    def __add__(self, other: WeightDensity) -> WeightDensity:
        total = copy(self)
        total.grid = self.grid.copy()
        total += other
        return total

    @property
    def nbytes(self) -> int:
        """Bytes of the uv cells."""
        return int(self.grid.nbytes)

    def divide(self, u: ArrayLike, v: ArrayLike, weight: ArrayLike) -> NDArray[np.float64]:
        r"""$w / (D f^2 + d^2)$ with the density D of each visibility's cell; 0 where nothing was counted.

        Uniform weights have $f = 1, d = 0$. Briggs' have $d = 1$ and $f^2 = (5 \cdot 10^{-R})^2 \sum D / \sum D^2$,
        first over visibilities and then over cells; with absolute noise $f = R$ and $d^2 = 2 \sigma^2$. 'briggsbwtaper'
        has $D / s$ in place of D with $s$ of `_smeared_cells`.

        Args:
            u: wavelengths; with `v` and `weight` of any shapes that broadcast together.
            v: wavelengths.
            weight: natural weights, Jy^-2; 0 where flagged.
        """
        u, v, weight = np.broadcast_arrays(u, v, weight)
        factor, constant = self._coefficients()
        bandwidth = self.weighting.bandwidth or 0.0 if self.weighting.scheme == "briggsbwtaper" else 0.0
        divided = _divide(self.grid, *_flat(u, v, weight), *self._uv_cells, self._offset, factor, constant, bandwidth)
        return divided.reshape(weight.shape)

    def _coefficients(self) -> tuple[float, float]:
        """f^2 and d^2, for D as counted here."""
        weighting = self.weighting
        if weighting.scheme in ("briggs", "briggsbwtaper"):
            return 25 * 10 ** (-2 * weighting.robust) * (self._total / self._squares if self._squares else 0.0), 1.0
        if weighting.scheme == "briggsabs":
            return weighting.robust**2 / self._unit, 2 * weighting.noise**2
        return 1 / self._unit, 0.0


@dataclass(frozen=True)
class Densities:
    """The densities of groups of pointings; those of several parts of the data add.

    Attributes:
        by_key: of each group and channel; of all channels together the channel is 0.
    """

    by_key: Mapping[tuple[int, int], WeightDensity]

    def __add__(self, other: Densities) -> Densities:
        both = self.by_key.keys() & other.by_key.keys()
        return Densities({**self.by_key, **other.by_key, **{key: self.by_key[key] + other.by_key[key] for key in both}})

    @property
    def nbytes(self) -> int:
        """Bytes of all uv cells."""
        return sum(each.nbytes for each in self.by_key.values())


def imaging_weights(u: ArrayLike, v: ArrayLike, weight: ArrayLike, density: WeightDensity) -> NDArray[np.float64]:
    """The weights that the visibilities are imaged with; their sum is tclean's `.sumwt`.

    Args:
        u: wavelengths; with `v` and `weight` of any shapes that broadcast together.
        v: wavelengths.
        weight: natural weights, Jy^-2; 0 where flagged.
        density: of all visibilities of the image (natural and radial weights do not look at it).

    Returns:
        in the shape of the arguments; Jy^-2 with natural, radial and Briggs weights, else a number.
    """
    weighting = density.weighting
    if weighting.needs_density:
        weights = density.divide(u, v, weight)
    elif weighting.scheme == "radial":
        weights = np.hypot(u, v) * np.asarray(weight)
    else:
        weights = np.array(np.broadcast_arrays(u, v, weight)[2], float)
    return weights if weighting.taper is None else weights * weighting.taper(u, v)


def _flat(*arrays: ArrayLike) -> list[NDArray[np.float64]]:
    return [np.ravel(array).astype(float, copy=False) for array in np.broadcast_arrays(*arrays)]


@compiled_as_written
def _cell(wavelengths: float, cells: float, count: int, offset: float) -> int:
    """The index of the uv cell along an axis of `count` cells, whose middle one holds 0."""
    return int(np.floor(wavelengths * cells + count // 2 + offset))


@compiled_as_written
def _smeared_cells(x: float, y: float, bandwidth: float) -> float:
    """Over how many uv cells a visibility smears that is x and y cells from the origin; 1 near it, as tclean has it."""
    cells = bandwidth * np.sqrt(x * x + y * y)
    return cells + 0.5 if cells >= 1 else (4 - cells) / (4 - 2 * cells)


@compiled_as_written
def _count(
    grid: NDArray,
    u: NDArray,
    v: NDArray,
    weight: NDArray,
    v_cells: float,
    u_cells: float,
    offset: float,
    box: int,
) -> tuple[float, float]:
    """Add weights to the grid. Returns by how much its sum and its sum of squares have grown."""
    ny, nx = grid.shape
    total = squares = 0.0
    for i in range(u.size):
        if weight[i] == 0:
            continue
        for sign in (1, -1):
            x = _cell(sign * u[i], u_cells, nx, offset)
            y = _cell(sign * v[i], v_cells, ny, offset)
            if not (box < x < nx - box and box < y < ny - box):
                continue
            for row in range(y - box, y + box + 1):
                for column in range(x - box, x + box + 1):
                    total += weight[i]
                    squares += weight[i] * (2 * grid[row, column] + weight[i])
                    grid[row, column] += weight[i]
    return total, squares


@compiled_as_written
def _divide(
    grid: NDArray,
    u: NDArray,
    v: NDArray,
    weight: NDArray,
    v_cells: float,
    u_cells: float,
    offset: float,
    factor: float,
    constant: float,
    bandwidth: float,
) -> NDArray:
    """weight / (density / smeared cells * factor + constant); 0 outside the grid and in empty cells."""
    ny, nx = grid.shape
    divided = np.zeros(u.size)
    for i in range(u.size):
        if weight[i] == 0:
            continue
        x = _cell(u[i], u_cells, nx, offset)
        y = _cell(v[i], v_cells, ny, offset)
        if 0 < x < nx and 0 < y < ny and grid[y, x] > 0:
            smeared = _smeared_cells(u[i] * u_cells, v[i] * v_cells, bandwidth)
            divided[i] = weight[i] / (grid[y, x] / smeared * factor + constant)
    return divided
