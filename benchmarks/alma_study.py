"""The simulation of ESO's study of imaging beyond CLEAN for ALMA: five Gaussians, and the peaks that tasks find.

Configuration C-3 of Cycle 9 observes 230 GHz for half an hour; the thermal noise is that of a system equivalent flux
density of 3000 Jy and 7.5 GHz in two polarisations, 14 uJy in a beam. All models are convolved with the CLEAN beam of a
tclean image and compared with the true sky, in the same beam and behind the same primary beam; tclean is judged by its
restored image, which has that beam already. A peak is the brightest pixel within half a beam of the component's centre.

python -m benchmarks.alma_study
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.convolution import Gaussian2DKernel, convolve_fft
from astropy.io import fits
from casatasks import simobserve, tclean
from numpy.typing import NDArray

from benchmarks.measure import print_table, timed
from benchmarks.skies import MULTISCALE_CLEAN
from casa_ml_tasks import resolveimage
from casa_ml_tasks.data.casa_image import Beam, read_beam, read_cell, read_image
from casa_ml_tasks.simulation import with_table

IMSIZE, CELL = 512, 0.1  # arcsec
FREQUENCY, BANDWIDTH = 230e9, 7.5e9  # Hz
ARRAY = "alma.cycle9.3.cfg"
OBSERVED, INTEGRATION = 1800.0, 30.0  # s
SEFD = 3000.0  # Jy, of one antenna
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "natural": {"weighting": "natural"},
    "briggs 0.5": {"weighting": "briggs", "robust": 0.5},
}


@dataclass(frozen=True)
class Component:
    """A circular Gaussian.

    Attributes:
        flux: Jy.
        width: full, at half maximum, arcsec.
        east, north: of the phase centre, arcsec.
    """

    flux: float
    width: float
    east: float
    north: float

    def image(self) -> NDArray[np.float64]:
        """(ny, nx), Jy/pixel."""
        y, x = np.mgrid[:IMSIZE, :IMSIZE] - IMSIZE // 2
        distance = np.hypot(-CELL * x - self.east, CELL * y - self.north)
        profile = np.exp(-4 * np.log(2) * (distance / self.width) ** 2)
        return self.flux * profile / profile.sum()


COMPONENTS = (
    Component(flux=0.050, width=0.3, east=0.5, north=6.5),
    Component(flux=0.040, width=0.8, east=-6.0, north=2.5),
    Component(flux=0.060, width=1.5, east=5.5, north=1.0),
    Component(flux=0.060, width=3.0, east=-4.5, north=-6.0),
    Component(flux=0.080, width=5.0, east=5.5, north=-7.0),
)


def true_sky() -> NDArray[np.float64]:
    """All components, (ny, nx), Jy/pixel."""
    return np.sum([each.image() for each in COMPONENTS], axis=0)


def observe(folder: Path, seed: int) -> Path:
    """Simulate the observation of all components; WEIGHT and SIGMA state the noise. Returns the Measurement Set."""
    sky = folder / "sky.fits"
    fits.writeto(sky, true_sky()[None, None].astype("f4"), header())
    with contextlib.chdir(folder):
        simobserve(
            project="study",
            skymodel=str(sky),
            obsmode="int",
            antennalist=ARRAY,
            totaltime=f"{OBSERVED}s",
            integration=f"{INTEGRATION}s",
            mapsize="1arcsec",
            thermalnoise="",
            graphics="none",
        )
    (vis,) = folder.glob("study/*.ms")
    sigma = SEFD / np.sqrt(2 * BANDWIDTH * INTEGRATION)  # Jy, of the real and of the imaginary part
    generator = np.random.default_rng(seed)

    def add_noise(main: Any) -> None:
        data = main.getcol("DATA")
        main.putcol("DATA", data + sigma * (generator.normal(size=data.shape) + 1j * generator.normal(size=data.shape)))
        for column, value in (("SIGMA", sigma), ("WEIGHT", sigma**-2)):
            main.putcol(column, np.full((data.shape[0], data.shape[2]), value))

    with_table(vis, add_noise)
    return vis


def header() -> fits.Header:
    """Of the true sky."""
    found = fits.Header()
    axes = (
        ("RA---SIN", IMSIZE // 2 + 1, 246.0, -CELL / 3600, "deg"),
        ("DEC--SIN", IMSIZE // 2 + 1, -24.0, CELL / 3600, "deg"),
        ("STOKES", 1, 1, 1, ""),
        ("FREQ", 1, FREQUENCY, BANDWIDTH, "Hz"),
    )
    for number, axis in enumerate(axes, 1):
        for keyword, value in zip(("CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT"), axis, strict=True):
            found[f"{keyword}{number}"] = value
    found.update(BUNIT="Jy/pixel", RADESYS="ICRS", EQUINOX=2000.0)
    return found


def convolved(model: NDArray[np.floating], beam: Beam, cell: float) -> NDArray[np.float64]:
    """model: (ny, nx), Jy/pixel. Returns Jy/beam."""
    widths = (width / cell / np.sqrt(8 * np.log(2)) for width in (beam.minor, beam.major))
    kernel = Gaussian2DKernel(*widths, theta=np.radians(beam.angle), x_size=8 * round(beam.major / cell) + 1)
    return beam.area(cell) * convolve_fft(model, kernel, boundary="fill")


def peak(image: NDArray[np.floating], component: Component, beam: Beam, cell: float) -> float:
    """Within half a beam of the component, Jy/beam."""
    y, x = np.mgrid[:IMSIZE, :IMSIZE] - IMSIZE // 2
    distance = np.hypot(-cell * x - component.east, cell * y - component.north)
    return float(image[distance < max(beam.major / 2, cell)].max())


def rows(clean: Path, ours: Path) -> Iterator[list[str]]:
    """Of all components, in the beam of one tclean image."""
    beam, cell = read_beam(f"{clean}.image"), read_cell(f"{clean}.image")
    assert beam is not None, "a restored image has one"
    primary_beam = read_image(f"{clean}.pb")[0, 0]
    sky = true_sky() * primary_beam
    images = {
        "truth": convolved(sky, beam, cell),
        "tclean": read_image(f"{clean}.image")[0, 0],
        "resolveimage": convolved(read_image(f"{ours}.model")[0, 0], beam, cell),
    }
    for component in COMPONENTS:
        truth, theirs, found = (peak(image, component, beam, cell) for image in images.values())
        errors = [value / truth - 1 for value in (theirs, found)]
        nearer = "resolveimage" if abs(errors[1]) < abs(errors[0]) else "tclean"
        peaks = [f"{1e3 * value:.3f}" for value in (truth, theirs, found)]
        yield [f'{component.width:g}"', *peaks, *(f"{100 * error:+.2f}" for error in errors), nearer]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        vis = observe(work, options.seed)
        shared = {"vis": str(vis), "imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data"}
        ours = work / "resolve"
        report, seconds = timed(resolveimage, imagename=str(ours), **shared)
        posterior = report["posterior"]
        truth = float((true_sky() * read_image(f"{ours}.pb")[0, 0]).sum())
        flux = f"{posterior['flux'][0][0]:.4f} ± {posterior['flux_uncertainty'][0][0]:.4f} Jy, true {truth:.4f} Jy"
        print(
            f"resolveimage: {seconds:.0f} s, {len(posterior['iterations'])} global iterations, converged "
            f"{posterior['converged']}, noise scale {report['noise_scale']:.3f}, flux of the apparent sky {flux}\n"
        )
        for name, weighting in WEIGHTINGS.items():
            clean = work / name.replace(" ", "_").replace(".", "_")
            _, seconds = timed(tclean, imagename=str(clean), **shared, **{**MULTISCALE_CLEAN, **weighting})
            beam = read_beam(f"{clean}.image")
            assert beam is not None, "a restored image has one"
            size = f'{beam.major:.2f}" x {beam.minor:.2f}"'
            print(f"tclean, {name}: beam {size}, {seconds:.0f} s\n")
            names = ("truth", "tclean", "resolveimage")
            columns = (
                "width",
                *(f"{each} [mJy/beam]" for each in names),
                *(f"error of {each} [%]" for each in names[1:]),
            )
            print_table((*columns, "nearer"), rows(clean, ours))
            print()


if __name__ == "__main__":
    main()
