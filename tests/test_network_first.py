"""A network's steps before another minor cycle: a dense interferometer without files, and networks of no use."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.protocols import MinorCycle, MinorState
from casa_ml_tasks.engine.solver import Progress, solve
from casa_ml_tasks.minor.deepfocus.minor_cycle import EXPECTED, STEPS, NetworkFirst
from casa_ml_tasks.minor.deepfocus.proposed_steps import MOST_STEPS, step_length
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import NetworkView
from tests.state_schema import has_the_arrays_of

SHAPES = [(16, 16), (17, 21), (18, 15)]
SIGMA = 0.3  # of each part of a visibility, Jy


class Interferometer:
    """Visibilities of a known sky by direct sums: v = F m + noise, all weights one; a major cycle of one plane."""

    def __init__(self, sky, seed=0, visibilities=400):
        rng = np.random.default_rng(seed)
        self.sky = sky
        self.u, self.v = rng.uniform(-0.25, 0.25, (2, visibilities))
        self.fourier = self._waves(*(np.arange(n) for n in sky.shape))
        noise = SIGMA * (rng.normal(size=visibilities) + 1j * rng.normal(size=visibilities))
        self.data = np.tensordot(self.fourier, sky, 2) + noise
        self.noise = np.full((1, 1), SIGMA / np.sqrt(visibilities))

    def _waves(self, y, x):
        return np.exp(2j * np.pi * (self.v[:, None, None] * y[:, None] + self.u[:, None, None] * x))

    def psf(self):
        return self._waves(*(np.arange(2 * n) - n for n in self.sky.shape)).real.mean(axis=0)[None, None]

    def residual(self, model):
        left = self.data - np.tensordot(self.fourier, np.asarray(model, float)[0, 0], 2)
        return (np.tensordot(left, self.fourier.conj(), 1).real / len(self.data))[None, None]

    def chi_squared(self, model):
        """model: (ny, nx), Jy/pixel."""
        return np.sum(np.abs(self.data - np.tensordot(self.fourier, np.asarray(model, float), 2)) ** 2) / SIGMA**2

    def rml(self, **changes):
        arguments = {"regularisers": ["l1"], "strengths": [1.0]} | changes
        return RegularisedMaximumLikelihood(self.psf(), self.noise, 8.0, **arguments)

    def network_first(self, propose, finishing=None, positive=True, **changes):
        def finishing_of(expected):
            return self.rml(expected=expected) if finishing is None else finishing

        return NetworkFirst(
            self.psf(), self.noise, lambda *_: propose, finishing_of, positive=np.array([positive]), **changes
        )


class Unchanged:
    """A minor cycle with nothing to do; remembers what it was given."""

    def __init__(self, converged=False):
        self.given, self.converged = [], converged

    def update(self, residual, model, state):
        self.given.append((residual, model, state))
        return model, MinorState(state.iterations, residual, self.converged)


class ProposalsOf:
    """Proposals of any kind; remembers the models that it was given, in noise units."""

    def __init__(self, proposal):
        self.proposal, self.models = proposal, []

    def __call__(self, residual, model):
        self.models.append(model)
        return self.proposal(residual, model)


def point_sources(shape):
    sky = np.zeros(shape)
    sky[3, 4], sky[8, 11] = 1.0, 0.4
    return sky


def empty(shape):
    return np.zeros((1, 1, *shape), np.float32)


def toward(sky, array):
    """Proposals that are a little off the true sky."""
    blurred = 0.98 * sky + 0.01 * np.roll(sky, 1, axis=1)
    return lambda residual, model: blurred / array.noise[0, 0]


def never(residual, model):
    raise AssertionError("the network was asked")


def run(array, minor, **criteria):
    saved = []
    progress = solve(
        array, minor, ExitCriteria(**criteria), Progress(empty(array.sky.shape)), SimpleNamespace(save=saved.append)
    )
    return progress, saved


def test_it_keeps_the_protocol_and_its_schema():
    array = Interferometer(point_sources((16, 16)))
    minor = array.network_first(toward(array.sky, array))
    assert isinstance(minor, MinorCycle)
    _, state = minor.update(array.residual(empty((16, 16))), empty((16, 16)), MinorState())
    own = MinorState(latent={name: state.latent[name] for name in (STEPS, EXPECTED)})
    assert has_the_arrays_of(NetworkFirst.schema, own)
    assert state.latent.keys() == {STEPS, EXPECTED, "ended"}


def test_the_length_of_a_step_is_the_minimum_of_chi_squared_between_nothing_and_all():
    assert step_length(3.0, 4.0) == 0.75
    assert step_length(4.0, 3.0) == step_length(1.0, -1e-9) == 1
    assert step_length(-1.0, 2.0) == step_length(0.0, 0.0) == 0
    assert step_length(np.nan, 1.0) == step_length(1.0, np.inf) == step_length(np.inf, np.inf) == 0


rng = np.random.default_rng(5)
ADVERSARIES = {
    "noise": lambda residual, model: rng.normal(size=model.shape) * 10,
    "specks": lambda residual, model: model + 500 * (rng.random(model.shape) < 0.05),
    "the residual itself": lambda residual, model: model + residual,
    "the residual upside down": lambda residual, model: model - residual,
    "an empty sky": lambda residual, model: 0 * model,
    "far too bright": lambda residual, model: 1e6 * np.maximum(residual, 0),
    "the sharpest edges": lambda residual, model: 100.0 * (np.indices(model.shape).sum(0) % 2),
    "no numbers": lambda residual, model: np.full(model.shape, np.nan),
    "infinite": lambda residual, model: np.full(model.shape, np.inf),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ADVERSARIES)
def test_chi_squared_never_rises_whatever_is_proposed(kind, shape):
    for seed in range(3):
        array, finishing = Interferometer(point_sources(shape), seed), Unchanged()
        proposals = ProposalsOf(ADVERSARIES[kind])
        start = rng.random((1, 1, *shape)).astype(np.float32) * seed
        model, state = array.network_first(proposals, finishing).update(array.residual(start), start, MinorState())
        models = [array.noise[0, 0] * each for each in proposals.models]
        values = [array.chi_squared(each) for each in [*models, model[0, 0]]]
        assert np.all(np.diff(values) <= 1e-6 * values[0])
        assert len(proposals.models) <= MOST_STEPS
        assert state.latent[STEPS][0, 0] <= len(proposals.models)
        assert model.min() >= 0
        np.testing.assert_allclose(finishing.given[0][0], array.residual(model), atol=1e-4 * array.noise[0, 0])


@pytest.mark.parametrize("shape", [(33, 40), (36, 35)])
@pytest.mark.parametrize("beam", [5.0, 3.0])
def test_chi_squared_never_rises_with_a_network_of_random_weights(shape, beam):
    sky = point_sources(shape) + 0.02 * np.exp(-((np.indices(shape) - 15) ** 2).sum(0) / 20)
    array = Interferometer(sky)
    for seed in range(3):
        network = ImageNetwork(jax.random.PRNGKey(seed), (16, 16, 16))
        louder = jax.tree.map(lambda weights: 1.5 * weights, network)
        view = NetworkView(louder, array.psf()[0, 0], beam)
        proposals = ProposalsOf(lambda residual, model, view=view: view(residual, model).model)
        start = empty(shape)
        model, _ = array.network_first(proposals, Unchanged()).update(array.residual(start), start, MinorState())
        values = [array.chi_squared(array.noise[0, 0] * each) for each in proposals.models]
        values.append(array.chi_squared(model[0, 0]))
        assert np.all(np.diff(values) <= 1e-6 * values[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_good_proposals_spare_iterations_and_end_nearer_to_the_sky(shape):
    array = Interferometer(point_sources(shape))
    noise = array.noise[0, 0]
    alone, _ = run(array, array.rml())
    first, _ = run(array, array.network_first(toward(array.sky, array)))
    assert first.stop is alone.stop is StopCode.CONVERGED
    assert first.state.latent[STEPS][0, 0] > 0
    assert first.state.iterations < alone.state.iterations
    assert len(first.records) == len(alone.records)
    errors = [np.sqrt(np.mean((found.model[0, 0] - array.sky) ** 2)) for found in (first, alone)]
    assert errors[0] < 0.8 * errors[1]
    np.testing.assert_allclose(first.model[0, 0], array.sky, atol=3 * noise)


@pytest.mark.parametrize("proposal", ["noise", "specks", "far too bright", "an empty sky", "no numbers"])
def test_bad_proposals_leave_no_residual_beyond_the_noise(proposal):
    array = Interferometer(point_sources((17, 21)))
    first, _ = run(array, array.network_first(ADVERSARIES[proposal]))
    assert first.stop is StopCode.CONVERGED
    assert np.abs(first.residual).max() < 4.5 * array.noise[0, 0]
    np.testing.assert_allclose(first.model[0, 0], array.sky, atol=10 * array.noise[0, 0])


def test_what_is_expected_counts_as_far_as_the_network_is_trusted():
    """Its model is handed on unless it leaves a large residual, or the image is brighter than those of its training."""
    sky = point_sources((16, 16))
    array, brighter = Interferometer(sky), Interferometer(10 * sky)
    good = toward(sky, array)
    for of, propose, is_trusted in [
        (array, good, True),
        (array, lambda residual, model: 0.4 * good(residual, model), False),
        (brighter, toward(10 * sky, brighter), False),
    ]:
        expected = []
        minor = NetworkFirst(
            of.psf(),
            of.noise,
            lambda *_, propose=propose: propose,
            lambda image, expected=expected: expected.append(image) or Unchanged(),
            np.array([True]),
        )
        model, state = minor.update(of.residual(empty((16, 16))), empty((16, 16)), MinorState())
        assert state.latent[STEPS][0, 0] > 0
        assert np.isnan(expected[0]).all() == (not is_trusted)
        minor.update(of.residual(model), model, state)
        np.testing.assert_array_equal(*expected)
        if is_trusted:
            np.testing.assert_array_equal(expected[0], model)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_predicted_residual_is_that_of_the_next_major_cycle(shape):
    array = Interferometer(point_sources(shape))
    start = empty(shape)
    minor = array.network_first(toward(array.sky, array))
    model, state = minor.update(array.residual(start), start, MinorState())
    np.testing.assert_allclose(state.predicted_residual, array.residual(model), atol=1e-3 * array.noise[0, 0])


@pytest.mark.parametrize("saved", range(3))
def test_a_run_resumed_from_any_checkpoint_ends_in_the_same_image(tmp_path, saved):
    array = Interferometer(point_sources((17, 21)))
    minor = array.network_first(toward(array.sky, array))
    undisturbed, remembered = run(array, minor, nmajor=2)
    checkpoint = FileCheckpoint(tmp_path / "checkpoint.npz", {}, schemas=[NetworkFirst.schema])
    checkpoint.save(remembered[saved])
    asked = ProposalsOf(toward(array.sky, array))
    resumed = solve(array, array.network_first(asked), ExitCriteria(nmajor=2), checkpoint.load(), checkpoint)
    np.testing.assert_array_equal(resumed.model, undisturbed.model)
    np.testing.assert_array_equal(resumed.state.latent[STEPS], undisturbed.state.latent[STEPS])
    assert bool(asked.models) == (saved == 0)


def test_planes_that_may_be_negative_and_absorption_are_left_to_the_other_minor_cycle():
    sky = point_sources((16, 16))
    emission, absorption = Interferometer(sky), Interferometer(-sky)
    for array, positive in [(emission, False), (absorption, True)]:
        finishing = Unchanged()
        residual = array.residual(empty((16, 16)))
        minor = array.network_first(never, finishing, positive)
        _, state = minor.update(residual, empty((16, 16)), MinorState())
        assert state.latent[STEPS][0, 0] == 0
        assert np.isnan(state.latent[EXPECTED]).all()
        np.testing.assert_allclose(finishing.given[0][0], residual, rtol=1e-6)


def test_each_plane_has_its_own_psf_noise_and_steps():
    arrays = [Interferometer(point_sources((16, 17)), seed) for seed in range(3)]
    psf = np.concatenate([each.psf() for each in arrays])
    psf[2] = 0  # a channel without data
    noise = np.array([[each.noise[0, 0]] for each in arrays]) * [[1], [2], [1]]
    start = np.zeros((3, 1, 16, 17), np.float32)
    residual = np.concatenate([each.residual(start[:1]) for each in arrays])
    skies = [each.sky / noise[channel, 0] for channel, each in enumerate(arrays)]
    finishing = Unchanged()
    minor = NetworkFirst(
        psf, noise, lambda channel, stokes: lambda *_: skies[channel], lambda _: finishing, np.array([True])
    )
    model, state = minor.update(residual, start, MinorState())
    assert (state.latent[STEPS][:2, 0] > 0).all()
    assert state.latent[STEPS][2, 0] == 0 == np.abs(model[2]).max()
    for channel in range(2):
        np.testing.assert_allclose(model[channel, 0], arrays[channel].sky, atol=0.05)
        np.testing.assert_allclose(
            finishing.given[0][0][channel], arrays[channel].residual(model[channel : channel + 1])[0], atol=1e-5
        )


def test_the_model_stays_inside_the_support():
    array = Interferometer(point_sources((16, 16)))
    support = np.zeros((1, 1, 16, 16), bool)
    support[..., :6, :] = True
    minor = array.network_first(toward(array.sky, array), Unchanged(), support=lambda: support)
    model, _ = minor.update(array.residual(empty((16, 16))), empty((16, 16)), MinorState())
    assert model[support].any()
    assert not model[~support].any()


def test_a_major_cycle_sees_the_networks_model_although_the_other_minor_cycle_has_nothing_to_add():
    array = Interferometer(point_sources((16, 16)))
    progress, _ = run(array, array.network_first(toward(array.sky, array), Unchanged(converged=True)))
    assert progress.stop is StopCode.CONVERGED
    assert len(progress.records) == 2
    assert progress.model.any()


def test_a_minor_cycle_does_not_change_its_arguments():
    array = Interferometer(point_sources((16, 16)))
    model, residual = empty((16, 16)), array.residual(empty((16, 16)))
    copies = model.copy(), residual.copy()
    minor = array.network_first(toward(array.sky, array))
    first, second = (minor.update(residual, model, MinorState())[0] for _ in range(2))
    np.testing.assert_array_equal(model, copies[0])
    np.testing.assert_array_equal(residual, copies[1])
    np.testing.assert_array_equal(first, second)
