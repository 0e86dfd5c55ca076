"""Voltage patterns against the `.pb` images that tclean makes."""

import numpy as np
import pytest
from casatools import image
from scipy.constants import arcsecond, degree, giga

from casa_ml_tasks.kernels.primary_beams import (
    ALMA_7M,
    ALMA_12M,
    ANTENNA_BEAMS,
    VLA,
    AiryBeam,
    VoltagePattern,
    antenna_beam,
)
from tests.empty_observation import observe

PIXELS = 96


def casa_primary_beam(ms: str, imagename: str, cell: float):
    """`.pb` of tclean's standard gridder, the distance of its pixels from the axis in radians, and its frequency."""
    from casatasks import tclean

    tclean(ms, imagename=imagename, imsize=PIXELS, cell=f"{cell}arcsec", niter=0, pblimit=-1e-6, stokes="I")
    ia = image()
    try:
        ia.open(imagename + ".pb")
        beam = ia.getchunk().squeeze()
        frequency = ia.coordsys().referencevalue()["numeric"][-1]
    finally:
        ia.done()
    offset = (np.arange(PIXELS) - PIXELS // 2) * cell * arcsecond
    return beam, np.hypot(offset[:, None], offset), frequency


@pytest.mark.parametrize(
    ("telescope", "dish_diameter", "frequency", "cell"),
    [
        ("ALMA", 12.0, 230e9, 0.5),
        ("ALMA", 7.0, 100e9, 2.0),
        ("VLA", 25.0, 1.4e9, 40.0),
    ],
)
def test_beams_agree_with_tclean(tmp_path, telescope, dish_diameter, frequency, cell):
    """Measured: 2.9e-4 (ALMA 12 m), 3.2e-4 (7 m), 3.1e-4 (VLA), the step of CASA's lookup tables."""
    ms = str(tmp_path / "observed.ms")
    observe(ms, telescope, dish_diameter, frequency)
    casa, angle, frequency = casa_primary_beam(ms, str(tmp_path / "image"), cell)

    ours = antenna_beam(telescope, dish_diameter).power(angle, frequency)

    inner = casa > 0.1
    assert inner.sum() > 200
    assert np.abs(ours - casa)[inner].max() < 1e-3
    assert np.count_nonzero((ours > 0) != (casa > 0)) < 0.01 * casa.size


@pytest.mark.parametrize("beam", ANTENNA_BEAMS.values())
def test_every_beam_is_a_voltage_pattern_and_power_is_its_square(beam):
    frequency = 1.4e9
    angle = np.linspace(0, 0.5 * degree * giga / frequency, 101)

    assert isinstance(beam, VoltagePattern)
    assert beam.voltage(0.0, frequency) == 1
    np.testing.assert_allclose(beam.power(angle, frequency), beam.voltage(angle, frequency) ** 2)
    np.testing.assert_allclose(beam.power(angle / 2, 2 * frequency), beam.power(angle, frequency))


def test_an_unblocked_aperture_has_its_first_null_at_1_22_wavelengths_a_diameter():
    wavelength = 299792458.0 / 230e9
    assert AiryBeam(diameter=12.0).voltage(1.2196699 * wavelength / 12.0, 230e9) == pytest.approx(0, abs=1e-7)


def test_power_ends_at_the_cutoff_and_voltage_goes_on():
    angle = 1.01 * ALMA_12M.cutoff / 230e9
    assert ALMA_12M.power(angle, 230e9) == 0
    assert ALMA_12M.voltage(angle, 230e9) == pytest.approx(0.07, abs=0.02)


def test_antennas_are_found_by_telescope_and_diameter():
    assert antenna_beam("alma", 12.0) is ALMA_12M
    assert antenna_beam("ALMA", 7.0) is ALMA_7M
    assert antenna_beam("VLA", 25.0) is VLA


@pytest.mark.parametrize(("telescope", "dish_diameter"), [("ALMA", 25.0), ("EVLA", 25.0), ("VLA", np.nan)])
def test_an_antenna_without_model_is_named(telescope, dish_diameter):
    with pytest.raises(ValueError, match=rf"telescope='{telescope}' with dish_diameter={dish_diameter} m"):
        antenna_beam(telescope, dish_diameter)
