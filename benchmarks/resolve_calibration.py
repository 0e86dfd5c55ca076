r"""Whether the uncertainty of Bayesian imaging is calibrated: skies drawn from its own prior, observed and inferred.

Each sky has a power spectrum and excitations drawn from the prior's standard normal distributions. Its offset puts the
brightest beam between 20 and 300 times above the noise, and the inference is told that offset, but nothing else.

Percentiles of the samples should hold as many pixels of the true sky as they say. The mean and one or two standard
deviations need not: they hold 68 and 95 % of a Gaussian, and more of what is as lopsided as brightness is in empty sky.

python -m benchmarks.resolve_calibration
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import print_table, rmlclean_parameters, timed
from benchmarks.skies import add_options, chosen_skies
from casa_ml_tasks.data.casa_image import Beam, read_beam, read_cell
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.resolve.composition import continuum
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.request.request import Request

IMSIZE = 128
PIXELS_PER_BEAM = 5
FAINTEST_PEAK, BRIGHTEST_PEAK = 20.0, 300.0  # noise sigma in a beam
TRUTH = 1_000_000  # seeds from here on are the true skies' and observations', which the inference never draws
INTERVALS = (
    "mean ± 1 σ",
    "mean ± 2 σ",
    "68 % of the logarithm",
    "95 % of the logarithm",
    "68 % percentiles",
    "95 % percentiles",
)


@dataclass(frozen=True)
class Truth:
    """A sky of the prior.

    Attributes:
        sky: (ny, nx), Jy/pixel.
        offset: of its prior, ln(Jy/pixel).
        peak: of a beam, over the noise.
        deviation: of the logarithm of the sky, r.m.s.
    """

    sky: NDArray[np.float64]
    offset: float
    peak: float
    deviation: float

    @classmethod
    def draw(cls, seed: int, shape: tuple[int, int], sigma: float, beam_area: float) -> Truth:
        """sigma: noise of a beam, Jy; beam_area: pixels."""
        generator = np.random.default_rng(seed)
        peak = float(np.exp(generator.uniform(np.log(FAINTEST_PEAK), np.log(BRIGHTEST_PEAK))))
        with jax.enable_x64(True):
            sky = LogNormalSky.of(shape, continuum(Prior(0.0)))
            spectrum = sky.spectrum(jnp.asarray(generator.normal(size=sky.parameters)))
            excitations = jnp.asarray(generator.normal(size=(1, *shape)))
            logarithm = np.asarray(sky.log_planes(sky.amplitude(spectrum) * excitations))[0]
        highest = float(logarithm.max())
        offset = float(np.log(peak * sigma / smoothed(np.exp(logarithm - highest), beam_area).max())) - highest
        return cls(np.exp(offset + logarithm), offset, peak, float(logarithm.std()))


def smoothed(sky: NDArray[np.floating], beam_area: float) -> NDArray[np.float64]:
    """With a circular Gaussian beam of so many pixels, periodic; sky: Jy/pixel. Returns Jy/beam."""
    ny, nx = sky.shape
    frequency_squared = np.fft.fftfreq(ny)[:, None] ** 2 + np.fft.rfftfreq(nx) ** 2
    beam = beam_area * np.exp(-np.pi * beam_area * frequency_squared)
    return np.fft.irfft2(np.fft.rfft2(sky) * beam, s=sky.shape)


@dataclass(frozen=True)
class Array:
    """Where an antenna array sampled the uv plane: all that an observation of another sky needs.

    Attributes:
        major: whose visibilities are not used.
        sigma: noise of the dirty image, Jy/beam.
        beam_area: solid angle of the CLEAN beam, pixels.
        cell: arcsec.
    """

    major: NativeMajorCycle
    sigma: float
    beam_area: float
    cell: float

    @classmethod
    def of(cls, major: NativeMajorCycle) -> Array:
        cell = read_cell(major.product("psf"))
        return cls(major, float(major.noise()[0, 0]), beam_of(major).area(cell), cell)

    def infer(self, truth: Truth, seed: int) -> Posterior:
        """Observe a sky with new noise, and infer it with all defaults but the offset."""
        with jax.enable_x64(True):
            operator = ConvolutionNormalOperator.from_psf(self.major.psf()[0, 0])
            noise = self.major.draw_noise(TRUTH + seed)[0, 0]
            dirty = np.asarray(operator(jnp.asarray(truth.sky))) + noise
            problem = ImagingProblem.of(
                self.major.psf(), self.sigma, self.beam_area, self.cell, prior={"offset": truth.offset}
            )
            minor = Resolve(problem, settings=Settings(seed=1000 * seed))
            model, state = np.zeros((1, 1, *truth.sky.shape), np.float32), MinorState()
            while not state.converged:
                residual = dirty - np.asarray(operator(jnp.asarray(model[0, 0], float)))
                model, state = minor.update(residual[None, None].astype(np.float32), model, state)
        return minor.posterior(state)


def held(samples: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each of INTERVALS holds the truth, (interval, pixel). samples: (sample, pixel), truth: (pixel,)."""
    distance = np.abs(truth - samples.mean(axis=0)) / samples.std(axis=0, ddof=1)
    logarithm = np.log(samples)
    distance_of_logarithm = np.abs(np.log(truth) - logarithm.mean(axis=0)) / logarithm.std(axis=0, ddof=1)
    lowest, lower, upper, highest = np.percentile(samples, [2.5, 16, 84, 97.5], axis=0, method="weibull")
    between = (lower < truth) & (truth < upper), (lowest < truth) & (truth < highest)
    return np.array([*(each < k for each in (distance, distance_of_logarithm) for k in (1, 2)), *between])


