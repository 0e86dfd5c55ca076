"""Degridding and gridding against the direct sum, and against each other."""

from dataclasses import replace

import numpy as np
import pytest

from casa_ml_tasks.kernels import plain_loops
from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.gridding_kernel import choose_kernel, expected_error, kaiser_bessel
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of

CELL = 1e-5  # radians
SHAPES = [(32, 32), (31, 40), (27, 19)]
REQUESTS = [
    (np.float32, 1e-3), (np.float32, 1e-4), (np.float32, 1e-5), (np.float32, 1e-6),
    (np.float64, 1e-3), (np.float64, 1e-6), (np.float64, 1e-9), (np.float64, 1e-12),
]  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def uvw(rng):
    """Everywhere up to the Nyquist limit of CELL, its corners, the origin and a negative zero included."""
    uvw = rng.uniform(-0.5, 0.5, (1000, 3)) / CELL
    uvw[:5, :2] = np.array([(0.5, 0.5), (-0.5, 0.5), (0.5, -0.5), (0, 0), (-0.0, 0.25)]) / CELL
    return uvw


def plan(uvw, shape, tolerance=1e-12, precision=np.float64, **options):
    return fourier_operator(uvw, 1.0, shape, CELL, tolerance, precision, **options)


def random_visibilities(rng, count):
    return rng.normal(size=count) + 1j * rng.normal(size=count)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("precision", "tolerance"), REQUESTS)
def test_both_directions_match_the_direct_sum_to_the_requested_tolerance(shape, precision, tolerance, uvw, rng):
    operator = plan(uvw, shape, tolerance, precision)
    image, visibilities = rng.normal(size=shape), random_visibilities(rng, len(uvw))
    degridded = operator.plan.restore(operator.degrid(image.astype(precision)))
    gridded = operator.grid(operator.plan.sort(visibilities))
    assert degridded.dtype == np.result_type(precision, np.complex64)
    assert gridded.dtype == precision
    assert relative_error(degridded, visibilities_of(image, uvw, CELL)) < tolerance
    assert relative_error(gridded, image_of(visibilities, uvw, shape, CELL)) < tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-12])
@pytest.mark.parametrize("coverage", [0.1, 1.0])
def test_gridding_is_the_adjoint_of_degridding(shape, tolerance, coverage, uvw, rng):
    operator = plan(coverage * uvw, shape, tolerance)
    image, visibilities = rng.normal(size=shape), random_visibilities(rng, len(uvw))
    forward = np.vdot(visibilities, operator.degrid(image)).real
    backward = np.vdot(operator.grid(visibilities), image)
    assert forward == pytest.approx(backward, rel=1e-10)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-12])
def test_the_gradient_is_that_of_chi_squared(tolerance, uvw, rng):
    operator = plan(uvw, (31, 40), tolerance)
    image, change = rng.normal(size=(2, 31, 40))
    data, weight = random_visibilities(rng, len(uvw)), rng.uniform(size=len(uvw))
    chi2, gradient = operator.gradient(image, data, weight)
    assert chi2 == pytest.approx(np.sum(weight * np.abs(operator.degrid(image) - data) ** 2), rel=1e-12)
    after, before = (operator.gradient(image + step * change, data, weight)[0] for step in (1e-3, -1e-3))
    assert 2 * np.vdot(gradient, change) == pytest.approx((after - before) / 2e-3, rel=1e-8)


def test_results_do_not_depend_on_the_number_of_threads(uvw, rng):
    image, data = rng.normal(size=(31, 40)), random_visibilities(rng, len(uvw))
    one, three = (plan(uvw, (31, 40), 1e-6, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.degrid(image), three.degrid(image))
    np.testing.assert_array_equal(one.grid(data), three.grid(data))
    np.testing.assert_array_equal(one.gradient(image, data, data.real)[1], three.gradient(image, data, data.real)[1])


@pytest.mark.parametrize(("precision", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-9)])
def test_plain_loops_agree_with_vector_intrinsics(precision, tolerance, uvw, rng):
    fast = plan(uvw, (31, 40), tolerance, precision)
    plain = replace(fast, loops=plain_loops)
    image, data = rng.normal(size=(31, 40)).astype(precision), random_visibilities(rng, len(uvw))
    weight = rng.uniform(size=len(uvw))
    rounding = 50 * np.finfo(precision).eps / 1e-3 if tolerance == 1e-9 else 1e-5
    assert relative_error(plain.degrid(image), fast.degrid(image)) < rounding
    assert relative_error(plain.grid(data), fast.grid(data)) < rounding
    assert relative_error(plain.gradient(image, data, weight)[1], fast.gradient(image, data, weight)[1]) < rounding


