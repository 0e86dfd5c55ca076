"""Residual visibilities by uv distance against loops, known noise, and each other."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from casatasks import tclean
from scipy.constants import arcsecond
from scipy.stats import median_abs_deviation

from casa_ml_tasks import rmlclean
from casa_ml_tasks.calibration.residual_statistics import residual_statistics, residual_sums
from casa_ml_tasks.calibration.residual_visibilities import AnnulusSums, read_residuals
from casa_ml_tasks.data.casa_image import read_direction, read_image
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.kernels.uv_annuli import annulus_of, longest_on_grid
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.simulation import Source, simulate
from casa_ml_tasks.tasks.second_reading import second_reading
from tests.major_cycles import opener
from tests.test_native_major_cycle import CELL, SHAPE, a_model, task_parameters

LONGEST = 1e6  # wavelengths
SOURCES = (Source(flux=0.5, east=10 * CELL, north=-4 * CELL), Source(flux=0.1, east=-7 * CELL, north=12 * CELL))
SIGMA, NOISE_SCALE = 0.02, 1.3


def noise(rng, weight, scale=1.0):
    """Complex noise of E|n|^2 = 2 scale^2 / weight, Jy."""
    return scale / np.sqrt(weight) * (rng.normal(size=weight.size) + 1j * rng.normal(size=weight.size))


@pytest.fixture
def visibilities():
    """uvw, model, weights of 20 000 visibilities, most of them short as an interferometer has them."""
    rng = np.random.default_rng(6)
    uvw = rng.normal(scale=8e4, size=(20_000, 3))
    uvw[0, :2] = 0
    model = 0.5 * np.exp(-((np.hypot(uvw[:, 0], uvw[:, 1]) / 1e5) ** 2) + 2j * np.pi * uvw[:, 0] / 3e4)
    return uvw, model, rng.uniform(20, 400, len(uvw))


def sums_of(uvw, data, model, weight):
    return AnnulusSums.none(LONGEST).plus(annulus_of(uvw, LONGEST), data, model, weight)


def test_the_bins_are_those_of_a_plain_loop(visibilities):
    uvw, model, weight = visibilities
    data = model + noise(np.random.default_rng(7), weight) + 0.01j
    half = slice(0, 9_000), slice(9_000, None)
    sums = AnnulusSums.none(LONGEST)
    for part in half:
        sums = sums.plus(annulus_of(uvw[part], LONGEST), data[part], model[part], weight[part])
    binned = sums.statistics(NOISE_SCALE)

    total = np.zeros((len(binned.edges) - 1, 8))
    for (u, v, _), d, m, w in zip(uvw, data, model, weight, strict=True):
        r = d - m
        k = np.searchsorted(binned.edges, np.hypot(u, v), side="right") - 1
        in_phase = w * abs(d) * abs(m) * np.cos(np.angle(d) - np.angle(m))
        total[k] += (1, w, w * abs(r) ** 2, w * r.real, w * r.imag, w * abs(d) ** 2, w * abs(m) ** 2, in_phase)
    count, weights, power, real, imaginary, of_data, of_model, in_phase = total.T
    np.testing.assert_array_equal(binned.count, count)
    np.testing.assert_allclose(binned.reduced_chi2, power / (2 * count * NOISE_SCALE**2))
    np.testing.assert_allclose(binned.real, real / weights)
    np.testing.assert_allclose(binned.imaginary, imaginary / weights)
    np.testing.assert_allclose(binned.error, NOISE_SCALE / np.sqrt(weights))
    np.testing.assert_allclose(binned.data_amplitude, in_phase / np.sqrt(of_model * weights))
    np.testing.assert_allclose(binned.data_error, np.sqrt(power / (2 * count * weights)))
    np.testing.assert_allclose(binned.model_amplitude**2, of_model / weights)
    assert binned.total_reduced_chi2 == pytest.approx(power.sum() / (2 * count.sum() * NOISE_SCALE**2))

    without_model = sums_of(uvw, data, 0 * model, weight).statistics(NOISE_SCALE)
    excess = of_data - 2 * count * NOISE_SCALE**2
    np.testing.assert_allclose(without_model.data_amplitude, np.sqrt(np.where(excess > 0, excess / weights, np.nan)))
    assert not without_model.model_amplitude.any()


def test_the_bins_hold_equal_numbers_up_to_one_annulus(visibilities):
    uvw, model, weight = visibilities
    sums = sums_of(uvw, model, model, weight)
    binned = sums.statistics(1.0)
    assert len(binned.count) == 20
    assert binned.count.sum() == len(uvw)
    assert np.abs(binned.count - len(uvw) / 20).max() <= sums.count.max() < 100
    assert (np.diff(binned.edges) > 0).all()


@pytest.mark.parametrize("distances", [[5e4], [3e3, 3e3, 4e5], [0.0, 2 * LONGEST]], ids=str)
def test_few_different_baselines_make_fewer_bins(distances):
    uvw = np.array([[distance, 0, 0] for distance in distances])
    ones = np.ones(len(uvw))
    binned = sums_of(uvw, ones + 0j, ones + 0j, ones).statistics(1.0)
    assert binned.count.tolist() == [distances.count(each) for each in sorted(set(distances))]


def test_noise_alone_has_a_reduced_chi_squared_of_one_and_no_bias(visibilities):
    """The deviations in units of the stated errors are themselves of r.m.s. 1, over many realisations."""
    uvw, model, weight = visibilities
    rng = np.random.default_rng(8)
    deviations = []
    for _ in range(20):
        binned = sums_of(uvw, model + noise(rng, weight, NOISE_SCALE), model, weight).statistics(NOISE_SCALE)
        amplitude = (binned.data_amplitude - binned.model_amplitude) / binned.data_error
        chi2 = (binned.reduced_chi2 - 1) * np.sqrt(binned.count)
        deviations.append([chi2, binned.real / binned.error, binned.imaginary / binned.error, amplitude])
    for each in zip(*deviations, strict=True):
        z = np.concatenate(each)
        assert z.size >= 100
        assert abs(z.mean()) < 4 / np.sqrt(z.size)
        assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))


@pytest.mark.parametrize("wrong", [0.97, 1.5, 1 / 1.5])
def test_data_and_model_agree_by_amplitude_where_the_noise_scale_is_wrong(visibilities, wrong):
    """In every bin within the stated errors, whatever the weights claim; chi^2 alone tells that they are wrong."""
    uvw, model, weight = visibilities
    rng = np.random.default_rng(11)
    deviations = []
    for _ in range(20):
        binned = sums_of(uvw, model + noise(rng, weight), model, wrong**2 * weight).statistics(1.0)
        deviations.append((binned.data_amplitude - binned.model_amplitude) / binned.data_error)
        np.testing.assert_allclose(binned.reduced_chi2, wrong**2, rtol=0.15)
    z = np.array(deviations)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=4 / np.sqrt(len(z)))
    assert np.abs(z).max() < 4.5
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))


def test_flux_that_the_model_lacks_raises_the_data_above_it(visibilities):
    uvw, model, weight = visibilities
    data = 1.1 * model + noise(np.random.default_rng(12), weight)
    binned = sums_of(uvw, data, model, weight).statistics(1.0)
    expected = 1.1 * binned.model_amplitude
    assert (np.abs(binned.data_amplitude - expected) < 4 * binned.data_error).all()


def test_without_visibilities_there_are_no_statistics():
    with pytest.raises(ValueError, match="no visibility"):
        AnnulusSums.none(LONGEST).statistics(1.0)


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory):
    """Both on pixel centres."""
    path = tmp_path_factory.mktemp("two") / "two.ms"
    return simulate(path, sources=SOURCES, sigma=SIGMA, noise_scale=NOISE_SCALE).path


@pytest.fixture
def native(two_sources, tmp_path):
    with opener(NativeMajorCycle, tmp_path, partial(task_parameters, two_sources)) as open_one:
        yield open_one


def of_sources(*sources):
    model = np.zeros((1, 1, *SHAPE), np.float32)
    for source in sources:
        north, east = round(source.north / CELL), round(source.east / CELL)
        model[0, 0, SHAPE[0] // 2 + north, SHAPE[1] // 2 - east] = source.flux
    return model


def test_a_missing_source_shows_on_every_baseline(native):
    major = native()
    true = residual_sums(major.visibilities, of_sources(*SOURCES)).statistics(NOISE_SCALE)
    assert (np.abs(true.reduced_chi2 - 1) < 4 / np.sqrt(true.count)).all()
    assert (np.abs(true.real) < 4 * true.error).all()
    lacking = residual_sums(major.visibilities, of_sources(SOURCES[0])).statistics(NOISE_SCALE)
    excess = SOURCES[1].flux ** 2 / (NOISE_SCALE * SIGMA) ** 2  # |V|^2 over the noise power 2 s^2 / w, w = 2 / sigma^2
    np.testing.assert_allclose(lacking.reduced_chi2, 1 + excess, rtol=0.2)


def test_the_noise_beside_the_image_is_that_of_tcleans_dirty_image_there(two_sources, native, tmp_path):
    major, (ny, nx), name = native(), SHAPE, str(tmp_path / "beside")
    (ra, dec), frame = read_direction(major.product("pb"))
    east, north = nx * CELL * arcsecond, ny * CELL * arcsecond
    centre = f"{frame} {ra + east / np.cos(dec):.12f}rad {dec + north:.12f}rad"
    imaging = {"imsize": [nx, ny], "cell": f"{CELL}arcsec", "datacolumn": "data", "pblimit": -0.01, "niter": 0}
    tclean(vis=str(two_sources), imagename=name, phasecenter=centre, **imaging)
    expected = median_abs_deviation(read_image(f"{name}.residual"), axis=(-2, -1), scale="normal")
    np.testing.assert_allclose(major.visibilities.noise_beside(np.zeros(major.shape)), expected, rtol=0.03)


def test_beside_the_image_of_a_true_model_there_is_noise_alone(native):
    major = native()
    over_noise = major.visibilities.noise_beside(of_sources(*SOURCES)) / major.noise()
    assert over_noise[0, 0] == pytest.approx(NOISE_SCALE, rel=0.2)


def test_what_is_lacking_on_the_shortest_baselines_is_no_noise_beside_the_image_without_them(native):
    """A wide Gaussian, which an image may miss although the calibration is perfect."""
    major, share = native(), 0.3
    width = 0.6 / (major.operator.uv_distance(share) * CELL * arcsecond)  # pixels, standard deviation
    y, x = (np.arange(n) - n // 2 for n in SHAPE)
    wide = np.exp(-np.add.outer(y**2, x**2) / (2 * width**2))
    model = (of_sources(*SOURCES) + 2.0 * wide / wide.sum()).astype(np.float32)
    kept = major.visibilities
    assert kept.noise_beside(model)[0, 0] > 2 * NOISE_SCALE * major.noise()[0, 0]
    assert kept.noise_beside(model, share)[0, 0] == pytest.approx(NOISE_SCALE * major.noise()[0, 0], rel=0.2)


def test_the_channels_of_a_cube_are_summed(native):
    model = of_sources(*SOURCES)
    one = residual_sums(native().visibilities, model).statistics(NOISE_SCALE)
    cube = residual_sums(native(specmode="cubedata").visibilities, np.repeat(model, 2, axis=0)).statistics(NOISE_SCALE)
    assert cube.count.sum() == one.count.sum()
    assert (np.abs(cube.reduced_chi2 - 1) < 4 / np.sqrt(cube.count)).all()


@pytest.mark.parametrize("weighting", ["natural", "uniform"])
def test_reading_once_more_gives_what_the_native_major_cycle_has(two_sources, native, weighting):
    major, model = native(weighting=weighting), a_model()
    ours = residual_sums(major.visibilities, model).statistics(1.0)
    parameters = task_parameters(two_sources)
    frame = ImageFrame(*read_direction(major.product("pb")))
    theirs = read_residuals(
        DataSelection.from_parameters(**parameters).selections, frame, model[0, 0], CELL * arcsecond
    ).statistics(1.0)
    for name, value in vars(theirs).items():
        np.testing.assert_allclose(getattr(ours, name), value, rtol=2e-4, atol=2e-6, err_msg=name)


def test_a_sample_of_the_rows_has_the_same_averages(two_sources, native):
    frame, model = ImageFrame(*read_direction(native().product("pb"))), of_sources(*SOURCES)[0, 0]
    chosen, cell = DataSelection.from_parameters(**task_parameters(two_sources)).selections, CELL * arcsecond
    everything, sample = (read_residuals(chosen, frame, model, cell, share) for share in (1.0, 0.5))
    count = sample.count.sum()
    assert count == pytest.approx(everything.count.sum() / 2, rel=0.15)
    assert sample.statistics(NOISE_SCALE).total_reduced_chi2 == pytest.approx(1, abs=4 / np.sqrt(count))
    assert (sample.count <= everything.count).all()


def test_what_lies_beyond_the_grid_is_left_out(two_sources, native):
    frame = ImageFrame(*read_direction(native().product("pb")))
    cell = 10 * CELL * arcsecond
    sums = read_residuals(
        DataSelection.from_parameters(**task_parameters(two_sources)).selections, frame, a_model()[0, 0], cell
    )
    everything = read_residuals(
        DataSelection.from_parameters(**task_parameters(two_sources)).selections, frame, a_model()[0, 0], cell / 10
    )
    assert 0 < sums.count.sum() < everything.count.sum()
    assert sums.statistics(1.0).edges[-1] <= longest_on_grid(cell)


def test_a_mosaic_has_none(two_sources):
    """Its pointings see the model through beams of their own."""
    parameters = task_parameters(two_sources, gridder="mosaic")
    reading = second_reading(None, Request.from_parameters(**parameters), None)
    assert residual_statistics(None, reading, None, 1.0) is None


@pytest.mark.parametrize("gridder", ["native", "standard"])
def test_the_task_reports_and_returns_them(two_sources, pixels, tmp_path, gridder):
    """Of an empty sky, chi^2 is the power of the data, which the survey has summed by itself."""
    with pixels():
        result = rmlclean(
            vis=str(two_sources), imagename=str(tmp_path / "sky"), imsize=[96, 80], cell=f"{CELL}arcsec",
            datacolumn="data", niter=0, gridder=gridder,
        )  # fmt: skip
    pictures = {path.stem for path in Path(result["report"]).parent.glob("*.png")}
    statistics = result["residual_statistics"]
    assert statistics["image"]["pixels"] > 1000
    assert statistics["image"]["largest"] == pytest.approx(
        result["cycles"][0]["peak_residual"] / result["image_noise"], rel=1e-3
    )
    count, chi2 = (np.array(statistics["visibilities"][name]) for name in ("count", "reduced_chi2"))
    assert 2 * np.sum(count * chi2) == pytest.approx(result["cycles"][0]["chi2"], rel=1e-5)
    assert {"visibilities", "chi_squared", "histogram"} <= pictures
