"""Mosaics on many workers: the images of one process, each pointing read by a worker of its own."""

import shutil
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection, blocks, count_rows
from casa_ml_tasks.data.shares_of_rows import shares_of_fields
from casa_ml_tasks.major.native_mosaic import NativeMosaic
from casa_ml_tasks.parallel import clusters, distributed_visibilities, mosaic
from casa_ml_tasks.parallel.mosaic import ParallelMosaic
from casa_ml_tasks.simulation import Source, simulate, with_table
from tests.test_parallel import DiesOnce, folder, request_of

POINTINGS = ((-8.0, 0.0), (8.0, 1.0), (0.0, 12.0))
SHAPE = (108, 110)
IMAGING = {
    "imsize": [SHAPE[1], SHAPE[0]],
    "cell": "0.6arcsec",
    "gridder": "mosaic",
    "phasecenter": "J2000 16h24m00s -24d00m00s",
    "imager": "native",
}
SAME = 1e-6  # of the peak


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two executions of a mosaic by dishes of 12 and 7 m, the second without its last pointing, with random weights."""
    directory, rng = tmp_path_factory.mktemp("mosaic"), np.random.default_rng(3)
    sources = (Source(0.6, 1.2, 1.2, 0.6), Source(0.4, -6.0, 4.8))
    paths = []
    for name, pointings in (("first.ms", POINTINGS), ("second.ms", POINTINGS[:2])):
        path = directory / name
        simulate(path, sources=sources, pointings=pointings, sigma=0.05, radius=60, antennas=8, integrations=3)
        with_table(f"{path}/ANTENNA", lambda tb: tb.putcol("DISH_DIAMETER", np.array([12.0, 12, 12, 7, 7, 12, 7, 12])))
        with_table(path, lambda tb: tb.putcol("WEIGHT", tb.getcol("WEIGHT") * rng.uniform(0.2, 3, (2, tb.nrows()))))
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def three_workers():
    """A client of three workers on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "available_cores", lambda: 3)
        with clusters.opened_workers("") as client:
            yield client


def test_shares_of_fields_hold_each_row_once_and_fields_together(both):
    selections = [Selection(both[0]), Selection(both[1], antenna="0~5")]
    places = [{0: "a", 1: "b", 2: "c"}, {0: "b", 1: "a"}]
    shares = shares_of_fields(selections, places, 3)
    total = sum(map(count_rows, selections))
    assert all(abs(sum(map(count_rows, share)) - total / 3) < 1 for share in shares)
    rows = {path: [] for path in both}
    for each in (selection for share in shares for selection in share):
        rows[each.vis] += [row for block in blocks(each) for row in block.row.tolist()]
    for selection in selections:
        assert sorted(rows[selection.vis]) == sorted(row for block in blocks(selection) for row in block.row.tolist())
    at = [{places[both.index(each.vis)][field] for each in share for field in each.fields} for share in shares]
    assert [place for share in at for place in sorted(share)] == ["a", "a", "b", "b", "c"]


def assert_same(shared, alone, rtol=SAME):
    model = np.zeros(alone.shape, np.float32)
    model[..., 50:54, 60:63], model[..., 66, 44] = 0.02, 0.5
    peak = np.abs(alone.residual(np.zeros_like(model))).max()
    for sky in (np.zeros_like(model), model):
        np.testing.assert_allclose(shared.residual(sky), alone.residual(sky), atol=2 * SAME * peak)
    np.testing.assert_allclose(shared.psf(), alone.psf(), atol=SAME)
    np.testing.assert_allclose(shared.primary_beam(), alone.primary_beam(), atol=SAME)
    np.testing.assert_allclose(shared.noise(), alone.noise(), rtol=rtol)
    np.testing.assert_allclose(shared.thermal_noise(), alone.thermal_noise(), rtol=rtol)
    np.testing.assert_allclose(shared.noise_beside(model), alone.noise_beside(model), rtol=1e-5)
    np.testing.assert_allclose(read_image(shared.product("sumwt")), read_image(alone.product("sumwt")), rtol=SAME)
    return model


@pytest.mark.parametrize(("count", "mosweight"), [(1, True), (2, False), (3, True)])
def test_a_mosaic_is_that_of_one_process(three_workers, both, tmp_path, monkeypatch, count, mosweight):
    """Briggs weights, of all pointings together or of each field, whose visibilities two workers may have."""
    monkeypatch.setattr(mosaic, "present_workers", lambda client: sorted(client.nthreads())[:count])
    request = request_of(both, weighting="briggs", mosweight=mosweight, **IMAGING)
    alone = NativeMosaic(request, folder(tmp_path, "alone"))
    shared = ParallelMosaic(request, folder(tmp_path, "shared"), three_workers)
    with closing(alone), closing(shared):
        assert len(shared.divided()) == count
        for _ in range(2):
            assert_same(shared, alone)
            for major in (alone, shared):
                major.weigh_with_errors(lambda distance: 1e-6 * distance, 1.1)
