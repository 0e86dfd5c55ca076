"""Lines of spectra: found, measured with honest errors, and not found where there are none."""

import jax
import numpy as np
import pytest

from casa_ml_tasks.networks.line_network import LineNetwork, logits
from casa_ml_tasks.networks.trained import load_image_network, load_line_network
from casa_ml_tasks.networks.weights_file import save_arrays
from casa_ml_tasks.sources.fitted_profiles import DOUBLE, SINGLE, Profile
from casa_ml_tasks.sources.line_finder import find_lines

AREA = np.sqrt(np.pi / (4 * np.log(2)))  # of a Gaussian of peak and FWHM 1


@pytest.fixture(scope="module")
def network():
    return load_line_network()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def gaussian(channels, centre, fwhm):
    return np.exp(-4 * np.log(2) * ((np.arange(channels) - centre) / fwhm) ** 2)


def test_a_line_without_noise_is_measured_as_its_closed_form(network):
    flux = 3 + 0.01 * (np.arange(101) - 50) + 2.5 * gaussian(101, 41.3, 9.0)
    found = find_lines(flux, np.full(101, 0.01), network)
    (line,) = found.lines
    assert (line.centre, line.fwhm) == pytest.approx((41.3, 9.0), abs=1e-3)
    assert line.flux == pytest.approx(2.5 * 9 * AREA, rel=1e-3)
    assert (line.first, line.last, line.kind) == (32, 50, "single")
    assert (found.level, found.slope) == pytest.approx((3, 0.01), rel=1e-2)
    np.testing.assert_allclose(found.continuum() + found.line(), flux, atol=1e-3)


def test_errors_of_flux_centre_and_width_are_those_of_many_noises(network, rng):
    pulls = []
    for _ in range(60):
        flux = 4 + 0.02 * np.arange(128) + 8 * gaussian(128, 60, 7.0) + rng.normal(size=128)
        (line,) = find_lines(flux, np.ones(128), network).lines
        differences = line.flux - 8 * 7 * AREA, line.centre - 60, line.fwhm - 7
        pulls.append(np.divide(differences, (line.flux_error, line.centre_error, line.fwhm_error)))
    pulls = np.array(pulls)
    assert (np.abs(pulls.mean(0)) < 0.45).all()
    assert (np.abs(pulls.std(0) - 1) < 0.28).all()


def test_signal_to_noise_is_that_of_the_matched_filter(network, rng):
    shape = gaussian(256, 100, 8)
    flux = 12 * shape / np.linalg.norm(shape) + rng.normal(size=256)
    (line,) = find_lines(flux, np.ones(256), network).lines
    assert line.snr == pytest.approx(12, abs=3)


def test_noise_stays_empty(network, rng):
    spectra = [5 + 0.01 * np.arange(96) + rng.normal(size=96) for _ in range(200)]
    assert sum(len(find_lines(each, np.ones(96), network).lines) for each in spectra) <= 1


@pytest.mark.parametrize("channels", [16, 17, 100, 1500])
def test_the_number_of_channels_does_not_matter(network, rng, channels):
    flux = 7 * gaussian(channels, 0.6 * channels, 3) + rng.normal(size=channels)
    (line,) = find_lines(flux, np.ones(channels), network).lines
    assert line.centre == pytest.approx(0.6 * channels, abs=1.0)


def test_units_do_not_matter(network, rng):
    flux = 5 * gaussian(128, 50, 6) + rng.normal(size=128)
    one, other = find_lines(flux, np.ones(128), network), find_lines(1e-6 * flux, np.full(128, 1e-6), network)
    assert other.lines[0].flux == pytest.approx(1e-6 * one.lines[0].flux, rel=1e-3)
    assert other.lines[0].probability == pytest.approx(one.lines[0].probability, abs=1e-3)


@pytest.mark.parametrize("blank", [(np.nan, 1.0), (3.0, np.inf), (1e30, np.nan), (7.0, 0.0)])
def test_blanked_channels_are_ignored(network, rng, blank):
    flux, error = 6 * gaussian(128, 50, 8) + rng.normal(size=128), np.ones(128)
    flux[[3, 47, *range(90, 97)]], error[[3, 47, *range(90, 97)]] = blank
    (line,) = find_lines(flux, error, network).lines
    assert abs(line.centre - 50) < 4 * line.centre_error
    assert abs(line.flux - 6 * 8 * AREA) < 4 * line.flux_error


