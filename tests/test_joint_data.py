"""Several data sets as one operator, and on wider pixels, against the matrices of their operators."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.coarser import (
    beam_area_of,
    coarser_dish,
    coarser_mosaic,
    coarsest,
    finer,
    in_smaller_boxes,
)
from casa_ml_tasks.kernels.dish_beam import GaussianBeam
from casa_ml_tasks.kernels.dish_modes import MapGrid
from casa_ml_tasks.kernels.joint_data import DataSet, JointData, OfDish, OfOperator
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.single_dish import SingleDish

SHAPES = [(24, 24), (23, 26)]

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def some_mosaic(shape, rng, box=(9, 11)):
    """Three pointings with random PSFs, of which one box ends at the image's last pixel."""
    lags = (np.arange(-n, n) for n in box)
    v, u = rng.uniform(-0.2, 0.2, (2, 3, 20, 1, 1))
    y, x = np.meshgrid(*lags, indexing="ij")
    psfs = np.cos(2 * np.pi * (v * y + u * x)).sum(axis=1) / 60
    corners = np.array([[0, 1], [5, 4], np.subtract(shape, box)])
    return Mosaic.in_sky_units(psfs, rng.uniform(0.1, 1, (3, *box)), corners, np.ones(shape, bool))


def some_dish(shape):
    """A map that ends within the image."""
    grid = MapGrid((6, 7), (3.0, 2.5), (3.0, 3.0))
    return SingleDish.of(np.zeros(grid.shape), grid, [GaussianBeam(9.0, 8.0, 0.3)], 0.1, shape)


def matrix_of(operator, shape):
    """H in double precision, (pixel, pixel)."""
    images = np.eye(np.prod(shape)).reshape(-1, *shape)
    return np.asarray(operator(jnp.asarray(images))).reshape(2 * (np.prod(shape),))


def all_pixels(shape):
    return np.indices(shape).reshape(2, -1)


