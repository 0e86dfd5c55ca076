"""Spectra of sources against dense least squares and simulated noise."""

import numpy as np
import pytest

from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.source_spectra import source_spectra
from tests.gaussian_sources import Field

CHANNELS = 5


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def blend():
    return Gaussians(
        [20.0, 23.5, 3.0], [22.0, 25.0, 12.0], [6.0, 0.0, 9.0], [4.0, 0.0, 4.5], [0.4, 0.0, 1.0], [0.0] * 3
    )


def dense(sources, field, dirty):
    """Least squares with the images themselves, (source,), and the inverse matrix."""
    unit = Gaussians(sources.x, sources.y, sources.major, sources.minor, sources.angle, np.ones(len(sources)))
    images = [unit.chosen([k]).image(field.shape) for k in range(len(unit))]
    matrix = [[np.sum(a * field.dirty(b)) for b in images] for a in images]
    inverse = np.linalg.inv(matrix)
    return inverse @ [np.sum(a * dirty) for a in images], inverse


@pytest.mark.parametrize("shape", [(40, 40), (41, 46)])
def test_spectra_are_least_squares_with_the_psf_of_each_channel(shape, rng):
    fields = [Field.random(shape, rng, width=0.07 + 0.002 * channel) for channel in range(CHANNELS)]
    dirty, noise = rng.normal(size=(CHANNELS, *shape)), rng.uniform(1, 2, CHANNELS)
    spectra = source_spectra(blend(), dirty, np.array([field.psf() for field in fields]), noise)
    for channel, field in enumerate(fields):
        flux, inverse = dense(blend(), field, dirty[channel])
        assert np.allclose(spectra.flux[:, channel], flux, atol=1e-6 * np.abs(flux).max())
        assert np.allclose(spectra.error[:, channel], noise[channel] * np.sqrt(np.diag(inverse)), rtol=1e-6)


def test_one_psf_serves_all_channels(rng):
    field = Field.random((40, 43), rng)
    dirty, noise = rng.normal(size=(CHANNELS, 40, 43)), np.ones(CHANNELS)
    one = source_spectra(blend(), dirty, field.psf()[None], noise)
    all_ = source_spectra(blend(), dirty, np.tile(field.psf(), (CHANNELS, 1, 1)), noise)
    assert np.allclose(one.flux, all_.flux)
    assert np.allclose(one.error, all_.error)


def test_fluxes_scatter_about_the_truth_by_their_errors(rng):
    field, channels = Field.random((40, 40), rng), 400
    true = rng.uniform(-5, 30, (3, channels))
    dirty = []
    for flux in true.T:
        s = blend()
        image = Gaussians(s.x, s.y, s.major, s.minor, s.angle, flux).image((40, 40))
        dirty.append(field.dirty(image) + 0.7 * field.noise(rng))
    spectra = source_spectra(blend(), np.array(dirty), field.psf()[None], np.full(channels, 0.7))
    pull = (spectra.flux - true) / spectra.error
    assert np.all(np.abs(np.sqrt(np.mean(pull**2, axis=1)) - 1) < 0.12)
    assert np.all(np.abs(pull.mean(axis=1)) < 0.2)


def test_a_channel_without_data_has_no_flux_and_an_infinite_error(rng):
    field = Field.random((40, 40), rng)
    dirty, noise = rng.normal(size=(4, 40, 40)), np.array([1.0, np.inf, 1.0, 2.0])
    dirty[2, 20, 20] = np.nan
    spectra = source_spectra(blend(), dirty, field.psf()[None], noise)
    assert np.isnan(spectra.flux[:, 1:3]).all()
    assert np.isinf(spectra.error[:, 1:3]).all()
    flux, error = spectra.mean()
    weight = 1 / spectra.error[:, [0, 3]] ** 2
    assert np.allclose(flux, np.sum(weight * spectra.flux[:, [0, 3]], axis=1) / weight.sum(axis=1))
    assert np.allclose(error, weight.sum(axis=1) ** -0.5)


def test_no_sources_have_no_spectra(rng):
    field = Field.random((40, 40), rng)
    spectra = source_spectra(Gaussians.empty(), rng.normal(size=(4, 40, 40)), field.psf()[None], np.ones(4))
    assert spectra.flux.shape == spectra.error.shape == (0, 4)
