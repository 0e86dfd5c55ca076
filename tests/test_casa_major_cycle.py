"""Our use of casatools' imager against tclean itself and against a direct sum."""

import numpy as np
import pytest
from casatasks import tclean
from casatools import table

from casa_ml_tasks.data.casa_image import read_cell, read_image
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.major.casa import CasaMajorCycle
from tests.major_cycles import opener, parameters_of

IMSIZE, CELL = 96, "0.12arcsec"


def task_parameters(vis, **changes):
    return parameters_of(vis, **({"imsize": [IMSIZE], "cell": [CELL]} | changes))


@pytest.fixture
def open_major(simulated_ms, tmp_path):
    def parameters(vis=simulated_ms.path, **changes):
        return task_parameters(vis, **changes)

    with opener(CasaMajorCycle, tmp_path, parameters) as open_one:
        yield open_one


WEIGHTINGS = [
    {"weighting": "natural"},
    {"weighting": "uniform"},
    {"weighting": "briggs", "robust": 0.5},
    {"weighting": "briggsabs", "robust": 0.5, "noise": "0.02Jy"},
    {"weighting": "radial"},
    {"weighting": "natural", "uvtaper": ["1arcsec"]},
]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_dirty_image_and_psf_are_tcleans(open_major, simulated_ms, tmp_path, weighting):
    name = str(tmp_path / "tclean")
    tclean(str(simulated_ms.path), imagename=name, imsize=IMSIZE, cell=CELL, datacolumn="data", niter=0, **weighting)
    major = open_major(**weighting)
    np.testing.assert_array_equal(major.residual(np.zeros(major.shape)), read_image(f"{name}.residual"))
    np.testing.assert_array_equal(read_image(major.product("psf")), read_image(f"{name}.psf"))


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_the_psf_on_twice_the_field_has_the_same_imaging_weights(open_major, weighting):
    major = open_major(**weighting)
    n = IMSIZE // 2
    inner = major.psf()[..., n:-n, n:-n]
    quarter = slice(IMSIZE // 4, -IMSIZE // 4)
    difference = (inner - read_image(major.product("psf")))[..., quarter, quarter]
    assert np.abs(difference).max() < 1e-3


def test_the_residual_of_a_model_follows_a_direct_sum(open_major, simulated_ms):
    """One pixel of 0.3 Jy, East and North of the centre, against V = I exp(2 pi i (u l + v m)) by direct sums."""
    major = open_major()
    model = np.zeros(major.shape)
    dirty = major.residual(model)
    y, x = IMSIZE // 2 + 9, IMSIZE // 2 - 14  # right ascension grows with decreasing x
    model[0, 0, y, x] = 0.3
    response = dirty - major.residual(model)
    cell = np.radians(read_cell(major.product("psf")) / 3600)
    tool = table()
    tool.open(str(simulated_ms.path))
    uvw = tool.getcol("UVW")
    tool.close()
    u, v = (np.outer(simulated_ms.frequencies / 299792458.0, axis).ravel() for axis in uvw[:2])
    for dy, dx in ((0, 0), (3, 0), (0, 5), (-7, 4)):
        phase = 2 * np.pi * (u * -dx * cell + v * dy * cell)
        np.testing.assert_allclose(response[0, 0, y + dy, x + dx], 0.3 * np.cos(phase).mean(), atol=3e-4)


def test_the_noise_of_the_dirty_image_follows_from_the_weights(open_major, simulated_ms):
    """Natural weights: 1 / sqrt of the sum of the weights of both correlations."""
    samples = simulated_ms.rows * len(simulated_ms.frequencies)
    np.testing.assert_allclose(open_major().noise()[0], simulated_ms.sigma / np.sqrt(2 * samples), rtol=1e-4)


def test_it_keeps_the_protocol(open_major):
    assert isinstance(open_major(), MajorCycle)


@pytest.mark.parametrize("gridder", [{"gridder": "wproject", "wprojplanes": 4}, {"gridder": "mosaic"}], ids=str)
def test_other_gridders_give_tcleans_dirty_image(open_major, simulated_ms, tmp_path, gridder):
    name = str(tmp_path / "tclean")
    tclean(str(simulated_ms.path), imagename=name, imsize=IMSIZE, cell=CELL, datacolumn="data", niter=0, **gridder)
    major = open_major(**gridder)
    major.psf()
    major.noise()
    np.testing.assert_array_equal(major.residual(np.zeros(major.shape)), read_image(f"{name}.residual"))


def test_selections_reach_the_imager(open_major, simulated_ms, tmp_path):
    selection = {"spw": "0:1", "antenna": "0~5", "uvrange": ">30m"}
    name = str(tmp_path / "tclean")
    tclean(str(simulated_ms.path), imagename=name, imsize=IMSIZE, cell=CELL, datacolumn="data", niter=0, **selection)
    selected = open_major(**selection)
    dirty = selected.residual(np.zeros(selected.shape))
    np.testing.assert_array_equal(dirty, read_image(f"{name}.residual"))
    everything = open_major()
    assert not np.allclose(dirty, everything.residual(np.zeros(everything.shape)))