def test_channels_beyond_the_observed_ones_change_nothing(network, rng):
    flux, error = 4 * gaussian(70, 30, 6) + rng.normal(size=70), np.ones(70)
    longer = np.pad(flux, (0, 200)), np.pad(error, (0, 200), constant_values=np.inf)
    for one, other in zip(logits(network, flux, error), logits(network, *longer), strict=True):
        np.testing.assert_allclose(other[:70], one, atol=2e-3)


def test_a_bright_sloped_continuum_is_no_line(network, rng):
    z = np.arange(128)
    flux = 300 + 2 * (z - 63.5) + 6 * gaussian(128, 90, 8) + rng.normal(size=128)
    found = find_lines(flux, np.ones(128), network)
    (line,) = found.lines
    assert line.centre == pytest.approx(90, abs=2)
    assert abs(found.slope - 2) < 5 * found.slope_error
    assert abs(found.level - 300) < 5 * found.level_error


def test_two_lines_that_touch_are_two_and_two_horns_are_one(network, rng):
    noise = rng.normal(size=200)
    two = find_lines(9 * gaussian(200, 80, 8) + 6 * gaussian(200, 93, 7) + noise, np.ones(200), network)
    assert [line.kind for line in two.lines] == ["single", "single"]
    assert [line.centre for line in two.lines] == pytest.approx([80, 93], abs=1.5)
    disk = Profile(DOUBLE, 100.0, 30.0, 5.0, 1.5)
    profile = disk.amplitude * disk.shape(np.arange(200.0))
    (line,) = find_lines(profile + noise, np.ones(200), network).lines
    assert line.kind == "double"
    assert line.fwhm == pytest.approx(30, abs=1.5)
    assert abs(line.flux - profile.sum()) < 4 * line.flux_error


@pytest.mark.parametrize("profile", [Profile(SINGLE, 20.3, 6.1, 2.0), Profile(DOUBLE, 20.3, 12.0, 2.0, 0.7)])
def test_derivatives_of_profiles_are_those_of_differences(profile):
    z, step = np.arange(41.0), 1e-6
    for index, derivative in enumerate(profile.derivatives(z).T):
        sides = []
        for sign in (1, -1):
            values = np.array(profile.parameters)
            values[index] += sign * step
            other = profile.with_parameters(values)
            sides.append(other.amplitude * other.shape(z))
        np.testing.assert_allclose(derivative, (sides[0] - sides[1]) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("observed", [0, 1, 2, 5])
def test_few_observed_channels_have_no_lines(network, observed):
    error = np.where(np.arange(9) < observed, 1.0, np.inf)
    found = find_lines(np.full(9, 2.0), error, network)
    assert found.lines == ()
    assert found.level == pytest.approx(2.0) if observed else np.isnan(found.level)


def test_shapes_that_differ_are_refused(network):
    with pytest.raises(ValueError, match=r"give two of \(channel,\)"):
        find_lines(np.zeros(5), np.ones(6), network)


def test_weights_that_are_missing_damaged_or_of_another_network_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"lines\.safetensors do not exist"):
        load_line_network(tmp_path)
    with pytest.raises(ValueError, match=r"images\.safetensors do not exist"):
        load_image_network(tmp_path)
    folder = tmp_path / "truncated"
    folder.mkdir()
    save_arrays(folder / "lines.safetensors", LineNetwork(jax.random.PRNGKey(0)), {})
    whole = (folder / "lines.safetensors").read_bytes()
    (folder / "lines.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="are damaged"):
        load_line_network(folder)
    folder = tmp_path / "other"
    folder.mkdir()
    save_arrays(folder / "lines.safetensors", LineNetwork(jax.random.PRNGKey(0), width=8), {})
    with pytest.raises(ValueError, match="are of another network"):
        load_line_network(folder)
