import numpy as np
import pytest

from casa_ml_tasks.calibration import noise_scale
from casa_ml_tasks.calibration.noise_scale import NoiseScale, Thinned, neighbouring_integrations, normalised_differences


def noisy(rng, variance, scale):
    """Visibilities of 3 Jy with noise `scale` times what `variance` says."""
    noise = rng.normal(size=variance.size) + 1j * rng.normal(size=variance.size)
    return 3.0 + scale * np.sqrt(variance) * noise


@pytest.mark.parametrize("scale", [0.04, 1.0, 1.5])
def test_the_scale_of_gaussian_noise_is_found_whatever_the_weights(scale):
    rng = np.random.default_rng(2)
    first, second = rng.uniform(0.1, 10, (2, 100_000))
    differences = normalised_differences(noisy(rng, first, scale), noisy(rng, second, scale), first, second)
    assert noise_scale.scale_of(differences) == pytest.approx(scale, rel=0.01)


def test_outliers_hardly_matter():
    rng = np.random.default_rng(3)
    variance = np.ones(100_000)
    first = noisy(rng, variance, 1.0)
    first[:2000] += 1e6
    differences = normalised_differences(first, noisy(rng, variance, 1.0), variance, variance)
    assert noise_scale.scale_of(differences) == pytest.approx(1.0, rel=0.03)


def test_copied_hands_and_missing_differences_give_no_estimate():
    assert noise_scale.scale_of(np.zeros(10)) is None
    assert noise_scale.scale_of(np.empty(0)) is None


def test_the_smaller_estimate_is_taken():
    one, four = np.full(5, 2 * np.log(2)), np.full(5, 8 * np.log(2))
    assert noise_scale.smallest(one, four) == NoiseScale(pytest.approx(1.0), "XX-YY")
    assert noise_scale.smallest(four, one) == NoiseScale(pytest.approx(1.0), "neighbouring integrations")
    assert noise_scale.smallest(np.zeros(5), four) == NoiseScale(pytest.approx(2.0), "neighbouring integrations")
    assert noise_scale.smallest(np.empty(0), np.empty(0)) == NoiseScale(1.0, "WEIGHT as it is")


def test_neighbours_share_their_baseline_and_are_close_in_time():
    streams = np.array([[0, 1, 0, 0, 1, 0]])
    time = np.array([10.0, 10.0, 40.0, 200.0, 41.0, 200.0])
    earlier, later = neighbouring_integrations(streams, time)
    assert sorted(zip(earlier.tolist(), later.tolist(), strict=True)) == [(0, 2), (1, 4)]


def test_thinning_keeps_an_even_spread(monkeypatch):
    monkeypatch.setattr(noise_scale, "MOST_DIFFERENCES", 100)
    thinned = Thinned()
    for block in np.split(np.arange(1000.0), 10):
        thinned.add(block)
    assert 50 <= thinned.values.size <= 100
    assert thinned.values.mean() == pytest.approx(500, abs=20)
