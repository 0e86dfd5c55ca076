"""Programs that JAX compiled are kept, but not for ever."""

import jax
import jax.numpy as jnp

from casa_ml_tasks.tasks import compiled_programs


def test_programs_are_forgotten_once_they_are_many(monkeypatch):
    @jax.jit
    def double(numbers):
        traced.append(numbers.shape)
        return 2 * numbers

    def doubled():
        return double(jnp.ones(3)).tolist()

    traced = []
    assert doubled() == [2, 2, 2]
    compiled_programs.forget_if_many()
    assert doubled() == [2, 2, 2]
    assert len(traced) == 1
    monkeypatch.setattr(compiled_programs, "MOST_PROGRAMS", 0)
    compiled_programs.forget_if_many()
    assert doubled() == [2, 2, 2]
    assert len(traced) == 2
