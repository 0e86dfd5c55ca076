"""Taylor terms of the spectrum: the objective, its minor cycle, and rmlclean beside tclean's mtmfs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from casatasks import imhead, tclean

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image, read_images, read_valid
from casa_ml_tasks.engine.protocols import MinorCycle, MinorState
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import TaylorNormalOperator
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.minor.band import Band
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.taylor import (
    BandNormalOperator,
    TaylorMaximumLikelihood,
    TaylorObjective,
    spectral_smoothness,
)
from casa_ml_tasks.simulation import Source, restored_terms, simulate
from tests.major_cycles import opener, parameters_of

SHAPE = (9, 12)
OFFSETS = np.array([-0.3, -0.1, 0.1, 0.25])  # (nu - nu_0) / nu_0 of the channels
SKY = (
    Source(flux=0.3, east=1.2, north=0.9, size=0.35, index=-0.7),
    Source(flux=0.6, east=-1, north=0, size=0.5, index=1),
)
IMAGING = {"imsize": [64, 72], "cell": "0.12arcsec", "datacolumn": "data", "deconvolver": "mtmfs", "nterms": 2}


def taylor_psfs(terms, seed=0, visibilities=60):
    """T_q on twice the field by direct sums over random uv points (cycles/pixel at nu_0), (2 terms - 1, 2 ny, 2 nx)."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-0.3, 0.3, (2, visibilities))
    offset = rng.choice(OFFSETS, visibilities)
    y, x = (np.arange(2 * n) - n for n in SHAPE)
    scale = (1 + offset)[:, None, None]
    fringes = np.cos(2 * np.pi * scale * (v[:, None, None] * y[:, None] + u[:, None, None] * x))
    return np.stack([np.tensordot(offset**q, fringes, 1) for q in range(2 * terms - 1)]) / visibilities


def objective_of(psfs, positive, sigma=0.01, seed=1):
    rng = np.random.default_rng(seed)
    terms = (len(psfs) + 1) // 2
    band = Band.of_moments(psfs[:, SHAPE[0], SHAPE[1]])
    return TaylorObjective(
        likelihood=QuadraticLikelihood(
            BandNormalOperator.from_psfs(psfs, band),
            jnp.asarray(rng.normal(size=(terms, *SHAPE))),
            0.0,
            jnp.asarray(sigma),
        ),
        beam_area=jnp.asarray(5.0),
        strengths=jnp.asarray([1.0, 2.0]),
        regularisers=("l1", "log_smoothness" if positive else "tsv"),
        frequencies=jnp.asarray(band.frequencies),
        weights=jnp.asarray(band.weights),
    )


def test_images_at_the_frequencies_of_a_band_are_the_polynomial_there():
    band = Band.of_moments(taylor_psfs(3)[:, SHAPE[0], SHAPE[1]])
    terms = np.random.default_rng(2).normal(size=(3, *SHAPE))
    images = band.images(terms)
    for image, frequency in zip(images, band.frequencies, strict=True):
        offset = frequency - 1
        np.testing.assert_allclose(image, terms[0] + offset * terms[1] + offset**2 * terms[2], rtol=1e-12)
    np.testing.assert_allclose(band.terms(images), terms, atol=1e-10)


def test_a_band_has_the_mean_and_the_width_of_the_data():
    moments = np.array([(OFFSETS**q).mean() for q in range(3)])
    band = Band.of_moments(moments)
    offsets = band.frequencies - 1
    assert band.weights.sum() == pytest.approx(1)
    assert band.weights @ offsets == pytest.approx(moments[1], abs=2e-3)
    assert band.weights @ offsets**2 == pytest.approx(moments[2], rel=0.05)


def test_frequencies_are_positive_whatever_the_band():
    """Nine tenths of the data at 1 GHz, the others at 9 GHz, about 5 GHz."""
    offsets = np.array([-0.8] * 9 + [0.8])
    band = Band.of_moments(np.array([(offsets**q).mean() for q in range(5)]))
    assert (band.frequencies > 0).all()
    assert (np.diff(band.frequencies) > 0).all()


