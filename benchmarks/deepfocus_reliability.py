"""The coefficients of `sources.reliability`: logistic regression of detections in simulated fields.

python -m benchmarks.deepfocus_reliability --fields 400
"""

from __future__ import annotations

import argparse

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from tqdm import trange

from casa_ml_tasks.networks.image_training import CONFIGURATIONS, PIXELS
from casa_ml_tasks.networks.trained import load_image_network
from casa_ml_tasks.simulation.random_fields import draw_field
from casa_ml_tasks.simulation.uv_coverage import random_observations, stacked
from casa_ml_tasks.sources import plane_finder
from casa_ml_tasks.sources.image_scores import is_real, plane_of
from casa_ml_tasks.sources.reliability import features

SEED = 900  # of observations and fields that no training has seen
LENIENT = 12.0  # rise of chi^2 that is asked for here, so that there are spurious sources to learn from


def main() -> None:
    """Draw the fields, find sources leniently, and print coefficients and reliability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=400)
    count = parser.parse_args().fields
    coverages = stacked(random_observations(CONFIGURATIONS, 64, SEED, briggs_share=0.0), PIXELS)
    draw = jax.jit(lambda key: draw_field(key, coverages))
    plane_finder.NEEDED, plane_finder.SIGNIFICANT = LENIENT, 3.0
    rows, real = [np.zeros((0, 3))], [np.zeros(0, bool)]
    for number in trange(count, desc="fields"):
        plane, truth = plane_of(draw(jax.random.PRNGKey(SEED + number)))
        found = plane_finder.find_in_plane(plane, load_image_network())
        rows.append(features(found.probability, found.fitted.delta_chi2))
        real.append(is_real(found.fitted.gaussians, truth, plane.beam.mean))
    x, y = np.concatenate(rows), np.concatenate(real)

    def cost(coefficients: NDArray[np.float64]) -> float:
        odds = x @ coefficients
        return float(np.sum(np.logaddexp(0, odds) - y * odds) + 1e-3 * np.sum(coefficients**2))

    fitted = minimize(cost, np.array([-14.0, 0.7, 4.5])).x
    said = 1 / (1 + np.exp(-x @ fitted))
    print(f"{len(y)} detections, {np.sum(~y)} spurious; coefficients {np.round(fitted, 3).tolist()}")
    for low, high in ((0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 0.99), (0.99, 1.01)):
        inside = (said >= low) & (said < high)
        if inside.any():
            print(f"said {said[inside].mean():.3f}, true {y[inside].mean():.3f}, {inside.sum()} detections")


if __name__ == "__main__":
    main()
