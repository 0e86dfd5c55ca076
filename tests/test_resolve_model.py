"""The correlated field, its spectrum and its preconditioner, against dense matrices and NIFTy's own field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nifty.re import CorrelatedFieldMaker

from casa_ml_tasks.minor.resolve.coarse_likelihood import CoarseInverse, Points, coarse_points
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior, hartley
from casa_ml_tasks.minor.resolve.spectrum_fit import SpectrumFit

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
    return {name: jnp.asarray(rng.normal(size=each.shape)) for name, each in field.expected_spectrum().items()}


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
    actual = np.array(field.amplitude(field.expected_spectrum()))
    assert actual[0, 0] == pytest.approx(expected[0, 0])
    others = np.ones(shape, bool)
    others[0, 0] = False
    np.testing.assert_allclose(actual[others], expected[others], rtol=0.02)  # the norm is summed over bins


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
    spectrum = field.expected_spectrum()
    of_modes = np.log(field.amplitude(spectrum))
    of_rings = np.log(field.amplitude_of_rings(spectrum))[field.modes.ring]
    assert np.abs(of_modes - of_rings).max() < 0.05
    assert field.modes.multiplicity().sum() == pytest.approx(np.prod(shape))


def test_the_gradient_of_the_spectrums_energy_is_the_finite_difference(rng):
    fit = SpectrumFit(CorrelatedField((20, 27), PRIOR))
    power = jnp.asarray(fit.power(rng.normal(size=(3, 20, 27))))
    at, along = rng.normal(size=(2, fit.size))
    step = 1e-5
    difference = (fit.energy(at + step * along, power) - fit.energy(at - step * along, power)) / (2 * step)
    assert np.vdot(jax.grad(fit.energy)(jnp.asarray(at), power), along) == pytest.approx(float(difference), rel=1e-6)


def test_the_spectrum_of_a_drawn_field_is_found(rng):
    field = CorrelatedField((64, 64), PRIOR._replace(slope=(-3.0, 1.0)))
    fit = SpectrumFit(field)
    truth = drawn_spectrum(field, rng)
    amplitude = np.array(field.amplitude(truth))
    power = fit.power((amplitude * rng.normal(size=amplitude.shape))[None])
    found = field.amplitude_of_bins(fit.named(fit.most_probable(power, np.zeros(fit.size))))
    error = np.log(found / field.amplitude_of_bins(truth))[-20:]  # bins of hundreds of modes
    assert np.sqrt(np.mean(error**2)) < 0.12


def psf_of_uv_points(shape, rng, points=60):
    """Of visibilities at random, so that the normal operator is positive: (2 ny, 2 nx)."""
    y, x = (np.arange(-n, n) for n in shape)
    baselines = rng.normal(scale=0.12, size=(points, 2))
    return np.mean([np.cos(2 * np.pi * (v * y[:, None] + u * x)) for v, u in baselines], axis=0)


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
def test_the_coarse_inverse_is_the_inverse_of_its_likelihood(shape, rng):
    field = CorrelatedField(shape, PRIOR)
    amplitude = field.amplitude(field.expected_spectrum())
    psf, sigma = psf_of_uv_points(shape, rng), 0.02
    y, x = (rng.integers(0, n, 15) for n in shape)
    points = Points(y, x, rng.uniform(0.1, 3, 15))
    inverse = CoarseInverse.of(points, psf, sigma, np.asarray(field.covariance(amplitude)))
    size = np.prod(shape)
    excitations = np.eye(size).reshape(size, *shape)
    jacobian = np.array([hartley(amplitude * each)[y, x] for each in excitations]).T
    distances = np.subtract.outer(y, y) + shape[0], np.subtract.outer(x, x) + shape[1]
    curvature = np.outer(points.flux, points.flux) * psf[distances] / sigma**2
    dense = np.linalg.inv(np.eye(size) + jacobian.T @ curvature @ jacobian)
    actual = np.array([inverse(amplitude, each).ravel() for each in excitations])
    np.testing.assert_allclose(actual, actual.T, atol=1e-9)
    assert np.linalg.eigvalsh(actual).min() > 0
    # Curvatures below that of the prior are left out.
    assert np.linalg.eigvals(np.linalg.solve(dense, actual)).real.min() > 0.5
    assert np.linalg.eigvals(np.linalg.solve(dense, actual)).real.max() < 1.5 + curvature.shape[0]


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
