"""Spectral indices by rmlclean and by tclean, both with deconvolver='mtmfs', against a known sky.

The error is the r.m.s. difference from the index of the true sky, convolved with the same CLEAN beam, where that sky is
so many times brighter than the noise. Both tasks' `.alpha` is CASA's, from the restored Taylor terms; the last row is
of the model of rmlclean alone, convolved with the CLEAN beam.

python -m benchmarks.taylor
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.convolution import Gaussian2DKernel, convolve_fft
from casatasks import tclean
from numpy.typing import NDArray

from benchmarks.measure import print_table, timed
from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_beam, read_cell, read_image, read_images, read_valid
from casa_ml_tasks.simulation import Source, restored_terms, simulate

SKY = (
    Source(flux=0.6, east=-0.5, north=0.5, size=0.5, index=2.0),
    Source(flux=0.3, east=0.9, north=0.8, size=0.35, index=-0.7),
    Source(flux=0.05, east=-0.2, north=-1.0, size=0.3, index=0.0),
    Source(flux=0.02, east=1.0, north=-1.5, index=-1.0),
    Source(flux=0.01, east=-1.5, north=-1.6, index=1.0),
)
BRIGHTNESS = (10, 30, 100, np.inf)  # over the noise
CLEAN = {"scales": [0, 5, 15], "niter": 100000, "nsigma": 3.0, "nmajor": 12}


def index_of_model(imagename: str) -> NDArray[np.float64]:
    """Of the model convolved with the CLEAN beam, (ny, nx)."""
    beam, cell = read_beam(f"{imagename}.psf.tt0"), read_cell(f"{imagename}.psf.tt0")
    assert beam is not None
    widths = (width / cell / np.sqrt(8 * np.log(2)) for width in (beam.minor, beam.major))
    kernel = Gaussian2DKernel(*widths, theta=np.radians(beam.angle))  # the major axis along y, turned to the East: -x
    terms = read_images(f"{imagename}.model.tt{term}" for term in range(2))[:, 0]
    first, second = (convolve_fft(term, kernel, normalize_kernel=False) for term in terms)
    return second / first


def errors(index: NDArray[np.floating], truth: NDArray[np.floating], noise: float) -> list[str]:
    """R.m.s. in every range of brightness; truth: (2, ny, nx), Jy/beam."""
    difference, brightness = index - truth[1] / truth[0], truth[0] / noise
    ranges = pairwise(BRIGHTNESS)
    chosen = (difference[(brightness > least) & (brightness <= most)] for least, most in ranges)
    return [f"{np.sqrt(np.nanmean(some**2)):.3f}" for some in chosen]


def compare(vis: Path, imaging: dict[str, Any], folder: Path) -> Iterator[list[str]]:
    """A row for every task: seconds and errors."""
    for name, task, options in (("tclean", tclean, CLEAN), ("rmlclean", rmlclean, {})):
        imagename = str(folder / name)
        _, seconds = timed(task, vis=str(vis), imagename=imagename, **imaging, **options)
        truth = restored_terms(imagename, SKY)
        noise = 1 / np.sqrt(read_image(f"{imagename}.sumwt.tt0").item())
        yield [f"`.alpha` of {name}", f"{seconds:.0f}", *errors(read_valid(f"{imagename}.alpha")[0, 0], truth, noise)]
    yield ["model of rmlclean", "", *errors(index_of_model(imagename), truth, noise)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--terms", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vis = Path(folder) / "wide.ms"
        simulate(vis, sources=SKY, antennas=20, channels=6, channel_width=16e9, integrations=20, sigma=0.03)
        imaging = {"imsize": options.size, "cell": "0.06arcsec", "datacolumn": "data"}
        imaging |= {"deconvolver": "mtmfs", "nterms": options.terms}
        print(f"{options.terms} Taylor terms, 230 to 310 GHz, {options.size}^2 pixels.\n")
        columns = ("spectral index", "[s]", "10 to 30 sigma", "30 to 100 sigma", "above 100 sigma")
        print_table(columns, compare(vis, imaging, Path(folder)))


if __name__ == "__main__":
    main()
