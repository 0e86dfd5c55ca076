"""Mosaics: the operator against direct sums and CASA's mosaic gridder, and both tasks on a sky that is known."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.kernels.mosaic import Mosaic, MosaicNormalOperator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.simulation import Source, simulate, with_table
from casa_ml_tasks.simulation.direct_fourier import image_of, visibilities_of
from casa_ml_tasks.tasks import run
from tests.major_cycles import opener, parameters_of

SHAPES = [(8, 8), (7, 10), (9, 5)]
CELL = 1e-5  # radians
BOX = (5, 4)
CORNERS = np.array([[0, 0], [1, 1], [2, 0]])

POINTINGS = ((-8.0, 0.0), (8.0, 0.0), (0.0, 12.0))
BETWEEN, INSIDE = Source(0.6, 1.2, 1.2, 0.6), Source(0.4, -6.0, 4.8)
IMSIZE, CELL_SIZE = 108, 0.6  # arcsec; of smaller images CASA's mosaic gridder folds the beams
IMAGING = {
    "imsize": [IMSIZE],
    "cell": [f"{CELL_SIZE}arcsec"],
    "gridder": "mosaic",
    "phasecenter": "J2000 16h24m00s -24d00m00s",
}


def random_mosaic(shape):
    """Three pointings, the last with a small beam, and what they see of an image by direct sums."""
    rng = np.random.default_rng(8)
    uvw = rng.uniform(-0.4, 0.4, (60, 3)) / CELL
    weight, beams = rng.uniform(0.5, 2, (60, 3)), rng.uniform(0.1, 1, (3, *BOX))
    beams[2, :3], beams[2, :, 3:] = 0, 0
    psfs = np.stack([psf_of_weights(uvw, 1.0, weight[:, [k]], BOX, CELL) for k in range(3)]) / weight.sum()
    mosaic = Mosaic.in_flat_noise(psfs, beams, CORNERS, np.ones(shape, bool))

    def dirty_of(image):
        power, total = np.zeros(shape), np.zeros(shape)
        whole = [np.zeros(shape) for _ in beams]
        for k, (beam, (y, x)) in enumerate(zip(beams, CORNERS, strict=True)):
            whole[k][y : y + BOX[0], x : x + BOX[1]] = beam
            power += weight[:, k].sum() / weight.sum() * whole[k] ** 2
        scale = np.divide(1, np.sqrt(power), where=power > 0, out=np.zeros(shape))
        for k, beam in enumerate(whole):
            visibilities = weight[:, k] * visibilities_of(beam * scale * image, uvw, CELL)
            total += beam * scale * image_of(visibilities, uvw, shape, CELL) / weight.sum()
        return total

    return mosaic, dirty_of


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mosaic_is_the_sum_over_its_pointings(shape):
    mosaic, dirty_of = random_mosaic(shape)
    images = np.random.default_rng(9).normal(size=(2, *shape))
    with jax.enable_x64(True):
        actual = mosaic.normal()(jnp.asarray(images))
    expected = np.stack([dirty_of(image) for image in images])
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_pointings_with_small_beams_cost_small_boxes():
    mosaic, _ = random_mosaic(SHAPES[0])
    assert [each.beams.shape for each in mosaic.normal().boxes] == [(2, *BOX), (1, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_its_operator_is_its_own_adjoint(shape):
    mosaic, _ = random_mosaic(shape)
    a, b = np.random.default_rng(10).normal(size=(2, *shape))
    with jax.enable_x64(True):
        operator = mosaic.normal()
        left, right = jnp.vdot(operator(jnp.asarray(a)), b), jnp.vdot(a, operator(jnp.asarray(b)))
    np.testing.assert_allclose(left, right, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_noise_is_even_and_single_pixels_are_those_of_the_operator(shape):
    mosaic, dirty_of = random_mosaic(shape)
    pixels = np.argwhere(np.ones(shape))
    dense = np.stack([dirty_of(each.reshape(shape)) for each in np.eye(len(pixels))])
    np.testing.assert_allclose(dense[:, *pixels.T].diagonal(), mosaic.seen().ravel(), atol=1e-6)
    np.testing.assert_allclose(mosaic.between(*pixels.T), dense[:, *pixels.T], atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_psf_is_the_mean_row_of_the_operator(shape):
    mosaic, dirty_of = random_mosaic(shape)
    ny, nx = shape
    mean = np.zeros((2 * ny, 2 * nx))
    for y, x in np.argwhere(np.ones(shape)):
        delta = np.zeros(shape)
        delta[y, x] = 1
        mean[ny - y : 2 * ny - y, nx - x : 2 * nx - x] += dirty_of(delta)
    np.testing.assert_allclose(mosaic.psf(), mean / mean[ny, nx], atol=1e-6)
    assert np.fft.fft2(np.fft.ifftshift(mosaic.psf())).real.min() > -1e-6


def test_beams_that_do_not_fit_their_psfs_are_refused():
    with pytest.raises(ValueError, match="do not cover twice"):
        MosaicNormalOperator.from_psfs(np.zeros((8, 8)), np.zeros((2, 8, 8)), np.zeros((2, 5, 4)), CORNERS[:2])


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.ms"
    simulate(path, sources=(BETWEEN, INSIDE), pointings=POINTINGS, sigma=0.05, radius=60)
    return path


@pytest.fixture
def open_major(observed, tmp_path):
    def parameters(**changes):
        return parameters_of(observed, **{**IMAGING, **changes})

    with opener(CasaMajorCycle, tmp_path, parameters) as open_one:
        yield open_one


@pytest.mark.parametrize("weighting", [{}, {"weighting": "briggs", "robust": 0.5}], ids=str)
def test_casas_mosaic_gridder_does_to_a_sky_what_the_operator_does(open_major, weighting):
    major = open_major(**weighting)
    sky = np.zeros(major.shape, np.float32)
    sky[0, 0, [40, 54, 68, 62], [54, 58, 42, 66]] = 1.0, 2.0, 1.5, -1.0
    assert disagreement(major, sky) < 0.02  # of CASA's own convolution functions
    np.testing.assert_array_equal(major.mosaic.seen(), major.primary_beam()[0, 0] > 0)


@pytest.mark.parametrize("weighting", ["briggs", "briggsbwtaper"])
def test_weights_of_each_channel_of_a_cube_serve_the_operator_of_all_channels(open_major, weighting):
    major = open_major(weighting=weighting, robust=0.5, specmode="cube", perchanweightdensity=True)
    sky = np.zeros(major.shape, np.float32)
    sky[-1, 0, [40, 54, 68, 62], [54, 58, 42, 66]] = 1.0, 2.0, 1.5, -1.0
    assert disagreement(major, sky, channel=-1) < 0.08  # of one channel with the operator of both together


def test_a_channel_whose_weights_lack_a_field_has_an_operator_without_it(observed, tmp_path):
    """CASA's imager leaves fields out of outer channels, as the image of weights tells; here one is flagged."""
    path = shutil.copytree(observed, tmp_path / "lacking.ms")

    def flag(tb):
        flags = tb.getcol("FLAG")
        flags[:, 0, tb.getcol("FIELD_ID") == 0] = True
        tb.putcol("FLAG", flags)

    with_table(path, flag)
    parameters = parameters_of(path, **IMAGING | {"specmode": "cubedata", "imager": "casa"})
    with opener(CasaMajorCycle, tmp_path, lambda: parameters) as open_one:
        major = open_one()
        sky = np.zeros(major.shape, np.float32)
        sky[:, 0, [40, 54, 68, 62], [50, 48, 42, 46]] = 1.0, 2.0, 1.5, -1.0
        change = (major.residual(np.zeros(major.shape)) - major.residual(sky))[:, 0]
        assert [len(each.beams) for each in major.mosaic.channels] == [2, 3]
        operators = major.mosaic.normal(np.float32)
        for channel, field in enumerate(major.primary_beam()[:, 0] > 0):
            one = np.asarray(operators.of_channels(channel)(jnp.asarray(sky[channel, 0] * field)))
            assert np.std((change[channel] - one)[field]) < 0.1 * np.std(one[field])
        together = np.asarray(operators(jnp.asarray(sky[:, 0])))
        np.testing.assert_allclose(together[1], operators.of_channels(np.array([1]))(jnp.asarray(sky[1:, 0]))[0])


