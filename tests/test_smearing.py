"""smearing=: images of averaged visibilities, as both tasks make them."""

from contextlib import closing

import numpy as np
import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.simulation import simulate
from tests.major_cycles import request_of

SMEARING = 1e-3
IMSIZE = 48


@pytest.fixture(scope="module")
def narrow_ms(tmp_path_factory):
    """Channels and integrations that are far narrower than the image asks for."""
    path = tmp_path_factory.mktemp("narrow") / "narrow.ms"
    return simulate(path, channels=32, channel_width=15e6, integrations=20, sigma=0.1)


def arguments(ms, name, **others):
    return {
        "vis": str(ms.path), "imagename": str(name), "imsize": IMSIZE, "cell": "0.15arcsec", "datacolumn": "data",
        **others,
    }  # fmt: skip


def bound(ms, noise):
    """Largest change of a dirty image, Jy/beam (docs/averaging.md): of its sources, and of five times its noise."""
    return 5 * SMEARING * sum(source.flux for source in ms.sources) + 5 * np.sqrt(2 * SMEARING) * noise


@pytest.mark.parametrize("task", [rmlclean, resolveimage])
def test_the_dirty_image_changes_by_less_than_the_bound(task, narrow_ms, tmp_path, casa_log):
    for name, smearing in (("exact", 0.0), ("averaged", SMEARING)):
        result = task(**arguments(narrow_ms, tmp_path / name, niter=0, smearing=smearing))
    exact, averaged = (read_image(f"{tmp_path / name}.residual") for name in ("exact", "averaged"))
    assert 0 < np.abs(averaged - exact).max() < bound(narrow_ms, result["image_noise"])
    assert "visibilities are averaged to" in casa_log()


def test_a_run_agrees_with_one_without(narrow_ms, tmp_path):
    results = {
        name: rmlclean(**arguments(narrow_ms, tmp_path / name, smearing=smearing))
        for name, smearing in (("exact", 0.0), ("averaged", SMEARING))
    }
    exact, averaged = (read_image(f"{tmp_path / name}.image") for name in results)
    noise = results["exact"]["image_noise"]
    assert results["averaged"]["image_noise"] == pytest.approx(noise, rel=0.01)
    assert np.abs(averaged - exact).max() < bound(narrow_ms, noise) + 0.1 * noise  # of which both runs may fall short
    assert [result["stopcode"] for result in results.values()] == [10, 10]


def test_a_major_cycle_grids_averages_and_not_what_they_are_made_of(narrow_ms, tmp_path):
    sizes = {}
    for smearing in (0.0, SMEARING):
        request = request_of(narrow_ms.path, imsize=IMSIZE, cell="0.15arcsec", gridder="native", smearing=smearing)
        folder = tmp_path / str(smearing)
        folder.mkdir()
        with closing(NativeMajorCycle(request, folder)) as major:
            sizes[smearing] = major.size
    assert sizes[SMEARING] < 0.2 * sizes[0.0]
