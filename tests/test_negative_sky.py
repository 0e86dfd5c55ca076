"""A sky with absorption: positivity=False alone finds it, and a run that kept it out says where it is."""

from dataclasses import replace

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.simulation import Source, simulate
from casa_ml_tasks.tasks import run
from casa_ml_tasks.tasks.ending import deepest_hole

CELL, IMSIZE = 0.15, 64
EMISSION = Source(flux=1.0, east=-8 * CELL, north=4 * CELL)
ABSORPTION = Source(flux=-0.3, east=10 * CELL, north=-6 * CELL)
IMAGING = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data", "gridder": "native", "noisescale": 1.0}


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    path = tmp_path_factory.mktemp("absorption") / "sky.ms"
    return simulate(path, channels=1, integrations=5, sources=(EMISSION, ABSORPTION)).path


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory)


def test_positivity_false_alone_finds_absorption(observed, tmp_path, casa_log):
    rmlclean(vis=str(observed), imagename=str(tmp_path / "sky"), positivity=False, **IMAGING)
    model = read_image(tmp_path / "sky.model")[0, 0]
    y, x = np.indices(model.shape) - IMSIZE // 2
    for source in (EMISSION, ABSORPTION):
        near = np.hypot(-x * CELL - source.east, y * CELL - source.north) < 5 * CELL
        assert model[near].sum() == pytest.approx(source.flux, rel=0.05)
    assert "positivity=False: regularizer=['l1', 'tsv'] in place of ['l1', 'log_smoothness']" in casa_log()
    assert "below zero at pixel" not in casa_log()


def test_absorption_that_a_positive_model_cannot_follow_is_named(observed, tmp_path, casa_log):
    rmlclean(vis=str(observed), imagename=str(tmp_path / "sky"), **{**IMAGING, "noisescale": "auto"})
    assert "times the noise below zero at pixel [22, 26], where the model may not be negative; if the sky is" in (
        casa_log()
    )
    assert "use positivity=False" in casa_log()


def test_the_deepest_hole_is_sought_within_the_field_and_in_the_noise_of_each_plane():
    residual, beam = np.zeros((3, 1, 8, 8), np.float32), np.ones((1, 1, 8, 8), np.float32)
    noise = np.array([[1.0], [0.1], [np.inf]])
    residual[0, 0, 2, 3], residual[1, 0, 4, 5], residual[2, 0, 1, 1] = -6, -0.7, -100
    assert deepest_hole(residual, noise, beam) == pytest.approx((7, 1, 0, 4, 5), rel=1e-6)
    beam[0, 0, 4, 5] = 0.1
    assert deepest_hole(residual, noise, beam) == pytest.approx((6, 0, 0, 2, 3), rel=1e-6)
    assert deepest_hole(-residual, noise, beam) is None
    assert deepest_hole(residual / 2, noise, beam) is None


@pytest.mark.parametrize(
    ("regularizer", "regstrength", "expected"),
    [
        (["l1", "log_smoothness"], [], (["l1", "tsv"], [1.0, 1.0])),
        (["l1", "log_smoothness"], [2.0, 3.0], (["l1", "tsv"], [2.0, 3.0])),
        (["l1", "log_smoothness"], "auto", (["l1", "tsv"], "auto")),
        (["l1", "tv"], [], (["l1", "tv"], [])),
    ],
)
def test_regularisers_of_positive_images_are_exchanged(regularizer, regstrength, expected):
    strengths = None if regstrength == "auto" else tuple(regstrength or [1.0, 1.0])
    given = Regularisation(tuple(regularizer), strengths, positivity=False)
    signed = given.signed()
    names, expected_strengths = expected
    assert list(signed.regularizer) == names
    if regstrength == "auto":
        assert signed.regstrength is None
    else:
        assert list(signed.regstrength) == (expected_strengths or [1.0, 1.0])
    positive = replace(given, positivity=True)
    assert positive.signed() == positive