@pytest.mark.parametrize(("imsize", "folds"), [(90, True), (96, False)])
def test_a_warning_says_where_casas_mosaic_gridder_folds_the_beams(open_major, casa_log, imsize, folds):
    major = open_major(imsize=[imsize])
    sky = np.zeros(major.shape, np.float32)
    sky[0, 0, imsize // 2, imsize // 2] = 1.0
    assert (disagreement(major, sky) > 0.05) == folds
    assert ("use imsize=94 or more" in casa_log()) == folds


def disagreement(major, sky, channel=0):
    """Between what the major cycle and the operator make of a sky, r.m.s. over that of the operator's."""
    change = (major.residual(np.zeros(major.shape)) - major.residual(sky))[channel, 0]
    with jax.enable_x64(True):
        expected = np.asarray(major.mosaic.normal()(jnp.asarray(sky[channel, 0], float)))
    field = major.mosaic.seen()
    return np.std((change - expected)[field]) / np.std(expected[field])


@pytest.mark.parametrize(
    ("task", "options"),
    [(rmlclean, {}), (rmlclean, {"specmode": "cube"}), (resolveimage, {"nsamples": 8, "maxglobal": 1})],
    ids=["rmlclean", "cube", "resolveimage"],
)
def test_sources_in_one_pointing_and_between_three_have_their_fluxes(observed, tmp_path, monkeypatch, task, options):
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory)
    name = tmp_path / "sky"
    result = task(vis=str(observed), imagename=str(name), datacolumn="data", noisescale=1.0, **IMAGING, **options)
    model, beam = (read_image(f"{name}.{kind}")[-1, 0] for kind in ("model", "pb"))  # CASA leaves channel 0 empty
    assert (model[beam == 0] == 0).all()
    sky = np.divide(model, beam, where=beam > 0, out=np.zeros(beam.shape))
    y, x = (np.indices(sky.shape) - IMSIZE // 2) * CELL_SIZE
    for source in (BETWEEN, INSIDE):
        flux = sky[np.hypot(-x - source.east, y - source.north) < 3].sum()
        assert flux == pytest.approx(source.flux, rel=0.04)
    peaks = [cycle["peak_residual"] for cycle in result["cycles"]]
    assert peaks[1] < 0.03 * peaks[0]  # after one minor cycle: its operator is that of the major cycles
