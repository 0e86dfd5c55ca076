"""resolveimage as it comes: against multi-scale CLEAN on skies of known truth, converged or not, and how fast.

The skies lie between the pixels of the images, or on them with --on-grid.

python -m benchmarks.resolve skies --seeds 1 2 3
python -m benchmarks.resolve skies --seeds 1 --on-grid
python -m benchmarks.resolve converged
python -m benchmarks.resolve speed
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.nddata import block_reduce
from casatasks import tclean
from numpy.typing import NDArray

from benchmarks.alma_study import BANDWIDTH, COMPONENTS
from benchmarks.measure import geometric_mean, print_table, timed
from benchmarks.skies import MULTISCALE_CLEAN, Sky, add_grid, add_options, chosen_skies
from casa_ml_tasks import resolveimage
from casa_ml_tasks.data.casa_image import read_beam, read_cell, read_image
from casa_ml_tasks.simulation import Source, simulate

NOISE = 3e-5  # of the images whose making is timed, Jy/beam
CELL_BY_RADIUS = 27.0  # arcsec m: a quarter of the beam of antennas within that radius
FWHM = np.sqrt(8 * np.log(2))  # of a Gaussian's standard deviation
SQUARE = 32  # pixels

SKY_COLUMNS = (
    "sky (seed)",
    "error at the beam / CLEAN's",
    "at half the beam / CLEAN's",
    "flux found",
    "within 1 sigma",
    "within 2 sigma",
    "within 1 sigma, not empty",
    "resolveimage [s]",
    "tclean [s]",
    "time ratio",
)

CHANGE_COLUMNS = (
    "sky (seed)",
    "median change of the mean [sigma]",
    "r.m.s. in the brightest 1 %",
    "r.m.s. everywhere",
    "over the larger sigma of both runs",
    "over sigma or the noise",
    f"fluxes of {SQUARE} x {SQUARE} pixels, over the larger sigma",
)

SPEED_COLUMNS = (
    "visibilities",
    "radius of the array [m]",
    "[s]",
    "global iterations",
    "error of the mean [sigma]",
    "flux found",
)


def compare(sky: Sky, work: Path) -> tuple[list[str], tuple[float, float, float]]:
    """A row of the table, and its three ratios: error at the beam, at half the beam, wall time."""
    ours, clean = work / f"{sky.name}{sky.seed}", work / f"{sky.name}{sky.seed}_clean"
    _, seconds = timed(resolveimage, imagename=str(ours), **sky.imaging)
    _, clean_seconds = timed(tclean, imagename=str(clean), **sky.imaging, **MULTISCALE_CLEAN)
    found, theirs = sky.score_of_product(ours, clean), sky.score_of_product(clean, clean)
    ratios = found.beam / theirs.beam, found.half_beam / theirs.half_beam, seconds / clean_seconds
    row = [f"{sky.name} ({sky.seed})", f"{ratios[0]:.3f}", f"{ratios[1]:.3f}", f"{found.flux:.3f}"]
    row += [f"{fraction:.2f}" for fraction in sky.covered(ours, clean)]
    return [*row, f"{seconds:.1f}", f"{clean_seconds:.1f}", f"{ratios[2]:.2f}"], ratios


def skies(options: argparse.Namespace, work: Path) -> None:
    """Errors, flux, calibration of the uncertainty and time, beside tclean's in one interleaved run."""
    ratios: list[tuple[float, float, float]] = []

    def rows() -> Iterator[list[str]]:
        for sky in chosen_skies(options):
            row, ratio = compare(sky, work)
            ratios.append(ratio)
            yield row

    print_table(SKY_COLUMNS, rows())
    beam, half_beam, seconds = (geometric_mean(column) for column in zip(*ratios, strict=True))
    print(f"\nGeometric means: {beam:.3f} at the beam, {half_beam:.3f} at half the beam, {seconds:.2f} in time.")