def test_one_frequency_has_one_term():
    with pytest.raises(ValueError, match=r"^nterms=2 needs visibilities of several frequencies"):
        Band.of_moments(np.array([1.0, 0.1, 0.01]))
    assert Band.of_moments(np.array([1.0])).terms(np.ones((1, 2))).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_the_operator_of_a_band_is_that_of_its_taylor_terms(terms):
    psfs = taylor_psfs(terms)
    band = Band.of_moments(psfs[:, SHAPE[0], SHAPE[1]])
    images, others = np.random.default_rng(3).normal(size=(2, terms, *SHAPE))
    with jax.enable_x64(True):
        operator = BandNormalOperator.from_psfs(psfs, band)
        expected = np.vdot(band.terms(others), TaylorNormalOperator.from_psfs(psfs)(jnp.asarray(band.terms(images))))
        assert np.vdot(others, operator(jnp.asarray(images))) == pytest.approx(expected, rel=1e-4)
        alone = np.zeros_like(images)
        alone[-1, 4, 5] = 1
        response = operator(jnp.asarray(alone))[-1]
        diagonal = jnp.fft.irfft2(operator.transfer[-1], s=psfs.shape[1:])
    np.testing.assert_allclose(response[4:, 5:], diagonal[: SHAPE[0] - 4, : SHAPE[1] - 5], atol=1e-3)


@pytest.mark.parametrize(("terms", "positive"), [(1, True), (3, True), (2, False)])
def test_the_gradient_is_that_of_finite_differences(terms, positive):
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        objective = objective_of(taylor_psfs(terms), positive)
        parts = jnp.asarray(rng.uniform(0.01, 0.1, (1 if positive else 2, terms, *SHAPE)))
        direction = jnp.asarray(rng.normal(size=parts.shape))
        step = 1e-6
        value_and_gradient = jax.jit(objective.value_and_gradient)
        values = [float(value_and_gradient(parts + sign * step * direction)[0]) for sign in (1, -1)]
        slope = float(jnp.vdot(value_and_gradient(parts)[1], direction))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=2e-4)


def test_a_power_law_of_one_index_is_smooth():
    frequencies = np.array([0.8, 1.0, 1.25])
    brightness = np.random.default_rng(5).uniform(1, 2, SHAPE)
    noise = NoiseLevel(1e-9, 5.0)
    with jax.enable_x64(True):
        same = jnp.asarray(brightness * (frequencies**-0.7)[:, None, None])
        index = jnp.where(jnp.arange(SHAPE[1]) < 6, -0.7, 0.3)  # a step of one between two columns
        apart = jnp.asarray(brightness) * jnp.asarray(frequencies)[:, None, None] ** index
        assert float(spectral_smoothness(same, jnp.asarray(frequencies), noise)) < 1e-9
        cost = float(spectral_smoothness(apart, jnp.asarray(frequencies), noise))
    assert cost == pytest.approx(SHAPE[0] * 2 / 2, rel=1e-6)


def test_the_minor_cycle_finds_flux_and_index_of_point_sources():
    sky = np.zeros((2, *SHAPE))
    sky[:, 3, 4], sky[:, 6, 9] = (1.0, -0.7), (0.5, 1.0)
    psfs, sigma = taylor_psfs(2), 1e-3
    with jax.enable_x64(True):
        dirty = np.asarray(TaylorNormalOperator.from_psfs(psfs)(jnp.asarray(sky)))[:, None]
    minor = TaylorMaximumLikelihood(psfs[:, None], np.array([[sigma]]), 4.0, ["l1"], [1.0])
    assert isinstance(minor, MinorCycle)
    model, state = minor.update(dirty, np.zeros_like(dirty), MinorState())
    np.testing.assert_allclose(model[:, 0], sky, atol=0.02)
    again, state = minor.update(state.predicted_residual, model, state)
    assert state.converged
    np.testing.assert_array_equal(again, model)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """230 to 310 GHz."""
    path = tmp_path_factory.mktemp("wide") / "wide.ms"
    return simulate(path, sources=SKY, channels=6, channel_width=16e9, antennas=16, sigma=0.05)


@pytest.fixture(scope="module")
def ours(wide, pixels, tmp_path_factory):
    name = tmp_path_factory.mktemp("ours") / "sky"
    with pixels():
        return name, rmlclean(vis=str(wide.path), imagename=str(name), pbcor=True, nmajor=1, **IMAGING)


def test_the_spectral_index_is_better_than_tcleans(wide, ours, tmp_path):
    theirs = str(tmp_path / "theirs")
    scales = {"scales": [0, 4, 12], "niter": 1000, "nsigma": 3.0}
    tclean(vis=str(wide.path), imagename=theirs, **scales, **IMAGING)
    truth = restored_terms(theirs, SKY)
    errors = {}
    bright = truth[0] > 20 * ours[1]["image_noise"]
    for name in (theirs, str(ours[0])):
        found = read_valid(f"{name}.alpha")[0, 0]
        errors[name] = np.abs(found - truth[1] / truth[0])
        bright &= np.isfinite(found)
    assert bright.sum() > 300
    rms = {name: np.sqrt(np.mean(error[bright] ** 2)) for name, error in errors.items()}
    assert rms[str(ours[0])] < 0.8 * rms[theirs]
    assert rms[str(ours[0])] < 0.2


