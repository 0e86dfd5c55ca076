"""Cross-validation in the uv plane, against sums over the visibilities themselves."""

import numpy as np
import pytest

from casa_ml_tasks.engine.protocols import Fold
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation, Trial, cross_validate
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.simulation.direct_fourier import image_of, visibilities_of

SHAPE, CELL, FOLDS, SIGMA = (16, 14), 1e-5, 3, 0.3


@pytest.fixture(scope="module")
def observed():
    """uvw in wavelengths, visibilities and the fold of each, of two blobs in noise."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = np.exp(-((y - 5) ** 2 + (x - 5) ** 2) / 6) + 0.5 * np.exp(-((y - 10) ** 2 + (x - 8) ** 2) / 4)
    uvw = rng.normal(size=(500, 3)) * (0.15, 0.15, 0) / CELL
    noise = SIGMA * (rng.normal(size=500) + 1j * rng.normal(size=500))
    return uvw, visibilities_of(sky, uvw, CELL) + noise, rng.integers(0, FOLDS + 1, 500)


@pytest.fixture(scope="module")
def folds(observed):
    uvw, data, fold = observed
    doubled = tuple(2 * n for n in SHAPE)
    found = []
    for number in range(FOLDS + 1):
        part = fold == number
        weight = part.sum() / SIGMA**2
        ones = np.full(part.sum(), 1 / SIGMA**2)
        psf = image_of(ones, uvw[part], doubled, CELL) / weight
        dirty = image_of(ones * data[part], uvw[part], SHAPE, CELL) / weight
        found.append(Fold(psf, dirty, float(weight), float(np.mean(np.abs(data[part]) ** 2))))
    return found


@pytest.fixture(scope="module")
def noise(observed):
    return NoiseLevel(SIGMA / np.sqrt(observed[1].size), 9.0)


def validate(folds, noise, regularisers=("tsv",), **changes):
    return cross_validate(folds, noise, regularisers, True, np.ones(SHAPE, bool), **changes)


def test_the_search_ends_between_too_weak_and_too_strong(folds, noise):
    told = []
    result = validate(folds, noise, on_trial=told.append)
    assert list(result.trials) == told
    assert len({trial.strengths for trial in told}) == len(told) > 1
    strengths = sorted(trial.strengths[0] for trial in told)
    assert result.best.strengths[0] in strengths
    assert result.chosen.strengths[0] >= result.best.strengths[0]
    assert result.best.misfit.mean() == min(trial.misfit.mean() for trial in told)


def test_the_misfit_is_the_held_out_chi_squared_of_the_visibilities(observed, folds, noise, monkeypatch):
    uvw, data, fold = observed
    images = []
    from casa_ml_tasks.minor.rml import cross_validation

    def remember(objective, *arguments):
        parts, ended = minimise(objective, *arguments)
        images.append((np.asarray(objective.likelihood.residual), np.asarray(parts[0])))
        return parts, ended

    minimise = cross_validation.minimise
    monkeypatch.setattr(cross_validation, "minimise", remember)
    first = validate(folds, noise).trials[0]
    for number in range(FOLDS):
        others = [each for k, each in enumerate(folds) if k != number]
        training = np.average([each.dirty for each in others], axis=0, weights=[each.weight for each in others])
        (image,) = [image for dirty, image in images[:FOLDS] if np.allclose(dirty, training, rtol=1e-4)]
        part = fold == number
        model = visibilities_of(image, uvw[part], CELL)
        chi2 = np.sum(np.abs(data[part] - model) ** 2) / SIGMA**2
        assert first.misfit[number] == pytest.approx(np.log(chi2), rel=1e-9)


def test_the_choice_is_the_strongest_within_one_standard_error():
    best = Trial((1.0,), np.array([1.0, 2.0, 3.0]))
    stronger = Trial((3.0,), np.array([1.5, 1.9, 3.1]))
    too_strong = Trial((10.0,), np.array([2.0, 3.1, 3.9]))
    result = CrossValidation((best, stronger, too_strong))
    assert result.best is best
    assert stronger.excess(best) == pytest.approx((0.5 / 3, np.std([0.5, -0.1, 0.1], ddof=1) / np.sqrt(3)))
    assert result.chosen is stronger
