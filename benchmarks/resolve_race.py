"""The inference of resolveimage against ift-resolve: the same visibilities, prior and number of samples.

ift-resolve needs an environment of its own (`resolve_peer.py`), whose interpreter --peer names:

python -m benchmarks.resolve_race --peer peer/bin/python

Ours runs until its chains agree, or all global iterations that it may: four samples cannot tell the first. Gridding of
visibilities and PSF are included; so is compilation, and a second run of the same shows what that takes. The peer has
no test of convergence: its authors' recipe takes 30 global iterations, of which the first few are timed. Either may use
all cores.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light

from benchmarks.measure import print_table, timed
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.kernels.fourier_operator import FourierOperator, fourier_operator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings

PIXELS = 256
CELL = 5e-7  # rad
FREQUENCY = 230e9  # Hz
LONGEST = 0.25  # cycles per pixel: twice the standard deviation of the baselines
PEAK_OVER_NOISE = 200.0
PAIRS = 2
RECIPE = 30  # global iterations of the peer
SEED = 42


class Observation:
    """A log-normal sky under an envelope, seen by random baselines.

    Attributes:
        uvw: (visibility, 3), m.
        visibilities: (visibility, 1), Jy.
        noise: of the real and of the imaginary part of each, Jy.
    """

    def __init__(self, count: int):
        """count: of the visibilities."""
        generator = np.random.default_rng(count)
        wavelength = speed_of_light / FREQUENCY
        uv = np.clip(generator.normal(scale=LONGEST / 2, size=(count, 2)), -0.45, 0.45) / CELL * wavelength
        self.uvw = np.concatenate([uv, np.zeros((count, 1))], axis=1)
        self.truth = _sky(generator)
        predict = self._operator(1e-10, np.float64)
        exact = predict.restore(predict.degrid(self.truth))
        unit = generator.normal(size=exact.shape) + 1j * generator.normal(size=exact.shape)
        peak = predict.grid(predict.degrid(self.truth)).max() / count
        self.noise = float(peak / PEAK_OVER_NOISE * np.sqrt(count))
        self.visibilities = (exact + self.noise * unit).reshape(count, 1)

    def _operator(self, tolerance: float, precision: type) -> FourierOperator:
        return fourier_operator(self.uvw, FREQUENCY / speed_of_light, (PIXELS, PIXELS), CELL, tolerance, precision)

    def infer(self, prior: Prior) -> Posterior:
        """By our minor cycle, from the visibilities on."""
        count = len(self.uvw)
        weight = np.ones((count, 1), np.float32)
        operator = self._operator(1e-5, np.float32)
        dirty = operator.grid(operator.sort(self.visibilities.astype(np.complex64))) / count
        psf = psf_of_weights(self.uvw, FREQUENCY / speed_of_light, weight, (PIXELS, PIXELS), CELL) / count

        beam_area = np.pi / (4 * np.log(2)) * (0.88 / LONGEST) ** 2
        problem = ImagingProblem.of(
            psf[None, None].astype(np.float32), self.noise / np.sqrt(count), beam_area, 1.0, prior=prior._asdict()
        )
        resolve = Resolve(problem, settings=Settings(samples=2 * PAIRS, seed=SEED))
        state, empty = MinorState(), np.zeros((1, 1, PIXELS, PIXELS), np.float32)
        while state.unfinished or not state.latent:
            _, state = resolve.update(dirty[None, None].astype(np.float32), empty, state)
        return resolve.posterior(state)

    def peer(self, interpreter: str, prior: Prior, iterations: int, folder: Path) -> dict[str, NDArray[np.floating]]:
        """What ift-resolve finds, as `resolve_peer.py` writes it."""
        problem, found = folder / "problem.npz", folder / "posterior.npz"
        np.savez(
            problem,
            uvw=self.uvw,
            frequency=FREQUENCY,
            visibility=self.visibilities,
            weight=np.full(self.visibilities.shape, self.noise**-2),
            npix=PIXELS,
            cell=CELL,
            pairs=PAIRS,
            iterations=iterations,
            seed=SEED,
            kind="power",
            offset_mean=prior.offset,
            offset_std=prior.offset_deviation,
            fluctuations=prior.fluctuations,
            loglogavgslope=prior.slope,
            flexibility=prior.flexibility,
            asperity=prior.asperity,
        )
        script = Path(__file__).with_name("resolve_peer.py")
        threads = ["--threads", str(available_cores())]
        alone = [interpreter, "-P"]  # or it would take our resolve.py for the peer's package
        subprocess.run([*alone, str(script), str(problem), str(found), *threads], check=True, stdout=subprocess.DEVNULL)
        with np.load(found) as stored:
            return dict(stored)

    def error(self, image: NDArray[np.floating]) -> float:
        """R.m.s. of image minus truth over the r.m.s. of the truth, at the resolution of the longest baselines."""
        frequency = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(PIXELS)]))
        seen = np.exp(-4 * np.log(2) * (frequency / LONGEST) ** 2)
        difference, truth = (np.fft.fft2(each) * seen for each in (image - self.truth, self.truth))
        return float(np.linalg.norm(difference) / np.linalg.norm(truth))


def _sky(generator: np.random.Generator) -> NDArray[np.float64]:
    """(y, x), 1 Jy in all."""
    frequency = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(PIXELS)]))
    frequency[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(generator.normal(size=(PIXELS, PIXELS))) * frequency**-1.8).real
    y, x = np.indices((PIXELS, PIXELS)) - PIXELS / 2
    sky = np.exp(1.2 * field / field.std() - (y**2 + x**2) / (2 * (PIXELS / 7) ** 2))
    return sky / sky.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="Python interpreter with ift-resolve")
    parser.add_argument("--visibilities", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--iterations", type=int, default=2, help="global iterations of the peer that are timed")
    options = parser.parse_args()
    columns = (
        *("visibilities", "ours [s]", "compiled before [s]", "error"),
        *(f"peer, {options.iterations} iterations [s]", "error", f"peer's recipe of {RECIPE} [s]"),
        *("ratio", "compiled before"),
    )

    def rows() -> Iterator[list[str]]:
        for count in options.visibilities:
            observed = Observation(int(count))
            prior = Prior(float(np.log(0.1 * observed.noise / np.sqrt(count) / 10)))
            jax.clear_caches()
            _, seconds = timed(observed.infer, prior=prior)
            ours, compiled_seconds = timed(observed.infer, prior=prior)
            with tempfile.TemporaryDirectory() as folder:
                theirs = observed.peer(options.peer, prior, options.iterations, Path(folder))
            each = float(np.mean(theirs["seconds"]))
            errors = observed.error(ours.mean[0, 0]), observed.error(theirs["mean"])
            yield [
                f"{count:.0e}",
                f"{seconds:.1f}",
                f"{compiled_seconds:.1f}",
                f"{errors[0]:.3f}",
                f"{float(np.sum(theirs['seconds'])):.1f}",
                f"{errors[1]:.3f}",
                f"{RECIPE * each:.0f}",
                f"{RECIPE * each / seconds:.0f}",
                f"{RECIPE * each / compiled_seconds:.0f}",
            ]

    print_table(columns, rows())


if __name__ == "__main__":
    main()
