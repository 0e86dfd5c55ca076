"""Every regulariser: its formula term by term, its gradient by finite differences, its units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.minor.rml.regularisers import NEED_POSITIVITY, REGULARISERS, NoiseLevel

NOISE = NoiseLevel(sigma=0.2, beam_area=7.0)
FLOOR = 5 * 0.2 / 7.0
SHAPES = [(6, 6), (5, 8)]


def pixel_by_pixel(name, image):
    """The formula of the docstring in plain loops."""
    ny, nx = image.shape
    total = 0.0
    for y in range(ny):
        for x in range(nx):
            here = image[y, x]
            down = image[y + 1, x] if y + 1 < ny else here
            right = image[y, x + 1] if x + 1 < nx else here
            if name == "l1":
                total += abs(here) / 0.2
            elif name == "tsv":
                total += 1e-3 * ((down - here) ** 2 + (right - here) ** 2) / 0.2**2
            elif name == "tv":
                total += 0.3 * (np.sqrt((down - here) ** 2 + (right - here) ** 2 + FLOOR**2) - FLOOR) / 0.2
            elif name == "entropy":
                total += 0.1 * ((here + FLOOR) * np.log((here + FLOOR) / FLOOR) - here) / 0.2
            elif name == "log_smoothness":
                logs = [np.log(value + FLOOR) for value in (here, down, right)]
                total += (logs[1] - logs[0]) ** 2 + (logs[2] - logs[0]) ** 2
    return total


def test_every_registered_regulariser_has_a_formula_here():
    image = np.random.default_rng(0).uniform(0.1, 1, (4, 4))
    assert all(pixel_by_pixel(name, image) > 0 for name in REGULARISERS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", REGULARISERS)
def test_it_is_the_formula_of_its_docstring(name, shape):
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 2, shape) if name in NEED_POSITIVITY else rng.normal(size=shape)
    with jax.enable_x64(True):
        actual = REGULARISERS[name](jnp.asarray(image), NOISE)
    np.testing.assert_allclose(actual, pixel_by_pixel(name, image), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", REGULARISERS)
def test_its_gradient_agrees_with_finite_differences(name, shape):
    rng = np.random.default_rng(2)
    image, direction = rng.uniform(0.1, 2, shape), rng.normal(size=shape)
    step = 1e-5
    expected = (pixel_by_pixel(name, image + step * direction) - pixel_by_pixel(name, image - step * direction)) / (
        2 * step
    )
    with jax.enable_x64(True):
        gradient = jax.grad(REGULARISERS[name])(jnp.asarray(image), NOISE)
    np.testing.assert_allclose(np.vdot(gradient, direction), expected, rtol=1e-6)


@pytest.mark.parametrize("name", REGULARISERS)
def test_it_does_not_depend_on_the_unit_of_flux(name):
    image = np.random.default_rng(3).uniform(0, 2, (6, 5))
    with jax.enable_x64(True):
        in_jansky = REGULARISERS[name](jnp.asarray(image), NOISE)
        in_millijansky = REGULARISERS[name](jnp.asarray(1e3 * image), NOISE._replace(sigma=200.0))
    np.testing.assert_allclose(in_jansky, in_millijansky, rtol=1e-12)


@pytest.mark.parametrize("name", REGULARISERS)
def test_its_value_and_gradient_are_finite_for_an_empty_sky(name):
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(REGULARISERS[name])(jnp.zeros((5, 4)), NOISE)
    assert abs(value) < 1e-12
    assert np.isfinite(gradient).all()


def test_l1_pulls_an_empty_pixel_downwards():
    """The slope at zero decides which pixels stay empty; jnp.abs would give none."""
    np.testing.assert_allclose(jax.grad(REGULARISERS["l1"])(jnp.zeros((3, 3)), NOISE), 1 / 0.2, rtol=1e-6)
