"""The imaging weights against CASA's: sums of weights, PSFs and weight densities that its imager makes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from casatasks import tclean
from casatools import table
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.casa_compat import ImagerParameters, PySynthesisImager
from casa_ml_tasks.data.casa_image import opened, read_image
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
from casa_ml_tasks.request.weighting import Taper, Weighting
from casa_ml_tasks.simulation import lsrk_over_topocentric, simulate

SHAPE = (101, 120)
CELL = 0.1  # arcsec
CHANNELS = 4


@dataclass(frozen=True)
class Visibilities:
    """u, v, weight of Stokes I, (channel, row): wavelengths at the frequencies of one frame, and Jy^-2."""

    path: str
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    weight: NDArray[np.float64]
    fields: NDArray[np.int64]
    frequencies: NDArray[np.float64]  # (channel,), Hz


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Visibilities:
    """Visibilities with random weights, of which one in ten is flagged, many in one correlation only; two fields."""
    path = tmp_path_factory.mktemp("uneven") / "uneven.ms"
    frequencies = simulate(path, channels=CHANNELS, antennas=20).frequencies
    rng = np.random.default_rng(5)
    tb = table()
    tb.open(str(path / "FIELD"), nomodify=False)
    tb.copyrows(str(path / "FIELD"), nrow=1)
    tb.open(str(path), nomodify=False)
    uvw, times = tb.getcol("UVW"), tb.getcol("TIME")
    weight = tb.getcol("WEIGHT") * rng.uniform(0.2, 3, (2, times.size))
    flag = rng.random((2, CHANNELS, times.size)) < 0.05
    fields = (times > np.median(times)).astype(int)
    tb.putcol("WEIGHT", weight)
    tb.putcol("FLAG", flag)
    tb.putcol("FIELD_ID", fields)
    tb.done()
    u, v = (
        uvw[axis] * np.multiply.outer(frequencies, lsrk_over_topocentric(times)) / speed_of_light for axis in (0, 1)
    )
    return Visibilities(str(path), u, v, np.where(flag.any(axis=0), 0, weight.sum(axis=0)), fields, frequencies)


def weights_of(data: Visibilities, parameters: dict, shape: tuple[int, int] = SHAPE) -> NDArray:
    """Our imaging weights, (channel, row)."""
    weighting = Weighting.from_parameters(**parameters).of_channels(data.frequencies)
    channels = [[channel] for channel in range(CHANNELS)] if weighting.per_channel else [list(range(CHANNELS))]
    weights = np.zeros_like(data.weight)
    for chosen in channels:
        density = WeightDensity(weighting, shape, CELL * arcsecond)
        density.add(data.u[chosen], data.v[chosen], data.weight[chosen])
        weights[chosen] = imaging_weights(data.u[chosen], data.v[chosen], data.weight[chosen], density)
    return weights


def density_of_casa(path: str, imagename: str, **parameters: object) -> tuple[NDArray, dict]:
    """The weights in the uv cells, (field, channel, stokes, y, x), and f2 and d2 of the fields."""
    multifield = parameters.pop("multifield", False)
    imager = PySynthesisImager(ImagerParameters(msname=path, imagename=imagename, deconvolver="hogbom", **parameters))
    imager.initializeImagers()
    imager.initializeNormalizers()
    imager.weightpars["multifield"] = multifield
    imager.setWeighting()
    imager.SItool.getweightdensity()
    imager.deleteTools()
    with opened(f"{imagename}.gridwt") as image:
        return read_image(f"{imagename}.gridwt"), image.miscinfo()


@pytest.mark.parametrize(
    ("parameters", "density_of"),
    [
        ({"weighting": "natural"}, "mfs"),
        ({"weighting": "radial"}, "mfs"),
        ({"weighting": "uniform"}, "mfs"),
        ({"weighting": "uniform"}, "channel"),
        ({"weighting": "superuniform", "npixels": 2}, "mfs"),
        ({"weighting": "superuniform"}, "channel"),
        ({"weighting": "briggs", "robust": 0.5}, "mfs"),
        ({"weighting": "briggs", "robust": 0.5}, "cube"),
        ({"weighting": "briggs", "robust": 0.5}, "channel"),
        ({"weighting": "briggs", "robust": -0.5, "npixels": 6}, "mfs"),
        ({"weighting": "briggs", "robust": -0.5, "npixels": 6}, "cube"),
        ({"weighting": "briggs", "robust": -0.5, "npixels": 6}, "channel"),
        ({"weighting": "briggsabs", "robust": 0.01, "noise": "15mJy"}, "mfs"),
        ({"weighting": "briggsabs", "robust": 0.01, "noise": "15mJy"}, "channel"),
        ({"weighting": "briggsbwtaper", "robust": 0.5}, "channel"),
        ({"weighting": "briggsbwtaper", "robust": -0.5, "uvtaper": ["1.5arcsec"]}, "channel"),
        ({"weighting": "natural", "uvtaper": ["1.5arcsec"]}, "mfs"),
        ({"weighting": "briggs", "robust": 2.0, "uvtaper": ["100klambda", "50klambda", "30deg"]}, "mfs"),
        ({"weighting": "uniform", "uvtaper": ["1.5arcsec", "1arcsec", "-70deg"]}, "channel"),
    ],
    ids=str,
)
def test_weights_sum_to_tcleans_sumwt(uneven, tmp_path, parameters, density_of):
    cube = {} if density_of == "mfs" else {"nchan": CHANNELS, "interpolation": "nearest"}
    mode = {"specmode": "cube" if cube else "mfs", "perchanweightdensity": density_of == "channel"}
    name = str(tmp_path / "image")
    size = {"imsize": [SHAPE[1], SHAPE[0]], "cell": f"{CELL}arcsec"}
    tclean(uneven.path, imagename=name, niter=0, calcres=False, restart=False, **size, **parameters, **mode, **cube)
    weights = weights_of(uneven, parameters | mode)
    sums = weights.sum(axis=1) if cube else [weights.sum()]
    np.testing.assert_allclose(sums, read_image(f"{name}.sumwt").ravel(), rtol=1e-5)


@pytest.mark.parametrize(
    "parameters",
    [
        {"weighting": "radial"},
        {"weighting": "uniform"},
        {"weighting": "superuniform"},
        {"weighting": "briggsabs", "robust": 0.01, "noise": "15mJy"},
        {"weighting": "briggs", "robust": 0.5, "uvtaper": ["1.5arcsec", "1arcsec", "30deg"]},
    ],
    ids=lambda parameters: "-".join(map(str, parameters.values())),
)
def test_psf_near_its_peak_is_the_direct_sum_of_the_weights(uneven, tmp_path, parameters):
    name = str(tmp_path / "image")
    size = {"imsize": [240, 240], "cell": f"{CELL}arcsec"}
    tclean(uneven.path, imagename=name, specmode="mfs", niter=0, calcres=False, restart=False, **size, **parameters)
    weights = weights_of(uneven, parameters, (240, 240)).ravel()
    y, x = np.mgrid[-4:5, -4:5]
    phase = np.multiply.outer(x, uneven.u.ravel()) * -1 + np.multiply.outer(y, uneven.v.ravel())
    expected = np.cos(2 * np.pi * CELL * arcsecond * phase) @ weights / weights.sum()
    psf = read_image(f"{name}.psf")[0, 0, 116:125, 116:125]
    np.testing.assert_allclose(psf, expected, atol=3e-5)


@pytest.mark.parametrize("cell", [CELL, 0.6], ids=["fine", "coarser than the longest baseline asks for"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"weighting": "uniform"},
        {"weighting": "superuniform", "npixels": 4},
        {"weighting": "briggs", "robust": 0.5},
        {"weighting": "briggs", "robust": 0.5, "npixels": 51},
    ],
    ids=lambda parameters: "-".join(map(str, parameters.values())),
)
def test_density_is_casas(uneven, tmp_path, parameters, cell):
    size = {"imsize": [SHAPE[1], SHAPE[0]], "cell": [f"{cell}arcsec"]}
    grid, factors = density_of_casa(uneven.path, str(tmp_path / "image"), **size, **parameters)
    density = WeightDensity(Weighting.from_parameters(**parameters), SHAPE, cell * arcsecond)
    density.add(uneven.u, uneven.v, uneven.weight)
    np.testing.assert_allclose(density.grid / 2, grid[0, 0], atol=1e-5 * grid.max())
    divided = density.divide(uneven.u, uneven.v, uneven.weight).sum()
    expected = _divided_by(grid[0, 0], factors["f2"][0], factors["d2"][0], uneven, cell)
    assert divided == pytest.approx(expected, rel=1e-5)


def _divided_by(grid: NDArray, f2: float, d2: float, data: Visibilities, cell: float) -> float:
    """Sum of w / (grid f2 + d2), with CASA's density and factors, visibility by visibility."""
    ny, nx = grid.shape
    x = np.floor(nx // 2 - data.u * nx * cell * arcsecond).astype(int)
    y = np.floor(ny // 2 + data.v * ny * cell * arcsecond).astype(int)
    inside = (x > 0) & (x < nx) & (y > 0) & (y < ny)
    counted = grid[y[inside], x[inside]].astype(float)
    filled = counted > 0
    return (data.weight[inside][filled] / (counted[filled] * f2 + d2)).sum()


def test_topocentric_frequencies_would_give_another_density(uneven, tmp_path):
    size = {"imsize": [SHAPE[1], SHAPE[0]], "cell": [f"{CELL}arcsec"]}
    grid, _ = density_of_casa(uneven.path, str(tmp_path / "image"), weighting="uniform", **size)
    topocentric = replace(uneven, u=uneven.u * 1.000134, v=uneven.v * 1.000134)
    density = WeightDensity(Weighting("uniform"), SHAPE, CELL * arcsecond)
    density.add(topocentric.u, topocentric.v, topocentric.weight)
    assert np.abs(density.grid / 2 - grid[0, 0]).max() > 1e-3 * grid.max()


def test_every_field_of_a_mosaic_has_a_density_of_its_own(uneven, tmp_path):
    size = {"imsize": [SHAPE[1], SHAPE[0]], "cell": [f"{CELL}arcsec"]}
    grids, factors = density_of_casa(
        uneven.path, str(tmp_path / "image"), weighting="briggs", robust=0.5, multifield=True, **size
    )
    for field, (grid, f2) in enumerate(zip(grids, factors["f2"], strict=True)):
        rows = uneven.fields == field
        density = WeightDensity(Weighting("briggs", robust=0.5), SHAPE, CELL * arcsecond)
        density.add(uneven.u[:, rows], uneven.v[:, rows], uneven.weight[:, rows])
        np.testing.assert_allclose(density.grid / 2, grid[0, 0], atol=1e-5 * grid.max())
        assert f2 == pytest.approx(25 / 10 * density.grid.sum() / 2 / ((density.grid / 2) ** 2).sum(), rel=1e-5)


def test_blocks_and_merged_densities_count_like_one_pass(uneven):
    weighting = Weighting("briggs", robust=0.5)
    whole, first, second = (WeightDensity(weighting, SHAPE, CELL * arcsecond) for _ in range(3))
    whole.add(uneven.u, uneven.v, uneven.weight)
    for density, channels in ((first, (0, 2)), (second, (1, 3))):
        for channel in channels:
            density.add(uneven.u[channel], uneven.v[channel], uneven.weight[channel])
    first += second
    expected, actual = (imaging_weights(uneven.u, uneven.v, uneven.weight, each) for each in (whole, first))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_flagged_visibilities_weigh_nothing_whatever_their_coordinates():
    density = WeightDensity(Weighting("uniform"), SHAPE, CELL * arcsecond)
    u, weight = np.array([1e4, np.nan]), np.array([2.0, 0.0])
    density.add(u, 0.0, weight)
    np.testing.assert_array_equal(imaging_weights(u, 0.0, weight, density), [2, 0])


def test_a_taper_halves_the_weight_at_its_half_width():
    taper = Taper.from_quantities(["100klambda", "50klambda", "90deg"])
    np.testing.assert_allclose(taper([1e5, 0, 0], [0, 5e4, 0]), [0.5, 0.5, 1])
    assert Taper.from_quantities([]) is None
    assert Taper.from_quantities([""]) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"weighting": "best"}, "weighting='best'"),
        ({"weighting": "superuniform", "npixels": -1}, "npixels=-1"),
        ({"weighting": "briggsabs", "robust": 0, "noise": "0Jy"}, "robust=0 and noise=0"),
        ({"weighting": "briggsabs", "noise": "3arcsec"}, "noise='3arcsec'"),
        ({"weighting": "briggsbwtaper"}, "'briggsbwtaper' needs a cube"),
        ({"weighting": "natural", "uvtaper": ["100m"]}, "uvtaper='100m'"),
        ({"weighting": "natural", "uvtaper": ["3"]}, "uvtaper='3'"),
        ({"weighting": "natural", "uvtaper": "wide"}, "uvtaper='wide'"),
        ({"weighting": "natural", "uvtaper": ["1arcsec", "3klambda"]}, "mixes"),
        ({"weighting": "natural", "uvtaper": ["0klambda"]}, "not positive"),
        ({"weighting": "natural", "uvtaper": ["1arcsec", "1arcsec", "3Jy"]}, "uvtaper='3Jy'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_that_make_no_sense_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        Weighting.from_parameters(**parameters).of_channels([])
