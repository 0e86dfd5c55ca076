"""Chains, their convergence and the leapfrog, on distributions that are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size

from casa_ml_tasks.sampling.chains import STRAGGLING, Chain, Transition, replace_stragglers, run_chain, stragglers
from casa_ml_tasks.sampling.convergence import error_of_mean
from casa_ml_tasks.sampling.leapfrog import Dynamics, trajectory, unit_curvature
from casa_ml_tasks.sampling.step_size import LENGTH, MOST_LEAPS, WANTED, better_step, enough_leaps


def test_the_error_of_the_mean_is_that_of_independent_chains():
    rng = np.random.default_rng(3)
    independent = error_of_mean(rng.normal(size=(12, 4, 1000, 1, 1)))
    assert independent == pytest.approx(1 / np.sqrt(24), rel=0.1)  # whose halves might depend on each other
    apart = rng.normal(size=(12, 4, 50, 50)) + 3 * rng.normal(size=(4, 50, 50))
    assert error_of_mean(apart) == pytest.approx(0.5, rel=0.1)  # four values of what is wanted
    moving = rng.normal(size=(12, 4, 50, 50)) + np.linspace(-3, 3, 12)[:, None, None, None]
    assert error_of_mean(moving) > 0.4
    assert error_of_mean(np.ones((12, 4, 5, 5))) == np.inf


@pytest.mark.parametrize("shape", [(32, 32), (27, 36)])
def test_the_error_of_the_mean_is_that_of_the_flux_where_it_is_larger(shape):
    rng = np.random.default_rng(4)
    pixels = rng.normal(size=(24, 4, *shape))
    fluxes_apart = np.array([-6.0, -2.0, 2.0, 6.0])[:, None, None] / np.sqrt(np.prod(shape))
    assert error_of_mean(pixels) < 0.3 < 0.45 < error_of_mean(pixels + fluxes_apart) < 0.55


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_error_of_the_mean_is_that_of_numpyros_effective_sample_size(correlation):
    """Of long chains; those of halves of chains do not count as so many, which is where the 2 comes from."""
    rng, length = np.random.default_rng(5), 600
    noise = rng.normal(size=(length, 4, 300))
    chains = [noise[0]]
    for each in noise[1:]:
        chains.append(correlation * chains[-1] + np.sqrt(1 - correlation**2) * each)
    samples = np.array(chains)
    effective = effective_sample_size(np.swapaxes(samples, 0, 1))
    expected = np.sqrt(np.mean(2 / effective))
    assert error_of_mean(samples[..., None, None]) == pytest.approx(expected, rel=0.1)


@pytest.mark.usefixtures("double_precision")
def test_chains_of_trajectories_sample_a_gaussian():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(3, 3))
    precision = root @ root.T + np.eye(3)
    scale = unit_curvature(precision, np.eye(3))
    slope = jax.grad(energy := lambda at: 0.5 * at @ jnp.asarray(precision) @ at)
    dynamics = Dynamics(energy, lambda at: scale.T @ slope(at), lambda momentum: momentum, lambda along: scale @ along)
    move = jax.jit(partial(trajectory, dynamics))

    def transition(at, step):
        leaps = enough_leaps(step)
        moved = move(at, rng.normal(size=3), step, leaps, rng.uniform(size=2))
        return Transition(moved.position, float(moved.energy), float(moved.probability), leaps)

    warm = run_chain(jnp.full(3, 5.0), transition, 50, 0.3, adapts=True)
    chain = run_chain(warm.states[-1], transition, 1500, warm.typical_step(), adapts=False)
    samples = np.array(chain.states)
    assert 0.5 < np.mean(chain.probabilities) <= 1
    assert chain.leaps == 1500 * enough_leaps(warm.typical_step())
    effective = effective_sample_size(samples[None])
    deviation = np.sqrt(np.diag(np.linalg.inv(precision)))
    assert (np.abs(samples.mean(axis=0)) < 4 * deviation / np.sqrt(effective)).all()
    np.testing.assert_allclose(np.cov(samples.T) * precision, np.linalg.inv(precision) * precision, atol=0.15)


def test_the_step_follows_how_often_trajectories_are_accepted():
    assert better_step(0.02, 1.0) > 0.02 > better_step(0.02, 0.3)
    assert better_step(0.02, WANTED) == pytest.approx(0.02)


def test_trajectories_are_of_one_length_but_not_endless():
    assert enough_leaps(0.1) * 0.1 == pytest.approx(LENGTH)
    assert enough_leaps(1e-6) == MOST_LEAPS


def test_a_chain_whose_energy_is_far_above_the_others_is_replaced_by_the_best():
    at = np.zeros((1, 8, 9))
    limit = STRAGGLING * np.sqrt(8 * 9 / 2)
    energies = 40.0, 39.0, 39.0 + 1.01 * limit, 39.0 + 0.99 * limit
    chains = [Chain([at], each, [1.0], [0.1], 3) for each in energies]
    assert stragglers(chains, at.size).tolist() == [False, False, True, False]
    assert [each.energy for each in replace_stragglers(chains, at.size)] == [40.0, 39.0, 39.0, energies[-1]]


@pytest.mark.parametrize("size", [1, 4, 7])
def test_curvatures_are_one_in_their_own_units(size):
    rng = np.random.default_rng(3)
    one, other, third = rng.normal(size=(3, size, size))
    prior, curvature = one @ one.T + np.eye(size), 10 * other @ other.T
    scale = unit_curvature(curvature, prior)
    np.testing.assert_allclose(scale.T @ (prior + curvature) @ scale, np.eye(size), atol=1e-9)
    scale = unit_curvature(-third @ third.T, prior)
    np.testing.assert_allclose(scale.T @ prior @ scale, np.eye(size), atol=1e-9)
