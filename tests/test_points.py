"""Point sources and extended emission as two components of one sky."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.minor.rml.objective import parts_of
from casa_ml_tasks.simulation import Source, simulate
from tests.major_cycles import parameters_of
from tests.task_requests import read_rmlclean
from tests.test_projected_lbfgs import objective

COMPONENTS = ["points", "l1", "log_smoothness"]


@pytest.mark.parametrize("positivity", [True, False])
def test_an_image_is_the_sum_of_its_parts(positivity):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (5, 8))
    image = points + (rng.uniform(0, 1, (5, 8)) if positivity else rng.normal(size=(5, 8)))
    problem = objective((5, 8), ["points", "l1"])
    parts = parts_of(image, positivity, points)
    assert len(parts) == (2 if positivity else 3)
    assert float(parts.min()) >= 0
    np.testing.assert_allclose(problem.image(parts), image, atol=1e-6)
    np.testing.assert_allclose(problem.components(parts)[1][0], points, rtol=1e-6)


@pytest.mark.parametrize("signed", [1, 2])
def test_the_gradient_of_two_components_agrees_with_finite_differences(signed):
    rng = np.random.default_rng(1)
    position, direction = rng.uniform(1, 2, (signed + 1, 7, 9)), rng.normal(size=(signed + 1, 7, 9))
    with jax.enable_x64(True):
        problem = objective((7, 9), ["points", "l1", "tsv"])
        ahead, behind = (
            problem.value_and_gradient(jnp.asarray(position + step * direction))[0] for step in (1e-6, -1e-6)
        )
        _, gradient = problem.value_and_gradient(jnp.asarray(position))
    np.testing.assert_allclose(np.vdot(gradient, direction), (ahead - behind) / 2e-6, rtol=1e-5)


def test_the_other_regularisers_do_not_see_points():
    problem = objective((6, 6), ["points", "tsv"])
    lone = jnp.zeros((2, 6, 6)).at[1, 3, 3].set(1.0)
    alone = objective((6, 6), ["tsv"]).regularisation(jnp.zeros((1, 6, 6)))
    price = float(problem.regularisation(lone))
    expected = 1 / 0.05 + 10 * np.log(1 + 1 / 0.25)
    assert price == pytest.approx(float(alone) + expected, rel=1e-5)


def test_a_star_in_a_disk_is_found_apart(pixels, tmp_path):
    """The star lies on a pixel: 20 of 0.1 arcsec from the centre."""
    sources = (Source(flux=0.1, east=2.0, north=-1.0), Source(flux=1.0, east=2.0, north=-1.0, size=0.6))
    observed = simulate(tmp_path / "sky.ms", antennas=20, sources=sources, radius=450)
    imaging = {"vis": str(observed.path), "imsize": 96, "cell": "0.1arcsec", "datacolumn": "data", "gridder": "native"}
    with pixels():
        result = rmlclean(imagename=str(tmp_path / "sky"), regularizer=COMPONENTS, **imaging)
    points, model = (read_image(tmp_path / f"sky.{name}")[0, 0] for name in ("points", "model"))
    assert f"{tmp_path}/sky.points" in result["products"]
    star = points[48 - 10, 48 - 20]
    assert star == pytest.approx(0.1, rel=0.15)
    assert star > 0.8 * points.sum()
    assert model.sum() == pytest.approx(1.1, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"regularizer": ["points"]}, r"regularizer=.* says nothing of extended emission; add one"),
        ({"positivity": False}, "regularizer='points' takes the logarithm .* positivity=True"),
        ({"startmodel": "my.model"}, "startmodel='my.model' does not serve regularizer="),
        ({"deconvolver": "mtmfs"}, "regularizer=.* has no Taylor terms; leave out 'points'"),
    ],
)
def test_contradictions_are_named(changes, sentence):
    good = parameters_of("sky.ms", imagename="sky", imsize=64, cell="0.1arcsec", regularizer=COMPONENTS)
    with pytest.raises(ValueError, match=f"^{sentence}"):
        read_rmlclean(good | changes)
