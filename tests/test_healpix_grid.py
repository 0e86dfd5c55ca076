"""Pixels of HEALPix in rows and columns, beside astropy-healpix."""

import numpy as np
import pytest

from casa_ml_tasks.data.healpix_grid import numbers_at, rows_and_columns

healpix = pytest.importorskip("astropy_healpix")
NSIDE, REACH = 8, 6
SPHERE = healpix.HEALPix(NSIDE, "nested")
ACROSS_EDGES = (0, 2, 4, 6)  # South-West, North-West, North-East and South-East of `neighbours`


def around(centre):
    """Numbers of the pixels in the rows and columns around one, -1 where there is none."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    return y, x, numbers_at(y, x, NSIDE, centre)


@pytest.fixture(scope="module")
def neighbours():
    """Those across the edges of all pixels, (4, pixel)."""
    return SPHERE.neighbours(np.arange(SPHERE.npix))[np.array(ACROSS_EDGES)]


def test_pixels_beside_each_other_share_an_edge_everywhere_on_the_sphere(neighbours):
    for centre in range(SPHERE.npix):
        _, _, numbers = around(centre)
        for a, b in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
            both = (a >= 0) & (b >= 0)
            assert (neighbours[:, a[both]] == b[both]).any(axis=0).all()


def test_all_neighbours_are_beside_each_other_but_at_the_points_where_three_base_pixels_meet(neighbours):
    whole = 0
    for centre in range(SPHERE.npix):
        _, _, numbers = around(centre)
        inner = numbers[1:-1, 1:-1]
        beside = np.stack([numbers[:-2, 1:-1], numbers[2:, 1:-1], numbers[1:-1, :-2], numbers[1:-1, 2:]])
        assert set(neighbours[:, centre]) == set(beside[:, REACH - 1, REACH - 1])
        if (numbers >= 0).all():
            whole += 1
            np.testing.assert_array_equal(
                np.sort(beside.reshape(4, -1), axis=0), np.sort(neighbours[:, inner.ravel()], axis=0)
            )
    assert whole > 0.1 * SPHERE.npix


def test_rows_and_columns_are_found_again_from_numbers():
    for centre in range(SPHERE.npix):
        y, x, numbers = around(centre)
        there = numbers >= 0
        assert np.unique(numbers[there]).size == there.sum()
        np.testing.assert_array_equal(rows_and_columns(numbers[there], NSIDE, centre), [y[there], x[there]])
    with pytest.raises(ValueError, match="beyond the base pixels around the centre"):
        rows_and_columns(np.arange(SPHERE.npix), NSIDE, 0)
