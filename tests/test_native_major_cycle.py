"""Our own major cycles against a direct sum over the Measurement Set, and against tclean."""

import numpy as np
import pytest
from casatasks import tclean
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.data import visibility_store
from casa_ml_tasks.data.casa_image import read_beam, read_image
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.simulation import lsrk_over_topocentric, with_table
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of
from tests.major_cycles import opener, parameters_of

SHAPE = (80, 96)  # (ny, nx)
CELL = 0.12  # arcsec
INNER = (..., slice(20, -20), slice(24, -24))  # where CASA's gridder is accurate to some 1e-4


def task_parameters(vis, **changes):
    return parameters_of(vis, **({"imsize": [96, 80], "cell": [f"{CELL}arcsec"]} | changes))


@pytest.fixture
def open_native(simulated_ms, tmp_path):
    with opener(
        NativeMajorCycle, tmp_path, lambda vis=simulated_ms.path, **changes: task_parameters(vis, **changes)
    ) as open_one:
        yield open_one


@pytest.fixture
def tclean_images(tmp_path):
    def run(vis, **changes):
        name = str(tmp_path / "tclean")
        arguments = {
            "imsize": [96, 80],
            "cell": f"{CELL}arcsec",
            "datacolumn": "data",
            "niter": 0,
            "gridder": "standard",
        }
        tclean(str(vis), imagename=name, **(arguments | changes))
        return {extension: read_image(f"{name}.{extension}") for extension in ("residual", "psf", "sumwt", "pb")} | {
            "beam": read_beam(f"{name}.psf")
        }

    return run


@pytest.fixture
def uneven_ms(writable_ms):
    """Random weights, a tenth of the correlations flagged, one row with a wild baseline that is flagged."""
    rng = np.random.default_rng(3)
    with_table(writable_ms, lambda tb: tb.putcol("WEIGHT", tb.getcol("WEIGHT") * rng.uniform(0.2, 3, (2, tb.nrows()))))
    with_table(writable_ms, lambda tb: tb.putcol("FLAG", rng.random(tb.getcol("FLAG").shape) < 0.1))
    return writable_ms


def stokes_i_samples(vis):
    """(n, 3) LSRK wavelengths, (n,) visibility, (n,) weight, straight from the columns."""
    names = ("UVW", "DATA", "WEIGHT", "FLAG", "TIME")
    uvw, data, weight, flag, time = with_table(vis, lambda tb: [tb.getcol(name) for name in names])
    frequency = with_table(f"{vis}/SPECTRAL_WINDOW", lambda tb: tb.getcell("CHAN_FREQ", 0))
    wavenumber = np.outer(frequency, lsrk_over_topocentric(time)) / speed_of_light
    good = ~flag.any(axis=0)
    baselines = np.einsum("ar,cr->cra", uvw, wavenumber)[good]
    return baselines, data.mean(axis=0)[good], np.broadcast_to(weight.sum(axis=0), good.shape)[good]


def a_model():
    model = np.zeros((1, 1, *SHAPE), np.float32)
    model[0, 0, 33, 60], model[0, 0, 45:50, 30:36] = 0.4, 0.01
    return model


def test_residuals_and_psf_are_the_direct_sums_also_at_the_edges(open_native, uneven_ms):
    uvw, data, weight = stokes_i_samples(uneven_ms)
    major, model = open_native(uneven_ms), a_model()
    cell, total = CELL * arcsecond, weight.sum()
    dirty = image_of(weight * data, uvw, SHAPE, cell) / total
    peak = np.abs(dirty).max()
    np.testing.assert_allclose(major.residual(np.zeros_like(model))[0, 0], dirty, atol=1e-5 * peak)
    difference = data - visibilities_of(model[0, 0], uvw, cell)
    expected = image_of(weight * difference, uvw, SHAPE, cell) / total
    np.testing.assert_allclose(major.residual(model)[0, 0], expected, atol=1e-5 * peak)
    psf = image_of(weight, uvw, tuple(2 * n for n in SHAPE), cell) / total
    np.testing.assert_allclose(major.psf()[0, 0], psf, atol=1e-6)
    np.testing.assert_allclose(read_image(major.product("sumwt")), total, rtol=1e-5)


WEIGHTINGS = [
    {"weighting": "natural"},
    {"weighting": "uniform"},
    {"weighting": "briggs", "robust": 0.5},
    {"weighting": "briggsabs", "robust": 0.5, "noise": "0.02Jy"},
    {"weighting": "briggs", "robust": -1.0, "uvtaper": ["1arcsec"]},
]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_images_are_tcleans_up_to_the_error_of_its_gridder(open_native, tclean_images, uneven_ms, weighting):
    theirs = tclean_images(uneven_ms, **weighting)
    major = open_native(uneven_ms, **weighting)
    dirty = major.residual(np.zeros((1, 1, *SHAPE)))
    np.testing.assert_allclose(read_image(major.product("sumwt")), theirs["sumwt"], rtol=1e-4)
    np.testing.assert_array_equal(read_image(major.product("pb")), theirs["pb"])
    peak = np.abs(theirs["residual"]).max()
    assert np.abs(dirty - theirs["residual"])[INNER].max() < 5e-4 * peak
    assert np.abs(read_image(major.product("psf")) - theirs["psf"])[INNER].max() < 5e-4
    beam = read_beam(major.product("psf"))
    assert (beam.major, beam.minor) == pytest.approx((theirs["beam"].major, theirs["beam"].minor), rel=1e-4)