@dataclass
class Tally:
    """What part of some pixels each of INTERVALS holds, sky by sky."""

    name: str
    fractions: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, inside: NDArray[np.bool_]) -> None:
        """inside: as `held` gives it; a sky without such pixels does not count."""
        if inside.size:
            self.fractions.append(inside.mean(axis=1))

    def row(self) -> list[str]:
        """Means over the skies, and their standard errors."""
        found = 100 * np.array(self.fractions)
        errors = found.std(axis=0, ddof=min(1, len(found) - 1)) / np.sqrt(len(found))
        return [
            self.name,
            *(f"{mean:.1f} ± {error:.1f}" for mean, error in zip(found.mean(axis=0), errors, strict=True)),
        ]


def rows(array: Array, seeds: Sequence[int], everywhere: Tally, bright: Tally, faint: Tally) -> Iterator[list[str]]:
    """A row for every sky, counted in the three tallies."""
    for seed in seeds:
        truth = Truth.draw(TRUTH + seed, (IMSIZE, IMSIZE), array.sigma, array.beam_area)
        posterior, seconds = timed(array.infer, truth=truth, seed=seed)
        samples, sky = posterior.samples[:, 0, 0].astype(float), truth.sky
        inside = held(samples.reshape(len(samples), -1), sky.ravel())
        above = (smoothed(sky, array.beam_area) > array.sigma).ravel()
        for tally, pixels in ((everywhere, inside), (bright, inside[:, above]), (faint, inside[:, ~above])):
            tally.add(pixels)
        fluxes = posterior.fluxes[:, 0, 0]
        flux_error = (fluxes.mean() - sky.sum()) / fluxes.std(ddof=1)
        nrmse = np.linalg.norm(samples.mean(axis=0) - sky) / np.linalg.norm(sky)
        first = [str(seed), f"{truth.peak:.0f}", f"{truth.deviation:.1f}", f"{100 * above.mean():.0f}"]
        fractions = [f"{100 * fraction:.1f}" for fraction in inside.mean(axis=1)]
        last = [f"{flux_error:+.1f}", f"{fluxes.mean() / sky.sum():.3f}", f"{nrmse:.3f}"]
        iterations = f"{len(posterior.iterations)}{'' if posterior.converged else ', not converged'}"
        yield [*first, *fractions, *last, iterations, f"{seconds:.0f}"]


def beam_of(major: NativeMajorCycle) -> Beam:
    """The CLEAN beam."""
    beam = read_beam(major.product("psf"))
    assert beam is not None, "a PSF of so many visibilities has one"
    return beam


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.set_defaults(names=["gaussians"])
    parser.add_argument("--count", type=int, default=20, help="of skies")
    parser.add_argument("--first", type=int, default=1, help="seed of the first sky; the next have the next numbers")
    options = parser.parse_args()
    observed = next(chosen_skies(options))
    tallies = [Tally(name) for name in ("all", "brighter than the noise of a beam", "fainter")]
    with tempfile.TemporaryDirectory() as folder:

        def major_cycle(name: str, cell: float) -> NativeMajorCycle:
            parameters = {"vis": str(observed.vis), "imsize": IMSIZE, "cell": f"{cell:.4f}arcsec", "datacolumn": "data"}
            (work := Path(folder) / name).mkdir()
            request = Request.from_parameters(**rmlclean_parameters(**parameters, gridder="native"))
            return NativeMajorCycle(request, work)

        with closing(major_cycle("rough", observed.cell)) as major:
            beam = beam_of(major)
        with closing(major_cycle("fine", float(np.sqrt(beam.major * beam.minor)) / PIXELS_PER_BEAM)) as major:
            names = ("sky", "peak [σ]", "r.m.s. of the logarithm", "pixels above the noise [%]", *INTERVALS)
            rest = ("flux error [σ]", "flux found", "nrmse", "global iterations", "[s]")
            print_table(
                (*names, *rest), rows(Array.of(major), range(options.first, options.first + options.count), *tallies)
            )
    print()
    columns = (f"pixels of {options.count} skies [%]", *INTERVALS)
    print_table(columns, (tally.row() for tally in tallies if tally.fractions))


if __name__ == "__main__":
    main()
