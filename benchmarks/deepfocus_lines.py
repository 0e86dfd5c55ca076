"""Lines in 2000 unseen spectra of 128 channels: the package's finder, a matched filter, and the published DeepGRU.

Spectra as in the simulations of Delli Veneri et al. (2023, MNRAS 518, 3407): 0 to 2 Gaussian lines, FWHM 3 to 10
channels, matched-filter S/N 4 to 40, on a sloped continuum. The DeepGRU, with its scaling to [0, 1] and its rule for
peaks, is trained here on the same spectra for the time given.

python -m benchmarks.deepfocus_lines --minutes 2
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import find_peaks, peak_widths

from benchmarks.measure import print_table
from casa_ml_tasks.networks.trained import load_line_network
from casa_ml_tasks.networks.training import Plan, train
from casa_ml_tasks.simulation.random_spectra import gaussian
from casa_ml_tasks.sources.line_finder import find_lines, line_range
from casa_ml_tasks.sources.line_scores import LineScores, Ranges, score

CHANNELS = 128
BATCH = 64
SEED = 2_000_001
FILTERS = (3.0, 4.5, 6.0, 8.0, 10.0)  # FWHM, channels


@dataclass(frozen=True)
class Spectra:
    """Spectra with noise 1, arrays (spectrum, channel), and lines, (spectrum, line); S/N 0 where there is none."""

    flux: jax.Array
    clean: jax.Array
    centre: jax.Array
    fwhm: jax.Array
    snr: jax.Array


def draw(key: jax.Array, count: int) -> Spectra:
    """Draw spectra."""
    keys = jax.random.split(key, 7)
    lines = (count, 2)
    used = jnp.arange(2) < jax.random.randint(keys[0], (count, 1), 0, 3)
    centre = jax.random.uniform(keys[1], lines, minval=10.0, maxval=110.0)
    fwhm = jax.random.uniform(keys[2], lines, minval=3.0, maxval=10.0)
    snr = jnp.where(used, 4 * 10 ** jax.random.uniform(keys[3], lines), 0.0)
    z = jnp.arange(CHANNELS)
    # The sum of the squares of a Gaussian of peak 1.
    norm = jnp.sqrt(fwhm * jnp.sqrt(jnp.pi / (8 * jnp.log(2.0))))
    shapes = gaussian(z - centre[..., None], fwhm[..., None])
    slope = 1 + jax.random.uniform(keys[5], (count, 1), minval=-0.2, maxval=0.2) * (z / CHANNELS - 0.5)
    continuum = jax.random.uniform(keys[4], (count, 1), maxval=8.0) * slope
    clean = jnp.sum((snr / norm)[..., None] * shapes, 1) + continuum
    return Spectra(clean + jax.random.normal(keys[6], clean.shape), clean, centre, fwhm, snr)


def by_filter(flux: np.ndarray, least: float) -> Ranges:
    """Return the ranges of a matched filter's peaks, the median taken for the continuum."""
    z = np.arange(CHANNELS)
    shapes = [np.exp(-4 * np.log(2) * ((z[:, None] - z) / fwhm) ** 2) for fwhm in FILTERS]
    signal = np.stack([(flux - np.median(flux)) @ (shape / np.linalg.norm(shape, axis=0)) for shape in shapes])
    best, width = signal.max(0), np.array(FILTERS)[signal.argmax(0)]
    found = []
    while best.max() > least:
        centre = int(best.argmax())
        reach = width[centre]
        found.append((centre - reach, centre + reach))
        best[max(0, int(centre - 2 * reach)) : int(centre + 2 * reach) + 1] = -np.inf
    return found


