"""Command line: python -m casa_ml_tasks.simulation FOLDER --seed 1 --count 10 --pixels 256 --channels 128."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from casa_ml_tasks.simulation.cube_files import write_cube
from casa_ml_tasks.simulation.cube_sources import CubeSources
from casa_ml_tasks.simulation.cube_visibilities import observe_cube
from casa_ml_tasks.simulation.cubes import simulate_cube


def main() -> None:
    """Write cubes with their PSFs and truths."""
    parser = argparse.ArgumentParser(prog="python -m casa_ml_tasks.simulation", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="of the products cubeSEED.image, .psf, .sky, .truth.ecsv, .truth.fits"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first cube; the next has the next seed")
    parser.add_argument("--count", type=int, default=1, help="of cubes")
    parser.add_argument("--pixels", type=int, default=256, help="of the field in each direction")
    parser.add_argument("--channels", type=int, default=128, help="of a cube; one makes it an image")
    parser.add_argument("--empty", action="store_true", help="cubes of noise alone")
    parser.add_argument("--visibilities", action="store_true", help="also the Measurement Sets cubeSEED.ms")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    sources = CubeSources.none() if given.empty else None
    for seed in tqdm(range(given.seed, given.seed + given.count), unit="cube", disable=None):
        cube = simulate_cube(seed, pixels=given.pixels, channels=given.channels, sources=sources)
        write_cube(given.folder / f"cube{seed}", cube)
        if given.visibilities:
            observe_cube(given.folder / f"cube{seed}.ms", cube)


if __name__ == "__main__":
    main()
