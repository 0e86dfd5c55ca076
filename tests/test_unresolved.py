"""Bright sources between pixels in the minor cycle, against visibilities whose sky is known."""

import numpy as np
import pytest

from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.state import point_image, sources_of
from casa_ml_tasks.minor.rml.unresolved import padded
from tests.few_visibilities import finished
from tests.state_schema import has_the_arrays_of

SHAPE = (48, 51)
SIGMA = 1e-3  # of the dirty image, Jy/beam


class Field:
    """Visibilities of Gaussians, (flux, y, x, FWHM), in Jy and pixels, under a beam of so many pixels."""

    def __init__(self, width, sources, seed=1):
        rng = np.random.default_rng(seed)
        self.width = width
        self.baselines = rng.normal(scale=0.37 / width, size=(4000, 2))  # v, u, cycles a pixel
        self.baselines = self.baselines[np.abs(self.baselines).max(axis=1) < 0.42]
        count = len(self.baselines)
        noise = SIGMA * np.sqrt(count) * (rng.normal(size=count) + 1j * rng.normal(size=count))
        self.visibilities = noise + sum(self._of(*source) for source in sources)
        self.curvature = (2 * np.pi) ** 2 * np.mean(self.baselines**2, axis=0)

    def _of(self, flux, y, x, size):
        envelope = np.exp(-2 * np.pi**2 * (size / np.sqrt(8 * np.log(2))) ** 2 * (self.baselines**2).sum(axis=1))
        return flux * envelope * np.exp(2j * np.pi * self.baselines @ [y, x])

    def _fringes(self, ys, xs):
        return (
            np.exp(2j * np.pi * np.multiply.outer(each, at))
            for each, at in zip(self.baselines.T, (ys, xs), strict=True)
        )

    def psf(self):
        of_y, of_x = self._fringes(*(np.arange(-n, n) for n in SHAPE))
        return (of_y.T @ of_x).real / len(self.baselines)

    def residual(self, model):
        """By direct sums, Jy/beam."""
        of_y, of_x = self._fringes(*(np.arange(n) for n in SHAPE))
        left = self.visibilities - ((of_y @ model) * of_x).sum(axis=1)
        return (of_y.conj().T @ (left[:, None] * of_x.conj())).real / len(self.baselines)

    def minor_cycle(self, **options):
        arguments = {"regularisers": ["l1", "log_smoothness"], "strengths": [1.0, 1.0]} | options
        area = np.pi / (4 * np.log(2)) * self.width**2
        return RegularisedMaximumLikelihood(self.psf()[None, None], SIGMA, area, **arguments)

    def solve(self, **options):
        """Model and residual, (ny, nx), the sources between pixels, and the state."""
        dirty = self.residual(np.zeros(SHAPE))[None, None].astype(np.float32)
        model, state = self.minor_cycle(**options).update(dirty, np.zeros_like(dirty), MinorState())
        return model[0, 0], self.residual(model[0, 0].astype(float)), sources_of(state.latent, 0, 0), state


@pytest.mark.parametrize("width", [3.0, 4.5, 6.0])
@pytest.mark.parametrize(("y", "x", "flux"), [(20.5, 30.5, 1.0), (21.33, 17.1, 3.0), (30.2, 25.0, 30.0)])
def test_a_bright_source_leaves_the_noise_and_has_its_flux_and_position(width, y, x, flux):
    field = Field(width, [(flux, y, x, 0.0)])
    model, residual, sources, _ = field.solve()
    assert np.abs(residual).max() < 5.5 * SIGMA
    assert sources.flux == pytest.approx([flux], abs=5 * SIGMA)  # what lies beside it is as unknown
    errors = SIGMA / flux / np.sqrt(field.curvature)
    assert (np.abs(np.array([sources.y[0] - y, sources.x[0] - x])) < 4 * errors).all()
    assert model.sum() == pytest.approx(flux, abs=30 * SIGMA)  # with the noise of so many beams, which is positive


