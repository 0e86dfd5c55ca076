"""Visibilities on many workers: the images of one process, whatever ends on the way."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from subprocess import DEVNULL, Popen
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection, blocks, count_rows
from casa_ml_tasks.data.shares_of_rows import shares_of_rows
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.resolve import sky_chain
from casa_ml_tasks.minor.resolve.coarse_likelihood import coarse_nodes
from casa_ml_tasks.minor.resolve.composition import continuum
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.sky_chain import ChainStart, ChainTarget, SkyState, run_sky_chain
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.parallel import distributed_visibilities
from casa_ml_tasks.parallel.major_cycle import ParallelMajorCycle
from casa_ml_tasks.parallel.workers import PartsOnWorkers
from casa_ml_tasks.request import distribution
from casa_ml_tasks.request.distribution import Distribution
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.sampling.chains import in_threads
from casa_ml_tasks.simulation import simulate, with_table
from tests.few_visibilities import Observation, blob
from tests.major_cycles import parameters_of

SHAPE, IMAGE = (80, 96), {"imsize": [96, 80], "cell": "0.12arcsec", "gridder": "native"}
SAME = 1e-6  # of the peak, which any number of workers agrees to; twice as much at corners, where kernels round
INNER = (..., slice(8, -8), slice(8, -8))


@pytest.fixture(scope="module")
def uneven(simulated_ms, tmp_path_factory):
    """Two Measurement Sets of different lengths with random weights; a tenth of the correlations is flagged."""
    folder, rng = tmp_path_factory.mktemp("uneven"), np.random.default_rng(3)
    first = shutil.copytree(simulated_ms.path, folder / "first.ms")
    with_table(first, lambda tb: tb.putcol("WEIGHT", tb.getcol("WEIGHT") * rng.uniform(0.2, 3, (2, tb.nrows()))))
    with_table(first, lambda tb: tb.putcol("FLAG", rng.random(tb.getcol("FLAG").shape) < 0.1))
    return [str(first), str(simulated_ms.path)]


def request_of(vis, **changes):
    return Request.from_parameters(**parameters_of("") | {"vis": vis} | changes)


def a_model():
    model = np.zeros((1, 1, *SHAPE), np.float32)
    model[0, 0, 33, 60], model[0, 0, 45:50, 30:36] = 0.4, 0.01
    return model


def folder(parent, name):
    (parent / name).mkdir()
    return parent / name


def test_shares_of_rows_hold_each_row_once(uneven):
    selections = [Selection(uneven[0], scan=""), Selection(uneven[1], uvrange="<100m")]
    total = sum(map(count_rows, selections))
    shares = shares_of_rows(selections, 3)
    assert all(abs(sum(map(count_rows, share)) - total / 3) < 1 for share in shares)
    rows = {path: [] for path in uneven}
    for each in (selection for share in shares for selection in share):
        rows[each.vis] += [row for block in blocks(each) for row in block.row.tolist()]
    for selection in selections:
        assert rows[selection.vis] == [row for block in blocks(selection) for row in block.row.tolist()]
    assert len(shares_of_rows(selections, 10 * total)) == total


def test_residuals_psf_and_noise_are_those_of_one_process(workers, uneven, tmp_path):
    """Briggs weights with errors of calibration, w-terms, folds."""
    request = request_of(uneven, weighting="briggs", robust=0.5, **IMAGE)
    alone = NativeMajorCycle(request, folder(tmp_path, "alone"), folds=3)
    shared = ParallelMajorCycle(request, folder(tmp_path, "shared"), workers, folds=3)
    try:
        for _ in range(2):
            peak = np.abs(alone.residual(np.zeros_like(a_model()))).max()
            for model in (np.zeros_like(a_model()), a_model()):
                difference = (shared.residual(model) - alone.residual(model)) / peak
                assert np.abs(difference[INNER]).max() < SAME
                assert np.abs(difference).max() < 2 * SAME
            np.testing.assert_allclose(shared.psf(), alone.psf(), atol=SAME)
            np.testing.assert_allclose(shared.noise(), alone.noise(), rtol=SAME)
            np.testing.assert_allclose(shared.thermal_noise(), alone.thermal_noise(), rtol=SAME)
            beside = alone.noise_beside(a_model(), 0.1)
            np.testing.assert_allclose(shared.noise_beside(a_model(), 0.1), beside, rtol=1e-5)
            for mine, theirs in zip(shared.folds(), alone.folds(), strict=True):
                np.testing.assert_allclose(mine.dirty, theirs.dirty, atol=5e-6 * np.abs(theirs.dirty).max())
                np.testing.assert_allclose(mine.psf, theirs.psf, atol=5e-6)
                assert mine.weight == pytest.approx(theirs.weight, rel=SAME)
                assert mine.power == pytest.approx(theirs.power, rel=SAME)
            for major in (alone, shared):
                major.weigh_with_errors(lambda distance: 1e-6 * distance, 1.1)
        drawn = [np.std([major.draw_noise(seed) for seed in range(8)]) for major in (alone, shared)]
        assert drawn[0] == pytest.approx(drawn[1], rel=0.1)
    finally:
        shared.close()
        alone.close()


def image(vis, name, **changes):
    small = {"imsize": [48, 40], "cell": "0.24arcsec", "weighting": "briggs", "datacolumn": "data"}
    return rmlclean(vis=vis, imagename=str(name), **{**small, **changes})


@pytest.fixture(scope="module")
def made_alone(uneven, tmp_path_factory):
    name = tmp_path_factory.mktemp("alone") / "sky"
    return name, image(uneven, name)


def assert_same(made, name, other):
    """The first residual is the same. Where a minor cycle ends depends on how its input was rounded, within the noise:
    a change of 1e-6 of one process's residuals changes its restored image as much."""
    first, of_other = made["cycles"][0], other[1]["cycles"][0]
    for number in ("peak_residual", "rms_residual"):
        assert first[number] == pytest.approx(of_other[number], rel=SAME)
    noise = other[1]["image_noise"]
    assert made["image_noise"] == pytest.approx(noise, rel=1e-4)
    for extension in ("image", "residual"):
        difference = (read_image(f"{name}.{extension}") - read_image(f"{other[0]}.{extension}")) / noise
        assert np.sqrt(np.mean(difference**2)) < 0.3
        assert np.abs(difference).max() < 1.5


