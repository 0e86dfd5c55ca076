"""Tutorial: from a simulated ALMA cube to a catalogue of its sources and their lines.

    python tutorials/deepfocus_catalogue.py [--figure docs/images/deepfocus_catalogue.png]

A dirty cube of a few galaxies is simulated with the noise and the PSF of one of ALMA's configurations. Then its sources
are found as if the truth were not known, and laid beside it.
"""

import argparse
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from casa_ml_tasks import deepfocus
from casa_ml_tasks.simulation.cube_files import write_cube
from casa_ml_tasks.simulation.cubes import simulate_cube

SEED, PIXELS, CHANNELS = 5, 128, 32


def find(folder: Path) -> tuple[Table, Table, Table]:
    """Simulate, search, and return the catalogue's sources and lines, and the truth; products stay in the folder."""
    with chdir(folder):
        write_cube("galaxies", simulate_cube(SEED, pixels=PIXELS, channels=CHANNELS))
        result = deepfocus(dirtyimage="galaxies.image", imagename="found", truth="galaxies.truth.ecsv")
        print(f"{result['sources']} sources, {result['lines']} lines; report: {result['report']}")
        return Table.read("found.catalog.ecsv"), Table.read("found.lines.ecsv"), Table.read("galaxies.truth.ecsv")


def compare(sources: Table, lines: Table, truth: Table) -> None:
    """Print each source beside the nearest true one."""
    nearest, separation, _ = SkyCoord(sources["ra"], sources["dec"]).match_to_catalog_sky(
        SkyCoord(truth["ra"], truth["dec"])
    )
    print("id  off [arcsec]   major [arcsec]           true   S/N  lines  true lines")
    for source, true, off in zip(sources, truth[nearest], separation.arcsec, strict=True):
        print(
            f"{source['id']:2d} {off:13.3f} {source['major']:9.3f} +- {source['major_err']:.3f} {true['major']:14.3f}"
            f" {source['snr']:5.0f} {source['lines']:6d}  {true['line']}"
        )
    missed = [f"S/N {truth['snr'][each]:.1f}" for each in np.setdiff1d(np.arange(len(truth)), nearest)]
    print(f"missed: {', '.join(missed) or 'none'}")
    for line in lines:
        print(
            f"line of {line['id']}: {line['frequency'] / 1e9:.5f} GHz, {line['fwhm']:.1f} km/s, S/N {line['snr']:.0f}"
        )


def main() -> None:
    """Find the sources of a simulated cube, and compare them with the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="where to copy the report's map of found and true sources")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(*find(Path(folder)))
        if arguments.figure:
            shutil.copy(Path(folder) / "found.report" / "truth.png", arguments.figure)


if __name__ == "__main__":
    main()