def test_the_noise_is_that_of_simulated_noise(open_native, simulated_ms):
    """Briggs weights of pure noise: the r.m.s. over many dirty pixels."""
    major = open_native(weighting="briggs", robust=0.0)
    rng = np.random.default_rng(4)
    noise = []
    for planned in major.operator.chunks:
        pure = rng.normal(size=(20, planned.data.size, 2)).astype(np.float32) * simulated_ms.sigma / np.sqrt(2)
        images = [planned.operator.grid(planned.weight * (each[:, 0] + 1j * each[:, 1])) for each in pure]
        noise.append(np.std(images) / planned.weight.sum())
    assert major.noise()[0] == pytest.approx(noise[0], rel=0.1)


def test_selections_and_columns_reach_the_store(open_native, tclean_images, simulated_ms):
    selection = {"spw": "0:1", "antenna": "0~7", "uvrange": ">30m"}
    theirs = tclean_images(simulated_ms.path, **selection)
    major = open_native(**selection)
    dirty = major.residual(np.zeros((1, 1, *SHAPE)))
    assert np.abs(dirty - theirs["residual"])[INNER].max() < 5e-4 * np.abs(dirty).max()
    np.testing.assert_allclose(read_image(major.product("sumwt")), theirs["sumwt"], rtol=1e-6)


def test_another_phase_centre(open_native, tclean_images, simulated_ms):
    centre = {"phasecenter": "J2000 16h24m00.12s -24d00m00.8s"}
    theirs = tclean_images(simulated_ms.path, **centre)["residual"]
    dirty = open_native(**centre).residual(np.zeros((1, 1, *SHAPE)))
    assert np.abs(dirty - theirs)[INNER].max() < 5e-4 * np.abs(dirty).max()


def test_the_w_term_has_the_sign_of_wproject(open_native, tclean_images, writable_ms):
    """At 1 GHz, a field of 3 degrees, an array on a slope. CASA's own wproject is 4 % from the direct sum here."""
    with_table(f"{writable_ms}/SPECTRAL_WINDOW", lambda tb: tb.putcol("CHAN_FREQ", tb.getcol("CHAN_FREQ") / 230))
    with_table(writable_ms, lambda tb: tb.putcol("UVW", np.array([[1, 0, 0], [0, 1, 0], [1, 2, 0]]) @ tb.getcol("UVW")))
    field = {"cell": "20arcsec", "imsize": [512, 512]}
    theirs = tclean_images(writable_ms, gridder="wproject", wprojplanes=64, **field)["residual"]
    curved, flat = (
        open_native(writable_ms, options={"w_term": w_term}, **field).residual(np.zeros((1, 1, 512, 512)))
        for w_term in (True, False)
    )
    middle = (..., slice(128, -128), slice(128, -128))
    assert relative_error(curved[middle], theirs[middle]) < 0.06
    assert relative_error(flat[middle], theirs[middle]) > 0.15


@pytest.mark.parametrize("weighting", [{"weighting": "natural"}, {"weighting": "briggs", "robust": 0.5}], ids=str)
@pytest.mark.parametrize("perchanweightdensity", [True, False])
def test_cubes_of_the_datas_channels(open_native, tclean_images, uneven_ms, weighting, perchanweightdensity):
    cube = {"specmode": "cubedata", "perchanweightdensity": perchanweightdensity} | weighting
    theirs = tclean_images(uneven_ms, **cube)
    major = open_native(uneven_ms, **cube)
    dirty = major.residual(np.zeros((2, 1, *SHAPE)))
    assert major.psf().shape == (2, 1, 160, 192)
    np.testing.assert_allclose(read_image(major.product("sumwt")), theirs["sumwt"], rtol=1e-4)
    assert np.abs(dirty - theirs["residual"])[INNER].max() < 1e-3 * np.abs(dirty).max()
    model = np.concatenate([a_model(), 2 * a_model()])
    responses = dirty - major.residual(model)
    assert relative_error(responses[1], 2 * responses[0]) > 1e-3  # another frequency, another PSF
    for channel in range(2):
        by_psf = np.asarray(ConvolutionNormalOperator.from_psf(major.psf()[channel, 0])(model[channel, 0]))
        np.testing.assert_allclose(responses[channel, 0], by_psf, atol=2e-4 * np.abs(by_psf).max())


