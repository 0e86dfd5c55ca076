"""When a residual is taken for errors of calibration."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors
from casa_ml_tasks.calibration.error_step import residual_over_noise
from casa_ml_tasks.calibration.residual_visibilities import AnnulusSums
from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.engine.alternation import Verdict
from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.solver import Progress, solve
from casa_ml_tasks.kernels.uv_annuli import ANNULI
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.simulation import Source, simulate, with_table
from casa_ml_tasks.tasks import imaging, run
from casa_ml_tasks.tasks.family import Context
from tests.major_cycles import parameters_of

NOISE = np.array([[0.1], [0.3], [np.inf]])
AUTO = {"minorcycle": "rml", "noisescale": "auto", "noisemodel": [], "cell": "0.1arcsec", "gridder": "native"}
AUTO |= {"vis": "sky.ms", "imagename": "sky", "imsize": 40, "outlierfile": "far.txt"}
EMPTY = Progress(np.zeros((3, 1, 40, 50), np.float32))


def residual(louder):
    planes = np.random.default_rng(0).normal(size=(3, 1, 40, 50)) * louder * np.array([0.1, 0.3, 0]).reshape(3, 1, 1, 1)
    planes[0, 0, 3, 4] = 1e3
    planes[..., :10] = 0
    return planes


class Residual:
    """CASA's imager, of which nothing but the residual image is known; without a minor cycle to change it."""

    shape = (3, 1, 40, 50)
    visibilities = None

    def __init__(self, louder):
        self.louder = louder

    def noise(self):
        return NOISE

    thermal_noise = noise

    def residual(self, model):
        return residual(self.louder)


def steps_of(major, data, start=EMPTY, **changes):
    """The data steps of several fields, whose visibilities are not compared with the model."""
    request = Request.from_parameters(**AUTO | changes)
    context = Context(data, workspace=None, checkpoint=None, interrupted=start)
    return imaging.begin_data_steps(major, imaging.ImagingCall((request,), None), context)


@pytest.mark.parametrize("louder", [0.7, 1.0, 2.5])
def test_images_are_compared_with_the_noise_of_their_channel(louder):
    assert residual_over_noise(None, residual(louder), NOISE) == pytest.approx(louder, rel=0.05)


def test_visibilities_are_compared_bin_by_bin():
    rng = np.random.default_rng(1)
    noise = 3 * (rng.normal(size=20000) + 1j * rng.normal(size=20000))
    noise[:500] *= 100  # the shortest baselines see what no image holds
    annulus = np.linspace(0, ANNULI - 1, noise.size).astype(np.uint16)
    sums = AnnulusSums.none(1e6).plus(annulus, noise, np.zeros_like(noise), np.full(noise.size, 4.0))
    assert residual_over_noise(sums.statistics(noise_scale=2.0), None, NOISE) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "stop", "rounds", "may"),
    [
        ({}, StopCode.CONVERGED, 1, True),
        ({"noisescale": "1.0"}, StopCode.CONVERGED, 1, False),
        ({"minorcycle": "clean"}, StopCode.CONVERGED, 1, False),
        ({"noisemodel": ["spw"]}, StopCode.CONVERGED, 1, False),
        ({"likelihood": "studentt"}, StopCode.CONVERGED, 1, False),
        ({}, StopCode.ITERATION_LIMIT, 1, False),
        ({}, StopCode.DIVERGED, 1, True),  # it may have followed the errors
        ({}, StopCode.INTERRUPTED, 1, True),
        ({}, StopCode.CONVERGED, 4, False),
    ],
)
def test_only_a_finished_image_tells_errors_of_calibration(survey_of_ms, changes, stop, rounds, may):
    errors = steps_of(Residual(2.5), survey_of_ms, **changes).errors
    scale = survey_of_ms.noise_scale
    images = [replace(EMPTY, residual=scale * residual(2.5**each), stop=stop) for each in range(1, rounds + 1)]
    assert [errors.fit(image) for image in images][-1] is (Verdict.CHANGED if may else Verdict.SETTLED)


