"""Simulated mosaics of the 12 m array and the 7 m array with a total-power map, of known truth, and their score.

The simulator and the score are two scripts that come with the project's test data, `simulate_joint.py` and
`score_joint.py`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.skies import BESIDE_THE_CHECKOUT, script

SKIES = ("cloud", "disks_points", "filaments")
CELL, IMSIZE = 0.25, 400  # arcsec, pixels
CENTRE = "ICRS 246.0deg -24.0deg"
Beam = tuple[float, float, float]
"""Major axis, minor axis, arcsec; position angle, degrees."""


def area_of(beam: Beam) -> float:
    """Pixels of the images in a beam."""
    return float(np.pi / (4 * np.log(2)) * beam[0] * beam[1] / CELL**2)


class JointScore(NamedTuple):
    """How far an image, smoothed with the beam, is from the truth.

    Attributes:
        flux: found over true, where the primary beam of the mosaic is above 0.3.
        nrmse: r.m.s. error over r.m.s. truth, there.
        power: P(image) / P(truth), P being the power spectrum in six bins of scale, from the image to the beam.
        error: P(image - truth) / P(truth), likewise.
        scales: of the bins, arcsec.
    """

    flux: float
    nrmse: float
    power: NDArray[np.float64]
    error: NDArray[np.float64]
    scales: NDArray[np.float64]


@dataclass(frozen=True)
class JointSky:
    """One simulated set of observations.

    Attributes:
        folder: where its files are.
        scoring: the module `score_joint.py`.
    """

    name: str
    seed: int
    folder: Path
    scoring: ModuleType

    @property
    def vis(self) -> list[str]:
        """Absolute paths of the Measurement Sets of the 12 m array and of the 7 m array."""
        return [str(self.folder / f"{self.name}.{array}.ms") for array in ("12m", "7m")]

    @property
    def total_power(self) -> str:
        """Absolute path of the single-dish map, a CASA image in Jy/beam."""
        return str(self.folder / f"{self.name}.tp.image")

    @property
    def truth_file(self) -> Path:
        """The true sky, FITS, Jy/pixel, in pixels of half the cell that lie between those of the images."""
        return self.folder / f"{self.name}.sky.fits"

    def smoothed_truth(self, beam: Beam) -> NDArray[np.float64]:
        """The truth, smoothed with the beam, on the pixels of the images: (y, x), Jy/pixel."""
        truth: NDArray[np.float64] = self.scoring.reference(str(self.truth_file), (IMSIZE, IMSIZE), CELL, beam)
        return truth

    def score(self, smoothed: NDArray[np.floating], primary_beam: NDArray[np.floating], beam: Beam) -> JointScore:
        """Compare a sky with the truth.

        Args:
            smoothed: (y, x), Jy/pixel, not multiplied with the primary beam, at the resolution of the beam.
            primary_beam: of the mosaic, (y, x).
            beam: that of the smoothed sky.
        """
        truth = self.smoothed_truth(beam)
        error, inside = smoothed - truth, primary_beam > 0.3
        taper = np.sin(np.pi / 2 * np.clip((primary_beam - 0.3) / 0.4, 0, 1)) ** 2
        edges = np.geomspace(1 / (IMSIZE * CELL) * 0.99, 1 / beam[0], 7)
        of_truth, power, of_error = (
            self.scoring.powers(each * taper, CELL, edges) for each in (truth, smoothed, error)
        )
        return JointScore(
            float(smoothed[inside].sum() / truth[inside].sum()),
            float(np.linalg.norm(error[inside]) / np.linalg.norm(truth[inside])),
            power / of_truth,
            of_error / of_truth,
            1 / np.sqrt(edges[1:] * edges[:-1]),
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which skies."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the simulations")
    parser.add_argument("--names", nargs="+", default=SKIES, choices=SKIES, help="kinds of sky")
    default = Path(tempfile.gettempdir()) / "casa_ml_tasks_joint"
    parser.add_argument("--skies", type=Path, default=default, help="folder of the simulations; missing ones are made")
    parser.add_argument(
        "--fidelity", type=Path, default=BESIDE_THE_CHECKOUT, help="folder of simulate_joint.py and score_joint.py"
    )


def chosen_skies(options: argparse.Namespace) -> Iterator[JointSky]:
    """Every sky that the options name, simulated where it is not there yet."""
    simulator, scoring = (script(options.fidelity, name) for name in ("simulate_joint", "score_joint"))
    for seed in options.seeds:
        folder = (options.skies / f"s{seed}").resolve()
        for name in options.names:
            sky = JointSky(name, seed, folder, scoring)
            if not Path(sky.total_power).is_dir():  # the last file that is written
                folder.mkdir(parents=True, exist_ok=True)
                simulator.simulate(name, folder, seed, quick=False)
            yield sky
