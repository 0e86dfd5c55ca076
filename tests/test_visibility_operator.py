"""The visibility operator alone: it goes to another process, and its parts add up to the whole."""

import cloudpickle
import numpy as np
import pytest

from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error

SHAPE, CELL, CHANNELS, FOLDS = (40, 48), 1e-6, 2, 3


def weighted(channel, count=3000, folder=None):
    """Random visibilities; in a folder, in files that are mapped into memory."""
    rng = np.random.default_rng(channel)
    uvw = rng.normal(size=(count, 3)) * [8e4, 8e4, 1e3]
    visibility = (rng.normal(size=count) + 1j * rng.normal(size=count)).astype(np.complex64)
    weight, natural = rng.uniform(0.5, 2, (2, count)).astype(np.float32)
    columns = {"uvw": uvw, "visibility": visibility, "weight": weight, "natural": natural, "nominal": natural}
    if folder is not None:
        for name, column in columns.items():
            column.tofile(folder / name)
            columns[name] = np.memmap(folder / name, column.dtype, "r").reshape(column.shape)
    return WeightedVisibilities(channel, **columns, thermal=columns["nominal"])


def planned(parts, w_term=True):
    return VisibilityOperator.planned(Transform(SHAPE, CELL, w_term), CHANNELS, parts, fold_count=FOLDS)


def part_of(whole, members):
    names = ("uvw", "visibility", "weight", "natural", "nominal", "thermal")
    return WeightedVisibilities(whole.channel, **{name: getattr(whole, name)[members] for name in names})


def a_model():
    model = np.zeros((CHANNELS, 1, *SHAPE), np.float32)
    model[0, 0, 12, 30], model[1, 0, 20:24, 8:12] = 2.0, 0.1
    return model


@pytest.mark.parametrize("w_term", [True, False])
@pytest.mark.parametrize("mapped", [True, False])
def test_it_comes_back_from_another_process_with_the_same_images(w_term, mapped, tmp_path):
    operator = planned([weighted(0, folder=tmp_path if mapped else None)], w_term)
    returned = cloudpickle.loads(cloudpickle.dumps(operator))
    for path in tmp_path.iterdir():
        path.unlink()
    for model in (np.zeros_like(a_model()), a_model()):
        np.testing.assert_array_equal(returned.residual_sums(model), operator.residual_sums(model))
    np.testing.assert_array_equal(returned.psf(), operator.psf())
    np.testing.assert_array_equal(returned.predicted(a_model()), operator.predicted(a_model()))


def test_the_sums_of_two_halves_are_those_of_the_whole():
    parts, model = [weighted(0), weighted(1)], a_model()
    whole = planned(parts)
    halves = [planned([part_of(part, np.s_[k::2]) for part in parts]) for k in (0, 1)]
    joined = halves[0] + halves[1]
    np.testing.assert_allclose(joined.sums.weight, whole.sums.weight, rtol=1e-6)
    np.testing.assert_allclose(joined.noise(), whole.noise(), rtol=1e-6)
    np.testing.assert_allclose(joined.psf(), whole.psf(), atol=1e-6)
    for kind in (VisibilityOperator.residual_sums, lambda part, image: part.sums_beside(image)[0]):
        expected = whole.normalised(kind(whole, model))
        actual = joined.normalised(kind(halves[0], model) + kind(halves[1], model))
        np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())
    for one, other, both in zip(halves[0].fold_sums(), halves[1].fold_sums(), whole.fold_sums(), strict=True):
        np.testing.assert_allclose(one + other, both, atol=1e-5 * np.abs(both).max())
    np.testing.assert_allclose(
        joined.image_noise(lambda uvdist: 0 * uvdist + 0.1, 1.5),
        whole.image_noise(lambda uvdist: 0 * uvdist + 0.1, 1.5),
    )


def test_a_part_without_data_of_a_channel_counts_nothing():
    whole = planned([weighted(0)])
    assert np.isinf(whole.noise()[1])
    assert not whole.residual_sums(a_model())[1].any()
    assert not whole.psf()[1].any()


def test_the_dirty_image_is_a_direct_sum():
    part = weighted(0, count=500)
    operator = planned([part], w_term=False)
    flat = part.uvw * [1, 1, 0]
    expected = image_of(part.weight * part.visibility, flat, SHAPE, CELL) / part.weight.sum()
    dirty = operator.normalised(operator.residual_sums(np.zeros_like(a_model())))[0, 0]
    assert relative_error(dirty, expected) < 1e-5
