"""Five simulated skies of known truth, imaged and scored.

The simulator and the score are two scripts that come with the project's test data, `simulate.py` and `score.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift

from casa_ml_tasks.data.casa_image import read_beam

IMSIZE = 384
#: East and south of the pointing, pixels: no sky lies on the pixels of its image.
OFF_GRID = (0.37, -0.29)
SKIES = ("gaussians", "rings", "disk_point", "filaments", "deep_points")
BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "fidelity"
MULTISCALE_CLEAN = {
    "deconvolver": "multiscale",
    "scales": [0, 4, 12, 36],
    "weighting": "briggs",
    "robust": 0.5,
    "niter": 30000,
    "nsigma": 3.0,
    "nmajor": 12,
}


class Score(NamedTuple):
    """How far a model is from the truth where the primary beam is above 0.3.

    Attributes:
        beam, half_beam: r.m.s. error over r.m.s. truth, both smoothed with the CLEAN beam or half of it.
        flux: found over true.
    """

    beam: float
    half_beam: float
    flux: float


@dataclass(frozen=True)
class Sky:
    """One simulated observation.

    Attributes:
        cell: arcsec.
        vis: its Measurement Set, with DATA alone.
        truth: its FITS image, Jy/pixel.
        scoring: the module `score.py`.
        shift: how far east and south of the pointing the image is made, pixels. The truth lies on the pixels of an
            image about the pointing.
    """

    name: str
    seed: int
    cell: float
    vis: Path
    truth: Path
    scoring: ModuleType
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def imaging(self) -> dict[str, Any]:
        """The parameters that rmlclean and tclean share."""
        shared = {"vis": str(self.vis), "imsize": IMSIZE, "cell": f"{self.cell}arcsec", "datacolumn": "data"}
        return {**shared, "phasecenter": self._centre()} if any(self.shift) else shared

    def _centre(self) -> str:
        header = fits.getheader(self.truth)
        pointing = SkyCoord(header["CRVAL1"], header["CRVAL2"], unit="deg")
        east, south = (pixels * self.cell / 3600 for pixels in self.shift)
        centre = pointing.spherical_offsets_by(east * units.deg, -south * units.deg)
        return f"ICRS {centre.ra.deg:.10f}deg {centre.dec.deg:.10f}deg"

    def apparent_truth(self, shape: tuple[int, ...], clean: Path) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        """The true sky times the primary beam of tclean's products, (x, y), Jy/pixel, and where that exceeds 0.3."""
        primary_beam, _ = self.scoring.read(f"{clean}.pb")
        truth = self.scoring.embed(fits.getdata(self.truth)[0, 0].T.astype(float), shape)
        return truth * primary_beam, primary_beam > 0.3

    def score(self, model: NDArray[np.floating], clean: Path) -> Score:
        """Compare a model with the truth.

        Args:
            model: (x, y), Jy/pixel, of the apparent sky.
            clean: imagename of tclean's products, whose beam and primary beam are those of the comparison.
        """
        beam = read_beam(clean.with_suffix(".image"))
        assert beam is not None
        truth, inside = self.apparent_truth(model.shape, clean)

        def error(scale: float) -> float:
            shape = (scale * beam.major, scale * beam.minor, beam.angle)
            reference = self.scoring.smooth(truth, shape, self.cell, self.shift)
            difference = self.scoring.smooth(model, shape, self.cell) - reference
            return float(np.linalg.norm(difference[inside]) / np.linalg.norm(reference[inside]))

        return Score(error(1.0), error(0.5), float(model[inside].sum() / truth[inside].sum()))

    def score_of_product(self, imagename: Path, clean: Path) -> Score:
        """The score of `imagename`.model."""
        return self.score(self.scoring.read(f"{imagename}.model")[0], clean)

    def covered(self, imagename: Path, clean: Path) -> list[float]:
        """Fractions of the pixels whose error is below `imagename`.uncertainty, below twice that, and below it where
        the sky is not empty: an image of what is positive errs by its mean where nothing is.
        """
        model, uncertainty = (self.scoring.read(f"{imagename}.{kind}")[0] for kind in ("model", "uncertainty"))
        truth, inside = self.apparent_truth(model.shape, clean)
        moved = np.fft.ifft2(fourier_shift(np.fft.fft2(truth), self.shift)).real
        deviation = np.abs(model - moved) / uncertainty
        emission = inside & (truth > 0)
        parts = deviation[inside] < 1, deviation[inside] < 2, deviation[emission] < 1
        return [float(np.mean(part)) for part in parts]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which skies."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the simulations")
    parser.add_argument("--names", nargs="+", default=SKIES, choices=SKIES, help="kinds of sky")
    default = Path(tempfile.gettempdir()) / "casa_ml_tasks_skies"
    parser.add_argument("--skies", type=Path, default=default, help="folder of the simulations; missing ones are made")
    parser.add_argument("--fidelity", type=Path, default=BESIDE_THE_CHECKOUT, help="folder of simulate.py and score.py")


def add_grid(parser: argparse.ArgumentParser) -> None:
    """The option that makes images about the pointing, on whose pixels the skies lie; else they lie between."""
    parser.add_argument("--on-grid", action="store_true", help="make images on whose pixels the skies lie")


def chosen_skies(options: argparse.Namespace) -> Iterator[Sky]:
    """Every sky that the options name, simulated where it is not there yet."""
    shift = (0.0, 0.0) if getattr(options, "on_grid", True) else OFF_GRID
    simulator, scoring = (script(options.fidelity, name) for name in ("simulate", "score"))
    for seed in options.seeds:
        folder = (options.skies / f"s{seed}").resolve()
        for name in options.names:
            vis, truth = folder / f"{name}.ms", folder / f"{name}.sky.fits"
            if not (vis.is_dir() and truth.is_file()):
                folder.mkdir(parents=True, exist_ok=True)
                simulator.observe(name, folder, seed)
            yield Sky(name, seed, simulator.ARRAYS[name][1], vis, truth, scoring, shift)


def script(folder: Path, name: str) -> ModuleType:
    """The module `name`.py of the folder."""
    path = folder / f"{name}.py"
    if not path.is_file():
        raise SystemExit(
            f"--fidelity {folder} holds no {name}.py; give the folder of the project's simulator and score"
        )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
