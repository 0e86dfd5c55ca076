"""Noise scales, outliers and execution blocks: against analytic truths, and on a Measurement Set spoilt on purpose."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.constants import arcsecond, speed_of_light
from scipy.optimize import minimize

from casa_ml_tasks import rmlclean
from casa_ml_tasks.calibration.block_model import BlockTerms, fit_blocks
from casa_ml_tasks.calibration.data_model_step import DataModelStep
from casa_ml_tasks.calibration.noise_model import FEWEST, fit_noise, student_t_weights
from casa_ml_tasks.data import visibility_store
from casa_ml_tasks.data.casa_image import read_beam, read_image
from casa_ml_tasks.data.measurement_set import Selection
from casa_ml_tasks.data.visibility_store import ImageFrame, Origins, read
from casa_ml_tasks.engine.alternation import Alternation, Verdict
from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.solver import CycleRecord, Progress
from casa_ml_tasks.kernels.visibilities import Origin
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation, Trial
from casa_ml_tasks.request.noise import Freedom
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.simulation import direct_sum, with_table
from casa_ml_tasks.tasks import regulariser_strengths
from tests.major_cycles import opener, parameters_of

IMSIZE, CELL = 80, 0.12
OFFSET = np.array([0.3, -0.2])  # arcsec East and North: a third of the beam
AMPLITUDE = 1.1
FREE = {
    "likelihood": "studentt",
    "noisemodel": ["spw", "uvdist"],
    "blockmodel": ["amplitude", "position"],
}


def complex_noise(rng, shape):
    """Of unit variance in the real and in the imaginary part."""
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


# Noise


def test_noise_scales_of_groups_are_found_beneath_outliers():
    rng = np.random.default_rng(1)
    truth, group = np.array([0.5, 1.0, 4.0]), rng.integers(0, 3, 60_000)
    residual = truth[group] * complex_noise(rng, group.size)
    residual[::100] += 50 * truth[group[::100]]
    factors = fit_noise(np.abs(residual) ** 2, group, 3)
    np.testing.assert_allclose(factors.group, truth, rtol=0.03)
    assert factors.measured.all()


def test_noise_that_grows_with_baseline_length_is_told_from_that_of_groups():
    rng = np.random.default_rng(2)
    truth, group, uvdist = np.array([1.0, 3.0]), rng.integers(0, 2, 40_000), 10 ** rng.uniform(4, 6, 40_000)
    residual = truth[group] * (uvdist / 1e5) ** 0.3 * complex_noise(rng, group.size)
    factors = fit_noise(np.abs(residual) ** 2, group, 2, uvdist=uvdist)
    assert factors.group[1] / factors.group[0] == pytest.approx(3, rel=0.03)
    lengths = np.array([3e4, 1e5, 3e5])
    expected = truth[0] * (lengths / 1e5) ** 0.3
    np.testing.assert_allclose(factors.of(np.zeros(3, int), lengths), expected, rtol=0.05)
    assert factors.along(np.array([0.0]))[0] == factors.curve[0]


def test_what_cannot_be_measured_stays_as_it_is():
    rng = np.random.default_rng(3)
    group = np.repeat([0, 1, 2], [1000, FEWEST - 1, 1000])
    power = 9 * np.abs(complex_noise(rng, group.size)) ** 2 * (group < 2)
    factors = fit_noise(power, group, 4, uvdist=np.full(group.size, 1e5))
    np.testing.assert_array_equal(factors.measured, [True, False, False, False])
    np.testing.assert_array_equal(factors.group[1:], 1)
    assert factors.uvdist.size == 0


def test_iterated_student_t_weights_lead_to_the_maximum_of_the_likelihood():
    rng = np.random.default_rng(4)
    data = 3 + 2j + complex_noise(rng, 200) / np.sqrt(rng.gamma(2, 1 / 2, 200))

    def minus_log_likelihood(position):
        return 3 * np.log1p(np.abs(data - complex(*position)) ** 2 / 4).sum()

    expected = complex(*minimize(minus_log_likelihood, (0, 0), tol=1e-10).x)
    mean = 0j
    for _ in range(100):
        mean = np.average(data, weights=student_t_weights(np.abs(data - mean) ** 2, 4))
    assert mean == pytest.approx(expected, abs=1e-5)


# Execution blocks


@pytest.fixture
def blocks():
    """A point source of 1 Jy seen in three blocks: data, model, weight, uv, block, and the truth."""
    rng = np.random.default_rng(5)
    count, sigma = 30_000, 0.3
    uv, block = rng.normal(scale=(1e5, 3e5), size=(count, 2)), rng.integers(0, 3, count)
    model = np.exp(2j * np.pi * uv @ (np.array([2.0, 1.0]) * arcsecond))
    amplitude, offset = np.array([1.0, 1.3, 0.7]), np.array([[0, 0], [0.2, -0.1], [-0.1, 0.1]]) * arcsecond
    gain = amplitude[block] * np.exp(2j * np.pi * np.sum(uv * offset[block], axis=1))
    data = gain * model + sigma * complex_noise(rng, count)
    return (data, model, np.full(count, sigma**-2), uv, block), amplitude, offset


def test_amplitudes_and_offsets_are_found_to_the_cramer_rao_bound(blocks):
    arguments, amplitude, offset = blocks
    _, _, weight, uv, block = arguments
    found = fit_blocks(*arguments, BlockTerms.none(3))
    information = np.array([weight[block == b].sum() for b in range(3)])
    share = 1 / (amplitude * np.sqrt(information))
    expected = amplitude * np.hypot(share, share[0])
    np.testing.assert_allclose(found.amplitude_error[1:], expected[1:], rtol=0.02)
    squares = np.array([np.sum((weight[:, None] * uv**2)[block == b], axis=0) for b in range(3)])
    bound = 1 / (2 * np.pi * amplitude[:, None] * np.sqrt(squares))
    np.testing.assert_allclose(found.offset_error[1:], np.hypot(bound, bound[0])[1:], rtol=0.02)
    assert (np.abs(found.amplitude - amplitude) <= 3 * found.amplitude_error).all()
    assert (np.abs(found.offset - offset) <= 3 * found.offset_error).all()


def test_only_what_is_free_is_fitted(blocks):
    arguments, amplitude, offset = blocks
    still = fit_blocks(*arguments, BlockTerms.none(3), position=False)
    level = fit_blocks(*arguments, BlockTerms.none(3), amplitude=False)
    np.testing.assert_array_equal(still.offset, 0)
    assert still.amplitude[1] < amplitude[1]  # decorrelated by the offset that is not fitted
    np.testing.assert_array_equal(level.amplitude, 1)
    np.testing.assert_allclose(level.offset, offset, atol=3 * level.offset_error.max())


def test_a_block_without_the_source_stays_as_it_is_and_is_no_reference(blocks):
    (data, *others), amplitude, offset = blocks
    block = others[-1]
    data[block == 0] = complex_noise(np.random.default_rng(6), np.count_nonzero(block == 0))
    found = fit_blocks(data, *others, BlockTerms.none(4))
    np.testing.assert_array_equal(found.fitted, [False, True, True, False])
    assert found.reference == 1
    assert found.amplitude[[0, 3]].tolist() == [1, 1]
    assert found.amplitude[2] == pytest.approx(amplitude[2] / amplitude[1], abs=4 * found.amplitude_error[2])
    np.testing.assert_allclose(found.offset[2], offset[2] - offset[1], atol=4 * found.offset_error[2].max())


# On a Measurement Set


@pytest.fixture(scope="module")
def spoilt_ms(simulated_ms, tmp_path_factory):
    """Half the rows in an spw of twice the noise that WEIGHT claims, the later half in a block of its own that is
    brighter and elsewhere, and one sample in a hundred off by 50 sigma."""
    path = shutil.copytree(simulated_ms.path, tmp_path_factory.mktemp("spoilt") / "spoilt.ms").as_posix()
    for name in ("DATA_DESCRIPTION", "SPECTRAL_WINDOW", "OBSERVATION"):
        with_table(f"{path}/{name}", lambda tb, name=name: tb.copyrows(f"{path}/{name}", nrow=1))
    with_table(f"{path}/DATA_DESCRIPTION", lambda tb: tb.putcell("SPECTRAL_WINDOW_ID", 1, 1))
    with_table(path, lambda tb: spoil(tb, simulated_ms))
    return path


def spoil(main, simulated):
    rng = np.random.default_rng(7)
    time, uvw = main.getcol("TIME"), main.getcol("UVW")
    spw, late = rng.integers(0, 2, time.size), (time > np.median(time)).astype(int)
    noise = simulated.sigma * np.where(spw, 2, 1) * complex_noise(rng, (2, len(simulated.frequencies), time.size))
    outliers = rng.random(noise.shape[1:]) < 0.01
    noise += 50 * simulated.sigma * outliers * np.exp(2j * np.pi * rng.random(outliers.shape))
    sky = direct_sum(uvw, simulated.frequencies, simulated.sources)
    main.putcol("DATA", np.where(late, AMPLITUDE * turn(uvw, simulated.frequencies), 1) * sky + noise)
    main.putcol("DATA_DESC_ID", spw)
    main.putcol("OBSERVATION_ID", late)


def turn(uvw, frequencies):
    """The factor, (channel, row), that moves a sky by OFFSET."""
    wavelengths = uvw[:2, None] * (frequencies[:, None] / speed_of_light)
    return np.exp(2j * np.pi * np.tensordot(OFFSET * arcsecond, wavelengths, 1))


def image(vis, imagename, **changes):
    arguments = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data", "gridder": "native"} | changes
    return rmlclean(vis=str(vis), imagename=str(imagename), **arguments)


def error_of(imagename, simulated):
    """Relative l2 error of the model at a resolution of 0.2 arcsec (standard deviation)."""
    y, x = np.mgrid[:IMSIZE, :IMSIZE] - IMSIZE // 2
    frequency = np.fft.fftfreq(IMSIZE, CELL)
    smooth = np.exp(-2 * (np.pi * 0.2) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    found = np.fft.ifft2(np.fft.fft2(read_image(f"{imagename}.model")[0, 0]) * smooth).real
    truth = np.zeros(found.shape)
    for source in simulated.sources:
        variance = source.size**2 + 0.2**2
        distance = (-x * CELL - source.east) ** 2 + (y * CELL - source.north) ** 2
        truth += source.flux * CELL**2 / (2 * np.pi * variance) * np.exp(-distance / (2 * variance))
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


@pytest.fixture(scope="module")
def fitted(spoilt_ms, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    with pixels():
        return folder / "sky", image(spoilt_ms, folder / "sky", **FREE)


def test_the_image_is_far_nearer_to_the_truth_than_without(fitted, spoilt_ms, simulated_ms, tmp_path):
    plain = image(spoilt_ms, tmp_path / "plain")
    assert "data_model" not in plain
    error = error_of(fitted[0], simulated_ms)
    assert error < 0.05
    assert error_of(tmp_path / "plain", simulated_ms) > 10 * error


def test_the_dictionary_tells_what_was_put_in(fitted):
    _, result = fitted
    found = result["data_model"]
    noise, blocks = found["noise"], found["blocks"]
    assert [name.split(", ")[1] for name in noise["group"]] == ["spw 0", "spw 1"]
    np.testing.assert_allclose(np.array(noise["scale"]) * np.mean(noise["uvdist_factor"]), [1, 2], rtol=0.08)
    np.testing.assert_allclose(noise["uvdist_factor"], 1, atol=0.08)
    assert [name.split(", ")[1] for name in blocks["block"]] == ["observation 0", "observation 1"]
    assert abs(blocks["amplitude"][1] - AMPLITUDE) < 3 * blocks["amplitude_error"][1] < 0.03
    assert abs(blocks["east"][1] - OFFSET[0]) < 3 * blocks["east_error"][1] < 0.03
    assert abs(blocks["north"][1] - OFFSET[1]) < 3 * blocks["north_error"][1] < 0.03
    expected_outliers = 0.01 * sum(result["residual_statistics"]["visibilities"]["count"])
    assert 0.5 * expected_outliers < found["outliers"] < 2 * expected_outliers
    assert 1 < found["rounds"] < 10
    assert result["stopcode"] == 10


def test_the_report_shows_it(fitted):
    page = Path(fitted[1]["report"])
    assert (page.parent / "noise_scales.png").stat().st_size > 5000
    assert "arcsec East" in page.read_text()
    assert "outliers" in page.read_text()
    assert read_beam(f"{fitted[0]}.image") == read_beam(f"{fitted[0]}.psf")


def test_cycles_of_all_rounds_are_told_as_those_of_one_run(fitted):
    cycles = fitted[1]["cycles"]
    assert [cycle["cycle"] for cycle in cycles] == list(range(len(cycles)))
    assert (np.diff([cycle["iterations"] for cycle in cycles]) >= 0).all()
    assert (np.diff([cycle["seconds"] for cycle in cycles]) >= 0).all()
    assert fitted[1]["iterdone"] == cycles[-1]["iterations"]


def test_a_killed_run_is_taken_up(fitted, spoilt_ms, tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(NativeMajorCycle, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            image(spoilt_ms, tmp_path / "sky", **FREE)
    result = image(spoilt_ms, tmp_path / "sky", **FREE)
    begun, afresh = (each["cycles"][0]["peak_residual"] for each in (result, fitted[1]))
    assert begun < 0.05 * afresh  # with the image that was there
    ours, theirs = (read_image(f"{name}.image") for name in (tmp_path / "sky", fitted[0]))
    assert np.abs(ours - theirs).max() < 0.03 * theirs.max()
    ours, theirs = (read_beam(f"{name}.psf") for name in (tmp_path / "sky", fitted[0]))
    assert (ours.major, ours.minor) == pytest.approx((theirs.major, theirs.minor), rel=0.01)


def test_a_limit_of_iterations_ends_the_rounds_too(spoilt_ms, tmp_path, casa_log):
    result = image(spoilt_ms, tmp_path / "sky", niter=20, **FREE)
    assert result["iterdone"] == 20
    assert result["data_model"]["rounds"] == 0
    assert "the data model is not fitted again: iteration limit" in casa_log()


def test_strengths_are_chosen_in_every_round_from_its_own_data(spoilt_ms, tmp_path, monkeypatch):
    seen = []

    def one_trial(folds, noise, *others):
        seen.append((noise.sigma, sum(fold.weight for fold in folds)))
        return CrossValidation((Trial((1.0, 1.0), np.zeros(len(folds) - 1)),))

    monkeypatch.setattr(regulariser_strengths, "cross_validate", one_trial)
    result = image(spoilt_ms, tmp_path / "sky", regstrength="auto", **FREE)
    assert len(seen) == result["data_model"]["rounds"] > 1
    for sigma, weight in seen:
        assert sigma == pytest.approx(result["noise_scale"] / np.sqrt(weight), rel=1e-3)
    assert seen[-1][0] == pytest.approx(result["image_noise"])


# The major cycle


@pytest.fixture
def open_native(spoilt_ms, tmp_path):
    def parameters(vis=spoilt_ms, **changes):
        return parameters_of(vis, **({"imsize": [IMSIZE], "cell": [f"{CELL}arcsec"], "gridder": "native"} | changes))

    with opener(partial(NativeMajorCycle, origins=True), tmp_path, parameters) as open_one:
        yield open_one


def step_of(major, free):
    """The data step of a major cycle whose WEIGHT claims the noise truly."""
    return DataModelStep(major.visibilities, Freedom.from_parameters(**free), 1.0)


def a_sky(simulated):
    """Pixels of the sources, (1, 1, ny, nx), Jy/pixel."""
    y, x = np.mgrid[:IMSIZE, :IMSIZE] - IMSIZE // 2
    model = np.zeros((1, 1, IMSIZE, IMSIZE), np.float32)
    for source in simulated.sources:
        distance = (-x * CELL - source.east) ** 2 + (y * CELL - source.north) ** 2
        gaussian = np.exp(-distance / (2 * max(source.size, CELL / 2) ** 2))
        model[0, 0] += source.flux * gaussian / gaussian.sum()
    return model


@pytest.mark.parametrize("weighting", [{"weighting": "natural"}, {"weighting": "briggs", "robust": 0.0}], ids=str)
def test_a_refitted_major_cycle_is_that_of_a_corrected_measurement_set(
    open_native, spoilt_ms, simulated_ms, tmp_path, weighting
):
    free = {"noisemodel": ["spw"], "blockmodel": ["amplitude", "position"]}
    major, model = open_native(**free, **weighting), a_sky(simulated_ms)
    step = step_of(major, free)
    assert step.fit_model(model) is Verdict.CHANGED
    factors, terms = step.data_model.noise.group, step.data_model.blocks
    corrected = shutil.copytree(spoilt_ms, tmp_path / "corrected.ms").as_posix()

    def correct(main):
        spw, late, uvw = main.getcol("DATA_DESC_ID"), main.getcol("OBSERVATION_ID"), main.getcol("UVW")
        wavelengths = uvw[:2, None] * (simulated_ms.frequencies[:, None] / speed_of_light)
        phase = np.exp(-2j * np.pi * np.tensordot(terms.offset[1], wavelengths, 1))
        amplitude = terms.amplitude[late]
        main.putcol("DATA", main.getcol("DATA") / amplitude * np.where(late, phase, 1))
        main.putcol("WEIGHT", main.getcol("WEIGHT") * (amplitude / factors[spw]) ** 2)

    with_table(corrected, correct)
    expected = open_native(corrected, **weighting)
    assert major.noise() == pytest.approx(expected.noise(), rel=1e-3)
    np.testing.assert_allclose(major.psf(), expected.psf(), atol=1e-3)
    ours, theirs = (each.residual(np.zeros_like(model)) for each in (major, expected))
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())
    for extension in ("psf", "sumwt"):
        ours, theirs = (read_image(each.product(extension)) for each in (major, expected))
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * theirs.max())
    ours, theirs = (read_beam(each.product("psf")) for each in (major, expected))
    assert (ours.major, ours.minor) == pytest.approx((theirs.major, theirs.minor), rel=1e-3)


def test_it_settles(open_native, simulated_ms):
    step, model = step_of(open_native(**FREE), FREE), a_sky(simulated_ms)
    assert step.fit_model(model) is Verdict.CHANGED
    assert any(step.fit_model(model) is Verdict.SETTLED for _ in range(5))


def test_a_store_in_files_and_in_parts_gives_the_same_fit(open_native, simulated_ms, monkeypatch):
    in_memory, model = open_native(**FREE), a_sky(simulated_ms)
    of_memory = step_of(in_memory, FREE)
    of_memory.fit_model(model)
    monkeypatch.setattr(visibility_store, "SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr(visibility_store, "CHUNK", 500)
    in_files = open_native(**FREE)
    of_files = step_of(in_files, FREE)
    of_files.fit_model(model)
    assert (in_files.imagename.parent / "visibilities" / "origin").stat().st_size > 0
    for ours, theirs in zip(
        of_files.data_model.as_lists(1.0)["noise"]["scale"],
        of_memory.data_model.as_lists(1.0)["noise"]["scale"],
        strict=True,
    ):
        assert ours == pytest.approx(theirs, rel=1e-3)
    np.testing.assert_allclose(of_files.data_model.blocks.offset, of_memory.data_model.blocks.offset, rtol=1e-3)
    dirty = in_memory.residual(np.zeros_like(model))
    np.testing.assert_allclose(in_files.residual(np.zeros_like(model)), dirty, atol=1e-4 * dirty.max())


def test_garbage_gets_no_weight(open_native, spoilt_ms, simulated_ms, tmp_path):
    garbage = shutil.copytree(spoilt_ms, tmp_path / "garbage.ms").as_posix()

    def throw_in(main):
        data = main.getcol("DATA")
        data[:, :, 5] = 1e25
        main.putcol("DATA", data)

    with_table(garbage, throw_in)
    major = open_native(garbage, likelihood="studentt")
    model = a_sky(simulated_ms)
    assert step_of(major, {"likelihood": "studentt"}).fit_model(model) is Verdict.CHANGED
    assert np.isfinite(major.noise()).all()
    assert np.abs(major.residual(model)).max() < 0.1


def test_noise_by_measurement_set_and_blocks_that_cannot_be_fitted(open_native, spoilt_ms):
    free, empty = {"noisemodel": ["ms"], "blockmodel": ["amplitude"]}, np.zeros((1, 1, IMSIZE, IMSIZE))
    step = step_of(open_native(spoilt_ms, **free), free)
    step.fit_model(empty)
    assert list(step.data_model.noise_groups.names) == [spoilt_ms]
    assert [sentence.split(": ")[1][:22] for sentence in step.data_model.failures()] == ["the model is too faint"] * 2
    free = {"blockmodel": ["amplitude"]}
    alone = step_of(open_native(spoilt_ms, observation="0", **free), free)
    alone.fit_model(empty)
    assert "the only execution block" in alone.data_model.failures()[0]


# What is read, and the rounds


def test_every_visibility_knows_where_it_comes_from(spoilt_ms):
    origins = Origins()
    found = read([Selection(spoilt_ms)], ImageFrame((4.3, -0.4), "J2000"), Path(), origins=origins)
    names = ("DATA_DESC_ID", "OBSERVATION_ID")
    spw, observation = with_table(spoilt_ms, lambda tb: [tb.getcol(name) for name in names])
    assert len(origins.known) == 4
    for number, origin in enumerate(origins.known):
        assert origin == Origin(spoilt_ms, origin.spw, origin.observation)
        rows = np.count_nonzero((spw == origin.spw) & (observation == origin.observation))
        assert np.count_nonzero(found.origin == number) == 2 * rows


def test_files_that_a_killed_run_left_are_not_read_again(spoilt_ms, tmp_path, monkeypatch):
    monkeypatch.setattr(visibility_store, "SHARE_OF_MEMORY", 0.0)
    frame = ImageFrame((4.3, -0.4), "J2000")
    sizes = [read([Selection(spoilt_ms)], frame, tmp_path / "visibilities").size for _ in range(2)]
    assert sizes[0] == sizes[1] > 0


def test_averages_have_no_origin(spoilt_ms):
    with pytest.raises(ValueError, match="averages visibilities of several origins"):
        read([Selection(spoilt_ms)], ImageFrame((4.3, -0.4), "J2000"), Path(), smearing=0.01, origins=Origins())


def criteria_after(done, criteria):
    """The criteria of the round after those that are done."""
    rounds = Alternation([], Progress(np.zeros((1, 1, 8, 8))))
    for each in done:
        rounds.finish_round(each)
    return rounds.criteria_of_round(criteria)


def test_nmajor_counts_the_cycles_of_all_rounds():
    record = CycleRecord(0, 0, [[0.0]], 1.0, 1.0, 1.0, 0.0, 1.0)
    done = [Progress(np.zeros((1, 1, 8, 8)), records=(record,) * 3)]
    assert criteria_after(done, ExitCriteria(nmajor=5)).nmajor == 2
    assert criteria_after(done, ExitCriteria(nmajor=2)).nmajor == 0
    assert criteria_after(done, ExitCriteria()).nmajor == -1
    assert criteria_after([], ExitCriteria(nmajor=5)) == ExitCriteria(nmajor=5)


def test_a_residual_that_grows_with_the_noise_scale_is_no_divergence():
    first, later = ExitCriteria(), criteria_after([Progress(np.zeros((1, 1, 8, 8)))], ExitCriteria())
    quiet, loud, louder = (CycleRecord(0, 0, [[0.0]], peak, 1.0, 1.0, 0.0, 1.0) for peak in (1.0, 4.0, 16.0))
    assert first.stop(1, 1, [quiet, loud]) is StopCode.DIVERGED
    assert later.stop(1, 1, [quiet, loud]) is StopCode.NONE
    assert later.stop(1, 1, [quiet, loud, louder]) is StopCode.DIVERGED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noisemodel": ["antenna"]}, r"noisemodel=\['antenna'\] is unknown; use any of ms, spw, uvdist"),
        ({"blockmodel": ["phase"]}, r"blockmodel=\['phase'\] is unknown; use any of amplitude, position"),
        (
            {"likelihood": "studentt", "gridder": "standard", "imager": "casa"},
            "likelihood='studentt' needs gridder='native'",
        ),
        ({"noisemodel": ["ms"], "specmode": "cubedata"}, r"noisemodel=\['ms'\] needs specmode='mfs'"),
        ({"blockmodel": ["position"], "minorcycle": "clean"}, r"blockmodel=\['position'\] needs minorcycle='rml'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changes, sentence):
    arguments = {"imagename": "sky", "cell": "0.1arcsec", "gridder": "native"} | changes
    with pytest.raises(ValueError, match=sentence):
        Request.from_parameters(**parameters_of("some.ms", **arguments))