@pytest.mark.parametrize(("louder", "factor"), [(1.0, 1.0), (2.5, 2.5)])
def test_a_residual_image_above_its_noise_raises_the_noise_and_not_its_thermal_part(survey_of_ms, louder, factor):
    major = Residual(louder)
    still = SimpleNamespace(update=lambda residual, model, state: (model, replace(state, converged=True)))
    steps = steps_of(major, survey_of_ms)
    progress = solve(major, still, ExitCriteria(), steps.start, SimpleNamespace(save=lambda progress: None))
    assert (steps.errors.fit(progress) is Verdict.CHANGED) == (factor > 1)
    scale = survey_of_ms.noise_scale
    np.testing.assert_allclose(steps.errors.noise, NOISE * scale * factor, rtol=0.05)
    np.testing.assert_allclose(steps.errors.image_noise.thermal, NOISE * scale)
    assert steps.errors.errors.factor == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_a_killed_run_goes_on_with_the_errors_of_calibration_that_it_has_found(survey_of_ms, factor):
    found = {"calibration_errors": CalibrationErrors.of_image(factor).as_numbers()}
    steps = steps_of(Residual(1.0), survey_of_ms, replace(EMPTY, calibration=found))
    np.testing.assert_allclose(steps.errors.noise, NOISE * survey_of_ms.noise_scale * factor)


class Beside(Residual):
    """A native major cycle, of which the residual in the field and that beside it are known, in its noise."""

    def __init__(self, inside, beside):
        super().__init__(inside)
        self.beside, self.visibilities = beside, self

    def noise_beside(self, model, left_out):
        return self.beside * NOISE


@pytest.mark.parametrize(
    ("inside", "beside", "changes", "cycles", "may"),
    [
        (10.0, 9.0, {}, 1, True),
        (10.0, 4.0, {}, 1, False),  # the image lacks something as yet
        (1.7, 1.7, {}, 1, False),  # the end of the round will tell
        (10.0, 9.0, {"noisescale": "1.0"}, 1, False),
        (10.0, 9.0, {}, 2, False),
    ],
)
def test_the_first_minor_cycle_is_the_last_one_of_a_round_with_errors_far_above_the_noise(
    survey_of_ms, inside, beside, changes, cycles, may
):
    scale = survey_of_ms.noise_scale if "noisescale" not in changes else 1.0
    errors = steps_of(Beside(inside, beside * scale), survey_of_ms, **changes).errors
    planes = (
        scale
        * inside
        * np.random.default_rng(0).normal(size=(3, 1, 40, 50))
        * np.nan_to_num(NOISE, posinf=0)[..., None, None]
    )
    assert errors.interrupts(replace(EMPTY, residual=planes, records=(None,) * (1 + cycles))) is may


@pytest.mark.parametrize("may_be_less", [True, False])
def test_a_killed_run_knows_whether_its_errors_are_those_of_an_unfinished_image(survey_of_ms, may_be_less):
    stop = StopCode.INTERRUPTED if may_be_less else StopCode.CONVERGED
    errors = steps_of(Residual(2.5), survey_of_ms).errors
    scale = survey_of_ms.noise_scale
    errors.fit(replace(EMPTY, residual=scale * residual(2.5), stop=stop))
    start = replace(EMPTY, calibration={"calibration_errors": errors.as_numbers()})
    later = steps_of(Residual(1.0), survey_of_ms, start).errors
    verdict = later.fit(replace(EMPTY, residual=scale * residual(1.5), stop=StopCode.CONVERGED))
    assert verdict is (Verdict.CHANGED if may_be_less else Verdict.SETTLED)
    np.testing.assert_allclose(later.noise, NOISE * scale * (1.5 if may_be_less else 2.5), rtol=0.05)


