"""resolveimage from the call to the products, with an inference whose posterior is known."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from casatasks import exportfits, imhead, imstat
from casatools import table

from casa_ml_tasks import resolveimage
from casa_ml_tasks.data.casa_image import image_shape, opened, read_beam, read_cell, read_direction, read_image
from casa_ml_tasks.data.text_table import read_table
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior
from casa_ml_tasks.request.inference import Inference, Priors
from casa_ml_tasks.tasks import inference_memory, inference_warnings, resolve_minor_cycle, run
from casa_ml_tasks.tasks.log_lines import log_iteration
from casa_ml_tasks.tasks.major_cycles import beam_areas
from tests.gaussian_inference import SAMPLES, STEPS, GaussianInference

IMSIZE, CELL = 64, 0.15


def infer(vis, imagename, **changes):
    arguments = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data", "noisescale": 1.0} | changes
    return resolveimage(vis=str(vis), imagename=str(imagename), **arguments)


def known_posterior(**attributes):
    """Stands in for `resolve_minor_cycle.minor_cycle`; the inferences that it made are in its list."""
    made = []

    def minor_cycle(major, noise, request, inference):
        made.append(GaussianInference(float(noise[0, 0]), float(beam_areas(major)[0]), **attributes))
        return made[-1]

    minor_cycle.made = made
    return minor_cycle


@pytest.fixture(autouse=True)
def inference(monkeypatch):
    """The known posterior, and no figures, which take longer than the rest."""
    stand_in = known_posterior()
    monkeypatch.setattr(resolve_minor_cycle, "minor_cycle", stand_in)
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory)
    return stand_in


@pytest.fixture(scope="module")
def finished(simulated_ms, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resolveimage")
    with pytest.MonkeyPatch.context() as patch, pixels():
        patch.setattr(resolve_minor_cycle, "minor_cycle", known_posterior(points=True))
        return folder / "sky", infer(simulated_ms.path, folder / "sky", pbcor=True)


def test_the_model_is_the_mean_of_the_samples_and_the_uncertainty_their_deviation(finished):
    name, _ = finished
    samples = read_image(f"{name}.samples")
    assert samples.shape == (SAMPLES, 1, IMSIZE, IMSIZE)
    np.testing.assert_allclose(read_image(f"{name}.model")[0], samples.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(read_image(f"{name}.uncertainty")[0], samples.std(axis=0, ddof=1), rtol=1e-3)


def test_the_products_are_there_with_units_and_history(finished):
    name, result = finished
    units = {"model": "Jy/pixel", "uncertainty": "Jy/pixel", "samples": "Jy/pixel", "points": "Jy/pixel"}
    units |= {"residual": "Jy/beam", "psf": "Jy/beam", "image": "Jy/beam", "image.pbcor": "Jy/beam"}
    for extension, unit in units.items():
        with opened(f"{name}.{extension}") as tool:
            assert tool.brightnessunit() == unit
            assert any("taskname=resolveimage" in line for line in tool.history(list=False))
    made = {path.removeprefix(f"{name}.") for path in result["products"]}
    assert made == {*units, "pb", "sumwt", "powerspectrum"}
    assert read_beam(f"{name}.image") == read_beam(f"{name}.psf")
    assert read_beam(f"{name}.samples") is None
    assert not Path(f"{name}.work").exists()


def test_the_samples_lie_where_the_model_does_and_other_programs_read_them(finished, tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    name, _ = finished
    assert read_direction(f"{name}.samples") == read_direction(f"{name}.model")
    assert read_cell(f"{name}.samples") == read_cell(f"{name}.model")
    assert list(imhead(f"{name}.samples", verbose=False)["axisnames"])[2:] == ["Stokes", "Sample"]
    assert imstat(f"{name}.samples", axes=[0, 1])["max"].size == SAMPLES
    exportfits(f"{name}.samples", str(tmp_path / "samples.fits"), dropdeg=True)
    with fits.open(tmp_path / "samples.fits") as written:
        assert written[0].header["CTYPE3"] == "SAMPLE"
        np.testing.assert_array_equal(written[0].data, read_image(f"{name}.samples")[:, 0])


def test_the_power_spectrum_is_a_table(finished):
    table = read_table(f"{finished[0]}.powerspectrum")
    assert list(table) == ["frequency", "median", "lower", "upper"]
    assert np.all(table["lower"] < table["median"])
    assert np.all(table["median"] < table["upper"])
    assert table["frequency"][0] == pytest.approx(0.1)


def test_the_dictionary_has_the_flux_with_its_uncertainty(finished):
    name, result = finished
    posterior = result["posterior"]
    fluxes = read_image(f"{name}.samples").sum(axis=(1, 2, 3), dtype=float)
    assert posterior["samples"] == SAMPLES
    assert posterior["flux"][0][0] == pytest.approx(fluxes.mean(), rel=1e-6)
    assert posterior["flux_uncertainty"][0][0] == pytest.approx(fluxes.std(ddof=1), rel=1e-4)
    assert [step["stage"] for step in posterior["iterations"]] == ["warm"] * (STEPS - 1) + ["sample"]
    assert result["stopcode"] == 10
    assert result["nmajordone"] == len(result["cycles"]) == 2


def test_the_report_shows_the_posterior(finished):
    _, result = finished
    page = Path(result["report"])
    figures = {path.stem for path in page.parent.glob("*.png")}
    assert {"model", "samples", "relative_uncertainty", "power_spectrum", "inference", "visibilities"} <= figures
    text = page.read_text()
    assert "imaged with resolveimage" in text
    assert f"{SAMPLES} samples after {STEPS} global iterations, converged" in text


def test_a_run_that_failed_within_the_inference_goes_on_where_it_was(simulated_ms, monkeypatch, tmp_path):
    undisturbed = infer(simulated_ms.path, tmp_path / "undisturbed")
    failing, resuming = known_posterior(fails_in=3), known_posterior()
    monkeypatch.setattr(resolve_minor_cycle, "minor_cycle", failing)
    with pytest.raises(InterruptedError):
        infer(simulated_ms.path, tmp_path / "sky")
    assert sorted(path.name for path in tmp_path.glob("sky*")) == ["sky.work"]
    monkeypatch.setattr(resolve_minor_cycle, "minor_cycle", resuming)
    resumed = infer(simulated_ms.path, tmp_path / "sky")
    assert len(resuming.made[0].calls) == 1
    assert resumed["posterior"]["flux"] == undisturbed["posterior"]["flux"]
    for extension in ("samples", "model", "uncertainty"):
        of_both = [read_image(tmp_path / f"{name}.{extension}") for name in ("undisturbed", "sky")]
        np.testing.assert_array_equal(*of_both)


def test_niter_zero_makes_the_dirty_image_and_no_posterior(simulated_ms, inference, tmp_path):
    result = infer(simulated_ms.path, tmp_path / "sky", niter=0)
    assert "posterior" not in result
    assert not inference.made[0].calls
    assert not any(path.endswith(("samples", "uncertainty", "powerspectrum")) for path in result["products"])
    dirty = read_image(tmp_path / "sky.image")
    assert dirty.max() == pytest.approx(result["cycles"][0]["peak_residual"], rel=1e-5)


def test_a_new_run_replaces_the_tables_and_images_of_an_old_one(simulated_ms, tmp_path):
    infer(simulated_ms.path, tmp_path / "sky")
    infer(simulated_ms.path, tmp_path / "sky", niter=0)
    assert not list(tmp_path.glob("sky.samples")) + list(tmp_path.glob("sky.powerspectrum"))
    result = infer(simulated_ms.path, tmp_path / "sky", restart=False)
    assert f"{tmp_path}/sky_1.powerspectrum" in result["products"]


def test_a_script_written_for_tclean_runs_with_natural_weights(simulated_ms, casa_log, tmp_path):
    result = infer(
        simulated_ms.path, tmp_path / "sky", deconvolver="multiscale", scales=[0, 5, 15], weighting="briggs",
        robust=0.5, uvtaper=["1klambda"], niter=2000, gain=0.1, threshold="1mJy", cyclefactor=1.5,
        usemask="auto-multithresh", mask="", interactive=True, parallel=False, pblimit=0.1, restoringbeam="common",
    )  # fmt: skip
    log = casa_log()
    for ignored in ("weighting='briggs'", "uvtaper=['1klambda']", "usemask='auto-multithresh'", "interactive=True"):
        assert f"{ignored} is ignored" in log
    assert result["stopcode"] == 10
    natural = infer(simulated_ms.path, tmp_path / "natural")
    assert result["image_noise"] == natural["image_noise"]
    assert "is ignored" not in casa_log().removeprefix(log)


def test_every_global_iteration_is_a_line_in_the_log(casa_log):
    step = GlobalIteration(3, "sample", 8, 1.5e4, 0.0321, 40, 0.8, 1.02, 2.0)
    log_iteration(step)
    assert (
        "global iteration 3: stage 'sample', 8 samples, energy 15000, 80 % of the trajectories accepted, error of the "
        "mean 0.0321 sigma, residual 1.020 of the noise, 40 products of the normal operator, 2.0 s" in casa_log()
    )
    log_iteration(replace(step, mean_error=np.inf))
    assert "accepted, a chain does not move or is caught, residual" in casa_log()


def test_a_full_disk_is_found_before_it_is_full(simulated_ms, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4 * IMSIZE**2 * 700))
    with pytest.raises(ValueError, match="make room or choose another disk"):
        infer(simulated_ms.path, tmp_path / "sky", nsamples=700)
    assert infer(simulated_ms.path, tmp_path / "sky", nsamples=4, niter=0)["iterdone"] == 0


def test_a_killed_inference_with_a_data_model_goes_on_too(simulated_ms, monkeypatch, tmp_path):
    failing, resuming = known_posterior(fails_in=3), known_posterior()
    native = {"gridder": "native", "likelihood": "studentt", "nmajor": 1}
    monkeypatch.setattr(resolve_minor_cycle, "minor_cycle", failing)
    with pytest.raises(InterruptedError):
        infer(simulated_ms.path, tmp_path / "sky", **native)
    monkeypatch.setattr(resolve_minor_cycle, "minor_cycle", resuming)
    infer(simulated_ms.path, tmp_path / "sky", **native)
    assert len(resuming.made[0].calls) == 1


def test_the_noise_along_baseline_length_becomes_a_table(simulated_ms, tmp_path):
    result = infer(
        simulated_ms.path, tmp_path / "sky", gridder="native", noisemodel=["uvdist"], noisescale="auto", niter=-1
    )
    noise = read_table(tmp_path / "sky.noise")
    assert f"{tmp_path}/sky.noise" in result["products"]
    np.testing.assert_allclose(noise["uvdist"], result["data_model"]["noise"]["uvdist"], rtol=1e-6)
    np.testing.assert_allclose(noise["factor"], result["data_model"]["noise"]["uvdist_factor"], rtol=1e-6)


def test_savemodel_writes_the_visibilities_of_the_mean(simulated_ms, writable_ms, tmp_path):
    infer(writable_ms, tmp_path / "sky", savemodel="modelcolumn")
    tool = table()
    tool.open(writable_ms)
    written = tool.getcol("MODEL_DATA")
    tool.close()
    assert np.abs(written).mean() > 0


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"stokes": "IQUV"}, "stokes='IQUV' is not inferred yet; use stokes='I'"),
        ({"stokes": "Q"}, "stokes='Q' is not inferred yet"),
        ({"outlierfile": "o.txt"}, "outlierfile='o.txt' is not supported yet; use a larger imsize"),
        ({"facets": 2}, "facets=2 is not supported yet"),
        ({"deconvolver": "mtmfs", "gridder": "native"}, "deconvolver='mtmfs' needs gridder='standard'"),
        ({"deconvolver": "mtmfs", "nterms": 0}, "nterms=0 is no number of Taylor terms"),
        ({"components": ["dust"]}, r"components=\['dust'\]: 'dust' is unknown; use one of absorption, continuum"),
        (
            {"components": ["continuum"]},
            r"components=\['continuum'\] infers a continuum beside a line; use specmode='cube'",
        ),
        (
            {"components": ["absorption"], "specmode": "cube"},
            "infers absorption in one image, not with specmode='cube'",
        ),
        ({"pointsources": "auto", "components": ["absorption"]}, "finds none beside .*; name their directions"),
        ({"pointsources": "auto", "deconvolver": "mtmfs"}, "pointsources='auto' serves one image, not .*'mtmfs'"),
        ({"pointsources": "everywhere", "components": ["absorption"]}, "finds none beside .*; name their directions"),
        ({"pointsources": ["everywhere", "auto"]}, "that 'everywhere' has already; give 'everywhere' alone"),
        ({"cell": ["0.1arcsec", "0.2arcsec"]}, "oblong pixels; give one size"),
        ({"cell": ""}, "cell='' names no pixel size"),
        ({"imagename": ""}, "imagename='' names no image"),
        ({"imagename": "nowhere/sky"}, "the folder 'nowhere' does not exist"),
        ({"nsamples": 1}, "nsamples=1 is too few; use at least 2"),
        ({"maxglobal": 0}, "maxglobal=0 is too few; use at least 1"),
        ({"seed": -1}, "seed=-1 is no seed"),
        ({"slope": [-4.0]}, r"slope=\[-4.0\] is no prior; give \[mean, standard deviation\]"),
        ({"offset": "bright"}, "offset='bright' is no logarithm of a brightness"),
        ({"asperity": [1.0, float("nan")]}, r"asperity=\[1.0, nan\] is no prior"),
        ({"pointsources": ["12h -40d"]}, r"pointsources='12h -40d' is no direction; give .* or 'auto'"),
        ({"fluctuations": [0.0, 1.0]}, r"fluctuations=\[0.0, 1.0\] has a mean that is no size"),
        ({"noisescale": -1.0}, "noisescale=-1.0 is no noise scale"),
        ({"noisemodel": ["time"], "gridder": "native"}, r"noisemodel=\['time'\] is unknown"),
        ({"savemodel": "modelcolumn", "startmodel": "no.image"}, "startmodel='no.image' does not exist"),
        ({"field": "9"}, "field='9'"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_written(changed, sentence, simulated_ms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence) as raised:
        infer(simulated_ms.path, changed.pop("imagename", "sky"), **changed)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_point_sources_lie_where_their_directions_say(finished, monkeypatch):
    name, _ = finished
    messages = []
    monkeypatch.setattr(resolve_minor_cycle.casalog, "post", lambda message, *_: messages.append(message))
    (right_ascension, declination), frame = read_direction(f"{name}.psf")
    ny, nx = image_shape(f"{name}.psf")[-2:]
    step = np.radians(CELL / 3600)

    def direction(east, north):  # pixels from the reference
        return f"{frame} {right_ascension + east * step / np.cos(declination)}rad {declination + north * step}rad"

    major = SimpleNamespace(product=lambda extension: f"{name}.{extension}")
    given = [direction(5, -3), direction(0.2, 0.3), direction(1000, 0)]

    def sources(*names):
        return resolve_minor_cycle.point_sources(major, Inference(Priors(), pointsources=names))

    places = sources(*given)
    np.testing.assert_allclose(places, [[ny // 2 - 3, nx // 2 - 5], [ny // 2 + 0.3, nx // 2 - 0.2]], atol=1e-3)
    assert len(messages) == 1
    assert "lies outside the image and is ignored" in messages[0]
    np.testing.assert_array_equal(sources(given[1]), places[1:])
    assert sources().shape == (0, 2)
    assert sources("auto") is None


def test_a_run_that_has_not_converged_says_so(monkeypatch):
    messages = []
    monkeypatch.setattr(inference_warnings.casalog, "post", lambda *message: messages.append(message))
    posterior = Posterior(np.ones((2, 1, 1, 4, 4), np.float32), None, (), problem="")
    ended = Progress(np.ones((1, 1, 4, 4)), stop=StopCode.CONVERGED)
    assert inference_warnings.judged(ended, posterior).stop is StopCode.CONVERGED
    assert not messages
    assert inference_warnings.judged(ended, replace(posterior, problem="chains disagree")).stop is StopCode.UNSETTLED
    ((message, level, _),) = messages
    assert level == "WARN"
    assert message == "the inference has not converged: chains disagree"


def test_a_cube_whose_samples_do_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr(inference_memory, "free_memory", lambda: 4e9)
    inference = Inference(Priors())
    inference_memory.check_memory((4, 1, 256, 256), inference)
    with pytest.raises(
        ValueError, match=r"samples of 12 planes of 256 x 256 pixels need 5.32 GB .* use fewer channels"
    ):
        inference_memory.check_memory((12, 1, 256, 256), inference)
    with pytest.raises(ValueError, match="samples of 8 planes"):
        inference_memory.check_memory((4, 1, 256, 256), replace(inference, components=("continuum",), nsamples=700))
    with pytest.raises(ValueError, match="samples of 2 planes"):
        inference_memory.check_memory((1, 1, 2048, 2048), replace(inference, pointsources=("everywhere",)))
