"""A network and another minor cycle together, beside either alone, on simulated fields that no training has seen.

Configurations of ALMA's cycles 8 and 12, natural and Briggs weights, 128 x 128 pixels; sources and noise as in the
training. The r.m.s. of the residual is in units of that of the noise itself in the same field, of which a field has
some 500 independent values. The error is that of the model convolved with the CLEAN beam over the sky convolved with
it, r.m.s. each; in the next column over that of CLEAN in the same field. Medians, the error of fields with sources.

python -m benchmarks.deepfocus_hybrid --fields 100
python -m benchmarks.deepfocus_hybrid --race 24
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from benchmarks.deepfocus_race import race
from benchmarks.hogbom import Hogbom
from benchmarks.measure import print_table
from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState
from casa_ml_tasks.minor.deepfocus.minor_cycle import STEPS, NetworkFirst
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import NetworkView
from casa_ml_tasks.networks.trained import load_image_network
from casa_ml_tasks.simulation.fitted_beam import fitted_beam
from casa_ml_tasks.simulation.random_fields import draw_field
from casa_ml_tasks.simulation.uv_coverage import random_observations, stacked
from casa_ml_tasks.sources.gaussians import Gaussians

CONFIGURATIONS = tuple(f"alma.cycle{cycle}.{number}" for cycle in (8, 12) for number in range(1, 10))
PIXELS, COVERAGES = 128, 64
THRESHOLD, ITERATIONS = 3.0, 2000  # of CLEAN; sigma


@dataclass(frozen=True)
class Example:
    """A simulated field in units of the noise.

    Attributes:
        sky: (n, n), a pixel.
        dirty: (n, n), a beam.
        noise: of the dirty image, (n, n), a beam.
        psf: (2 n, 2 n).
        beam: the CLEAN beam, (n, n), peak 1 in the middle.
    """

    sky: NDArray[np.floating]
    dirty: NDArray[np.floating]
    noise: NDArray[np.floating]
    psf: NDArray[np.floating]
    beam: NDArray[np.floating]

    @property
    def beam_area(self) -> float:
        """Solid angle of the beam, pixels."""
        return float(self.beam.sum())


@dataclass(frozen=True)
class Score:
    """How well a minor cycle has done.

    Attributes:
        rms: of the residual, over that of the noise.
        peak: of the residual, sigma.
        error: relative, at the resolution of the beam; NaN for an empty sky.
        iterations: of the minor cycle that finishes.
        steps: of the network.
        seconds: of the processor.
    """

    rms: float
    peak: float
    error: float
    iterations: int
    steps: int
    seconds: float


def examples(count: int, seed: int) -> Iterator[Example]:
    """Yield fields with configurations that no training has seen."""
    coverages = stacked(random_observations(CONFIGURATIONS, COVERAGES, seed), PIXELS)
    draw = jax.jit(draw_field)
    for key in jax.random.split(jax.random.PRNGKey(seed), count):
        field = draw(key, coverages)
        shape = (2 * PIXELS, 2 * PIXELS)
        psf = np.fft.fftshift(np.fft.irfft2(np.asarray(field.coverage.transfer, float), shape))
        psf /= psf[PIXELS, PIXELS]
        sky, dirty = np.asarray(field.sky, float), np.asarray(field.dirty, float)
        yield Example(sky, dirty, dirty - dirty_image(sky, psf), psf, clean_beam(psf))


def dirty_image(image: NDArray[np.floating], psf: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the convolution with the PSF, (n, n). psf: (2 n, 2 n)."""
    n = len(image)
    return fftconvolve(image, psf)[n : 2 * n, n : 2 * n]


