"""Whether a minor cycle keeps to the schema that it declares: for tests."""


def has_the_arrays_of(schema, state):
    """Whether the schema has every array of the state, with as many axes."""
    named = set(state.latent) <= set(schema.arrays)
    return named and all(array.ndim == len(schema.arrays[name]) for name, array in state.latent.items())