def beam_area(image: Path) -> float:
    """Solid angle of the beam of a restored image, pixels."""
    beam = read_beam(f"{image}.image")
    assert beam is not None, "every restored image has one"
    return float(beam.area(read_cell(f"{image}.image")))


def fluxes_in_squares(image: Path) -> NDArray[np.floating]:
    """Of the samples, (sample, ny / SQUARE, nx / SQUARE), Jy."""
    samples = np.squeeze(read_image(f"{image}.samples")).astype(float)
    return np.asarray(block_reduce(samples, (1, SQUARE, SQUARE)))


def converged(options: argparse.Namespace, work: Path) -> None:
    """The default run against a longer one, with other random numbers and four times the samples."""

    def rows() -> Iterator[list[str]]:
        for sky in chosen_skies(options):
            default, longer = work / f"{sky.name}{sky.seed}", work / f"{sky.name}{sky.seed}_longer"
            report = resolveimage(imagename=str(default), **sky.imaging)
            resolveimage(imagename=str(longer), nsamples=192, maxglobal=30, seed=1, **sky.imaging)
            mean, uncertainty = (read_image(f"{default}.{name}") for name in ("model", "uncertainty"))
            change, larger = read_image(f"{longer}.model") - mean, read_image(f"{longer}.uncertainty")
            in_sigma, bright = change / uncertainty, mean > np.percentile(mean, 99)
            noise = report["image_noise"] / beam_area(default)
            of_both, of_data = (change / np.maximum(uncertainty, each) for each in (larger, noise))
            fluxes, of_longer = fluxes_in_squares(default), fluxes_in_squares(longer)
            of_fluxes = (of_longer.mean(0) - fluxes.mean(0)) / np.maximum(fluxes.std(0), of_longer.std(0))
            parts = in_sigma[bright], in_sigma, of_both, of_data, of_fluxes
            numbers = [np.median(np.abs(in_sigma)), *(np.sqrt(np.mean(part**2)) for part in parts)]
            yield [f"{sky.name} ({sky.seed})", *(f"{number:.2f}" for number in numbers)]

    print_table(CHANGE_COLUMNS, rows())


def speed(work: Path) -> None:
    """512 x 512 pixels of five Gaussians, from 5e4 to 5e6 visibilities that give one noise.

    In the last row the antennas are twice as far apart: hardly a baseline sees the largest source.
    """
    sources = tuple(Source(each.flux, each.east, each.north, each.width / FWHM) for each in COMPONENTS)
    truth = sum(each.flux for each in sources)

    def rows() -> Iterator[list[str]]:
        arrays = (30, 2, 58, 225), (43, 8, 70, 225), (43, 64, 88, 225), (43, 64, 88, 450)
        for number, (antennas, channels, integrations, radius) in enumerate(arrays):
            visibilities = antennas * (antennas - 1) // 2 * channels * integrations
            observed = simulate(
                work / f"{number}.ms",
                antennas=antennas,
                channels=channels,
                integrations=integrations,
                sigma=NOISE * np.sqrt(2 * visibilities),
                sources=sources,
                channel_width=BANDWIDTH / channels,
                radius=radius,
            )
            result, seconds = timed(
                resolveimage,
                vis=str(observed.path),
                imagename=str(work / f"speed{number}"),
                imsize=512,
                cell=f"{CELL_BY_RADIUS / radius}arcsec",
                datacolumn="data",
            )
            posterior = result["posterior"]
            steps, mean_error = len(posterior["iterations"]), posterior["iterations"][-1]["mean_error"]
            flux, error = (posterior[name][0][0] / truth for name in ("flux", "flux_uncertainty"))
            counts = [f"{visibilities:.1e}", str(radius), f"{seconds:.0f}", str(steps), f"{mean_error:.2f}"]
            yield [*counts, f"{flux:.3f} ± {error:.3f}"]

    print_table(SPEED_COLUMNS, rows())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("skies", "converged", "speed"))
    add_options(parser)
    add_grid(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "speed":
            speed(Path(folder))
        else:
            {"skies": skies, "converged": converged}[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
