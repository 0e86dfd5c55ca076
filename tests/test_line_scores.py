"""Random spectra are what they say, and scores of lines count what they say."""

import jax
import numpy as np
import pytest

from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.model_card import save_with_card
from casa_ml_tasks.networks.training import Plan, Progress
from casa_ml_tasks.networks.weights_file import load_arrays
from casa_ml_tasks.simulation.random_spectra import draw_spectra
from casa_ml_tasks.sources.line_scores import calibration_error, decided, matched, score


def test_noise_and_signal_to_noise_of_random_spectra_are_as_said():
    spectra = draw_spectra(jax.random.PRNGKey(3), 300, 64, 40)
    error = np.asarray(spectra.error)
    noise = ((np.asarray(spectra.flux) - np.asarray(spectra.clean)) / error)[np.isfinite(error)]
    assert noise.std() == pytest.approx(1, abs=0.02)
    free = (np.asarray(spectra.lines.snr) == 0).all(1)
    assert free.mean() == pytest.approx(0.4, abs=0.1)
    clean = np.asarray(spectra.clean)
    np.testing.assert_allclose(np.diff(clean[free], 2, axis=1), 0, atol=1e-4)


def test_ranges_are_matched_one_to_one():
    np.testing.assert_allclose(matched([(0, 10), (1, 11)], [(0, 10)]), [1, 0])
    np.testing.assert_allclose(matched([(0, 10)], [(5, 15)]), [1 / 3])
    assert matched([(0, 1)], []).tolist() == [0]


def test_a_score_counts_complete_and_spurious_lines():
    true = [[(0, 10), (40, 50)], []]
    found = [[(1, 10), (45, 60), (80, 90)], [(3, 5)]]
    scores = score(found, true, [np.array([5.0, 20.0]), np.array([])])
    assert scores.complete == {"4-6": 1.0, ">6": 0.0}
    assert (scores.spurious, scores.unmatched, scores.spectra_with_spurious) == (0.5, 0.5, 1.0)


def test_the_decision_is_calibrated_where_the_truth_is_logistic():
    rng = np.random.default_rng(1)
    network = LineNetwork(jax.random.PRNGKey(0), width=4)
    features = rng.normal(size=(8000, len(network.decision)))
    true = rng.normal(size=features.shape[1])
    probability = 1 / (1 + np.exp(-features @ true))
    real = rng.uniform(size=8000) < probability
    np.testing.assert_allclose(decided(network, features, real).decision, true, atol=0.15)
    assert calibration_error(probability, real) < 0.02
    assert calibration_error(np.full(8000, 0.95), real) == pytest.approx(0.95 - real.mean())


def test_weights_and_model_card_are_written_together(tmp_path):
    network = LineNetwork(jax.random.PRNGKey(0), width=4)
    plan = Plan("lines", lambda *_: 0.0, (0,), 10, seed=7)
    progress = Progress(network, None, 50, 1800.0, 0.25)
    save_with_card(tmp_path, plan, progress, {"completeness": 0.9}, "About it.", ["Absorption."])
    _, said = load_arrays(tmp_path / "lines.safetensors", network)
    assert said["architecture"] == "LineNetwork"
    assert (said["data seen"], said["seed of weights and data"], said["completeness"]) == ("500", "7", "0.9")
    card = (tmp_path / "lines.md").read_text()
    assert "| hours | 0.50 |" in card
    assert "| completeness | 0.9 |" in card
    assert "- Absorption." in card
