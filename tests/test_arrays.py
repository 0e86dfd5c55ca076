"""Measurement Sets that are one array."""

import numpy as np

from casa_ml_tasks.calibration.arrays import Coverage, arrays_of

HALF_POWER = 1e-4


def coverage(name, *pointings, dishes=("7 m",), longest=30e3):
    """Pointings in units of the radius of half power."""
    return Coverage(name, frozenset(dishes), HALF_POWER * np.array(pointings, float), HALF_POWER, longest)


def test_a_measurement_set_for_each_pointing_is_one_data_set():
    sets = [coverage(f"{k}.ms", (k, 0), longest=30e3 - 500 * k) for k in range(5)]
    assert arrays_of(sets) == {f"{k}.ms": "0.ms and 4 more" for k in range(5)}


def test_executions_of_one_mosaic_and_other_arrays_are_data_sets_of_their_own():
    mosaic = ((0, 0), (1, 0))
    sets = [
        coverage("first.ms", *mosaic),
        coverage("again.ms", *(each + np.array(0.1) for each in map(np.array, mosaic))),
        coverage("12m.ms", (5, 0), dishes=["12 m"]),
        coverage("mixed.ms", (5, 0), dishes=["12 m", "7 m"]),
        coverage("longer.ms", (5, 0), longest=70e3),
    ]
    assert arrays_of(sets) == {each.name: each.name for each in sets}


def test_each_configuration_has_its_pointings_together():
    sets = [coverage(f"{name}{k}.ms", (k, 0)) for k in range(3) for name in "ab"]
    found = arrays_of(sets)
    assert {found[f"a{k}.ms"] for k in range(3)} == {"a0.ms and 2 more"}
    assert {found[f"b{k}.ms"] for k in range(3)} == {"b0.ms and 2 more"}
