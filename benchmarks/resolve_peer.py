r"""The peer of Bayesian imaging: ift-resolve on visibilities from a file, timed iteration by iteration.

ift-resolve is GPL and needs NIFTy 8, whence an environment of its own, whose interpreter runs this file alone (Python
3.11, for ift-resolve 0.15 imports distutils):

    python3.11 -m venv peer
    peer/bin/pip install ift-resolve==0.15
    OMP_NUM_THREADS=1 peer/bin/python benchmarks/resolve_peer.py problem.npz posterior.npz --threads 1

The problem, one frequency, one pointing, Stokes I:

- uvw (rows, 3), metres, of which w is ignored; frequency, Hz; visibility (rows, 1), complex, Jy, after CASA's
  $V = \sum I \exp(2 \pi i (u l + v m))$; weight (rows, 1), Jy^-2, one over the variance of the real part, 0 for a
  flagged visibility;
- npix, pixels a side, even; cell, rad;
- pairs of mirrored samples, iterations (global ones), seed;
- the prior of the logarithm of the brightness, as nifty.re's CorrelatedFieldMaker names it: offset_mean, of the
  logarithm of Jy/pixel; (mean, standard deviation) of offset_std, fluctuations, loglogavgslope, flexibility and
  asperity; and kind, "amplitude" (nifty.re's default) or "power": the spectrum of which these are slope and
  flexibility. Without flexibility, or without asperity, the spectrum has none.

The posterior, of images (y, x), Jy/pixel, right ascension decreasing with x, the phase centre in pixel npix / 2:

- mean and std, of the samples (2 pairs, y, x), which are there too; means (iterations, y, x), after every iteration;
- seconds (iterations,): wall time of a global iteration as NIFTy's optimize_kl does it, its reduced chi^2 included, the
  means above not; sampling_seconds and minimising_seconds: its two parts;
- sampling_products (iterations,): of the Fisher metric and a vector for a pair of samples, which are conjugate-gradient
  iterations; MGVI mirrors a sample for nothing, geoVI has Newton steps for either of the two. minimising_products:
  likewise over all Newton steps, for every sample. These take two to four times as long as those of MGVI's sampling,
  for NIFTy 8 linearises the model anew for every product;
- energy and chi2 (iterations,): the Kullback-Leibler divergence up to a constant, and chi^2 of a real number (a
  visibility is two), mean over the samples;
- start_seconds: of building the operators. Nothing is compiled; the imports are not counted.

Pairs and iterations are the problem's; when a step within a global iteration is converged, two recipes of
ift-resolve's authors say. Both sample with MGVI. In trials with 64^2 pixels the mean of MGVI's few samples wandered
from iteration to iteration, and that of geoVI settled.

- cygnus, of ift-resolve's demonstration (cfg/cygnusa.cfg): 23 global iterations with 3 pairs. Samples are drawn until
  three steps of conjugate gradients change the energy by less than 0.05, at most 500; Newton steps, until three change
  it by less than 0.001, at most 15, and 30 in the second half. Its schedule for point sources and weights, which are
  not inferred here, is left out;
- abell, of the imaging of Abell 523 (roth-jakob/Abell_523, imaging.py): 30 global iterations with 2 pairs, and 4 in the
  last ten. Samples: one step below 0.005, at most 100, and 500 in the second half; Newton steps: two below 0.5, at most
  10, and 30 in the second half.
"""

from __future__ import annotations

import argparse
import logging
import time
from configparser import ConfigParser, SectionProxy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import nifty8 as ift
import numpy as np
import resolve as rve
from numpy.typing import NDArray

SPEED_OF_LIGHT = 299792458.0  # m/s
GRIDDING_ACCURACY = 1e-6


@dataclass(frozen=True)
class Prior:
    """Of the logarithm of the brightness; the pairs are mean and standard deviation.

    Attributes:
        offset_mean: of the logarithm of Jy/pixel.
        offset_std, fluctuations, loglogavgslope, flexibility, asperity: (2,); the last two may be None.
        kind: "amplitude" or "power".
    """

    offset_mean: float
    offset_std: NDArray[np.float64]
    fluctuations: NDArray[np.float64]
    loglogavgslope: NDArray[np.float64]
    flexibility: NDArray[np.float64] | None
    asperity: NDArray[np.float64] | None
    kind: str

    def configuration(self, npix: int, cell: float) -> SectionProxy:
        """The section "sky" of ift-resolve's configuration.

        Its brightness is in Jy/sr, and its spectrum is that of the power, whose logarithm is twice the amplitude's.
        """
        power = {"amplitude": 2.0, "power": 1.0}[self.kind]
        flexibility = None if self.flexibility is None else power * self.flexibility
        priors = {
            "zero mode": self.offset_std,
            "fluctuations": self.fluctuations,
            "loglogavgslope": power * self.loglogavgslope,
            "flexibility": flexibility,
            "asperity": self.asperity,
        }
        prefix, width = "stokesI diffuse space i0", f"{npix * cell!r}rad"
        section = {f"space npix {axis}": str(npix) for axis in "xy"} | {f"space fov {axis}": width for axis in "xy"}
        section |= {"polarization": "I", "freq mode": "single", "point sources mode": "None"}
        section[f"{prefix} zero mode offset"] = repr(self.offset_mean - 2 * float(np.log(cell)))
        for name, prior in priors.items():
            mean, deviation = ("None", "None") if prior is None else (repr(float(value)) for value in prior)
            section |= {f"{prefix} {name} mean": mean, f"{prefix} {name} stddev": deviation}
        parser = ConfigParser()
        parser.read_dict({"sky": section})
        return parser["sky"]