def clean_beam(psf: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the CLEAN beam in the middle of the image, (n, n). psf: (2 n, 2 n)."""
    n = len(psf) // 2
    beam, middle = fitted_beam(psf, 1.0), [n // 2]
    shape = Gaussians(middle, middle, [beam.major], [beam.minor], [np.radians(beam.angle + 90)], [1.0]).image((n, n))
    return shape / shape[n // 2, n // 2]


def minor_cycles(example: Example, network: ImageNetwork) -> dict[str, MinorCycle]:
    """Return what is compared, by name."""
    psf, noise = example.psf[None, None], np.ones((1, 1))
    names = ["log_smoothness", "l1"]

    def rml(expected: Image | None = None) -> MinorCycle:
        return RegularisedMaximumLikelihood(
            psf.astype(np.float32), noise, example.beam_area, names, [1.0, 1.0], expected=expected
        )

    def hybrid(finishing: Callable[[Image], MinorCycle]) -> MinorCycle:
        view = NetworkView(network, example.psf, float(np.sqrt(4 * np.log(2) / np.pi * example.beam_area)))
        return NetworkFirst(psf, noise, lambda *_: lambda *images: view(*images).model, finishing, np.array([True]))

    return {
        "CLEAN to 3 sigma": Hogbom(psf, THRESHOLD, ITERATIONS),
        "rml": rml(),
        "network": hybrid(lambda _: Nothing()),
        "network + CLEAN to 3 sigma": hybrid(lambda _: Hogbom(psf, THRESHOLD, ITERATIONS)),
        "network + rml": hybrid(rml),
    }


class Nothing:
    """A minor cycle that leaves the model as it is."""

    schema = Hogbom.schema

    def update(self, residual: NDArray, model: NDArray, state: MinorState) -> tuple[NDArray, MinorState]:
        """Return the model."""
        return model, MinorState(state.iterations, residual)


def score(example: Example, minor: MinorCycle) -> Score:
    """Run one minor cycle from an empty sky."""
    begun = time.process_time()
    model, state = minor.update(example.dirty[None, None], np.zeros((1, 1, *example.sky.shape)), MinorState())
    seconds = time.process_time() - begun
    residual = example.dirty - dirty_image(model[0, 0], example.psf)
    truth, found = (fftconvolve(image, example.beam, mode="same") for image in (example.sky, model[0, 0]))
    error = float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2))) if truth.any() else np.nan
    steps = int(state.latent.get(STEPS, np.zeros((1, 1)))[0, 0])
    rms = float(residual.std() / example.noise.std())
    return Score(rms, float(np.abs(residual).max()), error, state.iterations, steps, seconds)


def row(name: str, scores: Sequence[Score], cleaned: Sequence[Score]) -> list[str]:
    """Return the line of one minor cycle. cleaned: what CLEAN has reached in the same fields."""

    def median(value: Callable[[Score], float]) -> float:
        return float(np.nanmedian([value(each) for each in scores]))

    rms = [each.rms for each in scores]
    low, high = np.quantile(rms, [0.05, 0.95])
    return [
        name,
        f"{np.median(rms):.3f} ({low:.2f} to {high:.2f})",
        f"{np.mean([0.98 <= each <= 1.02 for each in rms]):.2f}",
        f"{median(lambda each: each.peak):.2f}",
        f"{np.mean([each.peak <= 4.5 for each in scores]):.3f}",
        f"{median(lambda each: each.error):.3f}",
        f"{np.nanmedian([each.error / other.error for each, other in zip(scores, cleaned, strict=True)]):.2f}",
        f"{np.mean([each.iterations for each in scores]):.0f}",
        f"{np.mean([each.steps for each in scores]):.1f}",
        f"{1000 * median(lambda each: each.seconds):.0f}",
    ]


COLUMNS = (
    "minor cycle",
    "r.m.s. of the residual / noise (5 to 95 %)",
    "within 0.98 to 1.02",
    "peak, sigma",
    "peak <= 4.5",
    "error at the beam",
    "over CLEAN's",
    "iterations",
    "steps of the network",
    "CPU ms",
)


def main() -> None:
    """Read the command line, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=100)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--weights", type=Path, help="folder of images.safetensors, in place of the package's")
    parser.add_argument("--race", type=int, metavar="INTEGRATIONS", help="from Measurement Set to image instead")
    options = parser.parse_args()
    network = load_image_network(options.weights)
    if options.race:
        race(options.race)
        return
    scores: dict[str, list[Score]] = {}
    for number, example in enumerate(examples(options.fields, options.seed)):
        for name, minor in minor_cycles(example, network).items():
            if number == 0:
                score(example, minor)  # compiles
            scores.setdefault(name, []).append(score(example, minor))
    print(f"{options.fields} fields.\n")
    cleaned = scores["CLEAN to 3 sigma"]
    print_table(COLUMNS, [row(name, each, cleaned) for name, each in scores.items()])
    peaks = [np.abs(each.noise).max() for each in examples(options.fields, options.seed)]
    share = np.mean([each <= 4.5 for each in peaks])
    print(f"\nThe noise alone has a peak of {np.median(peaks):.2f}, of at most 4.5 in {share:.3f}.")


if __name__ == "__main__":
    main()
