r"""jointdeconv beside tclean + feather and sdintimaging, on simulated mosaics of two arrays with a total-power map.

Three skies of known truth that lie between the pixels; two of them reach beyond the mosaic. What each method finds is
compared with the truth at the resolution of tclean's beam, where the primary beam of the mosaic is above 0.3:

- flux: found over true;
- nrmse: r.m.s. error over r.m.s. truth. The ratio of jointdeconv is to the better of a peer's image and model;
- power: P(found) / P(truth), and error: P(found - truth) / P(truth), P being the power spectrum in six bins of scale.

--posterior adds inference='posterior': the fraction of pixels whose truth lies in the 68 % interval of the samples, all
smoothed with the beam, among those brighter than the noise, and by how many of its sigmas the total flux is wrong.

The methods take turns, each in a process of its own; CPU seconds are of all threads, with the imports. A peer whose
residual grew from one major cycle to the next is called diverged and left out of the geometric means.

python -m benchmarks.joint --seeds 1 2 3 --figures FOLDER
python -m benchmarks.joint --runs FOLDER --reuse feather sdintimaging
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.joint_figures import Row, draw
from benchmarks.joint_methods import FEATHER, METHODS, OURS, SDINT, Run, run
from benchmarks.joint_skies import JointScore, JointSky, add_options, area_of, chosen_skies
from benchmarks.measure import geometric_mean, print_table

LABELS = {FEATHER: "tclean + feather", SDINT: "sdintimaging", OURS: "jointdeconv"}
POSTERIOR_COLUMNS = ("sky (seed)", "[s]", "flux", "its sigma", "off by", "nrmse of the mean", "within 68 %")
COLUMNS = (
    "sky (seed)",
    "method",
    "[s]",
    "CPU [s]",
    "flux",
    "nrmse",
    "/ feather's",
    "/ sdintimaging's",
    "power",
    "error",
)


class Outcome(NamedTuple):
    """What the methods made of one sky.

    Attributes:
        title: name and seed of the sky.
        runs: of each method.
        scores: of each method, and for each of its products.
    """

    title: str
    runs: dict[str, Run]
    scores: dict[str, dict[str, JointScore]]

    def nrmse(self, method: str) -> float:
        """That of the better product; NaN without a run that converged."""
        if method not in self.runs or not self.runs[method].converged:
            return float("nan")
        return min(score.nrmse for score in self.scores[method].values())

    def ratio(self, peer: str) -> float:
        """nrmse of jointdeconv over that of a peer."""
        return self.nrmse(OURS) / self.nrmse(peer)

    def time_ratio(self, peer: str) -> float:
        """Wall time of jointdeconv over that of a peer."""
        runs = self.runs
        return runs[OURS].seconds / runs[peer].seconds if {OURS, peer} <= runs.keys() else float("nan")


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, help="methods; feather always runs")
    parser.add_argument("--runs", type=Path, help="folder in which the products stay")
    parser.add_argument("--reuse", nargs="+", choices=METHODS, default=(), help="methods whose runs --runs has already")
    parser.add_argument("--posterior", action="store_true", help="also with inference='posterior'")
    parser.add_argument("--figures", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    methods = [method for method in (FEATHER, OURS, SDINT) if method in {FEATHER, *options.only}]
    outcomes: list[Outcome] = []
    rows_of_figure: list[Row] = []
    posterior_rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        kept = (options.runs or Path(folder)).resolve()
        print_table(COLUMNS, [])
        for sky in chosen_skies(options):
            where = kept / f"s{sky.seed}" / sky.name
            runs = {method: run(method, sky, where / method, method in options.reuse) for method in methods}
            found = {method: finished.smoothed_skies(sky, runs[FEATHER].beam()) for method, finished in runs.items()}
            outcome = Outcome(f"{sky.name} ({sky.seed})", runs, _scores(sky, runs, found))
            for row in _rows(outcome):
                print("| " + " | ".join(row) + " |", flush=True)
            outcomes.append(outcome)
            if options.posterior:
                sampled = run(OURS, sky, where / "posterior", OURS in options.reuse, inference="posterior")
                posterior_rows.append(_posterior_row(sky, sampled, runs[FEATHER]))
            if options.figures is not None:
                best = {LABELS[m]: found[m][_best(outcome.scores[m])] for m in METHODS if m in runs}
                beam, primary_beam = runs[FEATHER].beam(), runs[FEATHER].primary_beam()
                rows_of_figure.append((outcome.title, sky.smoothed_truth(beam), best, primary_beam))
        scales = next(iter(outcomes[0].scores[FEATHER].values())).scales
        print(f"\nScales of power and error: {_numbers(scales, '.2g')} arcsec.")
        _print_means(outcomes)
        print("\nPeak residual of the peers inside their masks, one major cycle after the other, mJy/beam:\n")
        for each in outcomes:
            _print_peaks(each)
        if posterior_rows:
            print()
            print_table(POSTERIOR_COLUMNS, posterior_rows)
    if options.figures is not None:
        draw(rows_of_figure, options.figures / "joint.png")


def _scores(
    sky: JointSky, runs: dict[str, Run], found: dict[str, dict[str, NDArray[np.float64]]]
) -> dict[str, dict[str, JointScore]]:
    beam, primary_beam = runs[FEATHER].beam(), runs[FEATHER].primary_beam()
    return {
        method: {kind: sky.score(pixels, primary_beam, beam) for kind, pixels in products.items()}
        for method, products in found.items()
    }


def _rows(outcome: Outcome) -> Iterator[list[str]]:
    """A row of the table for each product of each method."""
    for method in METHODS:
        for kind, score in outcome.scores.get(method, {}).items():
            ratios = [f"{outcome.ratio(peer):.2f}" if method == OURS else "" for peer in (FEATHER, SDINT)]
            diverged = "" if outcome.runs[method].converged else ", diverged"
            yield [
                outcome.title,
                f"{LABELS[method]}, {kind}{diverged}",
                f"{outcome.runs[method].seconds:.0f}",
                f"{outcome.runs[method].cpu_seconds:.0f}".replace("nan", ""),
                f"{score.flux:.3f}",
                f"{score.nrmse:.3f}",
                *ratios,
                _numbers(score.power, ".2f"),
                _numbers(score.error, ".3f"),
            ]


def _print_peaks(outcome: Outcome) -> None:
    for peer in (FEATHER, SDINT):
        if peer in outcome.runs:
            peaks = _numbers(1e3 * np.array(outcome.runs[peer].peaks), ".1f")
            verdict = "falling" if outcome.runs[peer].converged else "diverged"
            print(f"- {outcome.title}, {LABELS[peer]}: {peaks}, {verdict}")


def _posterior_row(sky: JointSky, sampled: Run, clean: Run) -> list[str]:
    beam, inside = clean.beam(), clean.primary_beam() > 0.3
    samples, truth = sampled.samples(sky, beam), sky.smoothed_truth(beam)
    mean, true_flux = samples.mean(axis=0), truth[inside].sum()
    fluxes = samples[:, inside].sum(axis=1)
    bright = inside & (truth * area_of(beam) > sampled.noise() / np.maximum(clean.primary_beam(), 0.3))
    low, high = np.quantile(samples[:, bright], (0.16, 0.84), axis=0)
    return [
        f"{sky.name} ({sky.seed})",
        f"{sampled.seconds:.0f}",
        f"{fluxes.mean() / true_flux:.4f}",
        f"{fluxes.std() / true_flux:.4f}",
        f"{(fluxes.mean() - true_flux) / fluxes.std():+.1f} sigma",
        f"{np.linalg.norm((mean - truth)[inside]) / np.linalg.norm(truth[inside]):.3f}",
        f"{np.mean((low < truth[bright]) & (truth[bright] < high)):.2f}",
    ]


def _print_means(outcomes: list[Outcome]) -> None:
    for peer in (FEATHER, SDINT):
        errors = [ratio for each in outcomes if np.isfinite(ratio := each.ratio(peer))]
        times = [ratio for each in outcomes if np.isfinite(ratio := each.time_ratio(peer))]
        if errors:
            print(
                f"jointdeconv / {LABELS[peer]}, geometric means over {len(errors)} skies: "
                f"nrmse {geometric_mean(errors):.3f}, time {geometric_mean(times):.2f}."
            )


def _best(scores: dict[str, JointScore]) -> str:
    return min(scores, key=lambda kind: scores[kind].nrmse)


def _numbers(values: NDArray[np.float64], form: str) -> str:
    return " ".join(format(value, form) for value in values)


if __name__ == "__main__":
    main()
