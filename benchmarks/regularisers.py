"""Every regulariser at strength 1, alone and beside l1, on the five skies: errors over those of multi-scale CLEAN.

One minor cycle each, from an empty sky, with positivity.

python -m benchmarks.regularisers
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from casatasks import tclean

from benchmarks.measure import Deconvolution, geometric_mean, print_table, timed
from benchmarks.skies import MULTISCALE_CLEAN, Score, Sky, add_options, chosen_skies
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.minor.rml.regularisers.registry import NEED_CHANNELS, REGULARISERS

NAMES = [name for name in REGULARISERS if name not in NEED_CHANNELS]
CHOICES = [(), *((name,) for name in NAMES), *(("l1", name) for name in NAMES if name != "l1")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    rows: dict[tuple[str, ...], list[tuple[Score, float]]] = {choice: [] for choice in CHOICES}
    for sky in chosen_skies(parser.parse_args()):
        with tempfile.TemporaryDirectory() as folder:
            work, clean = Path(folder), Path(folder) / "clean"
            tclean(imagename=str(clean), **sky.imaging, **MULTISCALE_CLEAN)
            data = Deconvolution.of(work, **sky.imaging)
            theirs = sky.score_of_product(clean, clean)
            for choice in CHOICES:
                rows[choice].append(relative_score(sky, data, choice, clean, theirs))
    print_table(
        ("regularisers", "error at the beam / CLEAN's", "at half the beam / CLEAN's", "flux found", "[s]"),
        ([" + ".join(choice) or "positivity alone", *summary(results)] for choice, results in rows.items()),
    )


def relative_score(
    sky: Sky, data: Deconvolution, choice: tuple[str, ...], clean: Path, theirs: Score
) -> tuple[Score, float]:
    """Errors over CLEAN's and the flux found, and the seconds of the minor cycle."""
    minor = data.minor_cycle(choice)
    (model, _), seconds = timed(minor.update, residual=data.dirty, model=np.zeros_like(data.dirty), state=MinorState())
    ours = sky.score(model[0, 0].T.astype(float), clean)
    return Score(ours.beam / theirs.beam, ours.half_beam / theirs.half_beam, ours.flux), seconds


def summary(results: list[tuple[Score, float]]) -> list[str]:
    """Geometric means over the skies, and the mean of the seconds."""
    means = [f"{geometric_mean(column):.3f}" for column in zip(*(score for score, _ in results), strict=True)]
    return [*means, f"{np.mean([seconds for _, seconds in results]):.1f}"]


if __name__ == "__main__":
    main()
