"""Dirty images on disk, as tclean leaves them with niter=0: the pixels, the PSF on twice the field, and the beam."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from casatools import coordsys
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import Beam, opened, read_beams
from casa_ml_tasks.data.image_axes import ImageAxes, read_axes

UNITS = ("", "Jy/beam")  # of dirty images; tclean's .residual of niter=0 names none
PEAK = (0.9, 1.1)  # of a PSF
CUT = 0.01  # share of pixels that are exactly zero, above which an image has been cut
#: Order of axes inside, of the kinds that casacore names.
DIRECTIONS = ["Direction", "Direction"]


@dataclass(frozen=True)
class DirtyImages:
    """A dirty cube and what belongs to it.

    Attributes:
        path, psf_path: of the dirty image and of its PSF.
        dirty: (channel, ny, nx), Jy/beam; zero where a channel is blank.
        blank: whether a channel has no data, (channel,).
        psf: (channel or 1, 2 ny, 2 nx), with its peak in the pixel (ny, nx).
        axes: of the image.
        beam: of the middle channel that has data.
        response: of the primary beam, (ny, nx); None where there is no image of it.
        known: share of the PSF's pixels on twice the field that its image holds.
    """

    path: Path
    psf_path: Path
    dirty: NDArray[np.float32]
    blank: NDArray[np.bool_]
    psf: NDArray[np.float32]
    axes: ImageAxes
    beam: Beam
    response: NDArray[np.float32] | None
    known: float

    @property
    def digest(self) -> int:
        """Of the pixels of image and PSF."""
        return crc32(self.psf.tobytes(), crc32(self.dirty.tobytes()))


def sibling(dirtyimage: str, extension: str) -> str:
    """Return the name of a product beside a dirty image: my.psf for my.residual, my.psf.fits for my.residual.fits."""
    name = Path(dirtyimage.rstrip("/"))
    ending = ".fits" if name.suffix == ".fits" else ""
    stem = name.with_suffix("") if ending else name
    return str(stem.with_suffix(f".{extension}")) + ending


def read_dirty_images(dirtyimage: str, psfimage: str) -> DirtyImages:
    """Read a dirty image, CASA or FITS, with its PSF.

    Args:
        dirtyimage: its path.
        psfimage: path of its PSF; '' is the sibling of the dirty image.

    Raises:
        ValueError: one of them is not what it should be.
    """
    named = f"dirtyimage='{dirtyimage}'"
    pixels = _pixels(dirtyimage, named, UNITS)
    axes = read_axes(dirtyimage)
    width, height = np.abs(axes.celestial.wcs.cdelt)
    if not np.isclose(width, height, rtol=1e-3):
        raise ValueError(f"{named} has oblong pixels; make it with one cell")
    blank = ~np.any(np.nan_to_num(pixels) != 0, axis=(1, 2))
    if blank.all():
        raise ValueError(f"{named} has no channel with data; all are blank")
    _check_pixels(pixels[~blank], named)
    psf_path = psfimage or sibling(dirtyimage, "psf")
    psf, known = _psf(psf_path, f"psfimage='{psfimage}'" if psfimage else named, axes, pixels.shape, blank)
    beam = _beam(psf_path, dirtyimage, named, blank)
    return DirtyImages(
        path=Path(dirtyimage),
        psf_path=Path(psf_path),
        dirty=np.where(blank[:, None, None], np.float32(0), pixels),
        blank=blank,
        psf=psf,
        axes=axes,
        beam=beam,
        response=_response(sibling(dirtyimage, "pb"), pixels.shape, blank),
        known=known,
    )


def _pixels(path: str, named: str, unit: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the pixels of an image of one Stokes plane, (channel, y, x), those below its mask included.

    Args:
        path: of the image.
        named: parameter and value, for sentences.
        unit: of its brightness, those that are allowed.
    """
    if not Path(path).exists():
        raise ValueError(f"{named}: '{path}' does not exist; give a CASA image or a FITS file, as tclean leaves it")
    try:
        with opened(path) as tool:
            kinds, found, stokes = _kinds(tool.coordsys()), str(tool.brightnessunit()), tool.coordsys().stokes()
            shape, pixels = list(tool.shape()), None
            if sorted(kinds) == ["Direction", "Direction", "Spectral", "Stokes"] and kinds[:2] == DIRECTIONS:
                pixels = np.asarray(tool.getchunk(), np.float32)
    except RuntimeError as error:
        raise ValueError(f"{named}: '{path}' is no image that CASA opens; give a CASA image or a FITS file") from error
    if pixels is None:
        raise ValueError(
            f"{named}: '{path}' has the axes {', '.join(kinds)}, not two of direction, and then Stokes and frequency; "
            "use imtrans, or importfits with defaultaxes=True"
        )
    if shape[kinds.index("Stokes")] != 1 or stokes != ["I"]:
        raise ValueError(f"{named}: '{path}' has the Stokes planes {', '.join(stokes)}; cut out I with imsubimage")
    if found not in unit:
        raise ValueError(f"{named}: '{path}' is in {found}, not in Jy/beam; give a dirty image, such as .residual")
    return np.ascontiguousarray(np.moveaxis(pixels, kinds.index("Stokes"), -1)[..., 0].T)


