"""A posterior's numbers, and the tables that it is written to."""

import numpy as np
import pytest

from casa_ml_tasks.data.text_table import read_table, write_table
from casa_ml_tasks.engine.protocols import MinorCycle
from casa_ml_tasks.minor.resolve.posterior import Posterior, PowerSpectrum
from tests.gaussian_inference import GaussianInference

SHAPE = (200, 2, 1, 6, 5)  # sample, channel, stokes, y, x


@pytest.fixture
def posterior():
    """Pixels of mean 3 and deviation 1 that all err together in the first channel and apart in the second."""
    rng = np.random.default_rng(4)
    samples = 3 + rng.normal(size=SHAPE)
    samples[:, 0] = 3 + rng.normal(size=(200, 1, 1, 1))
    spectrum = PowerSpectrum(np.array([1.0, 2.0]), np.linspace(0, 100, 201)[:, None] * [1.0, 10.0])
    return Posterior(samples.astype(np.float32), spectrum, (), problem="", points=np.zeros(SHAPE[1:]))


def test_mean_and_uncertainty_are_those_of_the_samples(posterior):
    assert posterior.mean.shape == posterior.uncertainty.shape == SHAPE[1:]
    np.testing.assert_allclose(posterior.mean, 3, atol=5 / np.sqrt(200))
    np.testing.assert_allclose(posterior.uncertainty, 1, atol=5 / np.sqrt(2 * 200))


def test_the_flux_knows_whether_pixels_err_together(posterior):
    together, apart = posterior.fluxes.std(axis=0, ddof=1)[:, 0]
    assert together == pytest.approx(30, rel=0.2)
    assert apart == pytest.approx(np.sqrt(30), rel=0.2)


def test_the_relative_uncertainty_is_nan_where_nothing_is_detected(posterior):
    posterior.samples[..., 0, 0] -= 3
    relative = posterior.relative_uncertainty
    assert np.isnan(relative[..., 0, 0]).all()
    assert relative[..., 1:, :] == pytest.approx(1 / 3, rel=0.5)


def test_a_plane_is_the_posterior_of_one_image(posterior):
    plane = posterior.plane(1)
    np.testing.assert_array_equal(plane.mean[0, 0], posterior.mean[1, 0])
    assert plane.points.shape == (1, 1, 6, 5)
    assert plane.power_spectrum is posterior.power_spectrum


def test_the_band_of_the_spectrum_holds_68_per_cent(posterior):
    spectrum = posterior.power_spectrum
    for values, expected in ((spectrum.lower, 16), (spectrum.median, 50), (spectrum.upper, 84)):
        np.testing.assert_allclose(values, [expected, 10 * expected])


def test_an_inference_is_a_minor_cycle():
    assert isinstance(GaussianInference(1.0, 1.0), MinorCycle)


@pytest.mark.parametrize("rows", [1, 7])
def test_a_table_is_read_back_and_numpy_reads_it_too(tmp_path, rows):
    columns = {"uvdist": np.geomspace(1e3, 1e6, rows), "factor": np.linspace(1, 2, rows)}
    write_table(tmp_path / "noise", columns, ["Of the visibilities.", "uvdist: wavelengths."])
    assert list(read_table(tmp_path / "noise")) == ["uvdist", "factor"]
    for name, column in read_table(tmp_path / "noise").items():
        np.testing.assert_allclose(column, columns[name], rtol=1e-6)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "noise", ndmin=2)[:, 1], columns["factor"], rtol=1e-6)
