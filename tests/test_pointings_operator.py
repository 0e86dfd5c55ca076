"""Visibilities of several pointings as one operator: against direct sums over sky and beam, and in parts."""

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.pointing_view import Box
from casa_ml_tasks.kernels.primary_beams import ALMA_7M, ALMA_12M
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of

SHAPE, CELL, CHANNELS = (72, 65), 8e-5, 2  # an image of 0.3 degrees at 3 GHz, where w matters
FREQUENCY = np.array([3.0e9, 3.1e9])
PAIRS = ((ALMA_12M, ALMA_12M), (ALMA_12M, ALMA_7M), (ALMA_7M, ALMA_7M))  # power beams are those of baselines
CORNERS = ((2, 30), (20, 3), (31, 20))
DIRECTIONS = ((-7e-4, -1.2e-3), (9e-4, 3e-4), (3e-4, 1.1e-3))  # l, m of the pointings
BOXES = [(40, 34), (41, 35), (33, 35)]  # even and odd
COUNT = 400


def beam_on_image(k, channel):
    y, x = np.indices(SHAPE)
    east, north = (SHAPE[1] // 2 - x) * CELL, (y - SHAPE[0] // 2) * CELL
    angle = np.hypot(east - DIRECTIONS[k][0], north - DIRECTIONS[k][1])
    first, second = (each.voltage(angle, FREQUENCY[channel]) for each in PAIRS[k])
    return first * second


def slices_of(k, shape):
    (y, x), (height, width) = CORNERS[k], shape
    return slice(y, y + height), slice(x, x + width)


def views_of(shape):
    """The boxes, and the beams on the whole image with 0 beyond the box, (pointing, channel, ny, nx)."""
    views, cut = [], np.zeros((len(PAIRS), CHANNELS, *SHAPE))
    for k in range(len(PAIRS)):
        box = slices_of(k, shape)
        beams = [beam_on_image(k, channel)[box] for channel in range(CHANNELS)]
        views.append(Box.on_image(SHAPE, CELL, CORNERS[k], shape, [each.astype(np.float32) for each in beams]))
        for channel, beam in enumerate(beams):
            cut[k, channel][box] = beam
    return tuple(views), cut


def part_of(k, channel, count=COUNT):
    rng = np.random.default_rng([k, channel])
    uvw = rng.uniform(-0.4, 0.4, (count, 3)) / CELL * [1, 1, 30]
    visibility = (rng.normal(size=count) + 1j * rng.normal(size=count)).astype(np.complex64)
    weight, natural = rng.uniform(0.5, 2, (2, count)).astype(np.float32)
    return WeightedVisibilities(channel, uvw, visibility, weight, natural, natural, natural, k)


PARTS = [part_of(k, channel) for k in range(len(PAIRS)) for channel in range(CHANNELS)]


def planned(shape, parts=PARTS, w_term=True, **options):
    return VisibilityOperator.planned(
        Transform(SHAPE, CELL, w_term), CHANNELS, parts, views=views_of(shape)[0], **options
    )


def random_images(seed=0):
    return np.random.default_rng(seed).normal(size=(CHANNELS, 1, *SHAPE))


def direct_residual(shape, model, w_term=True):
    sums, beams = np.zeros((CHANNELS, *SHAPE)), views_of(shape)[1]
    for part in PARTS:
        beam = beams[part.pointing, part.channel]
        difference = part.visibility - visibilities_of(beam * model[part.channel, 0], part.uvw, CELL, w_term)
        sums[part.channel] += beam * image_of(part.weight * difference, part.uvw, SHAPE, CELL, w_term)
    return sums[:, None]


@pytest.mark.parametrize("shape", BOXES)
@pytest.mark.parametrize("w_term", [True, False])
def test_residuals_are_direct_sums_over_sky_and_beam(shape, w_term):
    operator = planned(shape, w_term=w_term)
    for model in (np.zeros((CHANNELS, 1, *SHAPE)), random_images()):
        assert relative_error(operator.residual_sums(model), direct_residual(shape, model, w_term)) < 1e-5


@pytest.mark.parametrize("shape", BOXES)
def test_dirty_images_of_the_data_are_residuals_of_an_empty_sky(shape):
    operator = planned(shape)
    data = np.concatenate([part.visibility for part in PARTS])
    expected = operator.residual_sums(np.zeros((CHANNELS, 1, *SHAPE)))
    assert relative_error(operator.dirty_sums(data), expected) < 1e-6


def test_w_matters_in_this_test():
    flat, curved = (direct_residual(BOXES[0], random_images(), w_term) for w_term in (False, True))
    assert relative_error(flat, curved) > 0.1


@pytest.mark.parametrize("shape", BOXES)
def test_gridding_is_the_adjoint_of_degridding(shape):
    """With data 0 and weight 1 the residual is -F^H F, so that the dot product with another image is symmetric."""
    parts = [part_of(k, 0) for k in range(len(PAIRS))]
    operator, (a, b) = planned(shape, parts), (random_images(1), random_images(2))
    model_of_b = operator.predicted(b)
    dirty = operator.residual_sums(np.zeros_like(a)) - operator.residual_sums(a)  # F^H W F a
    weight = np.concatenate([part.weight for part in parts])
    expected = np.vdot(weight * operator.predicted(a), model_of_b).real
    assert np.vdot(dirty[0], b[0]) == pytest.approx(expected, rel=1e-5)
    others = [1, 1j] @ np.random.default_rng(3).normal(size=(2, weight.size))
    of_others = np.vdot(weight * others, model_of_b).real
    assert np.vdot(operator.dirty_sums(others)[0], b[0]) == pytest.approx(of_others, rel=1e-5)


@pytest.mark.parametrize("shape", BOXES)
def test_predicted_visibilities_are_direct_sums_in_the_order_given(shape):
    parts, model, beams = [part_of(k, 0) for k in (2, 0, 1)], random_images(), views_of(shape)[1]
    expected = [visibilities_of(beams[part.pointing, 0] * model[0, 0], part.uvw, CELL, True) for part in parts]
    assert relative_error(planned(shape, parts).predicted(model), np.concatenate(expected)) < 1e-5


def test_parts_add_up_and_come_back_from_another_process():
    whole, model = planned(BOXES[1]), random_images()
    halves = [planned(BOXES[1], PARTS[k::2]) for k in (0, 1)]
    joined = cloudpickle.loads(cloudpickle.dumps(halves[0] + halves[1]))
    expected = whole.residual_sums(model)
    np.testing.assert_allclose(joined.residual_sums(model), expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(joined.sums.weights, whole.sums.weights)
    np.testing.assert_allclose(joined.psf(), whole.psf(), atol=1e-6)
    np.testing.assert_allclose(joined.power(), whole.power())
    np.testing.assert_allclose(joined.noise(), whole.noise())


def test_plans_that_are_not_kept_give_the_same_images():
    kept, anew, model = planned(BOXES[0]), planned(BOXES[0], most_bytes=0), random_images()
    assert len(kept.plans) == len(PARTS)
    assert not anew.plans
    np.testing.assert_array_equal(anew.residual_sums(model), kept.residual_sums(model))
    np.testing.assert_array_equal(anew.predicted(model), kept.predicted(model))


def test_power_is_the_sum_of_weights_that_each_pixel_sees():
    beams, power = views_of(BOXES[0])[1], np.zeros((CHANNELS, 1, *SHAPE))
    for part in PARTS:
        power[part.channel, 0] += part.weight.sum() * beams[part.pointing, part.channel] ** 2
    np.testing.assert_allclose(planned(BOXES[0]).power(), power, atol=1e-6 * power.max())


@pytest.mark.parametrize("sky_units", [True, False])
@pytest.mark.parametrize("shape", BOXES)
def test_its_mosaic_does_to_a_sky_what_the_visibilities_do(shape, sky_units):
    """Without w, which the PSFs have as far as it is linear across a box."""
    parts, sky = [part_of(k, 0) for k in range(len(PAIRS))], random_images()
    operator, field = planned(shape, parts, w_term=False), np.ones(SHAPE, bool)
    field[:3] = False
    power = operator.power()[0, 0]
    root = np.sqrt(power[field].max()) * np.ones(SHAPE) if sky_units else np.sqrt(power)
    over = np.divide(field, root, where=power > 0, out=np.zeros(SHAPE))
    scaled = np.zeros_like(sky)
    scaled[0, 0] = over * sky[0, 0]
    dirty = over * (operator.residual_sums(0 * sky) - operator.residual_sums(scaled))[0, 0]
    with jax.enable_x64(True):
        actual = operator.mosaic(field, sky_units).normal()(jnp.asarray(sky[0, 0]))
    assert relative_error(np.asarray(actual), dirty) < 1e-5


def test_noise_draws_have_the_noise_of_each_pixel():
    """In natural weights the variance of the sums is the power."""
    operator = planned(BOXES[0], [part_of(k, 0, 60) for k in range(len(PAIRS))])
    rng = np.random.default_rng(5)
    variance = np.mean([operator.noise_sums(rng)[0, 0] ** 2 for _ in range(400)], axis=0)
    power = operator.power()[0, 0]
    seen = power > 0.1 * power.max()
    np.testing.assert_allclose(np.mean(variance[seen] / power[seen]), 1, atol=0.03)
    assert not variance[power == 0].any()


def test_a_box_beyond_the_image_is_refused():
    with pytest.raises(ValueError, match=r"a box of 40 x 34 pixels at 40, 3 reaches beyond an image of 72 x 65"):
        Box.on_image(SHAPE, CELL, (40, 3), (40, 34), [np.ones((40, 34))])