def test_a_task_makes_the_same_image_on_workers(workers, uneven, made_alone, tmp_path):
    made = image(uneven, tmp_path / "sky", parallel=True, cluster=workers.scheduler.address)
    assert_same(made, tmp_path / "sky", made_alone)


@pytest.fixture(scope="module")
def cube_ms(tmp_path_factory):
    return str(simulate(tmp_path_factory.mktemp("cube") / "cube.ms", channels=5).path)


CUBE = {"specmode": "cubedata", "interpolation": "nearest", "weighting": "briggs"}


@pytest.mark.parametrize("per_channel", [True, False])
def test_cubes_are_divided_by_channel_where_each_is_weighted_alone(workers, cube_ms, tmp_path, per_channel):
    request = request_of(cube_ms, perchanweightdensity=per_channel, **IMAGE | CUBE | {"imsize": [48, 40]})
    alone = NativeMajorCycle(request, folder(tmp_path, "alone"))
    shared = ParallelMajorCycle(request, folder(tmp_path, "shared"), workers)
    try:
        assert len({part.channels.start for part in shared.divided()}) == (2 if per_channel else 1)
        model = np.zeros((5, 1, 40, 48), np.float32)
        model[:, 0, 20, 30] = np.arange(5)
        expected = alone.residual(model)
        assert np.abs(shared.residual(model) - expected).max() < 2 * SAME * np.abs(expected).max()
        np.testing.assert_allclose(shared.psf(), alone.psf(), atol=SAME)
        np.testing.assert_allclose(shared.noise(), alone.noise(), rtol=SAME)
        np.testing.assert_allclose(shared.noise_beside(model), alone.noise_beside(model), rtol=1e-5)
        (of_one,) = alone.reduced(model, flux_by_channel)
        np.testing.assert_allclose(sum(shared.reduced(model, flux_by_channel)), of_one, rtol=1e-5)
    finally:
        shared.close()
        alone.close()


def flux_by_channel(compared):
    flux = np.zeros(5)
    for each in compared:
        flux[each.channel] += np.sum(each.nominal * each.model.real)
    return flux


def test_the_minor_cycles_of_a_cube_run_on_the_workers(workers, cube_ms, tmp_path, monkeypatch):
    made_alone = tmp_path / "alone", image(cube_ms, tmp_path / "alone", nmajor=2, **CUBE)
    monkeypatch.setattr(RegularisedMaximumLikelihood, "_minimum", None)  # here, and not on the workers
    made = image(cube_ms, tmp_path / "sky", nmajor=2, parallel=True, cluster=workers.scheduler.address, **CUBE)
    assert_same(made, tmp_path / "sky", made_alone)


