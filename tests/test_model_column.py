"""savemodel, where MODEL_DATA is there already and where it is not: the visibilities of a known sky, by direct sum."""

import shutil

import numpy as np
import pytest
from casatools import calibrater, ms, table

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.data.casa_image import read_image, write_image
from casa_ml_tasks.simulation import Source, direct_sum, simulate

CELL = 0.2  # arcsec
SKY = (Source(flux=1.0, east=-3 * CELL, north=2 * CELL), Source(flux=0.4, east=5 * CELL, north=-4 * CELL))
#: Task, its options, and the error of its gridder over the flux.
ROUTES = {
    "native": (rmlclean, {"gridder": "native"}, 1e-4),
    "standard": (rmlclean, {"gridder": "standard"}, 5e-3),
    "resolveimage": (resolveimage, {}, 1e-4),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A Measurement Set of some seconds, and an image of `SKY` to start from."""
    folder = tmp_path_factory.mktemp("small")
    observed = simulate(folder / "sky.ms", antennas=6, integrations=2, sources=SKY)
    rmlclean(vis=str(observed.path), imagename=str(folder / "empty"), imsize=64, cell=f"{CELL}arcsec", niter=0)
    sky = np.zeros_like(read_image(folder / "empty.residual"))
    for source in SKY:
        sky[0, 0, 32 + round(source.north / CELL), 32 - round(source.east / CELL)] = source.flux
    write_image(folder / "start", sky, folder / "empty.residual", "Jy/pixel")
    return observed, folder / "start"


def column(path, name):
    tool = table()
    tool.open(path)
    try:
        return tool.getcell(name, 0) if name == "SOURCE_MODEL" else tool.getcol(name)
    finally:
        tool.done()


def lsrk_frequencies(path):
    """Of the channels, Hz, as CASA converts them: continuum images have the baselines that belong to them."""
    tool = ms()
    try:
        tool.open(path)
        return tool.cvelfreqs(spwids=[0], mode="channel", outframe="LSRK")
    finally:
        tool.done()


@pytest.mark.parametrize(
    ("savemodel", "exists"), [("modelcolumn", False), ("modelcolumn", True), ("virtual", True)], ids=str
)
@pytest.mark.parametrize("route", ROUTES)
def test_the_model_is_saved_as_the_visibilities_of_its_sky(small, tmp_path, route, exists, savemodel):
    observed, start = small
    path = shutil.copytree(observed.path, tmp_path / "copy.ms").as_posix()
    if exists:
        tool = calibrater()
        tool.open(path, addcorr=False, addmodel=True)
        tool.close()
    task, options, tolerance = ROUTES[route]
    name = str(tmp_path / "sky")
    task(
        vis=path, imagename=name, imsize=64, cell=f"{CELL}arcsec", datacolumn="data", niter=0, startmodel=str(start),
        savemodel=savemodel, **options,
    )  # fmt: skip
    if savemodel == "virtual":  # where CASA keeps such a model; its own uvsub cannot read it from a simulation
        assert "ft_0" in column(f"{path}/SOURCE", "SOURCE_MODEL")
        return
    truth = direct_sum(column(path, "UVW"), lsrk_frequencies(path), SKY)
    assert np.abs(column(path, "MODEL_DATA") - truth).max() < tolerance * sum(source.flux for source in SKY)


def test_the_second_round_of_self_calibration_writes_the_model_again(small, tmp_path):
    observed, start = small
    path = shutil.copytree(observed.path, tmp_path / "copy.ms").as_posix()
    for number in (1, 2):
        rmlclean(
            vis=path, imagename=f"{tmp_path}/sky{number}", imsize=64, cell=f"{CELL}arcsec", datacolumn="data",
            niter=0, startmodel=str(start), savemodel="modelcolumn", gridder="native",
        )  # fmt: skip
    assert (tmp_path / "sky2.image").exists()
