"""Simple shapes fitted to visibilities: their formulas against direct sums, their posteriors against exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy.constants import arcsecond
from scipy.special import jv

from casa_ml_tasks.parametric import (
    Disk,
    Gaussian,
    Observation,
    Point,
    RadialProfile,
    Ring,
    VisibilityFunction,
    fit,
    predict,
    read_observation,
)
from casa_ml_tasks.parametric.density import Density
from casa_ml_tasks.parametric.functions import j0, jinc
from casa_ml_tasks.parametric.sky_model import free_parameters, named, visibilities
from casa_ml_tasks.simulation.direct_fourier import relative_error, visibilities_of

GEOMETRY = {"east": 0.12, "north": -0.2, "position_angle": 35.0}
SIGMA = 0.05  # Jy


def baselines(count: int, longest: float = 4e5, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """u, v, (count,), wavelengths, at random within a circle."""
    rng = np.random.default_rng(seed)
    radius, angle = longest * np.sqrt(rng.uniform(size=count)), rng.uniform(0, 2 * np.pi, count)
    return radius * np.cos(angle), radius * np.sin(angle)


def deprojected_radius(axis_ratio: float, size: int, cell: float) -> np.ndarray:
    """Radius along the major axis, (y, x), arcsec, of the ellipse with this GEOMETRY; East to smaller x."""
    north, east = np.meshgrid(
        (np.arange(size) - size // 2) * cell, -(np.arange(size) - size // 2) * cell, indexing="ij"
    )
    east, north = east - GEOMETRY["east"], north - GEOMETRY["north"]
    angle = np.radians(GEOMETRY["position_angle"])
    along = east * np.sin(angle) + north * np.cos(angle)
    across = east * np.cos(angle) - north * np.sin(angle)
    return np.hypot(along, across / axis_ratio)


def noisy(sky, count: int, seed: int = 2, **values: float) -> Observation:
    """An observation of the sky with noise SIGMA."""
    u, v = baselines(count)
    rng = np.random.default_rng(seed)
    noise = SIGMA * (rng.normal(size=count) + 1j * rng.normal(size=count))
    return Observation(u, v, predict(sky, u, v, **values) + noise, np.full(count, SIGMA**-2))


SIZE, CELL = 320, 0.01  # of the pixelised skies, arcsec
RIM = 0.5


def of_radius(radius: np.ndarray) -> dict[str, np.ndarray]:
    """Radial profiles, unnormalised."""
    return {
        "gaussian": np.exp(-4 * np.log(2) * (radius / 0.4) ** 2),
        "disk": np.clip((RIM - radius) / CELL + 0.5, 0, 1),
        "profile": np.exp(-0.5 * ((radius - 0.45) / 0.07) ** 2),
    }


def ripple(radius, p):
    return p["peak"] * jnp.exp(-0.5 * ((radius - p["centre"]) / 0.07) ** 2)


SHAPES = {
    "gaussian": Gaussian(flux=1.0, fwhm=0.4, axis_ratio=0.6, **GEOMETRY),
    "disk": Disk(flux=1.0, radius=RIM, inclination=np.degrees(np.arccos(0.6)), **GEOMETRY),
    "profile": RadialProfile(
        profile=ripple,
        parameters={"peak": 2.0, "centre": 0.45},
        outer=1.2,
        inclination=np.degrees(np.arccos(0.6)),
        **GEOMETRY,
    ),
}


@pytest.mark.parametrize(("kind", "tolerance"), [("gaussian", 1e-6), ("disk", 2e-3), ("profile", 1e-6)])
def test_visibilities_match_the_direct_sum_over_a_finely_pixelised_sky(kind, tolerance):
    u, v = baselines(60)
    image = of_radius(deprojected_radius(0.6, SIZE, CELL))[kind]
    image = image * CELL**2 * 2.0 if kind == "profile" else image / image.sum()
    expected = visibilities_of(image, np.stack([u, v, 0 * u], axis=1), CELL * arcsecond)
    assert relative_error(predict(SHAPES[kind], u, v), expected) < tolerance


@pytest.mark.parametrize("width", [0.0, 0.15])
def test_a_ring_is_the_direct_sum_over_points_on_a_circle_blurred_in_its_plane(width):
    u, v = baselines(60)
    inclination, angle = np.radians(50), np.radians(GEOMETRY["position_angle"])
    azimuth = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    along, across = RIM * np.cos(azimuth), RIM * np.sin(azimuth) * np.cos(inclination)
    east = GEOMETRY["east"] + along * np.sin(angle) + across * np.cos(angle)
    north = GEOMETRY["north"] + along * np.cos(angle) - across * np.sin(angle)
    points = np.exp(2j * np.pi * arcsecond * (np.outer(u, east) + np.outer(v, north))).mean(axis=1)
    blur = Gaussian(flux=1.0, fwhm=width, axis_ratio=np.cos(inclination), position_angle=GEOMETRY["position_angle"])
    ring = Ring(flux=1.0, radius=RIM, width=width, inclination=50.0, **GEOMETRY)
    assert relative_error(predict(ring, u, v), points * predict(blur, u, v)) < 1e-12


def test_the_bessel_functions_are_scipys_to_1e_13_near_and_far():
    x = np.concatenate([np.geomspace(1e-6, 1e4, 3000), np.linspace(7.9, 8.1, 101)])
    with jax.enable_x64(True):
        assert_allclose(j0(x**2), jv(0, x), rtol=0, atol=1e-13)
        assert_allclose(jinc(x**2), 2 * jv(1, x) / x, rtol=0, atol=1e-13)
        slopes = jax.vmap(jax.grad(jinc))(jnp.asarray(x**2))
    assert_allclose(slopes, -jv(2, x) / x**2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("longest", [2e5, 3e6])
def test_the_hankel_transform_agrees_with_the_analytic_gaussian_to_1e_9(longest):
    u, v = baselines(50, longest)
    profile = RadialProfile(profile=lambda r, p: jnp.exp(-4 * jnp.log(2.0) * (r / p["fwhm"]) ** 2), outer=2.0,
                            parameters={"fwhm": 0.5}, inclination=60.0, **GEOMETRY)  # fmt: skip
    flux = 0.5**2 * np.pi / (4 * np.log(2)) * 0.5
    gaussian = Gaussian(flux=flux, fwhm=0.5, axis_ratio=0.5, **GEOMETRY)
    assert_allclose(predict(profile, u, v), predict(gaussian, u, v), rtol=0, atol=1e-9)


def test_a_face_on_source_at_the_phase_centre_is_real_and_knows_no_position_angle():
    u, v = baselines(20)
    for shape in (Gaussian(flux=2.0, fwhm=0.3), Disk(flux=2.0, radius=0.3), Ring(flux=2.0, radius=0.3)):
        expected = predict(shape, u, v)
        turned = type(shape)(**{**shape.parameters_by_name(), "position_angle": 70.0})
        assert np.all(expected.imag == 0)
        assert_allclose(predict(turned, u, v), expected, rtol=0, atol=1e-13)
        assert_allclose(predict(shape, 0.0, 0.0), 2.0, rtol=1e-13)


def test_gradients_are_finite_at_the_origin_of_the_uv_plane():
    free = {name: dist.Normal(0.5, 0.1) for name in ("flux", "east", "north", "position_angle")}
    sky = named(
        [
            Point(flux=dist.Normal(1, 1)),
            Gaussian(fwhm=dist.Normal(1, 1), axis_ratio=dist.Normal(1, 1), **free),
            Disk(radius=dist.Normal(1, 1), inclination=dist.Normal(0, 1), **free),
            Ring(radius=dist.Normal(1, 1), width=dist.Normal(0, 1), inclination=dist.Normal(0, 1), **free),
            RadialProfile(
                profile=ripple,
                parameters={"peak": dist.Normal(1, 1), "centre": dist.Normal(1, 1)},
                outer=1.0,
                inclination=dist.Normal(0, 1),
            ),
        ]
    )
    with jax.enable_x64(True):
        values = {name: jnp.zeros(()) if "inclination" in name else jnp.ones(()) for name in free_parameters(sky)}
        origin = np.zeros(2)
        gradient = jax.grad(lambda values: visibilities(sky, values, origin, origin).real.sum())(values)
    assert all(np.isfinite(each) for each in gradient.values())
    assert_allclose(gradient["ring.flux"], 2, rtol=1e-12)


RING = Ring(
    flux=dist.LogUniform(0.1, 10),
    radius=dist.Uniform(0.05, 2),
    width=dist.HalfNormal(0.3),
    inclination=dist.Uniform(5, 85),
    position_angle=dist.Uniform(0, 180),
    east=dist.Normal(0, 0.3),
    north=dist.Normal(0, 0.3),
)
TRUTH = {
    "ring.flux": 1.0,
    "ring.radius": 0.5,
    "ring.width": 0.15,
    "ring.inclination": 40.0,
    "ring.position_angle": 30.0,
    "ring.east": 0.05,
    "ring.north": -0.1,
}


@pytest.fixture(scope="module")
def ring_observation():
    return noisy(RING, 400, **TRUTH)


@pytest.fixture(scope="module")
def ring_posterior(ring_observation):
    return fit(ring_observation, RING, samples=300, warmup=100, chains=2)


def test_nuts_recovers_an_injected_ring_within_its_stated_uncertainty(ring_posterior):
    summary = ring_posterior.summary()
    deviations = [(summary[name].mean - value) / summary[name].std for name, value in TRUTH.items()]
    assert summary.keys() == TRUTH.keys()
    assert np.max(np.abs(deviations)) < 3.5
    assert summary["ring.radius"].std < 0.01
    assert ring_posterior.convergence.converged
    assert ring_posterior.degrees_of_freedom == 793
    assert abs(ring_posterior.chi2 - 793) < 4 * np.sqrt(2 * 793)


def test_svi_agrees_with_nuts(ring_observation, ring_posterior):
    exact = ring_posterior.summary()
    approximate = fit(ring_observation, RING, "svi", chains=2, steps=300).summary()
    for name, expected in exact.items():
        assert abs(approximate[name].mean - expected.mean) < 0.3 * expected.std
        assert 0.75 < approximate[name].std / expected.std < 1.25


def test_the_mean_image_holds_the_flux_and_lies_where_the_ring_lies(ring_posterior):
    image = ring_posterior.image(128, 0.025)
    y, x = np.indices(image.shape)
    mean = {name: estimate.mean for name, estimate in ring_posterior.summary().items()}
    assert_allclose(image.sum(), mean["ring.flux"], rtol=0.01)
    assert_allclose(np.sum(image * (64 - x)) / image.sum() * 0.025, mean["ring.east"], atol=2e-3)
    assert_allclose(np.sum(image * (y - 64)) / image.sum() * 0.025, mean["ring.north"], atol=2e-3)


def test_the_posterior_of_a_flux_alone_is_the_exact_gaussian_of_linear_regression():
    observation = noisy(Gaussian(flux=1.0, fwhm=0.4), 300)
    template = predict(Gaussian(flux=1.0, fwhm=0.4), observation.u, observation.v)
    prior_mean, prior_std, scale = 0.9, 0.02, 3.0
    precision = np.sum(np.abs(template) ** 2) / (scale * SIGMA) ** 2 + prior_std**-2
    weighted = np.sum((template.conj() * observation.visibility).real) / (scale * SIGMA) ** 2
    mean, std = (weighted + prior_mean / prior_std**2) / precision, precision**-0.5
    sky = Gaussian(flux=dist.Normal(prior_mean, prior_std), fwhm=0.4)
    flux = fit(observation, sky, samples=3000, warmup=200, chains=2, noise_scale=scale).summary()["gaussian.flux"]
    assert abs(flux.mean - mean) < 0.06 * std
    assert_allclose(flux.std, std, rtol=0.05)
    assert_allclose([flux.lower, flux.upper], [mean - std, mean + std], atol=0.12 * std)


def test_a_free_noise_scale_finds_how_wrong_the_weights_are():
    clean = noisy(Point(flux=1.0), 400)
    claimed = Observation(clean.u, clean.v, clean.visibility, clean.weight * 4)
    posterior = fit(
        claimed, Point(flux=dist.Uniform(0, 2)), "svi", chains=2, steps=200, noise_scale=dist.LogNormal(0, 1)
    )
    scale = posterior.summary()["noise_scale"]
    assert abs(scale.mean - 2) < 3.5 * scale.std
    assert_allclose(scale.std, 2 / np.sqrt(2 * 800), rtol=0.2)


def test_student_t_is_not_moved_by_outliers():
    clean = noisy(Point(flux=1.0), 400)
    visibility = clean.visibility.copy()
    visibility[:20] += 10
    spoilt = Observation(clean.u, clean.v, visibility, clean.weight)
    flux = fit(spoilt, Point(flux=dist.Uniform(0, 2)), "svi", chains=2, steps=200, student_t=3.0).summary()[
        "point.flux"
    ]
    assert abs(flux.mean - 1) < 0.02


def test_functions_of_the_user_are_fitted_and_the_global_settings_of_jax_stay():
    def pair(u, v, p):
        return p["flux"] * jnp.cos(2 * jnp.pi * arcsecond * u * p["half_separation"])

    truth = {"pair.flux": 0.7, "pair.half_separation": 0.3}
    sky = {
        "pair": VisibilityFunction(
            function=pair, parameters={"flux": dist.Uniform(0, 2), "half_separation": dist.Uniform(0.1, 0.6)}
        )
    }
    before = jax.config.jax_enable_x64
    summary = fit(noisy(sky, 200, **truth), sky, "svi", chains=2, steps=200).summary()
    assert jax.config.jax_enable_x64 == before
    for name, value in truth.items():
        assert abs(summary[name].mean - value) < 3.5 * summary[name].std


def test_two_equal_sources_that_swap_their_places_are_reported_as_not_converged():
    observation = noisy([Point(flux=1.0, east=0.4), Point(flux=1.0, east=-0.4)], 30)
    swapping = [Point(flux=1.0, east=dist.Uniform(-1, 1)), Point(flux=1.0, east=dist.Uniform(-1, 1))]
    with pytest.warns(UserWarning, match=r"chains disagree on point_\d\.east"):
        posterior = fit(observation, swapping, samples=50, warmup=30, chains=3)
    assert not posterior.convergence.converged
    assert "NOT CONVERGED" in str(posterior)


def test_the_energy_counts_real_and_imaginary_part_with_the_scaled_weight():
    observation = Observation([0.0], [0.0], [3 + 4j], [4.0], noise_scale=2.0)
    density = Density(observation, named(Point(flux=0.0)), observation.noise_scale)
    with jax.enable_x64(True):
        assert_allclose(density.chi2({}), 25.0)
        assert_allclose(density.log_likelihood({}), -25 / 2 - np.log(2 * np.pi))


def test_a_measurement_set_is_read_averaged_and_fitted_with_its_own_noise(simulated_ms):
    observation = read_observation(str(simulated_ms.path), field_radius=3, smearing=1e-3)
    assert 0.9 < observation.noise_scale < 1.1
    assert observation.u.size < simulated_ms.rows * 2
    point, gaussian = simulated_ms.sources
    sky = [
        Point(flux=dist.Uniform(0, 2), east=point.east, north=point.north),
        Gaussian(flux=dist.Uniform(0, 2), fwhm=dist.Uniform(0.1, 2), east=gaussian.east, north=gaussian.north),
    ]
    summary = fit(observation, sky, "svi", chains=2, steps=300).summary()
    truth = {"point.flux": point.flux, "gaussian.flux": gaussian.flux}
    truth["gaussian.fwhm"] = gaussian.size * np.sqrt(8 * np.log(2))
    for name, value in truth.items():
        assert abs(summary[name].mean - value) < 4 * summary[name].std + 1e-3 * value


POINT = Point(flux=dist.Uniform(0, 1))


@pytest.mark.parametrize(
    ("components", "options", "message"),
    [
        (POINT, {"method": "mcmc"}, "method='mcmc' is unknown; use 'nuts' or 'svi'"),
        (POINT, {"samples": 0}, "samples=0 is not a whole number"),
        (POINT, {"noise_scale": np.nan}, "noise_scale=nan is neither a finite number"),
        (Point(flux=1.0), {}, "no free parameter"),
        (Point(flux=np.nan), {}, r"point\.flux=nan is neither a finite number"),
        (Point(flux=dist.Poisson(3)), {}, "not the prior of one real number"),
        ([], {}, "components is empty"),
        ({"star": 3}, {}, "'star', which is none"),
        (
            VisibilityFunction(function=lambda u, v, p: u * jnp.nan * p["a"], parameters={"a": dist.Normal(0, 1)}),
            {},
            "'visibilityfunction' gives 10 NaN or infinite visibilities at visibilityfunction.a=",
        ),
        (
            VisibilityFunction(function=lambda u, v, p: u[:3] * p["a"], parameters={"a": dist.Normal(0, 1)}),
            {},
            r"gives the shape \(3,\) for u of the shape \(10,\)",
        ),
    ],
)
def test_bad_models_are_refused_in_one_sentence(components, options, message):
    with pytest.raises(ValueError, match=message):
        fit(noisy(Point(flux=1.0), 10), components, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visibility": [1, np.nan]}, "visibility holds 1 values that are NaN"),
        ({"weight": [1, 0]}, "weight is 0 or negative for 1 visibilities"),
        ({"v": [0.0]}, r"v has the shape \(1,\) where u has \(2,\)"),
        ({"noise_scale": 0.0}, "noise_scale=0.0 is not positive"),
    ],
)
def test_bad_observations_are_refused_in_one_sentence(change, message):
    good = {"u": [0.0, 1.0], "v": [0.0, 1.0], "visibility": [1, 1], "weight": [1, 1]}
    with pytest.raises(ValueError, match=message):
        Observation(**(good | change))


def test_bad_readings_are_refused_in_one_sentence(simulated_ms):
    path = str(simulated_ms.path)
    with pytest.raises(ValueError, match="selection parameter fields='0' is unknown"):
        read_observation(path, fields="0")
    with pytest.raises(ValueError, match="field='nowhere' selects nothing"):
        read_observation(path, field="nowhere")
    with pytest.raises(ValueError, match="above most=3; give a smaller field_radius"):
        read_observation(path, most=3)