@dataclass(frozen=True)
class Problem:
    """What is imaged, and how; the attributes are those of the file."""

    uvw: NDArray[np.float64]
    frequency: float
    visibility: NDArray[np.complex128]
    weight: NDArray[np.float64]
    npix: int
    cell: float
    pairs: int
    iterations: int
    seed: int
    prior: Prior

    @classmethod
    def read(cls, file: Path) -> Problem:
        with np.load(file) as found:
            given: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in found.items()}
        optional: dict[str, Any] = {"flexibility": None, "asperity": None}
        prior = Prior(**optional | {each.name: given.pop(each.name) for each in fields(Prior) if each.name in given})
        return cls(prior=prior, **given)

    def observation(self) -> rve.Observation:
        return rve.Observation(
            rve.AntennaPositions(self.uvw.astype(float)),
            self.visibility.astype(complex)[None],
            self.weight.astype(float)[None],
            rve.Polarization.trivial(),
            np.array([self.frequency]),
        )


def in_jansky_per_pixel(sky: ift.Field, cell: float) -> NDArray[np.float64]:
    """(y, x), of a sky of ift-resolve, (Stokes, time, frequency, x, y), Jy/sr."""
    return cell**2 * sky.val[0, 0, 0].T


def check_orientation(problem: Problem, domain: ift.DomainTuple, observation: rve.Observation) -> None:
    """Compare ift-resolve's response to a point source off the centre with CASA's convention.

    Raises:
        RuntimeError: if its visibilities are others.
    """
    x, y = problem.npix // 2 + 3, problem.npix // 2 - 5
    sky = np.zeros(domain.shape)
    sky[..., x, y] = problem.cell**-2
    response = rve.InterferometryResponse(observation, domain, do_wgridding=False, epsilon=GRIDDING_ACCURACY)
    found = response(ift.makeField(domain, sky)).val.ravel()
    u, v, _ = problem.uvw.T * problem.frequency / SPEED_OF_LIGHT
    east, north = (problem.npix // 2 - x) * problem.cell, (y - problem.npix // 2) * problem.cell
    error = np.abs(found - np.exp(2j * np.pi * (u * east + v * north))).max()
    if error > 10 * GRIDDING_ACCURACY:
        raise RuntimeError(
            f"ift-resolve {rve.__version__} predicts a point source that differs from CASA's by {error:.1e}; use 0.15"
        )


@dataclass
class Diary:
    """Of an inference; every list has an entry for every global iteration that is done.

    Attributes:
        counter: counts products with the Jacobian, of which every product with the metric has one.
        columns: by the names that they have in the file.
    """

    counter: ift.CountingOperator
    columns: dict[str, list[Any]] = field(default_factory=dict)
    _begun: tuple[float, int] = (0.0, 0)
    _mark: tuple[float, int] = (0.0, 0)

    def _now(self) -> tuple[float, int]:
        return time.perf_counter(), self.counter.count_jac

    def note(self, **values: Any) -> None:
        for name, value in values.items():
            self.columns.setdefault(name, []).append(value)

    def begin(self) -> None:
        """A global iteration."""
        self._begun = self._mark = self._now()

    def end_part(self, name: str, samples: int) -> None:
        """Of "sampling" or "minimising", whose products are shared by so many samples."""
        before, self._mark = self._mark, self._now()
        seconds, products = (after - begun for after, begun in zip(self._mark, before, strict=True))
        self.note(**{f"{name}_seconds": seconds, f"{name}_products": products / samples})

    def end(self) -> None:
        self.note(seconds=time.perf_counter() - self._begun[0])


class NotedNewtonCG(ift.NewtonCG):
    """NIFTy's minimiser, which is called when the samples are drawn."""

    def __init__(self, controller: ift.IterationController, diary: Diary, pairs: int):
        super().__init__(controller)
        self._diary, self._pairs = diary, pairs

    def __call__(self, energy: Any) -> tuple[Any, int]:
        self._diary.end_part("sampling", self._pairs)
        minimum, status = super().__call__(energy)
        self._diary.end_part("minimising", 2 * self._pairs)
        self._diary.note(energy=float(minimum.value))
        return minimum, status


@dataclass(frozen=True)
class Stop:
    """When conjugate gradients or Newton steps end.

    Attributes:
        tolerance: of the energy.
        steps: in tolerance that are asked for.
        limits: of the number of steps, in the first and the second half of the global iterations.
    """

    tolerance: float
    steps: int
    limits: tuple[int, int]

    def controller(self, late: bool) -> ift.AbsDeltaEnergyController:
        return ift.AbsDeltaEnergyController(
            self.tolerance, iteration_limit=self.limits[late], convergence_level=self.steps
        )


@dataclass(frozen=True)
class Recipe:
    """Of drawing a sample and of the minimisation."""

    sampling: Stop
    newton: Stop


RECIPES = {
    "cygnus": Recipe(Stop(0.05, 3, (500, 500)), Stop(1e-3, 3, (15, 30))),
    "abell": Recipe(Stop(5e-3, 1, (100, 500)), Stop(0.5, 2, (10, 30))),
}


def infer(problem: Problem, recipe: Recipe, threads: int, geometric: bool) -> dict[str, Any]:
    """The posterior, as the file has it, by MGVI, or geoVI; prints a line for every global iteration."""
    ift.random.push_sseq_from_seed(problem.seed)
    ift.set_nthreads(threads)
    begun = time.perf_counter()
    observation = problem.observation()
    sky, _ = rve.sky_model_diffuse(problem.prior.configuration(problem.npix, problem.cell))
    likelihood = rve.ImagingLikelihood(
        observation, sky, epsilon=GRIDDING_ACCURACY, do_wgridding=False, nthreads=threads
    )
    start_seconds = time.perf_counter() - begun
    check_orientation(problem, sky.target, observation)

    counter = ift.CountingOperator(likelihood.domain)
    diary = Diary(counter)
    response = rve.InterferometryResponse(observation, sky.target, False, GRIDDING_ACCURACY, nthreads=threads)
    samples = np.empty((2 * problem.pairs, problem.npix, problem.npix))

    def late(iteration: int) -> bool:
        return 2 * iteration >= problem.iterations

    def minimiser(iteration: int) -> NotedNewtonCG:
        return NotedNewtonCG(recipe.newton.controller(late(iteration)), diary, problem.pairs)

    def sampling_minimiser(iteration: int) -> ift.NewtonCG | None:
        return ift.NewtonCG(recipe.newton.controller(late(iteration))) if geometric else None

    def after_iteration(found: ift.SampleList, iteration: int) -> None:
        diary.end()
        skies = list(found.iterator(sky))
        samples[:] = [in_jansky_per_pixel(each, problem.cell) for each in skies]
        residuals = [(response(each) - observation.vis).val for each in skies]
        used = np.count_nonzero(problem.weight)
        chi2 = [float(np.sum(problem.weight * np.abs(each[0]) ** 2)) / (2 * used) for each in residuals]
        diary.note(means=samples.mean(axis=0).astype(np.float32), chi2=np.mean(chi2))
        print_line(iteration, diary)
        diary.begin()

    diary.begin()
    ift.optimize_kl(
        likelihood @ counter,
        problem.iterations,
        problem.pairs,
        minimiser,
        lambda iteration: recipe.sampling.controller(late(iteration)),
        sampling_minimiser,
        inspect_callback=after_iteration,
        sanity_checks=False,
    )
    posterior = {"samples": samples, "mean": samples.mean(axis=0), "std": samples.std(axis=0, ddof=1)}
    return posterior | {"start_seconds": start_seconds} | {name: np.array(each) for name, each in diary.columns.items()}


def print_line(iteration: int, diary: Diary) -> None:
    last = {name: each[-1] for name, each in diary.columns.items()}
    print(
        f"{iteration + 1:3d}: {last['seconds']:.2f} s,"
        f" sampling {last['sampling_seconds']:.2f} s with {last['sampling_products']:.0f} products a pair,"
        f" minimising {last['minimising_seconds']:.2f} s with {last['minimising_products']:.0f} a sample,"
        f" energy {last['energy']:.6g}, chi2 {last['chi2']:.4f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", type=Path, help=".npz to read")
    parser.add_argument("posterior", type=Path, help=".npz to write")
    parser.add_argument("--threads", type=int, default=1, help="of gridding and Fourier transforms")
    parser.add_argument("--recipe", choices=RECIPES, default="abell")
    parser.add_argument("--geovi", action="store_true", help="geoVI instead of MGVI, by Newton steps as in minimising")
    options = parser.parse_args()
    logging.getLogger("NIFTy8").setLevel(logging.ERROR)
    posterior = infer(Problem.read(options.problem), RECIPES[options.recipe], options.threads, options.geovi)
    np.savez(options.posterior, **posterior)
    seconds, sampling = posterior["seconds"], posterior["sampling_seconds"]
    print(f"{seconds.sum():.2f} s, of which {100 * sampling.sum() / seconds.sum():.0f} % for sampling")


if __name__ == "__main__":
    main()
