"""deepfocus on simulated cubes that training has not seen, beside its baselines.

The cubes have configurations of ALMA's cycles 8 and 12; those of training are of other cycles. Each method finds
sources in the mean of the channels; deepfocus looks at the channels of lines, too. `deepfocus_scores` says how they
are matched, one to one. Columns:

- complete: share of the true sources, by signal-to-noise ratio of their peak in the mean dirty image; centred: with a
  centre found within half a beam;
- unmatched: share of the detections that are no true source's own; spurious: that have no true centre in their box or
  within half a beam of it; published: the paper's count, detections beyond the number of true sources over detections;
- flux: share within 10 %; pull: 1.4826 times the median of |error| in units of the error bar; angle: share of position
  angles within 9 degrees.

'fit from the truth' is the ceiling. 'CLEAN peaks + fit' are peaks above 4.5 sigma of a CLEAN image, fitted as those of
the network are, with fluxes of at least four errors. The autoencoder of the paper is trained for --autoencoder-hours,
with a checkpoint in --cache, and the boxes of its islands are grown by the factor that suits them best.

python -m benchmarks.deepfocus --count 20 --channels 1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.deepfocus_autoencoder import GROWTH, autoencoder_boxes, trained_autoencoder
from benchmarks.deepfocus_baselines import ceiling, clean_peaks
from benchmarks.deepfocus_own import OwnCounts
from benchmarks.deepfocus_scores import Detections, Scores, Truth, boxes_of
from benchmarks.deepfocus_tables import (
    CALIBRATION,
    CHARACTER,
    DETECTION,
    LINES,
    calibration_rows,
    character_rows,
    detection_rows,
    line_row,
)
from benchmarks.measure import print_table
from casa_ml_tasks.networks.trained import load_image_network, load_line_network
from casa_ml_tasks.simulation import CubeSources, SimulatedCube, simulate_cube
from casa_ml_tasks.sources.dirty_cube import Beam, DirtyCube
from casa_ml_tasks.sources.finder import Networks, find_sources
from casa_ml_tasks.sources.gaussians import Gaussians

CONFIGURATIONS = tuple(f"alma.cycle{cycle}.{number}" for cycle in (8, 12) for number in range(1, 11))
OURS, PEAKS, CEILING, AUTOENCODER = "deepfocus", "CLEAN peaks + fit", "fit from the truth", "autoencoder"
METHODS = (OURS, PEAKS, CEILING, AUTOENCODER)
FIRST_SEED = 10_000_000  # of the cubes
Method = Callable[[SimulatedCube, DirtyCube, Truth], Detections]


def dirty_cube(cube: SimulatedCube) -> DirtyCube:
    """Return what is given to the finder, with the PSF of every channel."""
    cell, beam = cube.observation.cell, cube.beam
    psfs = np.stack([cube.response.psf_of(channel) for channel in range(len(cube.noise))])
    in_pixels = Beam(beam.major / cell, beam.minor / cell, float(np.radians(beam.angle + 90)))
    return DirtyCube(cube.dirty, psfs, cube.noise, in_pixels, cube.observation.frequencies)


def truth_of(cube: SimulatedCube) -> Truth:
    """Return the true sources."""
    true = cube.sources
    flux = cube.spectra.mean(axis=1)
    return Truth(Gaussians(true.x, true.y, true.major, true.minor, true.angle, flux), cube.snr)


def ours(networks: Networks, counts: OwnCounts) -> Method:
    """Return deepfocus as a method that counts its counts."""

    def run(cube: SimulatedCube, dirty: DirtyCube, truth: Truth) -> Detections:
        found = find_sources(dirty, networks)
        counts.add(cube, found, truth, dirty.beam.mean)
        flux, error = found.fluxes
        shapes = replace(found.shapes.gaussians, flux=flux)
        return Detections(boxes_of(shapes, dirty.beam.mean), shapes, error, found.shapes.probability)

    return run


def methods(options: argparse.Namespace, counts: OwnCounts) -> dict[str, Method]:
    """Return the methods asked for; the autoencoder is trained first."""
    found: dict[str, Method] = {}
    if OURS in options.only:
        networks = Networks(load_image_network(options.weights), load_line_network(options.weights))
        found[OURS] = ours(networks, counts)
    if PEAKS in options.only:
        found[PEAKS] = lambda cube, dirty, truth: clean_peaks(dirty.integrated())
    if CEILING in options.only:
        found[CEILING] = lambda cube, dirty, truth: ceiling(dirty.integrated(), truth)
    if AUTOENCODER in options.only:
        network = trained_autoencoder(options.pixels, options.autoencoder_hours, options.cache)
        found[AUTOENCODER] = lambda cube, dirty, truth: autoencoder_boxes(network, dirty.integrated())
    return found


def cubes(options: argparse.Namespace, count: int, sources: CubeSources | None = None) -> Iterator[SimulatedCube]:
    """Yield the cubes of the test, or with other sources."""
    for seed in tqdm(range(options.seed, options.seed + count), unit="cube", disable=None):
        yield simulate_cube(
            seed,
            pixels=options.pixels,
            channels=options.channels,
            configurations=CONFIGURATIONS,
            briggs_share=options.briggs,
            sources=sources,
        )


def scored(chosen: dict[str, Method], tested: Iterator[SimulatedCube]) -> dict[str, dict[float, Scores]]:
    """Return the scores of each method, for each growth of its boxes."""
    scores = {name: {each: Scores() for each in (GROWTH if name == AUTOENCODER else (1.0,))} for name in chosen}
    for cube in tested:
        dirty, truth = dirty_cube(cube), truth_of(cube)
        for name, method in chosen.items():
            start = time.process_time()
            found = method(cube, dirty, truth)
            seconds = time.process_time() - start
            for growth, counted in scores[name].items():
                counted.add(truth, found.grown(growth), dirty.beam.mean, seconds)
    return scores


def read_options(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="of cubes")
    parser.add_argument("--empty", type=int, default=0, help="of cubes of noise alone")
    parser.add_argument("--pixels", type=int, default=256, help="of the field in each direction")
    parser.add_argument("--channels", type=int, default=128, help="of a cube; one makes it an image")
    parser.add_argument("--briggs", type=float, default=0.0, help="share of the cubes with Briggs' weighting")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first cube")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS[:3], help="methods")
    parser.add_argument("--weights", type=Path, help="folder of weights; those of the package by default")
    parser.add_argument("--autoencoder-hours", type=float, default=1.0, help="of training, all runs together")
    parser.add_argument("--cache", type=Path, default=Path("deepfocus_baselines"), help="folder of its checkpoint")
    return parser.parse_args(given)


def main() -> None:
    """Run, and print the tables."""
    options, counts = read_options(), OwnCounts()
    chosen = methods(options, counts)
    scores = scored(chosen, cubes(options, options.count))
    true = sum(map(len, next(iter(scores.values()))[1.0].snr))
    print(f"{options.count} cubes of {options.channels} x {options.pixels}^2, {true} sources of S/N 3 and more\n")
    print_table(DETECTION, detection_rows(scores))
    print()
    print_table(CHARACTER, character_rows(scores))
    if OURS in chosen:
        print()
        print_table(CALIBRATION, calibration_rows(counts, scores[OURS][1.0]))
        if options.channels > 1:
            print()
            print_table(LINES, [line_row(counts)])
    if options.empty:
        empty = scored(chosen, cubes(options, options.empty, CubeSources.none()))
        print(f"\n{options.empty} cubes of noise alone\n")
        rows = ([name, str(sum(map(any, of[1.0].spurious)))] for name, of in empty.items())
        print_table(["method", "cubes with a detection"], rows)


if __name__ == "__main__":
    main()
