"""Folds of the uv plane."""

import numpy as np
import pytest

from casa_ml_tasks.kernels.uv_split import CORE, cells, folds

FIELD = 1e-4


@pytest.fixture
def uv():
    return np.random.default_rng(5).normal(size=(20000, 2)) * 5e5


def test_conjugates_and_neighbours_are_in_one_fold(uv):
    fold = folds(uv, FIELD, 5)
    np.testing.assert_array_equal(folds(-uv, FIELD, 5), fold)
    cell = cells(uv, FIELD)
    core = np.hypot(*uv.T) < CORE / FIELD
    assert (fold[core] == 5).all()
    cell, fold = cell[~core], fold[~core]
    _, first, number = np.unique(cell, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(fold, fold[first[number.reshape(-1)]])
    assert first.size > 100


def test_folds_are_about_equal_and_depend_on_the_seed_alone(uv):
    fold = folds(uv, FIELD, 4)
    assert np.bincount(fold, minlength=5)[:4].min() > uv.shape[0] / 8
    np.testing.assert_array_equal(folds(uv[500:700], FIELD, 4), fold[500:700])
    assert (folds(uv, FIELD, 4, seed=2) != fold).mean() > 0.5
