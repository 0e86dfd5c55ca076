"""The loop, its criteria and its checkpoint, on a dense interferometer without files."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.engine.exit_criteria import MOST_MAJOR_CYCLES, ExitCriteria, StopCode
from casa_ml_tasks.engine.field_layout import FieldLayout
from casa_ml_tasks.engine.protocols import MajorCycle, MinorCycle, MinorState, StateSchema
from casa_ml_tasks.engine.solver import Progress, solve, step_length
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood

SHAPE = (12, 15)


class DenseMajorCycle:
    """Visibilities of a known sky by direct sums: v = F m + noise, all weights one."""

    imagename, shape, terms, mosaic, visibilities = Path("dense"), (1, 1, *SHAPE), 0, None, None
    layout = FieldLayout((SHAPE,))

    def __init__(self, sky, sigma=0.0, visibilities=400, seed=0):
        rng = np.random.default_rng(seed)
        self.u, self.v = rng.uniform(-0.45, 0.45, (2, visibilities))
        y, x = (np.arange(n) for n in SHAPE)
        self.fourier = np.exp(2j * np.pi * (self.v[:, None, None] * y[:, None] + self.u[:, None, None] * x))
        noise = sigma * (rng.normal(size=visibilities) + 1j * rng.normal(size=visibilities))
        self.data = np.tensordot(self.fourier, sky, 2) + noise
        self.sigma, self.calls = sigma, 0

    def psf(self):
        y, x = (np.arange(2 * n) - n for n in SHAPE)
        phase = 2 * np.pi * (self.v[:, None, None] * y[:, None] + self.u[:, None, None] * x)
        return np.cos(phase).mean(axis=0)[None, None]

    def primary_beam(self):
        return np.ones((1, 1, *SHAPE))

    def residual(self, model):
        self.calls += 1
        difference = self.data - np.tensordot(self.fourier, model[0, 0], 2)
        return (np.tensordot(difference, self.fourier.conj(), 1).real / len(self.data))[None, None]

    @property
    def fields(self):
        return [self]

    def product(self, extension, term=0):
        return self.imagename.with_suffix(f".{extension}")

    def noise(self):
        return np.full((1, 1), self.sigma / np.sqrt(len(self.data)))

    def thermal_noise(self):
        return self.noise()

    def mask(self):
        return np.ones(self.shape)

    def finish(self, model, restoration, pbcor):
        self.finished = model

    def predict(self, model):
        self.predicted = model

    def close(self):
        self.closed = True


class Remember:
    """A checkpoint in memory."""

    def __init__(self):
        self.saved = []

    def save(self, progress):
        self.saved.append(progress)


def point_sources():
    sky = np.zeros(SHAPE)
    sky[3, 4], sky[8, 11] = 1.0, 0.4
    return sky


def rml(major, sigma, **changes):
    arguments = {"regularisers": ["l1"], "strengths": [1.0]} | changes
    return RegularisedMaximumLikelihood(major.psf(), sigma, 4.0, **arguments)


def run(major, minor, **criteria):
    empty = Progress(np.zeros((1, 1, *SHAPE), np.float32))
    remember = Remember()
    return solve(major, minor, ExitCriteria(**criteria), empty, remember), remember


def test_the_components_keep_their_protocols():
    major = DenseMajorCycle(point_sources())
    assert isinstance(major, MajorCycle)
    assert isinstance(rml(major, 0.1), MinorCycle)


def test_the_loop_finds_point_sources_and_stops_because_the_residual_was_predicted():
    sigma = 0.02
    major = DenseMajorCycle(point_sources(), sigma)
    image_noise = sigma / np.sqrt(len(major.data))
    progress, _ = run(major, rml(major, image_noise))
    assert progress.stop is StopCode.CONVERGED
    assert major.calls == len(progress.records) == 2
    assert progress.records[-1].prediction_error < 1e-6
    np.testing.assert_allclose(progress.model[0, 0], point_sources(), atol=5 * image_noise)


def test_the_misfit_is_chi_squared_less_that_of_an_empty_sky():
    sigma = 0.05
    major = DenseMajorCycle(point_sources(), sigma)
    noise = sigma / np.sqrt(len(major.data))
    progress, _ = run(major, rml(major, noise))
    residual_visibilities = major.data - np.tensordot(major.fourier, progress.model[0, 0].astype(float), 2)
    expected = (np.sum(np.abs(residual_visibilities) ** 2) - np.sum(np.abs(major.data) ** 2)) / sigma**2
    np.testing.assert_allclose(progress.records[-1].misfit[0][0] / noise**2, expected, rtol=1e-6)


def test_without_positivity_negative_sources_are_found():
    sky = point_sources()
    sky[5, 5] = -0.7
    major = DenseMajorCycle(sky, 0.01)
    noise = 0.01 / np.sqrt(len(major.data))
    signed, _ = run(major, rml(major, noise, positivity=False))
    positive, _ = run(major, rml(major, noise, positivity=True), nmajor=2)
    np.testing.assert_allclose(signed.model[0, 0], sky, atol=5 * noise)
    assert positive.model.min() == 0


@pytest.mark.parametrize(
    ("criteria", "stop", "cycles"),
    [
        ({"niter": 0}, StopCode.ITERATION_LIMIT, 0),
        ({"nmajor": 0}, StopCode.MAJOR_LIMIT, 0),
        ({"nmajor": 1}, StopCode.MAJOR_LIMIT, 1),
        ({"threshold": 10.0}, StopCode.THRESHOLD, 0),
        ({"nsigma": 1e9, "noise": 1.0}, StopCode.NSIGMA, 0),
    ],
)
def test_the_loop_stops_where_tclean_would(criteria, stop, cycles):
    major = DenseMajorCycle(point_sources(), 0.01)
    progress, _ = run(major, rml(major, 0.001), **criteria)
    assert progress.stop is stop
    assert len(progress.records) == cycles + 1


@pytest.mark.parametrize(("far", "stop", "cycles"), [(True, StopCode.INTERRUPTED, 1), (False, StopCode.CONVERGED, 1)])
def test_a_loop_ends_where_it_is_interrupted_and_no_sooner(far, stop, cycles):
    major = DenseMajorCycle(point_sources(), 0.02)
    empty = Progress(np.zeros((1, 1, *SHAPE), np.float32))
    minor = rml(major, 0.02 / np.sqrt(len(major.data)))

    def interrupts(progress):
        return far and len(progress.records) == 2

    progress = solve(major, minor, ExitCriteria(), empty, Remember(), interrupts=interrupts)
    assert progress.stop is stop
    assert len(progress.records) == cycles + 1
    assert progress.residual is not None


def outcomes(peaks, fluxes=None):
    """Of major cycles whose residuals have these peaks, and r.m.s. of a tenth."""
    fluxes = range(1, len(peaks) + 1) if fluxes is None else fluxes
    return [
        SimpleNamespace(peak_residual=peak, rms_residual=peak / 10, model_flux=flux)
        for peak, flux in zip(peaks, fluxes, strict=True)
    ]


def test_a_growing_peak_residual_is_divergence():
    assert ExitCriteria().stop(5, 2, outcomes([1.0, 0.1, 0.31])) is StopCode.DIVERGED
    assert ExitCriteria().stop(5, 2, outcomes([1.0, 0.1, 0.29])) is StopCode.NONE


def test_an_unchanging_peak_residual_ends_the_loop():
    assert ExitCriteria().stop(5, 3, outcomes([1.0, 0.1, 0.1, 0.1])) is StopCode.NO_CHANGE
    assert ExitCriteria().stop(5, 3, outcomes([1.0, 0.2, 0.1, 0.1])) is StopCode.NONE


def test_the_loop_ends_where_flux_and_residual_hardly_change():
    peaks = [1.0, 0.1, 0.1005, 0.1]
    assert ExitCriteria().stop(5, 3, outcomes(peaks, [0, 5.0, 5.001, 5.002])) is StopCode.NO_CHANGE
    assert ExitCriteria().stop(5, 3, outcomes(peaks, [0, 5.0, 5.1, 5.2])) is StopCode.NONE
    assert ExitCriteria().stop(5, 3, outcomes([1.0, 0.2, 0.15, 0.1], [0, 5.0, 5.001, 5.002])) is StopCode.NONE


def test_the_loop_ends_where_a_residual_above_the_noise_falls_no_more():
    """The r.m.s. of these outcomes is a tenth of the peak."""
    loud, quiet, unknown = (ExitCriteria(noise=noise) for noise in (0.008, 0.011, 0.0))
    stays, falls = outcomes([1.0, 0.1, 0.11, 0.104]), outcomes([1.0, 0.1, 0.11, 0.09])
    assert loud.stop(5, 3, stays) is StopCode.NO_CHANGE
    assert [each.stop(5, 3, stays) for each in (quiet, unknown)] == [StopCode.NONE] * 2
    assert loud.stop(5, 3, falls) is StopCode.NONE
    assert loud.stop(5, 2, stays[:-1]) is StopCode.NONE


def test_no_loop_goes_on_for_ever():
    changing = outcomes([1.0, *np.geomspace(0.1, 0.05, MOST_MAJOR_CYCLES)])
    assert ExitCriteria().stop(5, MOST_MAJOR_CYCLES, changing) is StopCode.MAJOR_LIMIT
    assert ExitCriteria().stop(5, MOST_MAJOR_CYCLES - 1, changing[:-1]) is StopCode.NONE


class Overshooting:
    """A minor cycle that first halves the error of the model, and then runs away from the truth."""

    def __init__(self, truth):
        self.truth = truth[None, None].astype(np.float32)

    def update(self, residual, model, state):
        step = 0.5 if state.iterations == 0 else -3.0 * state.iterations
        return model + step * (self.truth - model), MinorState(state.iterations + 1)


def test_a_loop_that_diverges_returns_its_best_model():
    sky = point_sources()
    major = DenseMajorCycle(sky)
    progress, _ = run(major, Overshooting(sky))
    assert progress.stop is StopCode.DIVERGED
    np.testing.assert_allclose(progress.model[0, 0], 0.5 * sky, atol=1e-6)
    np.testing.assert_allclose(progress.residual, major.residual(progress.model.astype(float)), atol=1e-6)
    assert progress.records[-1].model_flux == pytest.approx(0.5 * sky.sum())
    assert [record.cycle for record in progress.records] == list(range(len(progress.records)))


def test_the_step_length_corrects_the_curvature_of_the_minor_cycles_operator():
    """Minimising with half the true curvature goes twice too far."""
    major = DenseMajorCycle(point_sources(), 0.1)
    model = np.zeros((1, 1, *SHAPE))
    change = 2 * point_sources()[None, None]
    before, after = major.residual(model), major.residual(model + change)
    too_small = before - 0.5 * (before - after)
    assert step_length(change, before, after, too_small) == pytest.approx(0.5)
    assert step_length(change, before, after, after) == 1
    assert step_length(change, before, too_small, after) == 1


def test_an_operator_that_is_ten_times_too_small_does_not_make_the_loop_run_away():
    major = DenseMajorCycle(point_sources(), 0.01)
    noise = 0.01 / np.sqrt(len(major.data))
    overshooting = RegularisedMaximumLikelihood(0.1 * major.psf(), noise, 4.0, ["l1"], [1.0])
    progress, _ = run(major, overshooting, nmajor=12)
    peaks = [record.peak_residual for record in progress.records]
    assert peaks[-1] < 0.05 * peaks[0]
    misfits = np.array([record.misfit[0][0] for record in progress.records])
    assert np.all(np.diff(misfits) <= 1e-3 * abs(misfits[-1]))


@pytest.mark.parametrize("steps", range(1, 4))
def test_a_run_resumed_from_any_checkpoint_ends_in_the_same_image(tmp_path, steps):
    major = DenseMajorCycle(point_sources(), 0.02)
    minor = rml(major, 0.001)
    undisturbed, remembered = run(major, minor, nmajor=2)
    checkpoint = FileCheckpoint(tmp_path / "checkpoint.npz", {"vis": "a.ms"})
    checkpoint.save(remembered.saved[steps - 1])
    interrupted = checkpoint.load()
    assert interrupted is not None
    resumed = solve(major, minor, ExitCriteria(nmajor=2), interrupted, checkpoint)
    np.testing.assert_array_equal(resumed.model, undisturbed.model)
    assert len(resumed.records) == len(undisturbed.records)


def test_a_checkpoint_of_other_parameters_is_not_taken_up(tmp_path):
    FileCheckpoint(tmp_path / "c.npz", {"cell": "1arcsec"}).save(Progress(np.zeros((1, 1, 2, 2))))
    assert FileCheckpoint(tmp_path / "c.npz", {"cell": "1arcsec"}).load() is not None
    assert FileCheckpoint(tmp_path / "c.npz", {"cell": "2arcsec"}).load() is None


def test_a_checkpoint_of_an_older_format_is_not_taken_up(tmp_path, monkeypatch):
    checkpoint = FileCheckpoint(tmp_path / "checkpoint.npz", {"vis": "a.ms"})
    monkeypatch.setattr("casa_ml_tasks.engine.checkpoint.FORMAT", 1)
    checkpoint.save(Progress(model=np.zeros((1, 1, 4, 4), np.float32)))
    assert checkpoint.load() is not None
    monkeypatch.undo()
    assert checkpoint.load() is None


def test_a_checkpoint_of_another_version_of_a_minor_cycle_is_not_taken_up(tmp_path):
    def checkpoint(version):
        schemas = [StateSchema("walk", version), StateSchema("rest", 1)]
        return FileCheckpoint(tmp_path / "checkpoint.npz", {"vis": "a.ms"}, schemas=schemas)

    checkpoint(1).save(Progress(model=np.zeros((1, 1, 4, 4), np.float32)))
    assert checkpoint(1).load() is not None
    assert (newer := checkpoint(2)).load() is None
    assert newer.refusal == "is of another version"


@pytest.mark.parametrize("calibration", [None, {"uvdist": [1.0], "error": [0.1], "amplitude": [2.0], "factor": 1.0}])
def test_a_checkpoint_knows_what_a_residual_has_told_of_the_calibration(calibration, tmp_path):
    checkpoint = FileCheckpoint(tmp_path / "c.npz", {})
    checkpoint.save(Progress(np.zeros((1, 1, 2, 2)), calibration=calibration))
    assert checkpoint.load().calibration == calibration


def test_half_a_checkpoint_is_no_checkpoint(tmp_path):
    path = tmp_path / "c.npz"
    FileCheckpoint(path, {}).save(Progress(np.ones((1, 1, 8, 8))))
    path.write_bytes(path.read_bytes()[:100])
    assert FileCheckpoint(path, {}).load() is None


class ThreeCalls:
    """A minor cycle of three calls, which remember how many they were and how far they have walked at random."""

    def __init__(self):
        self.seen = []

    def update(self, residual, model, state):
        self.seen.append((residual.copy(), model.copy()))
        step = int(state.latent.get("step", 0)) + 1
        walk = state.latent.get("walk", np.zeros(4)) + np.random.default_rng(step).normal(size=4)
        latent = {"step": np.array(step), "walk": walk}
        state = MinorState(state.iterations + 1, latent=latent, unfinished=step % 3 > 0)
        return np.full_like(model, np.nan) if state.unfinished else model + walk.sum() * residual / 10, state


def test_an_unfinished_minor_cycle_is_called_again_with_the_same_residual_and_model():
    minor = ThreeCalls()
    progress, remembered = run(DenseMajorCycle(point_sources()), minor, nmajor=2)
    assert progress.state.iterations == len(minor.seen) == 6
    assert len(progress.records) == 3
    assert [saved.state.iterations for saved in remembered.saved] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    for cycle in (minor.seen[:3], minor.seen[3:]):
        for again in cycle[1:]:
            np.testing.assert_array_equal(again, cycle[0])
    assert np.isfinite(progress.model).all()


@pytest.mark.parametrize("saved", range(9))
def test_a_run_resumed_within_a_minor_cycle_takes_the_same_steps(tmp_path, saved):
    major = DenseMajorCycle(point_sources())
    undisturbed, remembered = run(major, ThreeCalls(), nmajor=2)
    checkpoint = FileCheckpoint(tmp_path / "checkpoint.npz", {})
    checkpoint.save(remembered.saved[saved])
    minor = ThreeCalls()
    resumed = solve(major, minor, ExitCriteria(nmajor=2), checkpoint.load(), checkpoint)
    assert len(minor.seen) == 6 - remembered.saved[saved].state.iterations
    np.testing.assert_array_equal(resumed.model, undisturbed.model)
    np.testing.assert_array_equal(resumed.state.latent["walk"], undisturbed.state.latent["walk"])
    assert resumed.state.latent.keys() == {"step", "walk"}


def test_no_criterion_ends_the_loop_within_a_minor_cycle():
    progress, _ = run(DenseMajorCycle(point_sources()), ThreeCalls(), niter=1)
    assert progress.stop is StopCode.ITERATION_LIMIT
    assert progress.state.iterations == 3


def test_a_minor_cycle_does_not_change_its_arguments():
    major = DenseMajorCycle(point_sources(), 0.02)
    model, residual = np.zeros((1, 1, *SHAPE)), major.residual(np.zeros((1, 1, *SHAPE)))
    copies = model.copy(), residual.copy()
    state = MinorState()
    first = rml(major, 0.001).update(residual, model, state)
    second = rml(major, 0.001).update(residual, model, state)
    np.testing.assert_array_equal(model, copies[0])
    np.testing.assert_array_equal(residual, copies[1])
    np.testing.assert_array_equal(first[0], second[0])
    assert replace(state) == MinorState()
