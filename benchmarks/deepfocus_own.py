"""What `benchmarks.deepfocus` counts of deepfocus alone: probabilities and lines."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.deepfocus_scores import Truth, near
from casa_ml_tasks.simulation import SimulatedCube
from casa_ml_tasks.sources.detection import candidates
from casa_ml_tasks.sources.finder import Found
from casa_ml_tasks.sources.line_scores import matched, overlaps

LINE_IOU = 0.6
LINE_BINS = ((4.0, 6.0), (6.0, np.inf))


@dataclass
class OwnCounts:
    """Counts over cubes.

    Attributes:
        said, real: probabilities of the candidates of the network's first look, and whether a true centre is within a
            beam, one to one; an array for each cube.
        line_snr, line_complete: of the true lines of the sources whose centres are found, whether a line of theirs has
            a range, centre +- FWHM, with an intersection over union of 0.6, one to one.
        line_spurious: of the lines found there, whether they overlap no true one.
    """

    said: list[NDArray[np.float64]] = field(default_factory=list)
    real: list[NDArray[np.bool_]] = field(default_factory=list)
    line_snr: list[float] = field(default_factory=list)
    line_complete: list[bool] = field(default_factory=list)
    line_spurious: list[bool] = field(default_factory=list)

    def add(self, cube: SimulatedCube, found: Found, truth: Truth, beam: float) -> None:
        """Count the candidates of the network's first look, and the lines of the sources whose centres are found."""
        places = np.column_stack([truth.gaussians.x, truth.gaussians.y])
        proposed = candidates(found.proposal)
        there = np.column_stack([proposed.gaussians.x, proposed.gaussians.y])
        self.said.append(proposed.probability)
        self.real.append(near(there, places, beam) >= 0)
        if found.spectral_fits is None:
            return
        shapes = found.shapes.gaussians
        partner = near(places, np.column_stack([shapes.x, shapes.y]), beam / 2)
        for number, match in enumerate(partner):
            if match < 0:
                continue
            lines = [(line.centre - line.fwhm, line.centre + line.fwhm) for line in found.spectral_fits[match].lines]
            centre, width = cube.sources.centre[number], cube.sources.width[number]
            true = [] if cube.sources.line[number] == "none" else [(centre - width, centre + width)]
            self.line_snr += [float(cube.line_snr[number])] * len(true)
            self.line_complete += (matched(true, lines) >= LINE_IOU).tolist()
            self.line_spurious += (overlaps(lines, true).max(axis=1, initial=0.0) == 0).tolist()