def test_sources_two_beams_apart_and_one_at_the_edge_are_told_apart():
    truth = [(1.0, 20.4, 20.6, 0.0), (0.5, 20.7, 29.7, 0.0), (0.7, 45.3, 2.4, 0.0), (0.2, 35.5, 40.5, 0.0)]
    _, residual, sources, _ = Field(4.5, truth).solve()
    assert np.abs(residual).max() < 5.5 * SIGMA
    found = sources.rows()[np.argsort(-sources.flux)]
    expected = sorted(truth, reverse=True)
    np.testing.assert_allclose(found[:, 0], [each[0] for each in expected], atol=4 * SIGMA)
    np.testing.assert_allclose(found[:, 1:], [each[1:3] for each in expected], atol=0.03)


def test_programs_are_compiled_for_few_numbers_of_sources():
    assert [padded(count) for count in (1, 4, 5, 8, 9, 17, 32)] == [4, 4, 8, 8, 16, 32, 32]


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_a_resolved_source_stays_emission(size):
    width = 4.5
    model, residual, sources, state = Field(width, [(1.0, 20.4, 25.3, size * width)]).solve()
    assert not sources.flux.size
    assert set(state.latent) == {"ended"}
    assert model.min() >= 0
    assert np.abs(residual).max() < 6 * SIGMA


def test_a_source_within_emission_is_told_from_it():
    field = Field(4.5, [(0.5, 24.4, 25.3, 0.0), (3.0, 24.0, 25.0, 14.0)])
    model, residual, sources, _ = field.solve()
    assert np.abs(residual).max() < 6 * SIGMA
    assert sources.flux == pytest.approx([0.5], abs=0.1)
    assert [*sources.y, *sources.x] == pytest.approx([24.4, 25.3], abs=0.03)
    assert model.sum() == pytest.approx(3.5, abs=0.05)


def test_the_next_minor_cycle_goes_on_with_the_sources():
    field = Field(4.5, [(1.0, 20.4, 20.6, 0.0)])
    model, residual, sources, state = field.solve()
    given = [each[None, None].astype(np.float32) for each in (residual, model)]
    minor = field.minor_cycle()
    assert minor.update(*given, state)[1].converged
    again, later = minor.update(*given, MinorState(latent=state.latent))
    np.testing.assert_allclose(again[0, 0], model, atol=SIGMA)
    np.testing.assert_allclose(sources_of(later.latent, 0, 0).rows(), sources.rows(), atol=SIGMA)


def test_points_as_a_component_hold_the_sources_as_well():
    field = Field(4.5, [(1.0, 20.4, 20.6, 0.0)])
    *_, sources, state = field.solve(regularisers=["points", "l1", "log_smoothness"], strengths=[1.0] * 3)
    assert has_the_arrays_of(RegularisedMaximumLikelihood.schema, state)
    assert point_image(state).sum() == pytest.approx(1.0, abs=10 * SIGMA)
    assert sources.flux == pytest.approx([1.0], abs=3 * SIGMA)


def test_images_that_may_be_negative_have_no_sources():
    *_, sources, _ = Field(4.5, [(1.0, 20.4, 20.6, 0.0)]).solve(regularisers=["l1"], strengths=[1.0], positivity=False)
    assert not sources.flux.size


def test_the_inference_takes_them_for_point_sources_where_they_are():
    field = Field(4.5, [(1.0, 20.4, 25.6, 0.0)])
    area = np.pi / (4 * np.log(2)) * field.width**2
    resolve = Resolve(ImagingProblem.of(field.psf()[None, None], SIGMA, area, 0.1))
    state, _ = finished(resolve, field.residual(np.zeros(SHAPE))[None])
    posterior = resolve.posterior(state)
    (place,) = state.latent["sources"]
    np.testing.assert_allclose(place, [20.4, 25.6], atol=0.02)
    flux, error = posterior.points.sum(), posterior.samples.sum(axis=(1, 2, 3, 4)).std()
    assert flux == pytest.approx(1.0, abs=5 * SIGMA)
    assert abs(posterior.fluxes.mean() - 1.0) < 4 * error < 0.05
    assert np.abs(field.residual(posterior.mean[0, 0].astype(float))).max() < 5.5 * SIGMA
