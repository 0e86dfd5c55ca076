"""The fields of a sky, their spectra and their preconditioner, against dense matrices and NIFTy's own field."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from nifty.re import CorrelatedFieldMaker, lognormal_prior, normal_prior
from nifty.re.correlated_field import NonParametricAmplitude, RegularCartesianGrid, RegularFourierGrid
from scipy.stats import norm

from casa_ml_tasks.minor.resolve.coarse_likelihood import MOST_NODES, Nodes, agreement, coarse_nodes
from casa_ml_tasks.minor.resolve.composition import continuum, cube
from casa_ml_tasks.minor.resolve.correlated_field import Prior, hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position, covariance
from casa_ml_tasks.minor.resolve.mass import Mass, Noise
from casa_ml_tasks.minor.resolve.sketch import NO_SOURCES
from casa_ml_tasks.minor.resolve.spectrum import draw, most_probable, power_of_rings, scale_of, spectral_energy
from tests.few_visibilities import (
    COMPOSITIONS,
    composed,
    drawn,
    drawn_spectrum,
    expected_spectrum,
    log_planes_of,
    observation_for,
    some_brightness,
    standard_of,
)

pytestmark = pytest.mark.usefixtures("double_precision")
SHAPES = [(24, 24), (15, 22), (21, 17)]
PRIOR = Prior(offset=-3.0)
energy_of_spectra = jax.jit(spectral_energy)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=[continuum, lambda prior: cube(prior, 3)], ids=["continuum", "cube"])
def compose(request):
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_every_mode_has_the_amplitude_of_its_ring(rng, shape):
    sky = LogNormalSky.of(shape, continuum(PRIOR))
    spectrum = drawn_spectrum(sky, rng)
    rings = np.exp(sky.log_amplitude_of_rings(spectrum))
    np.testing.assert_allclose(sky.amplitude(spectrum), rings[:, sky.modes.ring], rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_hartley_transform_is_symmetric_and_inverts_itself(shape, rng):
    one, other = rng.normal(size=(2, 3, *shape))
    assert np.vdot(hartley(one), other) == pytest.approx(np.vdot(one, hartley(other)))
    np.testing.assert_allclose(hartley(hartley(one)) / np.prod(shape), one, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", COMPOSITIONS)
def test_coefficients_undo_the_fields(kind, shape, rng):
    sky = LogNormalSky.of(shape, composed(kind, observation_for(kind, shape)))
    excitations, spectrum = drawn(sky, rng)
    coefficients = sky.amplitude(spectrum) * excitations
    np.testing.assert_allclose(sky.coefficients(log_planes_of(sky, coefficients)), coefficients, atol=1e-10)


@pytest.mark.parametrize("shape", [(48, 48), (31, 45)])
def test_a_power_law_has_the_amplitudes_of_nifty(shape):
    sky = LogNormalSky.of(shape, continuum(PRIOR))
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
    actual = np.array(sky.amplitude(expected_spectrum(sky))[0])
    assert actual[0, 0] == pytest.approx(expected[0, 0])
    others = np.ones(shape, bool)
    others[0, 0] = False
    np.testing.assert_allclose(
        actual[others], expected[others], rtol=0.04
    )  # rings have one amplitude, and the norm is summed over bins


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bent_spectrum_has_the_amplitudes_and_the_prior_of_nifty(shape, rng):
    field = LogNormalSky.of(shape, continuum(PRIOR)).sets[0]
    lengths = np.concatenate([[0.0], np.log(field.modes.frequency[1:] / field.modes.frequency[1])])
    grid = RegularCartesianGrid(
        shape=shape,
        total_volume=1.0,
        distances=tuple(1 / n for n in shape),
        harmonic_grid=RegularFourierGrid(
            shape=shape,
            power_distributor=field.modes.bin,
            mode_multiplicity=field.modes.multiplicity(),
            mode_lengths=field.modes.frequency,
            relative_log_mode_lengths=lengths,
            log_volume=np.diff(lengths[1:]),
        ),
    )
    theirs = NonParametricAmplitude(
        grid,
        lognormal_prior(*PRIOR.fluctuations),
        normal_prior(*PRIOR.slope),
        lognormal_prior(*PRIOR.flexibility),
        lognormal_prior(*PRIOR.asperity),
        kind="power",
    )
    intervals = lengths.size - 2
    kinks, bends = rng.normal(size=(2, intervals))
    numbers = dict(zip(("asperity", "flexibility", "fluctuations", "loglogavgslope"), rng.normal(size=4), strict=True))
    ours = {"level": numbers["fluctuations"], "slope": numbers["loglogavgslope"], "mean": 0.7}
    shared = {name: numbers[name] for name in ("asperity", "flexibility")}
    spectrum = field.spectrum(ravel_pytree({**ours, **shared, "kinks": kinks, "bends": bends})[0])
    expected = theirs({**numbers, "spectrum": jnp.stack([kinks, bends], axis=1)})
    np.testing.assert_allclose(field.log_amplitude_of_bins(spectrum)[1:], np.log(expected)[1:], atol=1e-12)
    mean = lognormal_prior(*PRIOR.offset_deviation)(0.7)
    assert float(field.log_amplitude_of_bins(spectrum)[0]) == pytest.approx(np.log(mean))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_logarithm_of_the_amplitudes_is_linear_in_the_spectrum(shape, rng, compose):
    sky = LogNormalSky.of(shape, compose(PRIOR))
    one, other = drawn_spectrum(sky, rng), drawn_spectrum(sky, rng)
    slopes, standard = jax.jit(jax.jacobian(sky.log_amplitude_of_rings)), standard_of(sky, one)
    np.testing.assert_array_equal(slopes(one), slopes(other))
    np.testing.assert_allclose(standard_of(sky, sky.spectrum(standard)), standard, atol=1e-12)
    np.testing.assert_allclose(sky.spectrum(standard), one, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prior_of_a_spectrum_is_as_curved_as_is_said(shape, rng, compose):
    """On average over the signs of kinks and bends as strong as they are expected, beside others as expected."""
    sky = LogNormalSky.of(shape, compose(PRIOR))
    wiggles = rng.choice([-1.0, 1.0], (2, sky.modes.frequency.size - 2))
    scalars = ["asperity", "flexibility", "level", "mean", "slope"]
    scalars += ["variation", "variation_slope"] if sky.sets[0].count > 1 else []
    spectra = []
    for kinks, bends in (wiggles, -wiggles):
        standard, _ = ravel_pytree({**dict.fromkeys(scalars, 0.0), "kinks": kinks, "bends": bends})
        spectra.append(sky.spectrum(standard))
    bent = jax.jit(jax.hessian(sky.prior_of_spectra))
    expected = np.mean([bent(each) for each in spectra], axis=0)
    actual = np.mean([sky.curvature_of_prior(each) for each in spectra], axis=0)
    np.testing.assert_allclose(actual, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_has_the_covariance_that_is_said(shape, rng, compose):
    sky = LogNormalSky.of(shape, compose(PRIOR))
    amplitudes = sky.amplitude(drawn_spectrum(sky, rng))
    for amplitude, said in zip(amplitudes, np.asarray(covariance(amplitudes)), strict=True):
        synthesis = np.array(hartley(amplitude * np.eye(amplitude.size).reshape(-1, *shape)))
        dense = np.einsum("ia,ib->ab", *(2 * [synthesis.reshape(amplitude.size, -1)]))
        np.testing.assert_allclose(dense[0].reshape(shape), said, atol=1e-9 * said[0, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_rings_stand_for_the_amplitudes_of_their_modes(shape):
    sky = LogNormalSky.of(shape, continuum(PRIOR))
    expected = expected_spectrum(sky)
    bins = sky.sets[0].log_amplitude_of_bins(expected)
    at, between = sky.modes.bin, sky.modes.fraction
    of_modes = np.where(sky.modes.ring > 0, (1 - between) * bins[at] + between * bins[at + 1], bins[0])
    assert np.abs(of_modes - np.log(sky.amplitude(expected)[0])).max() < 0.05
    assert sky.modes.multiplicity().sum() == pytest.approx(np.prod(shape))
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    np.testing.assert_allclose(sky.modes.frequency_of_rings()[sky.modes.ring], frequency, rtol=0.02)


def test_the_energy_of_the_spectra_is_that_of_gaussian_modes_and_parameters(rng, compose):
    sky = LogNormalSky.of((20, 27), compose(PRIOR))
    coefficients = rng.normal(size=(sky.mixing.shape[1], *sky.shape))
    power, spectra = power_of_rings(sky, jnp.asarray(coefficients)), [drawn_spectrum(sky, rng) for _ in "12"]
    slopes = jax.jit(jax.jacobian(sky.spectrum))

    def expected(spectrum):
        standard = standard_of(sky, spectrum)
        volume = np.linalg.slogdet(slopes(standard)).logabsdet
        return volume - norm.logpdf(coefficients, 0, sky.amplitude(spectrum)).sum() - norm.logpdf(standard).sum()

    actual = [energy_of_spectra(sky, each, power) for each in spectra]
    difference = expected(spectra[1]) - expected(spectra[0])
    assert float(actual[1] - actual[0]) == pytest.approx(difference, rel=1e-9)


def test_the_gradient_of_the_spectrums_energy_is_the_finite_difference(rng, compose):
    sky = LogNormalSky.of((20, 27), compose(PRIOR))
    power = power_of_rings(sky, jnp.asarray(rng.normal(size=(sky.mixing.shape[1], 20, 27))))
    at, along, step = drawn_spectrum(sky, rng), rng.normal(size=sky.parameters), 1e-5
    forward, backward = (energy_of_spectra(sky, at + sign * step * along, power) for sign in (1, -1))
    slope = jax.jit(jax.grad(spectral_energy, argnums=1))(sky, at, power)
    assert np.vdot(slope, along) == pytest.approx(float(forward - backward) / (2 * step), rel=1e-6)


def test_the_spectrum_of_a_drawn_field_is_found(rng):
    prior = PRIOR._replace(slope=(-3.0, 1.0), flexibility=(0.3, 0.1))  # what is not seen goes on as what is
    sky = LogNormalSky.of((64, 64), continuum(prior))
    truth, field = drawn_spectrum(sky, rng), sky.sets[0]
    amplitude = np.array(sky.amplitude(truth))
    coefficients = amplitude * rng.normal(size=amplitude.shape)

    def error(found):
        return np.asarray(field.log_amplitude_of_bins(jnp.asarray(found)) - field.log_amplitude_of_bins(truth))[-20:]

    whole = error(most_probable(sky, coefficients, part=1.0, beam_area=0.0))
    assert np.sqrt(np.mean(whole**2)) < 0.12  # in bins of hundreds of modes
    half = error(most_probable(sky, coefficients / np.sqrt(2), part=0.5, beam_area=0.0))
    assert np.sqrt(np.mean(half**2)) < 0.12
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in (64, 64))))
    smoothed = coefficients * (frequency < 0.15)
    smooth = error(most_probable(sky, smoothed, part=1.0, beam_area=100.0))
    blind = error(most_probable(sky, smoothed, part=1.0, beam_area=0.0))
    assert np.abs(smooth).max() < 1.5 < 5 < np.abs(blind).max(), (smooth, blind)


def test_spectra_are_drawn_as_they_are_probable(compose):
    """Spectra that were drawn with their skies look like the prior, and so they do when drawn again for these skies."""
    sky, rng, changes, after = LogNormalSky.of((16, 16), compose(PRIOR)), np.random.default_rng(5), [], []
    for _ in range(200):
        excitations, before = drawn(sky, rng)
        found = draw(sky, sky.amplitude(before) * excitations, before, rng, scale_of(sky, before))
        after.append(np.asarray(standard_of(sky, found)))
        changes.append(after[-1] - standard_of(sky, before))
    assert np.sqrt(np.mean(np.square(changes))) > 0.5
    assert np.sqrt(np.mean(np.square(np.mean(after, axis=0)))) < 1.5 / np.sqrt(200)
    assert np.mean(np.var(after, axis=0)) == pytest.approx(1, abs=0.05)


def test_spectra_are_drawn_with_the_scale_of_their_middle(rng, compose):
    """Modes by the thousand hold a spectrum tightly, but in the same directions as another spectrum."""
    sky, moved = LogNormalSky.of((160, 160), compose(PRIOR)), []
    for _ in range(10):
        excitations, before = drawn(sky, rng)
        standard = standard_of(sky, before)
        middle = sky.spectrum(standard + 0.3 * rng.normal(size=sky.parameters))
        found = draw(sky, sky.amplitude(before) * excitations, before, rng, scale_of(sky, middle))
        moved.append(float(jnp.sqrt(jnp.mean((standard_of(sky, found) - standard) ** 2))))
    assert np.mean(np.array(moved) > 0.3) > 0.8


def dense(function, at):
    """The matrix of a linear function of positions."""
    vector, position = ravel_pytree(at)
    columns = jax.jit(jax.vmap(lambda each: ravel_pytree(function(position(each)))[0]))
    return np.array(columns(jnp.eye(vector.size))).T


@pytest.fixture(scope="module", params=product(COMPOSITIONS, [(12, 12), (9, 14)]), ids=str)
def weighty(request):
    """What a mass is of, whitened visibilities of its points, and the mass: its spectra move with the sky."""
    (kind, shape), rng = request.param, np.random.default_rng(7)
    with jax.enable_x64(True):
        observation = observation_for(kind, shape, 0.02, points=60, longest=0.24)
        composition = composed(kind, observation, PRIOR)
        sky = LogNormalSky.of(shape, composition)
        at, pixels = drawn(sky, rng), np.array([[3, 4], [7, 8]]) if len(composition.synthesis) == 1 else NO_SOURCES
        planes = len(composition.mixing), *shape
        places = np.unravel_index(rng.choice(np.prod(planes), 15, replace=False), planes)
        points = Nodes(*places, rng.uniform(0.1, 3, 15))
        sources = observation.sources(np.zeros((1, *shape)), pixels)
        given = sky, at, points, observation.response(composition.synthesis), sources
        own = np.diag(rng.uniform(0, 1e5, sky.parameters))
        mass = Mass.of(*given, lambda _: own)
    return given, observation.seen(points, composition.synthesis, pixels), mass


def test_velocities_are_momenta_over_the_curvature_of_the_coarse_likelihood(weighty):
    (sky, at, points, *_), seen, mass = weighty

    def at_points(along):  # logarithm of the planes
        def logarithm(*position):
            excitations, spectrum = mass.centring.leave(sky, Position(*position))
            return sky.log_planes(sky.amplitude(spectrum) * excitations)[points.plane, points.y, points.x]

        return jax.jvp(logarithm, tuple(at), (along.excitations, mass.scale @ along.spectrum))[1]

    inverse = dense(mass.velocity, at)
    visibilities = seen @ np.diag(points.flux) @ dense(at_points, at)
    root = np.linalg.cholesky(np.eye(len(inverse)) + visibilities.T @ visibilities)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-9)
    ratio = np.linalg.eigvalsh(root.T @ inverse @ root)
    assert ratio.min() > 0.99  # 1, but for curvatures that are negligible beside the prior's
    assert ratio.max() < 1 + 0.3 * len(points.flux)
    assert np.mean(np.abs(ratio - 1) < 1e-6) > 0.9


def test_spectra_are_centred_where_the_coarse_likelihood_knows_the_modes(weighty):
    (sky, at, points, *_), seen, mass = weighty

    def at_points(excitations):
        return sky.log_planes(sky.amplitude(at.spectrum) * excitations)[points.plane, points.y, points.x]

    slopes = np.asarray(jax.jit(jax.jacobian(at_points))(at.excitations))
    visibilities = np.einsum("vi,i,ifyx->vfyx", seen, points.flux, slopes)
    known = (visibilities**2).sum(axis=0)
    of_ring = sky.modes.ring == np.arange(sky.modes.count.size)[:, None, None]
    mean = np.einsum("ryx,fyx->fr", of_ring, known) / np.maximum(sky.modes.count, 1)
    np.testing.assert_allclose(mass.centring.weight, mean / (mean + 2), atol=0.05)  # negligible curvatures are left out
    assert np.ptp(mass.centring.weight) > 0.5


def test_momenta_have_the_covariance_whose_inverse_gives_velocities(rng, weighty):
    (sky, *_), _, mass = weighty
    size = np.prod(sky.shape) * sky.mixing.shape[1] + sky.parameters

    def twice_kinetic(noise):
        momentum = mass.momentum(noise)
        return sum(jnp.vdot(*each) for each in zip(momentum, mass.velocity(momentum), strict=True))

    noise = [mass.noise(rng) for _ in range(2000)]
    twice = jax.jit(jax.vmap(twice_kinetic))(Noise(*map(np.array, zip(*noise, strict=True))))
    assert np.mean(twice) == pytest.approx(size, rel=0.02)
    assert np.var(twice) == pytest.approx(2 * size, rel=0.15)


def test_spectra_that_are_known_do_not_move(rng, weighty):
    given, *_ = weighty
    mass = Mass.of(*given)
    velocity = mass.velocity(mass.momentum(mass.noise(rng)))
    assert not np.any(mass.scale @ velocity.spectrum)


def test_fine_modes_are_as_heavy_as_the_prior_has_them(rng, weighty):
    (sky, at, *rest), *_ = weighty
    none = np.zeros((sky.parameters, sky.parameters))
    mass = Mass.of(sky, at, *rest, lambda _: none, some_brightness(sky, at))
    momentum = Position(rng.normal(size=at.excitations.shape), rng.normal(size=mass.scale.shape[1]))
    coupled = np.asarray(mass.velocity(momentum).excitations != momentum.excitations)
    np.testing.assert_array_equal(coupled, mass.centring.brightness.coarse == 1)


@pytest.mark.parametrize("shape", [(40, 40), (33, 46)])
def test_coarse_nodes_keep_the_flux_and_are_finer_where_it_is_bright(shape):
    y, x = np.indices(shape)
    image = 1e-3 * np.exp(-((y - 12.0) ** 2 + (x - 14.0) ** 2) / 200) + 5.0 * ((y == 20) & (x == 25))
    sigma, beam_area = np.array([1e-3]), 60.0
    points = coarse_nodes(image[None], sigma, beam_area)
    assert points.flux.sum() == pytest.approx(image.sum(), rel=0.01)
    brightest = np.argmax(points.flux)
    assert (points.plane[brightest], points.y[brightest], points.x[brightest]) == (0, 20, 25)
    assert points.flux.size < image.size / 8
    assert coarse_nodes(image[None], sigma, beam_area, most=3).flux.size == 3
    assert coarse_nodes(np.zeros((1, *shape)), sigma, beam_area).flux.size == 0


@pytest.mark.parametrize("shape", [(40, 40), (33, 46)])
def test_coarse_nodes_are_finer_in_the_plane_with_less_noise_and_none_where_there_are_no_data(shape):
    y, x = np.indices(shape)
    planes = np.exp(-((y - 12.0) ** 2 + (x - 14.0) ** 2) / 200) * np.array([1e-3, 2e-3, 1e-3])[:, None, None]
    points = coarse_nodes(planes, np.array([1e-3, 1e-4, np.inf]), 60.0)
    both = [points.at(np.flatnonzero(points.plane == plane)) for plane in (0, 1)]
    assert points.flux.size == both[0].flux.size + both[1].flux.size
    assert 3 * both[0].flux.size < both[1].flux.size
    for plane, each in zip(planes, both, strict=False):
        flux = plane.sum()
        assert each.flux.sum() == pytest.approx(flux, rel=0.01)
        assert each.flux @ each.y == pytest.approx(np.vdot(plane, y), abs=0.5 * flux)
        assert each.flux @ each.x == pytest.approx(np.vdot(plane, x), abs=0.5 * flux)
    few = coarse_nodes(planes, np.array([1e-3, 1e-4, np.inf]), 60.0, most=3)
    over_noise = points.flux / np.array([1e-3, 1e-4])[points.plane]
    assert few.flux.size == 3
    assert over_noise.max() < (few.flux / np.array([1e-3, 1e-4])[few.plane]).max()  # in larger cells


def test_there_are_never_more_coarse_nodes_than_matrices_can_hold(rng):
    image = rng.uniform(0.5, 1.5, size=(1, 256, 256))
    points = coarse_nodes(image, np.array([1e-6]), 20.0)
    assert MOST_NODES / 3 < points.flux.size <= MOST_NODES
    assert points.flux.sum() == pytest.approx(image.sum(), rel=0.01)


def test_a_bright_source_has_its_nodes_in_an_image_of_many_beams(rng):
    image = rng.uniform(0.05, 0.15, size=(1, 256, 256))
    image[0, 180, 60] = 1e3
    points = coarse_nodes(image, np.array([1.0]), 6.0)
    at = np.flatnonzero((points.y == 180) & (points.x == 60))
    assert points.flux[at] == pytest.approx(1e3)  # a pixel of its own, although there are 1000 beams
    assert points.flux.sum() == pytest.approx(image.sum(), rel=0.01)


@pytest.mark.parametrize("shape", [(40, 40), (33, 46)])
def test_skies_agree_on_the_harmonic_mean_of_their_brightness(shape, rng):
    factor = np.exp(rng.normal(scale=0.5, size=(4000, 1, 1, 1)))
    image = rng.uniform(0.5, 1.5, size=(1, *shape))
    agreed = agreement(factor * image, 20.0)
    np.testing.assert_allclose(agreed, 1 / (np.mean(factor) * np.mean(1 / factor)), rtol=0.05)
    np.testing.assert_allclose(agreement(np.stack([image, image]), 20.0), 1.0)