def test_channels_scale_the_baselines(uvw, rng):
    wavenumber = np.array([0.5, 0.8, 1.0])
    image = rng.normal(size=(31, 40))
    operator = fourier_operator(uvw, wavenumber, (31, 40), CELL, 1e-9, np.float64)
    expected = [visibilities_of(image, uvw * factor, CELL) for factor in wavenumber]
    actual = operator.plan.restore(operator.degrid(image)).reshape(len(uvw), 3)
    assert relative_error(actual, np.stack(expected, axis=1)) < 1e-9


def test_sorting_conjugates_what_is_folded_and_restoring_undoes_it(uvw, rng):
    usable = rng.uniform(size=(len(uvw), 1)) < 0.7
    operator = plan(uvw, (31, 40), usable=usable)
    data = random_visibilities(rng, len(uvw))
    assert operator.plan.sort(data).shape == (np.count_nonzero(usable),)
    np.testing.assert_array_equal(operator.plan.restore(operator.plan.sort(data)), np.where(usable[:, 0], data, 0))
    weight = rng.uniform(size=len(uvw))
    np.testing.assert_array_equal(operator.plan.restore(operator.plan.sort(weight)), np.where(usable[:, 0], weight, 0))


def test_masked_visibilities_may_hold_anything(uvw, rng):
    bad = uvw.copy()
    bad[10:20] = np.nan
    bad[20:30] *= 100
    usable = np.ones((len(uvw), 1), bool)
    usable[10:30] = False
    image = rng.normal(size=(31, 40))
    np.testing.assert_array_equal(
        plan(bad, (31, 40), usable=usable).degrid(image), plan(uvw, (31, 40), usable=usable).degrid(image)
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda uvw: uvw * np.nan, "NaN or infinite"),
        (lambda uvw: uvw * np.inf, "NaN or infinite"),
        (lambda uvw: uvw * 1.01, "Nyquist limit"),
        (lambda uvw: uvw[:0], "no visibility is usable"),
    ],
)
def test_bad_baselines_are_refused(spoil, message, uvw):
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        plan(spoil(uvw), (31, 40))


def test_what_does_not_fit_the_plan_is_refused(uvw):
    operator = plan(uvw, (31, 40))
    with pytest.raises(ValueError, match="image of shape"):
        operator.degrid(np.zeros((32, 40)))
    with pytest.raises(ValueError, match="image of shape"):
        operator.gradient(np.zeros((40, 31)), np.zeros(len(uvw), complex), np.zeros(len(uvw)))
    with pytest.raises(ValueError, match="visibilities of shape"):
        operator.grid(np.zeros(len(uvw) + 1, complex))
    with pytest.raises(ValueError, match="for a plan of"):
        operator.plan.sort(np.zeros(len(uvw) + 1))
    with pytest.raises(ValueError, match="usable of shape"):
        plan(uvw, (31, 40), usable=np.ones((3, 1), bool))


@pytest.mark.parametrize(("precision", "tolerance"), [(np.float32, 1e-7), (np.float64, 1e-13), (np.float32, 0.1)])
def test_a_tolerance_out_of_reach_is_refused(precision, tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        choose_kernel(tolerance, np.dtype(precision), 1000, 1000)


def test_many_visibilities_prefer_narrow_kernels_and_large_images_little_oversampling():
    few, many = (choose_kernel(1e-4, np.dtype(float), count, 1024**2) for count in (10**4, 10**9))
    assert few.oversampling < many.oversampling
    assert few.support > many.support


@pytest.mark.parametrize(("support", "oversampling"), [(5, 2.0), (8, 1.25), (13, 1.5)])
def test_the_kernels_polynomials_have_the_kernels_transform(support, oversampling):
    kernel = kaiser_bessel(support, oversampling, 1e-12)
    beyond = kernel.transform(np.linspace(1 - 0.5 / oversampling, 1, 50))
    within = kernel.transform(np.linspace(0, 0.5 / oversampling, 50))
    assert np.sqrt(np.mean(beyond**2 / within[::-1] ** 2)) < 2 * expected_error(support, oversampling)
    assert (within > 0).all()
