r"""Oversampled convolution functions for (de)gridding with direction-dependent terms.

A convolution function is the Fourier transform of a product over the image's field:

- PS: a prolate spheroidal function, which keeps aliases out of the image,
- A, if switched on: the product of two antennas' voltage patterns (Bhatnagar et al. 2008, A&A 487, 419; 2013,
  ApJ 770, 91),
- W, if switched on: $\exp(2\pi i w (n - 1))$ (Cornwell, Golap & Bhatnagar 2008, IEEE JSTSP 2, 647).

| terms | algorithm |
| --- | --- |
| PS | standard |
| PS, W | W-projection |
| PS, A | A-projection |
| PS, A, W | AW-projection |
"""

import hashlib
import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, next_fast_len
from scipy.special import pro_ang1

from casa_ml_tasks.kernels.primary_beams import VoltagePattern

logger = logging.getLogger(__name__)

PADDING = 2.0
"""Grid size over image size."""

_ALGORITHMS = {
    (False, False): "standard",
    (False, True): "W-projection",
    (True, False): "A-projection",
    (True, True): "AW-projection",
}


class AntennaPair(NamedTuple):
    """The antennas of a baseline: indices into `ConvolutionFunctions.beams`, and where each points."""

    first: int = 0
    second: int = 0
    first_pointing: tuple[float, float] = (0.0, 0.0)
    """(l, m) from the image's centre, direction cosines."""
    second_pointing: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class ConvolutionFunctions:
    """The convolution functions of one image at one frequency, made when asked for and kept.

    A table holds the function of one pair of antennas and one w plane, and is exact for that pair's voltage patterns
    where they point, however far apart. Tables stay in memory up to `memory_limit`, and in `cache_directory` for good.

    Raises:
        ValueError: a parameter is out of its range, or the padded image reaches the horizon.
    """

    shape: tuple[int, int]
    """(ny, nx) of the image."""
    cell: float
    """Pixel size, radians."""
    beams: tuple[VoltagePattern, ...] = ()
    """One a type of antenna; without any, no A term."""
    frequency: float = 0.0
    """Where the beams are taken, Hz."""
    w_term: bool = False
    tolerance: float = 1e-3
    """Wanted relative l2 error of visibilities; sets support, oversampling and the distance of the w planes."""
    cache_directory: Path | None = None
    memory_limit: int = 2**30
    """Bytes."""
    _tables: dict[tuple[AntennaPair, int], NDArray[np.complex128]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"shape={self.shape} is no image; give (ny, nx), both at least 1")
        if not 0 < self.cell < np.inf:
            raise ValueError(f"cell={self.cell} must be a positive number of radians")
        if not 1e-5 <= self.tolerance <= 0.1:
            raise ValueError(f"tolerance={self.tolerance} is outside 1e-5 to 0.1; smaller ones make huge tables")
        if self.beams and not 0 < self.frequency < np.inf:
            raise ValueError(f"frequency={self.frequency} must be positive, in Hz, where beams are given")
        if self.w_term and np.hypot(*self.field_of_view) >= 2:
            raise ValueError(
                f"cell={self.cell} times shape={self.shape}, padded, reaches the horizon; make the image smaller"
            )

    @property
    def algorithm(self) -> str:
        """The field's name for the terms that are on."""
        return _ALGORITHMS[bool(self.beams), self.w_term]

    @property
    def grid_shape(self) -> tuple[int, int]:
        """(ny, nx) of the padded uv grid, both even."""
        ny, nx = (2 * next_fast_len(int(np.ceil(PADDING * n / 2))) for n in self.shape)
        return ny, nx

    @property
    def field_of_view(self) -> tuple[float, float]:
        """(y, x) extent of the padded image, radians: the inverse of the uv cell."""
        ny, nx = self.grid_shape
        return ny * self.cell, nx * self.cell

    @property
    def oversampling(self) -> int:
        """Table entries a uv cell, between which gridding interpolates linearly.

        The tables are corrected for the interpolation's own response, sinc^2; what is left is 0.13 / oversampling^2.
        """
        return int(np.ceil(np.sqrt(0.2 / self.tolerance)))

    @property
    def w_centre(self) -> float:
        """Middle of 1 - n over the image; w planes hold exp(2 pi i w (n - 1 + w_centre)), which varies half as fast."""
        square = sum((n / 2 * self.cell) ** 2 for n in self.shape)
        return square / (1 + np.sqrt(1 - square)) / 2 if self.w_term else 0.0

    @property
    def w_step(self) -> float:
        """Wavelengths from one w plane to the next; gridding interpolates linearly between them."""
        return np.sqrt(8 * self.tolerance / 3) / (2 * np.pi * self.w_centre) if self.w_term else np.inf

    def taper(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the PS term along y and along x of the image, by which the image is divided before (after) the FFT."""
        y, x = (
            self._spheroidal((np.arange(n) - n // 2) / size)
            for n, size in zip(self.shape, self.grid_shape, strict=True)
        )
        return y, x

    def table(self, pair: AntennaPair, plane: int = 0) -> NDArray[np.complex128]:
        """Return the convolution function c of a pair of antennas at w = `plane` times `w_step`.

        Returns:
            (oversampling + 1, oversampling + 1, taps, taps): entry [p, q, j, i] is c at the distance
            (p / oversampling + taps/2 - 1 - j) along v and likewise with q, i along u, in uv cells; taps are even.
        """
        key = pair, plane
        if key not in self._tables:
            table = self._from_disk(pair, plane)
            held = sum(entry.nbytes for entry in self._tables.values())
            while self._tables and held + table.nbytes > self.memory_limit:
                held -= self._tables.pop(next(iter(self._tables))).nbytes
            self._tables[key] = table
        return self._tables[key]

    def _spheroidal(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the prolate spheroidal function at x in fields of view, its transform confined to `width` uv cells."""
        width = 4 - np.log10(self.tolerance)
        inside = np.abs(x) < 0.5
        values = pro_ang1(0, 0, np.pi * width / 2, np.where(inside, 2 * x, 0.0))[0]
        return np.where(inside, values / pro_ang1(0, 0, np.pi * width / 2, 0.0)[0], 0.0)

    def _image_plane(self, pair: AntennaPair, plane: int, samples: int) -> NDArray[np.complex128]:
        """Return the product of the terms over the field of view, (samples, samples)."""
        x = np.arange(samples) / samples - 0.5
        taper = self._spheroidal(x)
        product = np.multiply.outer(taper, taper).astype(complex)
        north, east = x[:, None] * self.field_of_view[0], -x * self.field_of_view[1]
        if self.beams:
            for antenna, (l0, m0) in ((pair.first, pair.first_pointing), (pair.second, pair.second_pointing)):
                product *= self.beams[antenna].voltage(np.hypot(east - l0, north - m0), self.frequency)
        if self.w_term:
            n = np.sqrt(1 - east**2 - north**2)
            product *= np.exp(2j * np.pi * plane * self.w_step * (n - 1 + self.w_centre))
        return product

    def _sampled(self, pair: AntennaPair, plane: int) -> tuple[NDArray[np.complex128], int]:
        """Return the image plane, finely enough sampled, and the number of its taps.

        The taps hold all but tolerance / 3 of its transform.
        """
        largest = min(self.grid_shape)
        samples = 32
        while True:
            product = self._image_plane(pair, plane, samples)
            energy = np.abs(fft2(product)) ** 2
            lag = np.abs(np.fft.fftfreq(samples, 1 / samples)).astype(int)
            shells = np.bincount(np.maximum.outer(lag, lag).ravel(), energy.ravel())
            beyond = shells.sum() - np.cumsum(shells)
            radius = int(np.argmax(beyond <= (self.tolerance / 3) ** 2 * shells.sum())) + 1
            if radius <= samples // 4 or samples >= 2 * largest:
                return product, min(2 * radius, largest)
            samples *= 2

    def _build(self, pair: AntennaPair, plane: int) -> NDArray[np.complex128]:
        product, taps = self._sampled(pair, plane)
        samples = len(product)
        x = np.arange(samples) / samples - 0.5
        product /= np.multiply.outer(*2 * [np.sinc(x / self.oversampling) ** 2])
        phases = np.arange(self.oversampling + 1)[:, None] / self.oversampling
        distances = (phases + taps / 2 - 1 - np.arange(taps)).ravel()
        fourier = np.exp(2j * np.pi * np.multiply.outer(distances, x)) / samples
        table = (fourier @ product @ fourier.T).reshape(2 * (len(phases), taps))
        return np.ascontiguousarray(table.transpose(0, 2, 1, 3))

    def _from_disk(self, pair: AntennaPair, plane: int) -> NDArray[np.complex128]:
        """Return the table from `cache_directory`, where it is built and left if there is none."""
        if self.cache_directory is None:
            return self._build(pair, plane)
        identity = repr(
            (
                "convolution function 1",
                self.grid_shape,
                tuple(map(int, self.shape)) if self.w_term else None,
                float(self.cell),
                [self.beams[pair.first], self.beams[pair.second]] if self.beams else [],
                float(self.frequency),
                self.w_term,
                float(self.tolerance),
                pair[2:],
                plane,
            )
        )
        path = Path(self.cache_directory) / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"
        if path.exists():
            try:
                return _load(path, identity, self.oversampling)
            except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning(
                    "%s is not the convolution function that it should be and is made anew (%s)", path, error
                )
        table = self._build(pair, plane)
        try:
            _save(path, identity, table)
        except OSError as error:
            logger.warning("cache_directory=%s keeps no convolution functions (%s)", self.cache_directory, error)
        return table


def _load(path: Path, identity: str, oversampling: int) -> NDArray[np.complex128]:
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["identity"]) != identity:
            raise ValueError("it belongs to other parameters")
        table = stored["table"]
    if table.dtype != np.complex128 or table.ndim != 4 or table.shape[:2] != 2 * (oversampling + 1,):
        raise ValueError(f"its table is {table.dtype}{list(table.shape)}")
    if not np.isfinite(table).all():
        raise ValueError("its table is not finite")
    return table


def _save(path: Path, identity: str, table: NDArray[np.complex128]) -> None:
    """Write a file so that a killed process leaves either the whole file or none under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            np.savez(part, table=table, identity=identity)
            part.close()
            os.replace(part.name, path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