def test_tcleans_own_minor_cycle_takes_tcleans_steps(wide, tmp_path):
    steps = {"scales": [0, 4], "niter": 40, "nmajor": 2}
    theirs = tclean(vis=str(wide.path), imagename=str(tmp_path / "theirs"), **steps, **IMAGING)
    result = rmlclean(vis=str(wide.path), imagename=str(tmp_path / "ours"), minorcycle="clean", **steps, **IMAGING)
    assert result["iterdone"] == theirs["iterdone"]
    for term in range(2):
        expected, model = (read_image(f"{tmp_path}/{name}.model.tt{term}") for name in ("theirs", "ours"))
        np.testing.assert_allclose(model, expected, atol=1e-5)


def test_intensity_is_positive_and_its_flux_right(ours, wide):
    model = read_images(f"{ours[0]}.model.tt{term}" for term in range(2))
    reference = imhead(f"{ours[0]}.image.tt0", mode="get", hdkey="crval4")["value"]
    fluxes = [source.flux * (reference / 230e9) ** source.index for source in SKY]
    assert model[0].min() >= 0
    assert model[0].sum() == pytest.approx(sum(fluxes), rel=0.03)
    expected = sum(flux * source.index for flux, source in zip(fluxes, SKY, strict=True))
    assert model[1].sum() == pytest.approx(expected, rel=0.2)
    assert ours[1]["cycles"][-1]["model_flux"] == pytest.approx(model[0].sum(), rel=1e-5)


def test_what_is_left_is_noise(ours, wide):
    expected = wide.sigma / np.sqrt(2 * wide.rows * len(wide.frequencies))
    assert ours[1]["image_noise"] == pytest.approx(expected, rel=0.1)
    assert read_image(f"{ours[0]}.residual.tt0").std() < 1.5 * expected
    assert ours[1]["cycles"][-1]["reduced_chi2"] == pytest.approx(1, abs=0.05)


def test_products_are_tcleans(ours):
    made = {path.name.removeprefix(f"{ours[0].name}.") for path in ours[0].parent.iterdir()} - {"report"}
    terms = {f"{kind}.tt{term}" for kind in ("model", "residual", "pb", "image") for term in range(2)}
    pbcor = {f"image.tt{term}.pbcor" for term in range(2)}
    psfs = {f"{kind}.tt{term}" for kind in ("psf", "sumwt") for term in range(3)}
    assert made == terms | pbcor | psfs | {"mask", "alpha", "alpha.error"}


def test_the_major_cycle_finds_the_residual_that_the_normal_operator_predicts(wide, tmp_path):
    def parameters(**changes):
        return parameters_of(wide.path, **(IMAGING | changes))

    with opener(CasaMajorCycle, tmp_path, parameters) as open_major:
        major = open_major()
        model = np.zeros(major.shape, np.float32)
        assert model.shape == (2, 1, 72, 64)
        assert major.psf().shape == (3, 1, 144, 128)
        assert major.noise().shape == (1, 1)
        model[0, 0, 40, 30], model[1, 0, 40, 30] = 0.5, -0.4
        change = major.residual(np.zeros_like(model)) - major.residual(model)
        with jax.enable_x64(True):
            operator = TaylorNormalOperator.from_psfs(major.psf()[:, 0].astype(float))
            expected = np.asarray(operator(jnp.asarray(model[:, 0], float)))
    for term in range(2):
        np.testing.assert_allclose(change[term, 0], expected[term], atol=1e-2 * np.abs(expected[term]).max())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"nterms": 0}, "nterms=0 is no number of Taylor terms; use 2"),
        ({"specmode": "cube"}, "deconvolver='mtmfs' makes one continuum image, not specmode='cube'"),
        ({"gridder": "native"}, "deconvolver='mtmfs' needs gridder='standard'"),
        ({"regstrength": "auto"}, "regstrength='auto' serves images of total intensity without Taylor terms"),
        ({"startmodel": "a.model"}, r"startmodel=\['a.model'\] has 1 images for nterms=2; give one a term"),
    ],
)
def test_what_taylor_terms_cannot_do_is_refused(changed, sentence, wide, tmp_path):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        rmlclean(vis=str(wide.path), imagename=str(tmp_path / "sky"), **(IMAGING | changed))
    assert list(tmp_path.iterdir()) == []
