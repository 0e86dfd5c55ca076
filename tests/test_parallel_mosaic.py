"""Mosaics on many workers: the images of one process, each pointing read by a worker of its own."""

from contextlib import closing
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.constants import arcsecond

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection, blocks, count_rows
from casa_ml_tasks.data.shares_of_rows import shares_of_fields
from casa_ml_tasks.major.native_mosaic import NativeMosaic
from casa_ml_tasks.parallel import distributed_visibilities, major_cycle, mosaic
from casa_ml_tasks.parallel.mosaic import ParallelMosaic
from casa_ml_tasks.simulation import Source, simulate, with_table
from tests.conftest import local_workers
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
        with_table(f"{path}/POINTING", look_astray)
        paths.append(str(path))
    return paths


def look_astray(tb):
    """Let one antenna look 6 arcsec to the North of the fields."""
    directions = tb.getcol("DIRECTION")
    directions[1, 0, tb.getcol("ANTENNA_ID") == 3] += 6 * arcsecond
    tb.putcol("DIRECTION", directions)


@pytest.fixture(scope="module")
def three_workers():
    """A client of three workers on this machine."""
    with local_workers(3) as client:
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


@pytest.mark.parametrize(
    ("count", "share_of_memory", "changes"),
    [
        (1, 0.0, {"weighting": "natural"}),
        (2, 0.2, {"mosweight": False, "usepointing": True}),
        (3, 0.2, {"specmode": "cubedata", "interpolation": "nearest"}),
    ],
    ids=str,
)
def test_a_mosaic_is_that_of_one_process(three_workers, both, tmp_path, monkeypatch, count, share_of_memory, changes):
    """With a density of all pointings together, or of each field and channel, whose visibilities workers share; in
    memory, or in files."""
    monkeypatch.setattr(major_cycle, "SHARE_OF_MEMORY", share_of_memory)
    monkeypatch.setattr(mosaic, "present_workers", lambda client: sorted(client.nthreads())[:count])
    request = request_of(both, **{**IMAGING, "weighting": "briggs", **changes})
    alone = NativeMosaic(request, folder(tmp_path, "alone"))
    shared = ParallelMosaic(request, folder(tmp_path, "shared"), three_workers)
    with closing(alone), closing(shared):
        assert len(shared.divided()) == count
        for _ in range(2):
            assert_same(shared, alone)
            for major in (alone, shared):
                major.weigh_with_errors(lambda distance: 1e-6 * distance, 1.1)


def test_the_pointings_of_a_killed_worker_are_read_again_and_the_cycle_ends(
    three_workers, both, tmp_path, monkeypatch, casa_log
):
    """Images and densities are sent to the workers before the tasks, as large ones are."""
    monkeypatch.setattr("casa_ml_tasks.parallel.workers.SENT_APART", 0)
    request = request_of(both, weighting="briggs", **IMAGING)
    with closing(ParallelMosaic(request, folder(tmp_path, "shared"), three_workers)) as major:
        major.weigh_with_errors(partial(np.multiply, 1e-6), 1.1)
        expected = major.residual(np.zeros(major.shape, np.float32))
        marker = tmp_path / "kill"
        marker.touch()
        asked = SimpleNamespace(residual_sums=DiesOnce(marker))
        monkeypatch.setattr(distributed_visibilities, "VisibilityOperator", asked)
        again = major.residual(np.zeros(major.shape, np.float32))
        np.testing.assert_allclose(again, expected, atol=SAME * np.abs(expected).max())
        assert not marker.exists()
        assert "of 3 of the data is read again" in casa_log()


def test_a_task_images_a_mosaic_on_workers(three_workers, both, tmp_path, casa_log):
    arguments = {"vis": both, "datacolumn": "data", "niter": 0, **IMAGING, "imager": "auto"}
    rmlclean(imagename=str(tmp_path / "alone"), **arguments)
    address = three_workers.scheduler.address
    made = rmlclean(imagename=str(tmp_path / "sky"), parallel=True, cluster=address, **arguments)
    assert "3 workers on 1 machines" in casa_log()
    assert "without effect" not in casa_log()
    assert made["image_noise"] > 0
    for extension in ("residual", "pb", "psf"):
        expected = read_image(tmp_path / f"alone.{extension}")
        np.testing.assert_allclose(
            read_image(tmp_path / f"sky.{extension}"), expected, atol=2 * SAME * np.nanmax(np.abs(expected))
        )


def test_pointings_that_do_not_see_the_image_are_left_out_as_in_one_process(three_workers, both, tmp_path):
    """One worker has none of the image."""
    far = {"imsize": [20, 20], "phasecenter": "J2000 16h24m00s -23d59m10s", "savemodel": "modelcolumn"}
    request = request_of(both, **IMAGING | far)
    found = []
    for kind, client in ((NativeMosaic, ()), (ParallelMosaic, (three_workers,))):
        with closing(kind(request, folder(tmp_path, kind.__name__), *client)) as major:
            residual = major.residual(np.zeros(major.shape, np.float32))
            major.predict(major.primary_beam())
            column = with_table(both[0], lambda tb: tb.getcol("MODEL_DATA"))
            found.append((major.size, residual, column))
    (size, *alone), (other, *shared) = found
    assert size == other
    for mine, theirs in zip(shared, alone, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2 * SAME * np.abs(theirs).max())
