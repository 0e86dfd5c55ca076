"""rmlclean on cubes: every channel is an image of its own."""

import numpy as np
import pytest
from casatasks import exportfits, imhead

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_beams, read_image
from tests.simulated_ms import simulate

IMAGING = {"imsize": [64, 72], "cell": "0.12arcsec", "datacolumn": "data", "nmajor": 2}


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("cube_ms") / "cube.ms", channels=4)


@pytest.fixture(scope="module")
def cube(observed, tmp_path_factory):
    name = tmp_path_factory.mktemp("cube") / "sky"
    return name, rmlclean(vis=str(observed.path), imagename=str(name), specmode="cube", **IMAGING)


def test_every_channel_holds_every_source(cube, observed):
    model = read_image(f"{cube[0]}.model")
    assert model.shape == (len(observed.frequencies), 1, 72, 64)
    total = sum(source.flux for source in observed.sources)
    np.testing.assert_allclose(model.sum(axis=(1, 2, 3)), total, rtol=0.03)


def test_the_residual_of_every_channel_is_its_noise(cube, observed):
    """In LSRK the first channel has few data: the observed channels begin within it."""
    expected = 1 / np.sqrt(read_image(f"{cube[0]}.sumwt").ravel())
    assert expected[0] > 2 * expected[1]
    assert cube[1]["image_noise"] == pytest.approx(observed.sigma / np.sqrt(2 * observed.rows), rel=0.1)
    assert (read_image(f"{cube[0]}.residual").std(axis=(1, 2, 3)) < 1.5 * expected).all()
    assert np.isnan(cube[1]["cycles"][-1]["reduced_chi2"])  # not all data reach the cube


def test_a_channel_of_the_cube_is_the_image_of_that_channel(cube, observed, tmp_path):
    rmlclean(vis=str(observed.path), imagename=str(tmp_path / "one"), specmode="cube", start=1, nchan=1, **IMAGING)
    alone, together = read_image(f"{tmp_path}/one.model")[0], read_image(f"{cube[0]}.model")[1]
    assert np.linalg.norm(alone - together) < 0.02 * np.linalg.norm(alone)


def test_products_are_cubes_with_a_beam_for_every_channel(cube, observed, tmp_path):
    name, channels = cube[0], len(observed.frequencies)
    beams = read_beams(f"{name}.image")
    assert len(beams) == channels
    assert None not in beams
    assert imhead(f"{name}.image", mode="get", hdkey="shape")[-1] == channels
    exportfits(f"{name}.image", str(tmp_path / "cube.fits"))
    assert (tmp_path / "cube.fits").stat().st_size > 4 * channels * 64 * 72


def test_the_native_gridder_makes_the_same_cube_of_the_datas_channels(observed, tmp_path):
    for gridder in ("standard", "native"):
        name = str(tmp_path / gridder)
        result = rmlclean(vis=str(observed.path), imagename=name, specmode="cubedata", gridder=gridder, **IMAGING)
        assert result["cycles"][-1]["reduced_chi2"] == pytest.approx(1, abs=0.15)
    theirs, ours = (read_image(f"{tmp_path}/{gridder}.model") for gridder in ("standard", "native"))
    assert np.linalg.norm(theirs - ours) < 0.02 * np.linalg.norm(theirs)


def test_niter_is_shared_by_the_channels(observed, tmp_path):
    name = str(tmp_path / "few")
    result = rmlclean(vis=str(observed.path), imagename=name, specmode="cube", **(IMAGING | {"niter": 30}))
    assert 30 <= result["iterdone"] < 30 + len(observed.frequencies)
    assert result["stopcode"] == 1


def test_a_regulariser_that_couples_channels_makes_them_more_alike(cube, observed, tmp_path):
    name = str(tmp_path / "coupled")
    coupling = {"regularizer": ["l1", "log_smoothness", "tsv_channel"], "regstrength": [1.0, 1.0, 300.0]}
    rmlclean(vis=str(observed.path), imagename=name, specmode="cube", **coupling, **IMAGING)
    apart, together = (read_image(f"{path}.model")[1:] for path in (cube[0], name))
    assert np.std(together, axis=0).mean() < 0.5 * np.std(apart, axis=0).mean()
    total = sum(source.flux for source in observed.sources)
    np.testing.assert_allclose(together.sum(axis=(1, 2, 3)), total, rtol=0.05)