class DeepGRU(eqx.Module):
    """One bidirectional layer of 32 hidden units; a sigmoid of each channel."""

    cells: list[eqx.nn.GRUCell]
    out: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        """Draw the weights."""
        forth, back, out = jax.random.split(key, 3)
        self.cells = [eqx.nn.GRUCell(1, 32, key=forth), eqx.nn.GRUCell(1, 32, key=back)]
        self.out = eqx.nn.Linear(64, 1, key=out)

    def __call__(self, spectrum: jax.Array) -> jax.Array:
        """Return (channel,). spectrum: (channel,), between 0 and 1."""

        def run(cell: eqx.nn.GRUCell, values: jax.Array) -> jax.Array:
            return jax.lax.scan(lambda state, value: (cell(value, state),) * 2, jnp.zeros(32), values[:, None])[1]

        both = [run(self.cells[0], spectrum), run(self.cells[1], spectrum[::-1])[::-1]]
        return jax.nn.sigmoid(jax.vmap(self.out)(jnp.concatenate(both, -1))[:, 0])


def stretched(spectra: jax.Array) -> jax.Array:
    """Return the spectra between 0 and 1, each by its own minimum and maximum."""
    low, high = spectra.min(-1, keepdims=True), spectra.max(-1, keepdims=True)
    return (spectra - low) / (high - low + 1e-6)


def gru_loss(network: DeepGRU, key: jax.Array, _variant: int) -> jax.Array:
    """Return the mean modulus of the error of the clean spectra."""
    spectra = draw(key, BATCH)
    return jnp.abs(jax.vmap(network)(stretched(spectra.flux)) - stretched(spectra.clean)).mean()


def by_peaks(clean: np.ndarray) -> Ranges:
    """Return the ranges by the published rule. clean: what the DeepGRU says, (channel,)."""
    peaks, _ = find_peaks(clean, height=clean.mean() + 0.1, prominence=0.05, distance=10)
    widths = peak_widths(clean, peaks, 0.5)[0] if len(peaks) else []
    return [(peak - width, peak + width) for peak, width in zip(peaks, widths, strict=True)]


def trained_gru(minutes: float) -> DeepGRU:
    """Return a DeepGRU after so many minutes of training."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan("DeepGRU", gru_loss, (0,), BATCH, rate=2e-3)
        return train(plan, DeepGRU(jax.random.PRNGKey(0)), 60 * minutes, Path(folder) / "gru.safetensors").network


def row(name: str, found: Sequence[Ranges], spectra: Spectra) -> list[str]:
    """Return a row of the table."""
    centre, fwhm, snr = (np.asarray(each, dtype=float) for each in (spectra.centre, spectra.fwhm, spectra.snr))
    true = [
        [(c - w, c + w) for c, w, s in zip(*each, strict=True) if s > 0] for each in zip(centre, fwhm, snr, strict=True)
    ]
    scores: LineScores = score(found, true, [each[each > 0] for each in snr])
    shares = [*scores.complete.values(), scores.spurious, scores.unmatched, scores.spectra_with_spurious]
    return [name, *(f"{100 * share:.1f} %" for share in shares)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="of training of the DeepGRU; 0 leaves it out")
    parser.add_argument("--spectra", type=int, default=2000)
    given = parser.parse_args()
    spectra = draw(jax.random.PRNGKey(SEED), given.spectra)
    flux = np.asarray(spectra.flux, dtype=float)
    network, error = load_line_network(), np.ones(CHANNELS)
    ours = [[line_range(profile) for profile in find_lines(each, error, network).profiles] for each in flux]
    rows = [row("network, filter and fit", ours, spectra)]
    rows += [row(f"matched filter > {least}", [by_filter(each, least) for each in flux], spectra) for least in (4.5, 5)]
    if given.minutes:
        gru = trained_gru(given.minutes)
        clean = stretched(np.asarray(jax.vmap(gru)(stretched(spectra.flux)), dtype=float))
        rows.append(row(f"DeepGRU, {given.minutes:g} min", [by_peaks(each) for each in clean], spectra))
    heads = ["S/N 4-6 complete", "S/N > 6", "spurious", "unmatched", "spectra with a spurious line"]
    print_table(["finder", *heads], rows)


if __name__ == "__main__":
    main()
