"""Operators with their w-term against the direct sum, and against each other."""

import numpy as np
import pytest

from casa_ml_tasks.kernels.fourier_operator import FourierOperator
from casa_ml_tasks.kernels.w_expansion import ExpandedOperator
from casa_ml_tasks.kernels.w_stacking import StackedOperator
from casa_ml_tasks.kernels.w_term import wide_field_operator
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of

NARROW, WIDE = 1e-5, 1e-2  # radians a pixel: an ALMA field, and most of the sky
SHAPES = [(32, 32), (31, 40)]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def baselines(rng, cell, count=600):
    """Up to the Nyquist limit in u and v, and w much longer for the wide field."""
    return rng.uniform(-0.5, 0.5, (count, 3)) * (1, 1, 2 if cell == NARROW else 40) / cell


def random_visibilities(rng, count):
    return rng.normal(size=count) + 1j * rng.normal(size=count)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("cell", "kind"), [(NARROW, ExpandedOperator), (WIDE, StackedOperator)])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(np.float32, 1e-3), (np.float32, 1e-5), (np.float64, 1e-6), (np.float64, 1e-11)]
)
def test_both_directions_match_the_direct_sum_to_the_requested_tolerance(shape, cell, kind, precision, tolerance, rng):
    uvw = baselines(rng, cell)
    operator = wide_field_operator(uvw, 1.0, shape, cell, tolerance, precision)
    assert isinstance(operator, kind)
    image, visibilities = rng.normal(size=shape), random_visibilities(rng, len(uvw))
    degridded = operator.restore(operator.degrid(image.astype(precision)))
    gridded = operator.grid(operator.sort(visibilities).astype(degridded.dtype))
    assert degridded.dtype == np.result_type(precision, np.complex64)
    assert gridded.dtype == precision
    assert relative_error(degridded, visibilities_of(image, uvw, cell, w_term=True)) < tolerance
    assert relative_error(gridded, image_of(visibilities, uvw, shape, cell, w_term=True)) < tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", [NARROW, WIDE])
def test_gridding_is_the_adjoint_of_degridding(shape, cell, rng):
    uvw = baselines(rng, cell)
    operator = wide_field_operator(uvw, 1.0, shape, cell, 1e-4, np.float64)
    image, visibilities = rng.normal(size=shape), random_visibilities(rng, len(uvw))
    forward = np.vdot(visibilities, operator.degrid(image)).real
    assert forward == pytest.approx(np.vdot(operator.grid(visibilities), image), rel=1e-10)


@pytest.mark.parametrize("cell", [NARROW, WIDE])
def test_the_gradient_is_that_of_chi_squared(cell, rng):
    uvw = baselines(rng, cell)
    operator = wide_field_operator(uvw, 1.0, (31, 40), cell, 1e-6, np.float64)
    image, change = rng.normal(size=(2, 31, 40))
    data, weight = random_visibilities(rng, len(uvw)), rng.uniform(size=len(uvw))
    _, gradient = operator.gradient(image, data, weight)
    after, before = (operator.gradient(image + step * change, data, weight)[0] for step in (1e-2, -1e-2))
    assert 2 * np.vdot(gradient, change) == pytest.approx((after - before) / 2e-2, rel=1e-8)


@pytest.mark.parametrize("cell", [NARROW, WIDE])
def test_channels_and_masks(cell, rng):
    uvw, wavenumber = baselines(rng, cell), np.array([0.6, 1.0])
    usable = rng.uniform(size=(len(uvw), 2)) < 0.8
    uvw[3], usable[3] = np.nan, False
    operator = wide_field_operator(uvw, wavenumber, (31, 40), cell, 1e-6, np.float64, usable)
    image = rng.normal(size=(31, 40))
    per_channel = np.where(usable.T[..., None], np.multiply.outer(wavenumber, uvw), 0)
    expected = np.stack([visibilities_of(image, channel, cell, w_term=True) for channel in per_channel], axis=1)
    expected[~usable] = 0
    actual = operator.restore(operator.degrid(image)).reshape(usable.shape)
    assert relative_error(actual, expected) < 1e-6
    data = random_visibilities(rng, usable.size).reshape(usable.shape)
    np.testing.assert_array_equal(
        operator.restore(operator.sort(data)).reshape(usable.shape), np.where(usable, data, 0)
    )


@pytest.mark.parametrize("cell", [NARROW, WIDE])
def test_results_do_not_depend_on_the_number_of_threads(cell, rng):
    uvw, image = baselines(rng, cell), rng.normal(size=(31, 40))
    one, three = (wide_field_operator(uvw, 1.0, (31, 40), cell, threads=threads) for threads in (1, 3))
    visibilities = one.degrid(image)
    np.testing.assert_array_equal(visibilities, three.degrid(image))
    np.testing.assert_array_equal(one.grid(visibilities), three.grid(visibilities))


def test_a_coplanar_array_has_no_w_term(rng):
    operator = wide_field_operator(baselines(rng, NARROW) * (1, 1, 0), 1.0, (31, 40), NARROW)
    assert isinstance(operator, FourierOperator)


def test_bad_input_is_refused(rng):
    uvw = baselines(rng, WIDE)
    with pytest.raises(ValueError, match="celestial sphere"):
        wide_field_operator(uvw / 5, 1.0, (200, 200), WIDE)
    with pytest.raises(ValueError, match="w of usable rows"):
        wide_field_operator(uvw * (1, 1, np.inf), 1.0, (31, 40), WIDE)
    operator = wide_field_operator(uvw, 1.0, (31, 40), WIDE)
    with pytest.raises(ValueError, match="visibilities of shape"):
        operator.grid(np.zeros(len(uvw) + 1, np.complex64))
    with pytest.raises(ValueError, match="for a plan of"):
        operator.sort(np.zeros(len(uvw) + 1))
    with pytest.raises(ValueError, match="image of shape"):
        operator.degrid(np.zeros((5, 5)))
