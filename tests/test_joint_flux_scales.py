"""Images and flux scales in turn, of two mosaics and a single-dish map whose scales are wrong."""

from functools import partial

import numpy as np
import pytest
from scipy.constants import arcsecond

from casa_ml_tasks.calibration.flux_scale import SetOfVisibilities, span_of
from casa_ml_tasks.calibration.flux_scale_step import FluxScaleStep
from casa_ml_tasks.data.single_dish import SingleDishMap
from casa_ml_tasks.engine.alternation import Alternation
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.kernels.dish_beam import GaussianBeam
from casa_ml_tasks.kernels.dish_modes import MapGrid
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.tasks.joint_flux_scales import JointFluxScales
from casa_ml_tasks.tasks.single_dish_data import DishData
from tests.test_flux_scale import CELL, SIZE, Observatory, log_normal_sky

SIGMA = 0.02  # Jy
MAP_NOISE = 0.003  # Jy/beam
TRUTH = np.array([1, 1.1, 0.95])


class DenseMajorCycle:
    """Two Measurement Sets with matrices in the place of a gridder; the visibilities are its own."""

    def __init__(self, observatory, sky, rng):
        self.matrix = np.concatenate(observatory.operators[:2])
        count = [len(each) for each in observatory.operators[:2]]
        factor = np.repeat(TRUTH[:2], count)
        noise = SIGMA * (rng.normal(size=factor.size) + 1j * rng.normal(size=factor.size))
        uvw = np.zeros((factor.size, 3))
        uvw[:, 0] = np.concatenate(observatory.lengths[:2])
        origin = np.repeat(np.arange(2), count).astype(np.uint16)
        data = (factor * (self.matrix @ sky) + noise).astype(np.complex64)
        weight = np.full(factor.size, SIGMA**-2, np.float32)
        self.read = Visibilities(uvw, data, weight, np.zeros(factor.size, np.int32), origin=origin)
        self.imaged, self.cell, self.sky_shape = self.read, CELL, (1, 1, SIZE, SIZE)
        self.data_sets, self.spans = ["a.12m.ms", "a.7m.ms"], [span_of(each) for each in observatory.lengths[:2]]

    def seen(self, model):
        return model

    def predicted(self, model):
        return self.matrix @ model.ravel()

    def divide(self, factors):
        self.imaged = self.read.over(np.asarray(factors)[self.read.origin])

    def reduced_sets(self, skies, noise_scale, reduce):
        length, predicted = np.hypot(*self.imaged.uvw[:, :2].T), np.stack([self.predicted(sky) for sky in skies])
        sums = []
        for number, name in enumerate(self.data_sets):
            mine = np.flatnonzero(self.imaged.origin == number)
            model, changes = predicted[0, mine], predicted[1:, mine] if len(skies) > 1 else None
            weight = self.imaged.weight[mine] / noise_scale**2
            one = SetOfVisibilities(name, length[mine], self.imaged.visibility[mine], model, weight, changes)
            sums.append(reduce(one, number))
        return sums

    def residual(self, model):
        return self.dirty_of(self.imaged.visibility - self.predicted(model))

    def dirty_of_set(self, number):
        return self.dirty_of(np.where(self.imaged.origin == number, self.imaged.visibility, 0))

    def dirty_of(self, visibilities):
        weight = self.imaged.weight
        return (self.matrix.conj().T @ (weight * visibilities)).real.reshape(1, 1, SIZE, SIZE) / weight.sum()


class DenseMinorCycle:
    """The most probable sky for a Gaussian prior."""

    def __init__(self, prior, major, maps):
        self.prior, self.major, self.maps = prior, major, maps

    def update(self, residual, model, state):
        weight = self.major.imaged.weight
        hessian = self.prior + (self.major.matrix.conj().T @ (weight[:, None] * self.major.matrix)).real
        gradient = weight.sum() * residual.ravel() - self.prior @ model.ravel()
        for each in self.maps:
            likelihood = each.likelihood(np.array([0]), model[:, 0])
            unit = np.eye(model.size, dtype=np.float32).reshape(-1, 1, SIZE, SIZE)
            rows = [np.asarray(likelihood.curvature(image)).ravel() for image in unit]
            hessian = hessian + np.stack(rows)
            gradient = gradient - np.asarray(likelihood.gradient(model[:, 0])).ravel()
        return model + np.linalg.solve(hessian, gradient).reshape(model.shape), MinorState()


def dish_map(sky, rng):
    """A map of the image, with noise whose covariance is the beam."""
    beam, grid = GaussianBeam(*[26.7 * arcsecond / CELL] * 2), MapGrid((SIZE // 2, SIZE // 2), (0.5, 0.5), (2.0, 2.0))
    places = [np.add.outer(grid.positions(axis), -np.arange(SIZE)) for axis in (0, 1)]
    rows, columns = (np.exp(-4 * np.log(2) * (place / beam.major) ** 2) for place in places)
    between = np.subtract.outer(grid.positions(0), grid.positions(0))
    covariance = np.kron(*[np.exp(-4 * np.log(2) * (between / beam.major) ** 2)] * 2)
    values, vectors = np.linalg.eigh(covariance)
    noise = vectors @ (np.sqrt(np.clip(values, 0, None)) * rng.normal(size=values.size))
    pixels = TRUTH[2] * rows @ sky.reshape(SIZE, SIZE) @ columns.T + MAP_NOISE * noise.reshape(grid.shape)
    found = SingleDishMap("a.tp.image", pixels[None], grid, (beam,), np.full((1, 1, 1), MAP_NOISE), 26.7)
    return DishData(found, found.on((SIZE, SIZE)))


@pytest.fixture(scope="module")
def joint():
    rng = np.random.default_rng(12)
    observatory = Observatory.simulated()
    sky = log_normal_sky(rng)
    major = DenseMajorCycle(observatory, sky, rng)
    return JointFluxScales(major, [dish_map(sky, rng)], partial(DenseMinorCycle, observatory.prior, major), 1.0)


def imaged(joint):
    """The most probable sky of the data as they are divided now."""
    empty = np.zeros((1, 1, SIZE, SIZE))
    return joint.minor_cycle(joint.divided_maps).update(joint.major.residual(empty), empty, MinorState())[0]


def test_one_comparison_finds_the_scales_and_leaves_the_data_as_they_are(joint):
    before = joint.major.imaged
    found = joint.compare(imaged(joint))
    print(found.scales)
    assert joint.major.imaged is before
    assert [each.name for each in found.scales] == ["a.12m.ms", "a.7m.ms", "a.tp.image"]
    for each, truth in zip(found.scales[1:], TRUTH[1:], strict=True):
        assert abs(each.factor - truth) < 3 * each.error
        assert each.error < 0.1
    assert found.scales[1].sigma > 3


def test_images_and_flux_scales_in_turn_make_the_data_agree(joint):
    step = FluxScaleStep(joint.names, joint.compare, joint.divide)
    rounds = Alternation([step], Progress(imaged(joint)))
    while not rounds.settled:
        rounds.finish_round(Progress(imaged(joint), stop=StopCode.CONVERGED))
    print(step.scales.scales, len(rounds.rounds))
    assert len(rounds.rounds) <= 3
    for each, truth in zip(step.scales.scales[1:], TRUTH[1:], strict=True):
        assert abs(each.factor - truth) < 3 * each.error
    assert joint.compare(imaged(joint)).settled()
    continued = FluxScaleStep(joint.names, joint.compare, joint.divide, step.as_numbers())
    np.testing.assert_allclose(continued.factors, step.factors)
    np.testing.assert_allclose(joint.factors, step.factors)
    joint.divide(np.ones(3))
