"""The correlated field, its spectrum and its preconditioner, against dense matrices and NIFTy's own field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from nifty.re import CorrelatedFieldMaker

from casa_ml_tasks.minor.resolve.coarse_likelihood import MOST_POINTS, Points, coarse_points
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior, hartley
from casa_ml_tasks.minor.resolve.energy import Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.point_sources import PointSources
from casa_ml_tasks.minor.resolve.spectrum import draw, most_probable, power_of_rings, scale_of, spectral_energy

SHAPES = [(24, 24), (15, 22), (21, 17)]
PRIOR = Prior(offset=-3.0)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def drawn_spectrum(field, rng):
    return jnp.asarray(rng.normal(size=field.parameters))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_hartley_transform_is_symmetric_and_inverts_itself(shape, rng):
    one, other = rng.normal(size=(2, *shape))
    assert np.vdot(hartley(one), other) == pytest.approx(np.vdot(one, hartley(other)))
    np.testing.assert_allclose(hartley(hartley(one)) / one.size, one, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_coefficients_undo_the_field(shape, rng):
    field = CorrelatedField(shape, PRIOR)
    amplitude, excitations = field.amplitude(drawn_spectrum(field, rng)), rng.normal(size=shape)
    log_sky = field.log_sky(amplitude, excitations)
    np.testing.assert_allclose(field.coefficients(log_sky), amplitude * excitations, atol=1e-10)


@pytest.mark.parametrize("shape", [(48, 48), (31, 45)])
def test_a_power_law_has_the_amplitudes_of_nifty(shape):
    field = CorrelatedField(shape, PRIOR)
    maker = CorrelatedFieldMaker("")
    maker.set_amplitude_total_offset(PRIOR.offset, PRIOR.offset_deviation)
    maker.add_fluctuations(
        shape,
        tuple(1 / n for n in shape) if shape[0] == shape[1] else tuple(1.0 for _ in shape),
        PRIOR.fluctuations,
        PRIOR.slope,
        non_parametric_kind="power",
    )
    theirs = maker.finalize()
    white = {name: jnp.zeros(each.shape) for name, each in theirs.domain.items()}
    grid = theirs.target_grids[0]
    expected = (maker.azm(white) * theirs.normalized_amplitudes[0](white) / grid.total_volume)[
        grid.harmonic_grid.power_distributor
    ]
    actual = np.array(field.amplitude(jnp.zeros(field.parameters)))
    assert actual[0, 0] == pytest.approx(expected[0, 0])
    others = np.ones(shape, bool)
    others[0, 0] = False
    np.testing.assert_allclose(
        actual[others], expected[others], rtol=0.04
    )  # rings have one amplitude, and the norm is summed over bins


@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_has_the_covariance_that_is_said(shape, rng):
    field = CorrelatedField(shape, PRIOR)
    amplitude = field.amplitude(drawn_spectrum(field, rng))
    synthesis = np.array([hartley(amplitude * each) for each in np.eye(amplitude.size).reshape(-1, *shape)])
    dense = np.einsum("ia,ib->ab", *(2 * [synthesis.reshape(amplitude.size, -1)]))
    by_distance = np.array(field.covariance(amplitude))
    np.testing.assert_allclose(dense[0].reshape(shape), by_distance, atol=1e-9 * by_distance[0, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_rings_stand_for_the_amplitudes_of_their_modes(shape, rng):
    field = CorrelatedField(shape, PRIOR)
    bins = np.log(field.amplitude_of_bins(jnp.zeros(field.parameters)))
    at, between = field.modes.bin, field.modes.fraction
    of_modes = np.where(field.modes.ring > 0, (1 - between) * bins[at] + between * bins[at + 1], bins[0])
    assert np.abs(of_modes - np.log(field.amplitude(jnp.zeros(field.parameters)))).max() < 0.05
    assert field.modes.multiplicity().sum() == pytest.approx(np.prod(shape))


def test_the_gradient_of_the_spectrums_energy_is_the_finite_difference(rng):
    field = CorrelatedField((20, 27), PRIOR)
    power = power_of_rings(field, jnp.asarray(rng.normal(size=(20, 27))))
    at, along = rng.normal(size=(2, field.parameters))
    step = 1e-5
    forward, backward = (spectral_energy(field, at + sign * step * along, power) for sign in (1, -1))
    slope = jax.grad(spectral_energy, argnums=1)(field, jnp.asarray(at), power)
    assert np.vdot(slope, along) == pytest.approx(float(forward - backward) / (2 * step), rel=1e-6)


def test_the_spectrum_of_a_drawn_field_is_found(rng):
    field = CorrelatedField((64, 64), PRIOR._replace(slope=(-3.0, 1.0)))
    truth = drawn_spectrum(field, rng)
    amplitude = np.array(field.amplitude(truth))
    coefficients = amplitude * rng.normal(size=amplitude.shape)

    def error(found):
        return np.log(field.amplitude_of_bins(jnp.asarray(found)) / field.amplitude_of_bins(truth))[-20:]

    whole = error(most_probable(field, coefficients, part=1.0, beam_area=0.0))
    assert np.sqrt(np.mean(whole**2)) < 0.12  # in bins of hundreds of modes
    half = error(most_probable(field, coefficients / np.sqrt(2), part=0.5, beam_area=0.0))
    assert np.sqrt(np.mean(half**2)) < 0.12
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in (64, 64))))
    smoothed = coefficients * (frequency < 0.15)
    smooth = error(most_probable(field, smoothed, part=1.0, beam_area=100.0))
    blind = error(most_probable(field, smoothed, part=1.0, beam_area=0.0))
    assert np.abs(smooth).max() < 1.5 < 5 < np.abs(blind).max(), (smooth, blind)


def test_spectra_are_drawn_as_they_are_probable():
    """Spectra that were drawn with their skies look like the prior, and so they do when drawn again for these skies."""
    field, rng, changes, after = CorrelatedField((16, 16), PRIOR), np.random.default_rng(5), [], []
    for key in jax.random.split(jax.random.key(4), 200):
        before = drawn_spectrum(field, rng)
        coefficients = field.amplitude(before) * rng.normal(size=field.shape)
        found = draw(field, coefficients, before, key, scale_of(field, before))
        changes.append(np.asarray(found - before))
        after.append(np.asarray(found))
    assert np.sqrt(np.mean(np.square(changes))) > 0.5
    assert np.sqrt(np.mean(np.square(np.mean(after, axis=0)))) < 1.5 / np.sqrt(200)
    assert np.mean(np.var(after, axis=0)) == pytest.approx(1, abs=0.05)


def psf_of_uv_points(shape, rng, points=60):
    """Of visibilities at random, so that the normal operator is positive: (2 ny, 2 nx)."""
    y, x = (np.arange(-n, n) for n in shape)
    baselines = rng.normal(scale=0.12, size=(points, 2))
    return np.mean([np.cos(2 * np.pi * (v * y[:, None] + u * x)) for v, u in baselines], axis=0)


def dense(function, at):
    """The matrix of a linear function of positions."""
    vector, position = ravel_pytree(at)
    return np.array([ravel_pytree(function(position(each)))[0] for each in np.eye(vector.size)]).T


@pytest.fixture(params=[(12, 12), (9, 14)])
def mass_and_points(request, rng):
    """Of a spectrum that moves with the sky: field, position, points, PSF, noise, sources, mass."""
    field = CorrelatedField(request.param, PRIOR)
    at = Position(jnp.asarray(rng.normal(size=field.shape)), drawn_spectrum(field, rng))
    psf, sigma = psf_of_uv_points(field.shape, rng), 0.02
    places = rng.choice(np.prod(field.shape), 15, replace=False)
    points = Points(*np.unravel_index(places, field.shape), rng.uniform(0.1, 3, 15))
    curvature = np.diag(rng.uniform(0, 1e5, field.parameters))
    sources = PointSources.at(np.array([[3, 4], [7, 8]]), psf, np.zeros(field.shape))
    return field, at, points, psf, sigma, sources, Mass.of(field, at, points, psf, sources, sigma, curvature)


def test_velocities_are_momenta_over_the_curvature_of_the_coarse_likelihood(mass_and_points):
    field, at, points, psf, sigma, sources, mass = mass_and_points

    def seen(along):  # logarithm of the sky in the points
        def logarithm(excitations, spectrum):
            return field.log_sky(field.amplitude(spectrum), excitations)[points.y, points.x]

        tangent = (along.excitations, mass.scale @ along.spectrum)
        return jax.jvp(logarithm, tuple(at), tangent)[1]

    jacobian, inverse = dense(seen, at), dense(mass.velocity, at)
    distances = np.subtract.outer(points.y, points.y), np.subtract.outer(points.x, points.x)
    normal = psf[tuple(np.array(distances) + np.array(field.shape)[:, None, None])]
    explained = sources.beams[:, points.y, points.x].T @ sources.inverse @ sources.beams[:, points.y, points.x]
    curvature = np.outer(points.flux, points.flux) * (normal - explained)
    expected = np.eye(len(inverse)) + jacobian.T @ curvature @ jacobian / sigma**2
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-9)
    assert np.linalg.eigvalsh(inverse).min() > 0
    product = np.linalg.eigvals(inverse @ expected).real  # 1, but for curvatures that are negligible beside the prior's
    assert product.min() > 0.99
    assert product.max() < 1 + 0.3 * len(points.flux)
    assert np.mean(np.abs(product - 1) < 1e-6) > 0.9


def test_momenta_have_the_covariance_whose_inverse_gives_velocities(mass_and_points):
    field, *_, mass = mass_and_points
    size = np.prod(field.shape) + field.parameters
    momenta = [mass.draw(key) for key in jax.random.split(jax.random.key(2), 2000)]
    twice_kinetic = [
        sum(float(jnp.vdot(*each)) for each in zip(one, mass.velocity(one), strict=True)) for one in momenta
    ]
    assert np.mean(twice_kinetic) == pytest.approx(size, rel=0.02)
    assert np.var(twice_kinetic) == pytest.approx(2 * size, rel=0.15)


def test_a_spectrum_that_is_known_does_not_move(mass_and_points):
    field, at, points, psf, sigma, sources, _ = mass_and_points
    mass = Mass.of(field, at, points, psf, sources, sigma)
    velocity = mass.velocity(mass.draw(jax.random.key(3)))
    assert not np.any(mass.scale @ velocity.spectrum)


@pytest.mark.parametrize("shape", [(40, 40), (33, 46)])
def test_coarse_points_keep_the_flux_and_are_finer_where_it_is_bright(shape):
    y, x = np.indices(shape)
    image = 1e-3 * np.exp(-((y - 12.0) ** 2 + (x - 14.0) ** 2) / 200) + 5.0 * ((y == 20) & (x == 25))
    sigma, beam_area = 1e-3, 60.0
    points = coarse_points(image, sigma, beam_area)
    assert points.flux.sum() == pytest.approx(image.sum(), rel=0.01)
    brightest = np.argmax(points.flux)
    assert (points.y[brightest], points.x[brightest]) == (20, 25)
    assert points.flux.size < image.size / 8
    assert coarse_points(image, sigma, beam_area, most=3).flux.size == 3
    assert coarse_points(np.zeros(shape), sigma, beam_area).flux.size == 0


def test_there_are_never_more_coarse_points_than_matrices_can_hold(rng):
    image = rng.uniform(0.5, 1.5, size=(256, 256))
    points = coarse_points(image, 1e-6, 20.0)
    assert MOST_POINTS / 3 < points.flux.size <= MOST_POINTS
    assert points.flux.sum() == pytest.approx(image.sum(), rel=0.01)