def test_the_dirty_image_of_resolveimage_comes_from_workers(workers, uneven, tmp_path):
    arguments = {"vis": uneven, "imsize": [48, 40], "cell": "0.24arcsec", "datacolumn": "data", "niter": 0}
    resolveimage(imagename=str(tmp_path / "alone"), **arguments)
    resolveimage(imagename=str(tmp_path / "sky"), parallel=True, cluster=workers.scheduler.address, **arguments)
    expected = read_image(tmp_path / "alone.residual")
    np.testing.assert_allclose(read_image(tmp_path / "sky.residual"), expected, atol=2 * SAME * np.abs(expected).max())


def test_the_chains_of_resolveimage_run_on_workers_with_the_same_numbers(opened, monkeypatch):
    """With the same program on the same processor to the last digit; elsewhere as far as rounding grows on the way."""
    observation = Observation((10, 12), 0.02)
    side_by_side = opened.near(observation.resolve()).side_by_side
    with jax.enable_x64(True):
        target, positions = chains_of(observation, blob(observation.shape))
    starts = [ChainStart(each, np.random.default_rng(seed), 0.5) for seed, each in enumerate(positions)]
    alone = in_threads(run_sky_chain, target, deepcopy(starts))
    monkeypatch.setattr(sky_chain, "run_chain", None)  # here, and not on the workers
    shared = side_by_side(run_sky_chain, target, starts)
    for mine, theirs in zip(shared, alone, strict=True):
        assert mine.states[-1].position.excitations.dtype == np.float64
        assert (mine.energy, mine.leaps) == (pytest.approx(theirs.energy, rel=1e-9), theirs.leaps)
        for one, other in zip(mine.states, theirs.states, strict=True):
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), one, other)


def chains_of(observation, truth):
    """What three chains share that see a sky, and where they begin."""
    dirty = observation.observe(truth)
    sky = LogNormalSky.of(observation.shape, continuum(Prior(-4.0)))
    at = Position(jnp.zeros((1, *observation.shape)), sky.spectrum(jnp.zeros(sky.parameters)))
    nodes = coarse_nodes(truth[None], observation.sigma, observation.beam_area)
    likelihood = observation.likelihood(dirty)
    mass = Mass.of(sky, at, nodes, observation.response(np.ones((1, 1))), likelihood.sources)
    scale = np.zeros((sky.parameters, sky.parameters))
    return ChainTarget(sky, likelihood, mass, scale, 2, adapts=False), 3 * [SkyState(at, np.zeros(0))]


class EndsEveryWorker:
    """A part that no worker survives."""

    def __call__(self, operator, model):
        os.kill(os.getpid(), signal.SIGKILL)


class DiesOnce:
    """The residual of a part; the process that is asked first is killed.

    A class of the tests: workers need not import it, cloudpickle sends it whole.
    """

    def __init__(self, marker):
        self.marker = str(marker)

    def __call__(self, operator, model):
        try:
            os.unlink(self.marker)
        except FileNotFoundError:
            return operator.residual_sums(model)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def open_shared(workers, tmp_path, monkeypatch):
    """Opens a major cycle whose images are sent to the workers before the tasks, as large ones are."""
    monkeypatch.setattr("casa_ml_tasks.parallel.workers.SENT_APART", 0)
    with ExitStack() as stack:

        def open_one(vis, **changes):
            workers.wait_for_workers(2)  # one that a test has killed is started again
            request = request_of(vis, **{**IMAGE, "weighting": "briggs", **changes})
            return stack.enter_context(closing(ParallelMajorCycle(request, folder(tmp_path, "shared"), workers)))

        yield open_one


@pytest.fixture
def opened(open_shared, uneven):
    return open_shared(uneven)


@pytest.mark.parametrize("is_cube", [False, True])
def test_the_part_of_a_killed_worker_is_read_again_and_the_cycle_ends(
    open_shared, uneven, cube_ms, monkeypatch, tmp_path, casa_log, is_cube
):
    """Parts of rows, whose model all workers have, and of channels, whose model is lost with the worker."""
    major = open_shared(cube_ms, **CUBE) if is_cube else open_shared(uneven)
    model = np.broadcast_to(a_model(), major.shape)
    major.weigh_with_errors(partial(np.multiply, 1e-6), 1.1)
    expected = major.residual(model)
    marker = tmp_path / "kill"
    marker.touch()
    asked = SimpleNamespace(residual_sums=DiesOnce(marker))
    monkeypatch.setattr(distributed_visibilities, "VisibilityOperator", asked)
    np.testing.assert_allclose(major.residual(model), expected, atol=SAME * np.abs(expected).max())
    assert not marker.exists()
    assert "of 2 of the data is read again" in casa_log()