def of_dish(shape):
    return OfDish(some_dish(shape).normal())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mosaic_in_sky_units_has_the_diagonal_and_the_entries_of_its_matrix(shape, rng):
    mosaic = some_mosaic(shape, rng)
    matrix = matrix_of(mosaic.normal(), shape)
    np.testing.assert_allclose(mosaic.sensitivity().ravel(), matrix.diagonal(), atol=1e-9)
    np.testing.assert_allclose(mosaic.between(*all_pixels(shape)), matrix, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dish_has_the_diagonal_and_the_entries_of_its_matrix(shape):
    dish = of_dish(shape)
    matrix = matrix_of(dish.normal(), shape)
    scale = matrix.diagonal().max()
    np.testing.assert_allclose(dish.between(*all_pixels(shape)), matrix, atol=1e-9 * scale)
    np.testing.assert_allclose(dish.sensitivity().ravel(), matrix.diagonal(), atol=0.02 * scale)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_has_the_entries_of_its_matrix_whatever_is_said_of_it(shape, rng):
    psf = np.exp(-0.1 * sum(each**2 for each in np.meshgrid(*(np.arange(-n, n) for n in shape), indexing="ij")))
    convolution = OfOperator(ConvolutionNormalOperator.from_psf(psf))
    matrix = matrix_of(convolution.normal(), shape)
    np.testing.assert_allclose(convolution.between(*all_pixels(shape)), matrix, atol=1e-9)
    np.testing.assert_allclose(convolution.sensitivity().ravel(), matrix.diagonal(), atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_several_data_sets_are_the_sum_that_their_noises_weight(shape, rng):
    mosaic, dish = some_mosaic(shape, rng), of_dish(shape)
    data = JointData((DataSet(mosaic, 0.5, 4.0), DataSet(dish, 2.0, 60.0)))
    expected = matrix_of(mosaic.normal(), shape) / 0.5**2 + matrix_of(dish.normal(), shape) / 2.0**2
    expected *= data.sigma**2
    np.testing.assert_allclose(matrix_of(data.normal(), shape), expected, atol=1e-9)
    np.testing.assert_allclose(data.between(*all_pixels(shape)), expected, atol=1e-9)
    assert data.sigma**-2 == pytest.approx(0.5**-2 + 2.0**-2)
    assert data.psf()[shape] == pytest.approx(1)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_wider_pixels_have_the_entries_of_every_factorth_pixel(shape, factor, rng):
    mosaic, dish = some_mosaic(shape, rng), of_dish(shape)
    kept = np.zeros(shape, bool)
    kept[::factor, ::factor] = True
    fewer = kept[::factor, ::factor].shape
    some = np.ix_(kept.ravel(), kept.ravel())
    wider = coarser_mosaic(mosaic, factor).normal(), coarser_dish(dish.operator, factor)
    for operator, coarse in zip((mosaic.normal(), dish.normal()), wider, strict=True):
        np.testing.assert_allclose(matrix_of(coarse, fewer), matrix_of(operator, shape)[some], atol=1e-9)
        assert operator.transfer.shape[-2] >= coarse.transfer.shape[-2] == 2 * fewer[0]


def test_pointings_in_smaller_boxes_are_the_same_mosaic(rng):
    shape, box = (40, 44), (24, 20)
    mosaic = some_mosaic(shape, rng, box)
    y, x = np.indices(box)
    small = (abs(y - 11.5) < 5) & (abs(x - 9.5) < 5)
    mosaic = replace(mosaic, beams=mosaic.beams * np.stack([small, small, np.ones(box)]))
    parts = in_smaller_boxes(mosaic)
    assert [part.beams.shape for part in parts] == [(2, 12, 10), (1, *box)]
    some = rng.normal(size=shape)
    expected = mosaic.normal()(jnp.asarray(some))
    np.testing.assert_allclose(sum(part.normal()(jnp.asarray(some)) for part in parts), expected, atol=1e-9)


def test_the_area_of_a_gaussian_beam_is_its_own():
    y, x = np.meshgrid(np.arange(-30, 30), np.arange(-32, 32), indexing="ij")
    gaussian = np.exp(-0.5 * ((y / 3) ** 2 + (x / 4) ** 2))
    assert beam_area_of(gaussian) == pytest.approx(2 * np.pi * 3 * 4, rel=1e-3)


def test_pixels_may_be_as_wide_as_the_longest_baselines_leave_them():
    y, x = np.meshgrid(np.arange(-64, 64), np.arange(-64, 64), indexing="ij")
    taper = np.exp(-(y**2 + x**2) / 400)
    for longest, factor in ((0.4, 1), (0.2, 2), (0.13, 3)):
        assert coarsest(taper * np.cos(2 * np.pi * longest * x)) == factor


@pytest.mark.parametrize("shape", SHAPES)
def test_finer_images_have_the_visibilities_and_the_flux_of_wider_pixels(shape, rng):
    factor = 2
    wide = np.zeros((1, *(n // 2 + 8 for n in shape)))  # beyond the shape there is nothing
    wide[:, 4:8, 3:9] = rng.uniform(size=(1, 4, 6))
    whole = tuple(factor * n for n in wide.shape[1:])
    fine = finer(wide, factor, whole)
    assert fine.shape[1:] == whole
    assert fine.sum() == pytest.approx(wide.sum(), rel=1e-5)
    frequencies = (3 / whole[0], -5 / whole[1])  # cycles per fine pixel
    of_wide, of_fine = (
        np.exp(2j * np.pi * step * frequencies[0] * np.arange(image.shape[1]))
        @ image[0]
        @ np.exp(2j * np.pi * step * frequencies[1] * np.arange(image.shape[2]))
        for image, step in ((wide, factor), (fine, 1))
    )
    assert of_fine == pytest.approx(of_wide, rel=1e-5)
    assert finer(wide, factor, shape).shape[1:] == shape
