"""Numbers for readers: prefixes, units that fit, and as many digits as the error leaves meaning."""

import math

import pytest
from casatools import quanta

from casa_ml_tasks.quantities import angle, angular_unit, casa_angle, measurement, quantity, with_error


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "12.3 mJy"), (-2.5e-6, "-2.5 µJy"), (0.99996, "1 Jy"), (0.0, "0 Jy"), (1234.0, "1.23 kJy")],
)
def test_quantities_are_written_with_three_digits_and_a_prefix(value, text):
    assert quantity(value, "Jy") == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.2342187, 0.0123, "0.234 ± 0.012"),
        (1.0, 0.002538, "1.0000 ± 0.0025"),
        (804.12345, 9.96, "804 ± 10"),
        (2342.0, 123.0, "2340 ± 120"),
        (1.0, math.inf, "1 ± inf"),
        (1.0, 0.0, "1 ± 0"),
    ],
)
def test_a_value_has_the_digits_that_its_error_to_two_digits_leaves_it(value, error, text):
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.2342187, 0.0123, "234 ± 12 mJy"),
        (1.505, 0.0042, "1.5050 ± 0.0042 Jy"),
        (3e-7, 2.1e-5, "0 ± 21 µJy"),
        (12e-6, 21e-6, "12 ± 21 µJy"),
    ],
)
def test_a_measurement_has_one_prefix_for_value_and_error(value, error, text):
    assert measurement(value, error, "Jy") == text


@pytest.mark.parametrize(
    ("arcsec", "text"),
    [(4.2e-5, "42 µas"), (3e-4, "300 µas"), (0.0213, "21 mas"), (0.8, "0.8 arcsec"), (64.0, "64 arcsec"),
     (1800.0, "30 arcmin"), (36000.0, "10 deg"), (-0.002, "-2 mas")],
)  # fmt: skip
def test_an_angle_is_given_in_the_unit_that_fits(arcsec, text):
    assert angle(arcsec) == text


@pytest.mark.parametrize(
    ("half_field", "unit"), [(128e-6, "µas"), (0.026, "mas"), (0.5, "arcsec"), (250, "arcsec"), (1920, "arcmin")]
)
def test_the_unit_of_an_image_is_that_of_half_its_field(half_field, unit):
    assert angular_unit(half_field)[1] == unit


@pytest.mark.parametrize(
    ("arcsec", "text"), [(2e-6, "2uarcsec"), (1e-4, "0.1marcsec"), (0.069, "0.069arcsec"), (15.0, "15arcsec")]
)
def test_casa_reads_the_angles_that_are_recommended(arcsec, text):
    assert casa_angle(arcsec) == text
    assert quanta().convert(text, "arcsec")["value"] == pytest.approx(arcsec)