def _kinds(coordinates: coordsys) -> list[str]:
    return [str(kind) for kind in coordinates.axiscoordinatetypes()]


def _check_pixels(pixels: NDArray[np.float32], named: str) -> None:
    """Check the channels that have data: (channel, y, x)."""
    if not np.isfinite(pixels).all():
        raise ValueError(
            f"{named} has pixels that are not numbers; masked pixels of a CASA image are read, but exportfits has made "
            "them NaN: give the CASA image, or make it with pblimit=-0.2"
        )
    cut = float(np.mean(pixels == 0))
    if cut > CUT:
        raise ValueError(
            f"{named} is exactly zero in {100 * cut:.0f} % of its pixels, as mosaics are where there is no data; "
            "sources are found in images of one pointing, made with pblimit=-0.2"
        )


def _psf(
    path: str, named: str, axes: ImageAxes, shape: tuple[int, ...], blank: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float]:
    """Return the PSF on twice the field, zero where its image does not reach, and how much of it that image holds."""
    if not Path(path).exists():
        raise ValueError(f"{named} needs the PSF '{path}', which does not exist; name it with psfimage")
    pixels, own = _pixels(path, f"{named}, PSF", UNITS), read_axes(path)
    cells = np.abs(axes.celestial.wcs.cdelt[:2]), np.abs(own.celestial.wcs.cdelt[:2])
    if not np.allclose(*cells, rtol=1e-4):
        raise ValueError(
            f"{named}: the PSF '{path}' has pixels of {3600 * cells[1][0]:.4g}arcsec, the image of "
            f"{3600 * cells[0][0]:.4g}arcsec; make both with one cell"
        )
    channels, ny, nx = shape
    if len(pixels) not in (1, channels):
        raise ValueError(f"{named}: the PSF '{path}' has {len(pixels)} channels, the image {channels}; make both alike")
    height, width = pixels.shape[1:]
    if height < ny or width < nx:
        raise ValueError(
            f"{named}: the PSF '{path}' has {width} x {height} pixels, fewer than the image with {nx} x {ny}; give one "
            "of the same size or twice it"
        )
    used = pixels if len(pixels) == 1 else pixels[~blank]
    peaks = used[:, height // 2, width // 2]
    if not (np.isfinite(used).all() and np.all((peaks > PEAK[0]) & (peaks < PEAK[1]))):
        raise ValueError(f"{named}: '{path}' is no PSF, for its middle pixel is not 1; name the .psf with psfimage")
    doubled = _centred(np.nan_to_num(pixels), (2 * ny, 2 * nx))
    return doubled, float(min(height / (2 * ny), 1) * min(width / (2 * nx), 1))


def _centred(pixels: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return images, (channel, y, x), cut or filled with zeros to another shape; the middle pixel stays the middle.

    Lags of one sign that have no partner of the other are left out, for a PSF is symmetric.
    """
    found = np.zeros((len(pixels), *shape), np.float32)
    reach = [min((have - 1) // 2, (want - 1) // 2) for have, want in zip(pixels.shape[1:], shape, strict=True)]
    taken, given = (
        tuple(slice(size // 2 - far, size // 2 + far + 1) for size, far in zip(sizes, reach, strict=True))
        for sizes in (pixels.shape[1:], shape)
    )
    found[:, *given] = pixels[:, *taken]
    return found


def _beam(psf: str, dirty: str, named: str, blank: NDArray[np.bool_]) -> Beam:
    """Return the beam of the middle channel with data, of the PSF or of the dirty image."""
    used = np.flatnonzero(~blank)
    for path in (psf, dirty):
        beams = read_beams(path)
        found = [beam for beam in (beams if len(beams) != len(blank) else [beams[each] for each in used]) if beam]
        if found:
            return found[len(found) // 2]
    raise ValueError(
        f"{named} has no beam, nor has its PSF '{psf}'; set it with imhead, or make the images with tclean"
    )


def _response(path: str, shape: tuple[int, ...], blank: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Return the primary beam of the middle channel with data, where an image of it lies beside the dirty image."""
    if not Path(path).exists():
        return None
    pixels = np.nan_to_num(_pixels(path, f"primary beam of '{path}'", ("", "1")))
    if pixels.shape != shape:
        return None
    return pixels[np.flatnonzero(~blank)[np.sum(~blank) // 2]]