@pytest.fixture(scope="module")
def survey_of_ms(tmp_path_factory):
    observed = simulate(tmp_path_factory.mktemp("survey") / "sky.ms")
    return survey(DataSelection.from_parameters(**parameters_of(observed.path)).selections)


@pytest.fixture(scope="module")
def misjudged(tmp_path_factory):
    """Errors that both hands share and that last: XX - YY and neighbouring integrations see none of them."""
    observed = simulate(tmp_path_factory.mktemp("gains") / "sky.ms", sigma=0.002)
    gains = 1 + 0.1 * np.random.default_rng(2).normal(size=12)

    def misjudge(tb):
        tb.putcol("DATA", tb.getcol("DATA") * gains[tb.getcol("ANTENNA1")] * gains[tb.getcol("ANTENNA2")])

    with_table(observed.path, misjudge)
    return observed


def test_gains_that_differ_from_antenna_to_antenna_are_errors_of_calibration(misjudged, tmp_path):
    imaging = {
        "vis": str(misjudged.path),
        "imsize": 64,
        "cell": "0.15arcsec",
        "datacolumn": "data",
        "gridder": "native",
    }
    result = rmlclean(imagename=str(tmp_path / "sky"), **imaging)
    assert result["noise_scale"] == pytest.approx(1, rel=0.05)  # the simulation's thermal noise is what WEIGHT claims
    assert 0.1 < result["calibration_error"]["fraction"] < 0.3  # 14 % a baseline, shared by all of an antenna
    assert result["image_noise"] > 3 * result["thermal_noise"]
    kept = rmlclean(imagename=str(tmp_path / "kept"), noisescale="1", **imaging)
    assert kept["noise_scale"] == 1
    truth = sum(source.flux for source in misjudged.sources)
    assert abs(result["cycles"][-1]["model_flux"] - truth) < abs(kept["cycles"][-1]["model_flux"] - truth)


def test_a_bright_source_with_errors_of_gain_takes_few_iterations(tmp_path):
    """Gains of 3 % leave some sixty times the thermal noise, to which no number of iterations leads."""
    sky = (Source(3.0, 0.4, -0.3), Source(0.5, -1.5, 1.2))
    observed = simulate(tmp_path / "sky.ms", sigma=0.01, sources=sky)
    gains = 1 + 0.03 * np.random.default_rng(2).normal(size=12)
    gains = gains * np.exp(0.03j * np.random.default_rng(3).normal(size=12))

    def misjudge(tb):
        tb.putcol("DATA", tb.getcol("DATA") * gains[tb.getcol("ANTENNA1")] * gains[tb.getcol("ANTENNA2")].conj())

    with_table(observed.path, misjudge)
    imaging = {"vis": str(observed.path), "imsize": 64, "cell": "0.15arcsec", "datacolumn": "data"}
    result = rmlclean(imagename=str(tmp_path / "sky"), **imaging)
    last = result["cycles"][-1]
    assert result["noise_scale"] == pytest.approx(1, rel=0.05)
    assert last["iterations"] < 600
    assert len(result["cycles"]) <= 12
    assert last["model_flux"] == pytest.approx(3.5, rel=0.15)  # nearly twice that with thermal noise alone
    assert result["image_noise"] > 5 * result["thermal_noise"]
    assert 0.6 < last["rms_residual"] / result["image_noise"] < 1.3


def test_an_inference_begins_with_the_errors_of_calibration_that_a_sketch_has_told(misjudged, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory)
    imaging = {"vis": str(misjudged.path), "imsize": 36, "cell": "0.27arcsec", "datacolumn": "data"}
    result = resolveimage(imagename=str(tmp_path / "sky"), nsamples=8, maxglobal=1, **imaging)
    assert result["noise_scale"] == pytest.approx(1, rel=0.05)
    assert result["image_noise"] > 3 * result["thermal_noise"]
    stages = [step["stage"] for step in result["posterior"]["iterations"]]
    assert stages == sorted(stages, key=["warm", "sample"].index)
