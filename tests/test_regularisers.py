"""Every regulariser: its formula in plain loops, its gradient by finite differences, its units, its channels."""

import cmath
import math
import sys
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.registry import (
    COMPONENTS,
    NEED_CHANNELS,
    NEED_POSITIVITY,
    OF_THE_MAGNITUDE,
    REGULARISERS,
    SIGNED_TWIN,
    check_user_function,
    resolve,
)
from tests.task_requests import read_rmlclean
from tests.test_request import GOOD

SIGMA, BEAM_AREA = 0.2, 7.0
NOISE = NoiseLevel(SIGMA, BEAM_AREA)
SHAPES = [(6, 6), (5, 8)]
ALL = REGULARISERS | COMPONENTS
OF_ONE_CHANNEL = [name for name in ALL if name not in NEED_CHANNELS]


def pixels(image):
    return product(*(range(size) for size in image.shape))


def clipped(image, y, x):
    """The pixel, or the nearest one of the image."""
    return image[min(max(y, 0), image.shape[0] - 1), min(max(x, 0), image.shape[1] - 1)]


def rounded(amplitude, floor):
    return math.sqrt(abs(amplitude) ** 2 + floor**2) - floor


def steps(image):
    """(down, right) differences of every pixel, zero across the edges."""
    for y, x in pixels(image):
        yield clipped(image, y + 1, x) - image[y, x], clipped(image, y, x + 1) - image[y, x]


def modes(image):
    """(spatial frequency in cycles per pixel, amplitude) of the unitary Fourier transform, term by term."""
    ny, nx = image.shape
    for k, m in pixels(image):
        amplitude = sum(image[y, x] * cmath.exp(-2j * math.pi * (k * y / ny + m * x / nx)) for y, x in pixels(image))
        folded = [n / size if 2 * n <= size else n / size - 1 for n, size in ((k, ny), (m, nx))]
        yield math.hypot(*folded), amplitude / math.sqrt(ny * nx)


def starlet(image, sigma, floor):
    """One scale is all that images of fewer than 16 pixels have; 2-D sums with the 25 weights of the B3 spline."""
    spline = [0.0625, 0.25, 0.375, 0.25, 0.0625]
    total, coarse = 0.0, np.array(image)
    for scale in range(max(1, int(math.log2(min(image.shape))) - 2)):
        spacing, fine = 2**scale, coarse.copy()
        for y, x in pixels(image):
            coarse[y, x] = sum(
                spline[a + 2] * spline[b + 2] * clipped(fine, y + a * spacing, x + b * spacing)
                for a, b in product(range(-2, 3), repeat=2)
            )
        total += sum(rounded(fine[at] - coarse[at], floor) for at in pixels(image))
    return 0.3 * total / sigma


def multiplicity(image, sigma, floor):
    quanta = image.ravel() / floor
    factorials = sum(math.lgamma(n + 1) for n in quanta) - math.lgamma(quanta.sum() + 1)
    return 0.1 * floor / sigma * (factorials + quanta.sum() * math.log(quanta.size))


def entropy(image, sigma, floor):
    nats = (math.log(value + floor) - math.log(floor) for value in image.flat)
    return sum(0.1 * ((value + floor) * nat - value) / sigma for value, nat in zip(image.flat, nats, strict=True))


def laplacian(image, sigma):
    beside = ((0, 1), (1, 0), (0, -1), (-1, 0))
    bends = (sum(clipped(image, y + a, x + b) - image[y, x] for a, b in beside) for y, x in pixels(image))
    return 0.1 * sum(bend**2 for bend in bends) / sigma**2


def edge_clamp(image, floor):
    last = [size - 1 for size in image.shape]
    return sum((image[y, x] / floor) ** 2 for y, x in pixels(image) if y in (0, last[0]) or x in (0, last[1]))