def test_predicted_visibilities_fill_model_data(open_native, uneven_ms):
    model = a_model()
    rows = slice(0, None, 7)
    major = open_native(uneven_ms, savemodel="modelcolumn")
    major.residual(np.zeros_like(model))
    major.predict(model)
    uvw, time, column, data = with_table(
        uneven_ms, lambda tb: [tb.getcol(name)[..., rows] for name in ("UVW", "TIME", "MODEL_DATA", "DATA")]
    )
    frequency = with_table(f"{uneven_ms}/SPECTRAL_WINDOW", lambda tb: tb.getcell("CHAN_FREQ", 0))
    wavenumber = np.outer(frequency, lsrk_over_topocentric(time)) / speed_of_light
    expected = [visibilities_of(model[0, 0], (uvw * scale).T, CELL * arcsecond) for scale in wavenumber]
    for hand in range(2):
        assert relative_error(column[hand], np.array(expected)) < 1e-5
    assert not np.array_equal(data, column)


def test_a_store_in_files_gives_the_same_images(open_native, uneven_ms, monkeypatch):
    in_memory = open_native(uneven_ms).residual(a_model())
    monkeypatch.setattr(visibility_store, "SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr(visibility_store, "CHUNK", 500)
    in_files = open_native(uneven_ms)
    assert (in_files.imagename.parent / "visibilities" / "uvw").stat().st_size > 0
    np.testing.assert_allclose(in_files.residual(a_model()), in_memory, atol=1e-5 * np.abs(in_memory).max())


def test_averaged_visibilities_give_the_same_images_within_the_bound(open_native, simulated_ms):
    smearing, model = 1e-2, a_model()
    exact, averaged = (open_native(smearing=bound) for bound in (0.0, smearing))
    counts = [sum(each.data.size for each in major.operator.chunks) for major in (exact, averaged)]
    assert counts[1] < 0.5 * counts[0]
    flux = sum(source.flux for source in simulated_ms.sources) + model.sum()
    difference = averaged.residual(model) - exact.residual(model)
    (noise,) = exact.noise()
    assert np.abs(difference).max() < 5 * smearing * flux + 5 * np.sqrt(2 * smearing) * noise
    np.testing.assert_allclose(read_image(averaged.product("sumwt")), read_image(exact.product("sumwt")), rtol=1e-5)


def test_what_the_grid_cannot_hold_is_left_out_and_counted(open_native, writable_ms, casa_log):
    major = open_native(writable_ms)
    clean = major.residual(a_model())

    def spoil(tb):
        uvw, data = tb.getcol("UVW"), tb.getcol("DATA")
        uvw[:, 0] *= 1000
        data[:, :, 1] = np.nan
        tb.putcol("UVW", uvw)
        tb.putcol("DATA", data)

    major.close()
    with_table(writable_ms, spoil)
    spoilt = open_native(writable_ms).residual(a_model())
    assert "2 of " in casa_log()
    assert "beyond the grid" in casa_log()
    assert np.isfinite(spoilt).all()
    assert relative_error(spoilt, clean) < 0.05


def test_a_cell_that_holds_nothing_is_refused(open_native):
    with pytest.raises(ValueError, match="too coarse"):
        open_native(uvrange=">100m", cell="60arcsec")


def test_it_keeps_the_protocol(open_native):
    assert isinstance(open_native(), MajorCycle)


def test_the_folds_of_cross_validation_add_up_to_all_visibilities(open_native, simulated_ms):
    major = open_native(options={"folds": 3})
    folds, (_, visibility, weight) = major.folds(), stokes_i_samples(simulated_ms.path)
    weights = [fold.weight for fold in folds]
    assert len(folds) == 4
    assert min(weights[:3]) > 0.1 * sum(weights)
    psf, dirty, power = (
        np.average([getattr(fold, name) for fold in folds], axis=0, weights=weights)
        for name in ("psf", "dirty", "power")
    )
    np.testing.assert_allclose(psf, major.psf()[0, 0], atol=1e-6)
    np.testing.assert_allclose(dirty, major.residual(np.zeros(major.shape))[0, 0], atol=1e-5 * np.abs(dirty).max())
    np.testing.assert_allclose(power, np.average(np.abs(visibility) ** 2, weights=weight), rtol=1e-5)


def test_noise_that_is_drawn_has_the_covariance_of_the_psf(open_native, uneven_ms):
    major = open_native(uneven_ms)
    drawn = np.array([major.draw_noise(seed)[0, 0] for seed in range(40)]) / major.noise()[0, 0]
    psf = major.psf()[0, 0]
    middle = tuple(n // 2 for n in psf.shape)
    for y, x in ((0, 0), (0, 2), (3, 0), (2, 5)):
        correlation = np.mean(drawn[:, y:, x:] * drawn[:, : SHAPE[0] - y, : SHAPE[1] - x])
        assert correlation == pytest.approx(psf[middle[0] + y, middle[1] + x], abs=0.04)
