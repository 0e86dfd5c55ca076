"""Visibilities on many workers: the images of one process, whatever ends on the way."""

import os
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection, blocks, count_rows
from casa_ml_tasks.data.shares_of_rows import shares_of_rows
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.parallel import clusters, distributed_visibilities
from casa_ml_tasks.parallel.major_cycle import ParallelMajorCycle
from casa_ml_tasks.parallel.part import read_part
from casa_ml_tasks.parallel.workers import PartsOnWorkers
from casa_ml_tasks.simulation import simulate, with_table
from tests.major_cycles import request_of

SHAPE, IMAGE = (80, 96), {"imsize": [96, 80], "cell": "0.12arcsec", "gridder": "native"}
SAME = 1e-6  # of the peak, which any number of workers agrees to


@pytest.fixture(scope="module")
def workers():
    """A client of two workers on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "available_cores", lambda: 2)
        with clusters.opened_workers("") as client:
            yield client


@pytest.fixture(scope="module")
def uneven(simulated_ms, tmp_path_factory):
    """Two Measurement Sets of different lengths with random weights; a tenth of the correlations is flagged."""
    folder, rng = tmp_path_factory.mktemp("uneven"), np.random.default_rng(3)
    first = shutil.copytree(simulated_ms.path, folder / "first.ms")
    with_table(first, lambda tb: tb.putcol("WEIGHT", tb.getcol("WEIGHT") * rng.uniform(0.2, 3, (2, tb.nrows()))))
    with_table(first, lambda tb: tb.putcol("FLAG", rng.random(tb.getcol("FLAG").shape) < 0.1))
    return [str(first), str(simulated_ms.path)]


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
    assert [sum(map(count_rows, share)) for share in shares] == [total // 3 + (k < 0) for k in range(3)] or len(shares) == 3
    rows = {path: [] for path in uneven}
    for each in (selection for share in shares for selection in share):
        rows[each.vis] += [row for block in blocks(each) for row in block.row.tolist()]
    for selection in selections:
        assert rows[selection.vis] == [row for block in blocks(selection) for row in block.row.tolist()]
    assert len(shares_of_rows(selections, 10 * total)) == total


def test_residuals_psf_and_noise_are_those_of_one_process(workers, uneven, tmp_path):
    """Briggs weights with errors of calibration, w-terms, folds."""
    request = request_of("", vis=uneven, weighting="briggs", robust=0.5, **IMAGE)
    alone = NativeMajorCycle(request, folder(tmp_path, "alone"), folds=3)
    shared = ParallelMajorCycle(request, folder(tmp_path, "shared"), workers, folds=3)
    try:
        for _ in range(2):
            dirty = alone.residual(np.zeros_like(a_model()))
            peak = np.abs(dirty).max()
            np.testing.assert_allclose(shared.residual(np.zeros_like(a_model())), dirty, atol=SAME * peak)
            np.testing.assert_allclose(shared.residual(a_model()), alone.residual(a_model()), atol=SAME * peak)
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
        drawn = np.std([shared.draw_noise(seed) for seed in range(8)]) / shared.noise()[0, 0]
        assert drawn == pytest.approx(1, rel=0.1)
    finally:
        shared.close()
        alone.close()


def dies_once(operator, model):
    """The residual of a part, but the first time that any part is asked."""
    try:
        Path(os.environ["CASA_ML_DIES_ONCE"]).unlink()
    except (KeyError, FileNotFoundError):
        return operator.residual_sums(model)
    os.kill(os.getpid(), signal.SIGKILL)


def image(vis, name, **changes):
    return rmlclean(vis=vis, imagename=str(name), datacolumn="data", weighting="briggs", **{**IMAGE, **changes})


@pytest.fixture(scope="module")
def made_alone(uneven, tmp_path_factory):
    name = tmp_path_factory.mktemp("alone") / "sky"
    image(uneven, name)
    return name


def assert_same(name, other):
    for extension in ("model", "image", "residual"):
        expected = read_image(f"{other}.{extension}")
        peak = np.abs(read_image(f"{other}.{'model' if extension == 'model' else 'image'}")).max()
        np.testing.assert_allclose(read_image(f"{name}.{extension}"), expected, atol=10 * SAME * peak)


def test_a_task_makes_the_same_image_on_workers(workers, uneven, made_alone, tmp_path):
    image(uneven, tmp_path / "sky", parallel=True, cluster=workers.scheduler.address)
    assert_same(tmp_path / "sky", made_alone)