def test_chains_are_run_again_where_their_worker_is_killed(opened, tmp_path):
    def square_or_die(marker, number):  # the process that is asked first is killed
        try:
            os.unlink(marker)
        except FileNotFoundError:
            return number**2
        os.kill(os.getpid(), signal.SIGKILL)

    (tmp_path / "alive").touch()
    side_by_side = opened.near(Observation((10, 12), 0.02).resolve()).side_by_side
    assert side_by_side(square_or_die, str(tmp_path / "alive"), [1.0, 2.0, 3.0]) == [1.0, 4.0, 9.0]


def test_workers_that_end_again_and_again_are_an_error(opened, monkeypatch):
    monkeypatch.setattr("casa_ml_tasks.parallel.workers.MOST_LOSSES", 1)
    asked = SimpleNamespace(residual_sums=EndsEveryWorker())
    monkeypatch.setattr(distributed_visibilities, "VisibilityOperator", asked)
    with pytest.raises(
        RuntimeError, match="workers have ended in 1 attempts at one step of a cycle; look at their logs"
    ):
        opened.residual(a_model())


def test_a_worker_without_the_measurement_set_says_so(workers, opened):
    lacking = [replace(part, run="lacking", selections=(Selection("/nowhere/a.ms"),)) for part in opened.divided()]
    with pytest.raises(ValueError, match=r"vis='/nowhere/a.ms' does not exist on .*; put it on a file system"):
        PartsOnWorkers(workers, lacking)


def allow_files_of(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_scratch_disk_is_named(workers, opened):
    """Files may not grow beyond a limit, as on a disk that is full."""
    on_disk = [replace(part, run="disk", share_of_memory=0.0) for part in opened.divided()]
    workers.run(allow_files_of, 1 << 12)
    try:
        with pytest.raises(
            RuntimeError, match=r"cannot keep its part of the visibilities in .* give the workers a larger"
        ):
            PartsOnWorkers(workers, on_disk)
    finally:
        workers.run(allow_files_of, resource.RLIM_INFINITY)
    parts = PartsOnWorkers(workers, on_disk)
    assert parts.size == opened.size
    parts.forget()


def test_a_run_whose_scheduler_is_lost_goes_on_without_workers(uneven, made_alone, tmp_path, monkeypatch, casa_log):
    """Its checkpoint stays, and any number of workers takes it up."""
    save = FileCheckpoint.save

    def begin_and_lose(checkpoint, progress):
        save(checkpoint, progress)
        scheduler.kill()

    monkeypatch.setattr(FileCheckpoint, "save", begin_and_lose)
    with (
        cluster_of_processes(tmp_path) as (scheduler, address),
        pytest.raises(RuntimeError, match="the scheduler of the workers does not answer any more"),
    ):
        image(uneven, tmp_path / "sky", parallel=True, cluster=address)
    monkeypatch.setattr(FileCheckpoint, "save", save)
    assert (tmp_path / "sky.work" / "checkpoint.npz").exists()
    made = image(uneven, tmp_path / "sky")
    assert "goes on with the unfinished run" in casa_log()
    assert_same(made, tmp_path / "sky", made_alone)


@contextmanager
def cluster_of_processes(folder):
    """A scheduler and a worker as a user starts them; yields the process and the address of the scheduler."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    scheduler = Popen([*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", file], stderr=DEVNULL)
    worker = Popen(
        [*dask, "worker", "--scheduler-file", file, "--no-dashboard", "--no-nanny", "--local-directory", folder],
        stderr=DEVNULL,
    )
    try:
        while not file.exists():
            time.sleep(0.1)
        yield scheduler, json.loads(file.read_text())["address"]
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cluster": "nowhere.yaml"}, "cluster='nowhere.yaml' is neither '', 'slurm', 'htcondor', an address"),
        ({"noisemodel": ["spw"]}, "corrects visibilities one by one"),
        ({"device": "gpu"}, "device='gpu' grids in this process"),
    ],
)
def test_what_workers_cannot_do_is_refused_before_anything_is_written(simulated_ms, tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        image([str(simulated_ms.path)], tmp_path / "sky", parallel=True, gridder="native", **changes)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_a_script_with_parallel_runs_in_one_process(monkeypatch):
    monkeypatch.setattr(distribution, "find_spec", lambda name: None)
    assert "install it with pip install 'casa-ml-tasks[cluster]'" in Distribution(parallel=True).problem
    with pytest.raises(ValueError, match="cluster='slurm' cannot be used: workers need the extra 'cluster'"):
        Distribution(parallel=True, cluster="slurm")