def compactness(image, sigma):
    ny, nx = image.shape
    radius = min(ny, nx) / 2
    return sum(
        abs(image[y, x]) / sigma * (math.hypot(y - ny // 2, x - nx // 2) / radius) ** 2 for y, x in pixels(image)
    )


def by_hand(name, image, sigma=SIGMA, beam_area=BEAM_AREA):
    """The formula of the docstring in plain loops; image: (y, x)."""
    floor = 5 * sigma / beam_area
    beam_frequency = 1 / math.sqrt(4 * math.log(2) / math.pi * beam_area)
    match name:
        case "l1":
            return sum(abs(value) for value in image.flat) / sigma
        case "reweighted_l1":
            return sum(5 / beam_area * math.log(1 + abs(value) / floor) for value in image.flat)
        case "points":
            return sum(value / sigma + 10 * math.log(1 + value / (5 * sigma)) for value in image.flat)
        case "tsv":
            return sum(1e-3 * (down**2 + right**2) / sigma**2 for down, right in steps(image))
        case "tv":
            return sum(0.3 * rounded(math.hypot(down, right), floor) / sigma for down, right in steps(image))
        case "log_smoothness":
            return sum(down**2 + right**2 for down, right in steps(np.log(image + floor)))
        case "uv_sparsity":
            return sum(0.3 * rounded(mode, floor) / sigma for q, mode in modes(image) if q > beam_frequency)
        case "power_spectrum":
            weighted = (abs(mode) ** 2 * (1 + (q / beam_frequency) ** 2) ** 2 for q, mode in modes(image))
            return 1e-2 * sum(weighted) / (2 * sigma**2)
        case "starlet":
            return starlet(image, sigma, floor)
        case "entropy":
            return entropy(image, sigma, floor)
        case "multiplicity":
            return multiplicity(image, sigma, floor)
        case "laplacian":
            return laplacian(image, sigma)
        case "edge_clamp":
            return edge_clamp(image, floor)
        case "compactness":
            return compactness(image, sigma)
    raise KeyError(name)


def sky(shape, name="l1", seed=1):
    """Of both signs where the regulariser allows it."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 2, shape) if name in NEED_POSITIVITY | COMPONENTS.keys() else rng.normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OF_ONE_CHANNEL)
def test_it_is_the_formula_of_its_docstring(name, shape):
    image = sky(shape, name)
    expected = by_hand(name, image)
    assert expected > 0
    with jax.enable_x64(True):
        actual = ALL[name](jnp.asarray(image), NOISE)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_starlets_of_a_larger_image_have_the_scales_that_fit():
    image = sky((32, 35))
    with jax.enable_x64(True):
        actual = REGULARISERS["starlet"](jnp.asarray(image), NOISE)
    np.testing.assert_allclose(actual, by_hand("starlet", image), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OF_ONE_CHANNEL)
def test_its_gradient_agrees_with_finite_differences(name, shape):
    rng = np.random.default_rng(2)
    image, direction = rng.uniform(0.1, 2, shape), rng.normal(size=shape)
    step = 1e-5
    expected = (by_hand(name, image + step * direction) - by_hand(name, image - step * direction)) / (2 * step)
    with jax.enable_x64(True):
        gradient = jax.grad(ALL[name])(jnp.asarray(image), NOISE)
    np.testing.assert_allclose(np.vdot(gradient, direction), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 1, 5, 8)])
@pytest.mark.parametrize("name", OF_ONE_CHANNEL)
def test_a_cube_is_the_sum_of_its_channels_each_with_its_noise_and_beam(name, shape):
    cube = sky(shape, name)
    sigma = np.array([0.2, 0.3, 0.1])[: shape[0]].reshape(-1, *[1] * (len(shape) - 1))
    beam_area = np.array([7.0, 5.0, 9.0])[: shape[0]].reshape(sigma.shape)
    channels = zip(cube.reshape(shape[0], 5, 8), sigma.flat, beam_area.flat, strict=True)
    expected = sum(by_hand(name, *channel) for channel in channels)
    with jax.enable_x64(True):
        actual = ALL[name](jnp.asarray(cube), NoiseLevel(jnp.asarray(sigma), jnp.asarray(beam_area)))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def between_channels(name, cube, sigma, beam_area):
    """The formula of the docstring in plain loops; cube: (channel, y, x), sigma and beam_area: one each."""
    total = 0.0
    for channel, y, x in pixels(cube[:-1]):
        difference = cube[channel + 1, y, x] - cube[channel, y, x]
        floor = 5 * sigma[channel] / beam_area[channel]
        squared = 1e-3 * difference**2 / sigma[channel] ** 2
        total += squared if name == "tsv_channel" else 0.3 * rounded(difference, floor) / sigma[channel]
    return total


@pytest.mark.parametrize("name", sorted(NEED_CHANNELS))
def test_channels_are_compared_with_their_neighbours(name):
    sigma, beam_area = np.array([0.2, 0.3, 0.1, 0.2]), np.array([7.0, 5.0, 9.0, 7.0])
    cube, direction = sky((4, 5, 8)), sky((4, 5, 8), seed=2)
    step = 1e-5
    ahead, behind = (between_channels(name, cube + sign * step * direction, sigma, beam_area) for sign in (1, -1))
    with jax.enable_x64(True):
        noise = NoiseLevel(jnp.asarray(sigma).reshape(4, 1, 1), jnp.asarray(beam_area).reshape(4, 1, 1))
        value, gradient = jax.value_and_grad(REGULARISERS[name])(jnp.asarray(cube), noise)
    np.testing.assert_allclose(value, between_channels(name, cube, sigma, beam_area), rtol=1e-12)
    np.testing.assert_allclose(np.vdot(gradient, direction), (ahead - behind) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 8), (1, 5, 8)])
@pytest.mark.parametrize("name", sorted(NEED_CHANNELS))
def test_a_lone_channel_has_no_neighbours(name, shape):
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(REGULARISERS[name])(jnp.asarray(sky(shape)), NOISE)
    np.testing.assert_allclose([value, *np.ravel(gradient)], 0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_it_does_not_depend_on_the_unit_of_flux(name):
    image = np.random.default_rng(3).uniform(0, 2, (3, 5, 8))
    with jax.enable_x64(True):
        in_jansky = ALL[name](jnp.asarray(image), NOISE._replace(prior=0.3))
        in_millijansky = ALL[name](jnp.asarray(1e3 * image), NoiseLevel(200.0, BEAM_AREA, 300.0))
    np.testing.assert_allclose(in_jansky, in_millijansky, rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_its_value_and_gradient_are_finite_for_an_empty_sky(name):
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(ALL[name])(jnp.zeros((3, 5, 8)), NOISE)
    assert abs(float(value)) < 1e-12
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "slope"), [("l1", 1 / SIGMA), ("reweighted_l1", 1 / SIGMA), ("points", 3 / SIGMA)])
def test_an_empty_pixel_is_pulled_downwards(name, slope):
    """The slope at zero decides which pixels stay empty; jnp.abs would give none."""
    np.testing.assert_allclose(jax.grad(ALL[name])(jnp.zeros((5, 8)), NOISE), slope, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(OF_THE_MAGNITUDE))
def test_those_of_the_magnitude_do_not_know_the_sign(name):
    image = jnp.asarray(sky((5, 8)))
    assert REGULARISERS[name](image, NOISE) == REGULARISERS[name](jnp.abs(image), NOISE)


def test_entropy_prefers_its_prior_image_to_any_other():
    prior = sky((5, 8), "entropy")
    with jax.enable_x64(True):
        noise = NOISE._replace(prior=jnp.asarray(prior))
        value, gradient = jax.value_and_grad(REGULARISERS["entropy"])(jnp.asarray(prior), noise)
        elsewhere = REGULARISERS["entropy"](jnp.asarray(prior + 0.1), noise)
    floor = 5 * SIGMA / BEAM_AREA
    expected = sum((p + 0.1 + floor) * math.log((p + 0.1 + floor) / (p + floor)) - 0.1 for p in prior.flat)
    np.testing.assert_allclose(elsewhere, 0.1 * expected / SIGMA, rtol=1e-9)
    np.testing.assert_allclose([value, *np.ravel(gradient)], 0, atol=1e-12)


def test_multiplicity_is_the_logarithm_of_a_number_of_ways():
    """Of the 4^3 ways to scatter 3 quanta over 4 pixels, 3! / (2! 1!) put two in the first and one in the second."""
    floor = 5 * SIGMA / BEAM_AREA
    with jax.enable_x64(True):
        value = REGULARISERS["multiplicity"](jnp.asarray([[2 * floor, floor], [0, 0]]), NOISE)
    np.testing.assert_allclose(value, -0.1 * floor / SIGMA * math.log(3 / 4**3), rtol=1e-12)


OWN = """
import math
import jax
import jax.numpy as jnp
import numpy as np

def good(image, noise):
    return jnp.sum(jnp.sqrt(image**2 + noise.floor**2)) / noise.sigma

def total_variation(image, noise):
    return jnp.sum(jnp.abs(jnp.diff(image))) / noise.sigma

def raising(image, noise):
    raise RuntimeError("not today")

def of_one_argument(image):
    return jnp.sum(image)

def per_pixel(image, noise):
    return image

def counting(image, noise):
    return jnp.sum(image > noise.floor)

def infinite(image, noise):
    return jnp.sum(jnp.log(image - 1))

def by_numpy(image, noise):
    return np.sum(np.square(image))

def by_if(image, noise):
    return jnp.sum(image) if jnp.sum(image) > 0 else jnp.sum(image**2)

def root(image, noise):
    return jnp.sum(jnp.sqrt(image / noise.sigma))

def rounding(image, noise):
    return jnp.sum(jnp.round(image / noise.floor))

def stopped(image, noise):
    return jnp.sum(jax.lax.stop_gradient(image) * image) / noise.sigma**2
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module in the current directory that is on no path of Python's."""
    (tmp_path / "my_regularisers.py").write_text(OWN)
    (tmp_path / "my_broken_regularisers.py").write_text("def good(image, noise)\n")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_regularisers", None)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize("name", ["good", "total_variation"])
def test_a_function_of_the_user_is_found_in_the_current_directory(name):
    check_user_function(f"my_regularisers:{name}")
    read_rmlclean(GOOD | {"regularizer": [f"my_regularisers:{name}", "l1"]})


@pytest.mark.usefixtures("own_module")
def test_a_function_of_the_user_is_the_one_that_is_called():
    value = resolve("my_regularisers:good")(jnp.ones((4, 4)), NOISE)
    np.testing.assert_allclose(value, 16 * math.hypot(1, 5 * SIGMA / BEAM_AREA) / SIGMA, rtol=1e-6)


BAD = [
    ("my_regularisers", "is unknown; use any of l1, tsv, .*, or your own as 'module:function'"),
    (":good", "is unknown"),
    ("my_regularisers:absent", ".* the module 'my_regularisers' has no function 'absent'"),
    ("my_regularisers:math", ".* the module 'my_regularisers' has no function 'math'"),
    ("absent_module:good", ".* importing the module 'absent_module' raises ModuleNotFoundError .* current directory"),
    ("my_broken_regularisers:good", ".* importing the module 'my_broken_regularisers' raises SyntaxError"),
    ("my_regularisers:raising", r"raises RuntimeError \(not today\) for an image of shape \(16, 16\)"),
    ("my_regularisers:of_one_argument", r"raises TypeError .*; it is called function\(image, noise\)"),
    ("my_regularisers:per_pixel", r"returns float64 of shape \(16, 16\); return one real number"),
    ("my_regularisers:counting", r"returns int64 of shape \(\); return one real number"),
    ("my_regularisers:infinite", "is nan for a positive image; add a floor"),
    ("my_regularisers:by_numpy", "cannot be differentiated by JAX, which raises TracerArrayConversionError"),
    ("my_regularisers:by_if", "cannot be differentiated by JAX, which raises TracerBoolConversionError"),
    ("my_regularisers:root", "has a derivative that is not finite for an empty image, with which the minor cycle"),
    ("my_regularisers:rounding", "is not differentiable: between two images it changes by .*, its gradient says 0;"),
    ("my_regularisers:stopped", "is not differentiable: between two images it changes by"),
]


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(("name", "sentence"), BAD)
def test_a_function_that_cannot_serve_is_refused(name, sentence):
    with pytest.raises(ValueError, match=f"^regularizer='{name}':? ?{sentence}"):
        read_rmlclean(GOOD | {"regularizer": [name]})


@pytest.mark.parametrize("name", sorted(NEED_POSITIVITY - SIGNED_TWIN.keys()))
def test_those_with_a_logarithm_need_positivity(name):
    with pytest.raises(ValueError, match=f"^regularizer='{name}' takes the logarithm .* positivity=True"):
        read_rmlclean(GOOD | {"regularizer": [name], "positivity": False})


@pytest.mark.parametrize("name", sorted(NEED_CHANNELS))
def test_those_of_channels_need_channels(name):
    with pytest.raises(ValueError, match=f"^regularizer='{name}' compares channels, and specmode='mfs' has one; use"):
        read_rmlclean(GOOD | {"regularizer": [name]})


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_expected_makes_emission_cheap_where_it_is_and_dear_where_it_is_not(shape):
    rng = np.random.default_rng(6)
    image, expected = rng.uniform(0, 2, (2, *shape))
    expected[1:3] = 0
    price = sum(3 * image[at] / (1 + 2 * BEAM_AREA * expected[at] / SIGMA) for at in pixels(image)) / SIGMA
    ratio = np.log((image + NOISE.floor) / (expected + NOISE.floor))
    smooth = sum(down**2 + right**2 for down, right in steps(ratio))
    noise = NOISE._replace(expected=jnp.asarray(expected))
    with jax.enable_x64(True):
        actual = [float(REGULARISERS[name](jnp.asarray(image), noise)) for name in ("l1", "log_smoothness")]
    np.testing.assert_allclose(actual, [price, smooth], rtol=1e-6)


@pytest.mark.parametrize("name", ["l1", "log_smoothness"])
def test_one_sigma_a_beam_everywhere_is_as_good_as_nothing_expected(name):
    image = jnp.asarray(np.random.default_rng(7).uniform(0, 2, (5, 8)))
    nothing = NOISE._replace(expected=jnp.full((5, 8), SIGMA / BEAM_AREA))
    np.testing.assert_allclose(REGULARISERS[name](image, nothing), REGULARISERS[name](image, NOISE), rtol=1e-5)
