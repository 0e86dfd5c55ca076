"""Joint images on many workers: two arrays and a single dish, with the numbers of one process."""

from contextlib import closing
from functools import partial

import numpy as np
import pytest

from casa_ml_tasks import jointdeconv
from casa_ml_tasks.calibration.flux_scale import annulus_edges, annulus_sums
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.major.reprojected_mosaic import ReprojectedMosaic
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.parallel.sky_mosaic import ParallelReprojectedMosaic, ParallelSkyMosaic
from tests.test_jointdeconv import observe, sky_of
from tests.test_parallel import SAME, folder, request_of

FACTORS = np.array([1.0, 1.2])


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Two arrays, and a map of a single dish."""
    return observe(tmp_path_factory.mktemp("joint"), sky_of([1.0]))


@pytest.fixture
def request_of_call(call):
    vis, others = call["vis"], {name: call[name] for name in ("imsize", "cell", "phasecenter", "datacolumn")}
    return request_of(vis, gridder="mosaic", imager="native", **others)


def close_to(mine, theirs, times=1):
    np.testing.assert_allclose(mine, theirs, atol=times * SAME * np.abs(theirs).max())


def test_data_sets_on_workers_are_those_of_one_process(workers, request_of_call, tmp_path):
    """As observed, and over factors."""
    alone = SkyMosaic(request_of_call, folder(tmp_path, "alone"), origins=True)
    shared = ParallelSkyMosaic(request_of_call, folder(tmp_path, "shared"), workers)
    with closing(alone), closing(shared):
        assert shared.data_sets == alone.data_sets == list(request_of_call.selection.vis)
        np.testing.assert_allclose(shared.spans, alone.spans)
        model = np.zeros(alone.shape, np.float32)
        model[..., 30:34, 40] = 0.1
        sums = partial(annulus_sums, count=2, edges=annulus_edges(alone.spans))
        for _ in range(2):
            close_to(shared.residual(model), alone.residual(model), 2)
            np.testing.assert_allclose(shared.noise(), alone.noise(), rtol=SAME)
            for mine, theirs in zip(*(m.reduced_sets([model] * 3, 1.1, sums) for m in (shared, alone)), strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
            for number in (0, 1):
                close_to(shared.dirty_of_set(number), alone.dirty_of_set(number), 2)
                for name in ("sums", "power", "variance", "weights"):
                    mine, theirs = (getattr(m.residual_of_set(number, model), name) for m in (shared, alone))
                    close_to(mine, theirs, 2)
            for major in (alone, shared):
                major.divide(FACTORS)
            shared.operator.parts.forget()  # as if all workers had ended: parts are read, and divided, again


def test_a_sky_in_another_projection_is_that_of_one_process(workers, request_of_call, tmp_path):
    alone = ReprojectedMosaic(request_of_call, folder(tmp_path, "alone"), "TAN")
    shared = ParallelReprojectedMosaic(request_of_call, folder(tmp_path, "shared"), "TAN", workers)
    with closing(alone), closing(shared):
        expected = alone.residual(np.zeros(alone.sky_shape, np.float32))
        close_to(shared.residual(np.zeros(alone.sky_shape, np.float32)), expected, 2)


def test_jointdeconv_images_on_workers(workers, call, tmp_path, casa_log):
    jointdeconv(imagename=str(tmp_path / "alone"), niter=0, **call)
    address = workers.scheduler.address
    made = jointdeconv(imagename=str(tmp_path / "sky"), niter=0, parallel=True, cluster=address, **call)
    assert "2 workers on 1 machines" in casa_log()
    assert "parallel=True (" not in casa_log()
    assert [each["name"] for each in made["flux_scale"]] == [*call["vis"], call["sdimage"]]
    for extension in ("residual", "pb", "psf"):
        close_to(read_image(tmp_path / f"sky.{extension}"), read_image(tmp_path / f"alone.{extension}"), 2)
