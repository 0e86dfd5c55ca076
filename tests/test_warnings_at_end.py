"""What a finished image tells of the calibration, of its flux and of its end."""

from dataclasses import replace

import numpy as np
import pytest

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors
from casa_ml_tasks.calibration.residual_visibilities import AnnulusSums
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.solver import CycleRecord, Progress
from casa_ml_tasks.kernels.uv_annuli import ANNULI
from casa_ml_tasks.tasks.ending import Ending, excess_of
from casa_ml_tasks.tasks.warnings_at_end import (
    warn_of_calibration,
    warn_of_end,
    warn_of_negative_sky,
    warn_of_wide_emission,
)
from casa_ml_tasks.tasks.wide_emission import largest_scale, share_of_wide_emission

SHAPE = (1, 1, 64, 80)
NOISE = np.array([[0.01]])


def ending(residual_rms=1.0, pixel=0.0, flux=1.0, dirty=1.0, beside=1.0, stop=StopCode.CONVERGED, **changes):
    """Of a residual of noise (in units of it), with one pixel that stands out."""
    residual = 0.01 * residual_rms * np.random.default_rng(1).normal(size=SHAPE)
    residual[0, 0, 30, 30] += 0.01 * pixel
    record = CycleRecord(1, 9, [[0.0]], 0.1, 0.01, flux, 0.0, 1.0)
    progress = Progress(
        np.full(SHAPE, flux / np.prod(SHAPE)), residual, np.full(SHAPE, dirty), stop=stop, records=(record,)
    )
    plain = Ending(
        progress, NOISE, NOISE, CalibrationErrors.none(), beside * NOISE, None, np.ones(SHAPE), np.array([4.0])
    )
    return replace(plain, **changes)


def statistics(amplitude, modelled=None):
    """Of data of this amplitude on all baselines and noise of 0.1 Jy, and of a model, by default of the same."""
    rng = np.random.default_rng(2)
    noise = 0.1 * (rng.normal(size=20_000) + 1j * rng.normal(size=20_000))
    annulus = rng.integers(ANNULI // 2, ANNULI, noise.size).astype(np.uint16)
    model = np.full(noise.size, amplitude if modelled is None else modelled, complex)
    return AnnulusSums.none(1e6).plus(annulus, amplitude + noise, model, np.full(noise.size, 100.0)).statistics(1.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"residual_rms": 1.2}, None),
        ({"residual_rms": 1.5}, "1.5 times the thermal noise in the image"),
        ({"pixel": 20.0}, "(peak 2"),
        ({"beside": 2.0}, "2 times beside the image"),
        ({"beside": None}, None),
        ({"residual_rms": 9.0, "stop": StopCode.ITERATION_LIMIT}, None),
        ({"residual_rms": 9.0, "stop": StopCode.MAJOR_LIMIT}, None),
    ],
)
def test_a_residual_above_the_thermal_noise_is_named_with_self_calibration(casa_log, changes, says):
    beside = {"beside": None} if changes.get("beside", 0) is None else {}
    end = ending(**{name: value for name, value in changes.items() if value is not None})
    warn_of_calibration(replace(end, **beside))
    assert ("consider self-calibration" in casa_log()) == (says is not None)
    assert says is None or says in casa_log()


@pytest.mark.parametrize(
    ("loud", "beside", "says"),
    [(1, 1.0, True), (2, 1.0, True), (4, 1.0, False), (1, 2.0, False), (0, 1.0, False)],
)
def test_a_residual_on_the_shortest_baselines_alone_is_extended_flux_that_lacks(casa_log, loud, beside, says):
    quiet = statistics(1.0)
    chi2 = np.ones(quiet.count.size)
    chi2[:loud] = 2.0
    end = ending(residual_rms=1.5, beside=beside, visibilities=replace(quiet, reduced_chi2=chi2))
    warn_of_calibration(end)
    assert ("lacks extended flux" in casa_log()) == says
    assert ("consider self-calibration" in casa_log()) != says


def test_thermal_noise_and_not_the_noise_with_errors_of_calibration_is_the_measure(casa_log):
    errors = CalibrationErrors.of_image(3.0)
    warn_of_calibration(ending(residual_rms=3.0, noise=3 * NOISE, calibration=errors))
    assert "Error bars include it" in casa_log()


def test_a_plane_without_data_has_no_excess():
    assert excess_of(ending(thermal=np.array([[np.inf]]))) is None


@pytest.mark.parametrize(("modelled", "says"), [(1.2, False), (2.0, True)])
def test_a_model_far_above_the_data_on_the_shortest_baselines_is_named(casa_log, modelled, says):
    warn_of_calibration(ending(visibilities=statistics(1.0, modelled)))
    assert ("the shortest baselines" in casa_log()) == says


def test_sources_that_cancel_on_the_shortest_baselines_are_no_error(casa_log):
    """A field of many has more flux than any baseline measures."""
    warn_of_calibration(ending(flux=5.0, visibilities=statistics(1.0)))
    assert "the shortest baselines" not in casa_log()


def test_a_hole_that_errors_of_calibration_explain_is_no_negative_sky(casa_log):
    errors = CalibrationErrors(np.array([1e3, 1e5]), np.array([0.3, 0.3]), np.array([1.0, 1.0]))
    positive = np.array([True])
    warn_of_negative_sky(ending(pixel=-12.0, calibration=errors), positive, "positivity=False")
    assert "below zero" not in casa_log()
    warn_of_negative_sky(ending(pixel=-30.0, calibration=errors), positive, "positivity=False")
    assert "below zero at pixel [30, 30]" in casa_log()


@pytest.mark.parametrize(
    ("stop", "nmajor", "says"),
    [
        (StopCode.DIVERGED, -1, "the products hold the best model"),
        (StopCode.MAJOR_LIMIT, -1, "set nmajor to allow more"),
        (StopCode.MAJOR_LIMIT, 3, None),
        (StopCode.CONVERGED, -1, None),
    ],
)
def test_an_end_that_nobody_asked_for_is_named(casa_log, stop, nmajor, says):
    warn_of_end(ending(stop=stop).progress, nmajor)
    assert casa_log().count("WARN") == (says is not None)
    assert says is None or says in casa_log()


@pytest.mark.parametrize(("width", "share"), [(10, 1.0), (25, 0.0)])
def test_wide_emission_is_what_a_disk_fits_into(width, share):
    y, x = np.mgrid[:96, :100] - 50
    disk = (np.hypot(y, x) <= 9).astype(float)
    assert share_of_wide_emission(disk, width) == pytest.approx(share, abs=0.1)


def test_point_sources_are_never_wide():
    points = np.zeros((90, 90))
    points[::7, ::5] = 1.0
    assert share_of_wide_emission(points, 30) == 0


def test_a_coarse_look_at_wide_emission_sees_the_same():
    y, x = np.mgrid[:300, :300] - 150
    disk = (np.hypot(y, x) <= 90).astype(float)
    assert share_of_wide_emission(disk, 100) > 0.8
    assert share_of_wide_emission(disk, 220) == 0


def test_flux_beyond_the_largest_scale_has_a_caveat(casa_log):
    seen = statistics(1.0)
    scale = np.degrees(largest_scale(seen)) * 3600
    warn_of_wide_emission(ending(visibilities=seen), cell=scale / 10)
    assert "the largest scale that the baselines measure" in casa_log()


def test_flux_within_the_largest_scale_has_none(casa_log):
    seen = statistics(1.0)
    scale = np.degrees(largest_scale(seen)) * 3600
    warn_of_wide_emission(ending(visibilities=seen), cell=scale / 200)
    assert "largest scale" not in casa_log()
