"""rmlclean from the call to the products, on a simulated sky whose truth is known."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from casatasks import exportfits, imhead, impbcor, imstat, tclean
from casatestutils.imagerhelpers import TestHelpers
from casatools import table

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import opened, read_beam, read_image, write_image
from casa_ml_tasks.simulation import direct_sum, with_table

IMSIZE, CELL = 96, 0.12


def image(vis, imagename, **changes):
    arguments = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data"} | changes
    return rmlclean(vis=str(vis), imagename=str(imagename), **arguments)


def digest(folder: Path) -> str:
    """Of every byte of a Measurement Set; lock files, which CASA touches on reading, left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "table.lock")
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def offsets():
    """East and North of the centre, arcsec, of every pixel."""
    y, x = np.mgrid[:IMSIZE, :IMSIZE] - IMSIZE // 2
    return -x * CELL, y * CELL


@pytest.fixture(scope="module")
def finished(simulated_ms, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rmlclean")
    before = digest(simulated_ms.path)
    with pixels():
        result = image(simulated_ms.path, folder / "sky", pbcor=True, imager="casa")
    return folder / "sky", result, before


def test_the_flux_of_every_source_is_found_where_it_is(finished, simulated_ms):
    name, _, _ = finished
    model = read_image(f"{name}.model")[0, 0]
    beam = read_image(f"{name}.pb")[0, 0]
    east, north = offsets()
    for source in simulated_ms.sources:
        inside = np.hypot(east - source.east, north - source.north) < 0.4 + 3 * source.size
        assert abs(model[inside].sum() - source.flux) < 0.02 * source.flux
        assert abs((model * east)[inside].sum() / model[inside].sum() - source.east) < CELL / 4
        assert abs((model * north)[inside].sum() / model[inside].sum() - source.north) < CELL / 4
    assert beam.max() == 1


def test_the_residual_is_the_noise_and_chi_squared_is_one(finished, simulated_ms):
    name, result, _ = finished
    samples = simulated_ms.rows * len(simulated_ms.frequencies)
    expected = simulated_ms.sigma / np.sqrt(2 * samples)
    assert abs(result["image_noise"] / expected - 1) < 0.05
    assert read_image(f"{name}.residual").std() < 1.5 * expected
    assert 0.95 < result["cycles"][-1]["reduced_chi2"] < 1.1


def test_the_minor_cycle_predicts_the_next_major_cycle(finished):
    _, result, _ = finished
    peak = result["cycles"][0]["peak_residual"]
    assert result["cycles"][-1]["prediction_error"] < 1e-3 * peak


def test_the_measurement_set_is_untouched(finished, simulated_ms):
    assert digest(simulated_ms.path) == finished[2]


def test_the_dictionary_is_tcleans(finished):
    _, result, _ = finished
    assert result["stopcode"] == 10
    assert result["nmajordone"] == len(result["cycles"]) <= 4
    assert result["iterdone"] == sum(result["summaryminor"][0][0][0]["iterDone"]) > 0
    assert TestHelpers().get_peak_res(result) is not None


def test_products_have_units_beams_and_history(finished):
    name, result, _ = finished
    units = {"model": "Jy/pixel", "residual": "Jy/beam", "psf": "Jy/beam", "image": "Jy/beam", "image.pbcor": "Jy/beam"}
    for extension, unit in units.items():
        with opened(f"{name}.{extension}") as tool:
            assert tool.brightnessunit() == unit
            assert any("taskname=rmlclean" in line for line in tool.history(list=False))
        assert f"{name}.{extension}" in result["products"]
    assert read_beam(f"{name}.image") == read_beam(f"{name}.psf")
    assert read_beam(f"{name}.model") is None
    assert not Path(f"{name}.work").exists()


def test_tcleans_own_test_helpers_accept_the_products(finished):
    name, result, _ = finished
    extensions = ("psf", "residual", "image", "model", "pb", "image.pbcor", "mask", "sumwt")
    helpers = TestHelpers()
    report = helpers.checkall(
        ret=result,
        peakres=result["cycles"][-1]["peak_residual"],
        modflux=result["cycles"][-1]["model_flux"],
        iterdone=result["iterdone"],
        imgexist=[f"{name}.{extension}" for extension in extensions],
        imgval=[(f"{name}.psf", 1.0, [IMSIZE // 2, IMSIZE // 2, 0, 0])],
        imgmask=[(f"{name}.image", True, [IMSIZE // 2, IMSIZE // 2, 0, 0])],
    )
    # It wants the word tclean in the history, and the keys of an interactive iteration control.
    failing = [line for line in helpers.extract_failing_lines(report).splitlines() if line.strip()]
    assert all("check_history" in line or "check_ret_structure" in line for line in failing), failing
    assert "Pass" in report


def test_casa_tasks_take_the_products(finished, tmp_path):
    name, _, _ = finished
    assert imhead(f"{name}.image", mode="get", hdkey="bunit") == "Jy/beam"
    assert imstat(f"{name}.image")["max"][0] > 0.1
    impbcor(imagename=f"{name}.image", pbimage=f"{name}.pb", outfile=str(tmp_path / "corrected"))
    exportfits(f"{name}.image", str(tmp_path / "image.fits"))
    assert (tmp_path / "image.fits").stat().st_size > 4 * IMSIZE**2


def test_the_restored_image_is_model_times_beam_plus_residual(finished):
    name, _, _ = finished
    beam = read_beam(f"{name}.image")
    east, north = offsets()
    angle = np.radians(beam.angle)
    along, across = north * np.cos(angle) + east * np.sin(angle), east * np.cos(angle) - north * np.sin(angle)
    kernel = np.exp(-4 * np.log(2) * ((along / beam.major) ** 2 + (across / beam.minor) ** 2))
    model = read_image(f"{name}.model")[0, 0]
    smooth = np.fft.ifft2(np.fft.fft2(model) * np.fft.fft2(np.fft.ifftshift(kernel))).real
    expected = smooth + read_image(f"{name}.residual")[0, 0]
    np.testing.assert_allclose(read_image(f"{name}.image")[0, 0], expected, atol=1e-3 * expected.max())


def test_the_report_is_there_and_needs_no_network(finished):
    name, result, _ = finished
    page = Path(result["report"])
    assert page == Path(f"{name}.report/index.html")
    assert "http" not in page.read_text().split("</style>")[1]
    pictures = {path.name for path in page.parent.glob("*.png")}
    assert {"dirty.png", "model.png", "restored.png", "residual.png", "histogram.png", "convergence.png"} <= pictures


def test_a_finished_run_started_again_stays_where_it_is(finished, simulated_ms, tmp_path):
    for path in finished[0].parent.glob("sky.*"):
        shutil.copytree(path, tmp_path / path.name)
    before = convolved_model(tmp_path / "sky")
    result = image(simulated_ms.path, tmp_path / "sky", imager="casa")
    assert result["nmajordone"] <= 3
    difference = convolved_model(tmp_path / "sky") - before
    assert np.abs(difference).sum() < 0.02 * before.sum()


def convolved_model(name):
    """With the CLEAN beam: the pixels themselves may render a bright source with or without negative ones."""
    return read_image(f"{name}.image") - read_image(f"{name}.residual")


def test_restart_false_takes_another_name(finished, simulated_ms):
    name, _, _ = finished
    before = read_image(f"{name}.model")
    result = image(simulated_ms.path, name, restart=False, niter=0)
    assert f"{name}_1.residual" in result["products"]
    np.testing.assert_array_equal(read_image(f"{name}.model"), before)


def test_niter_zero_makes_tcleans_dirty_image(simulated_ms, tmp_path):
    result = image(simulated_ms.path, tmp_path / "ours", niter=0, imager="casa")
    tclean(
        str(simulated_ms.path), imagename=str(tmp_path / "theirs"), imsize=IMSIZE, cell=f"{CELL}arcsec",
        datacolumn="data", niter=0,
    )  # fmt: skip
    assert result["iterdone"] == 0
    np.testing.assert_array_equal(read_image(tmp_path / "ours.image"), read_image(tmp_path / "theirs.image"))


def test_niter_limits_all_minor_cycles_together(simulated_ms, tmp_path):
    result = image(simulated_ms.path, tmp_path / "sky", niter=30, cycleniter=20)
    assert result["iterdone"] == 30
    assert result["nmajordone"] == 3
    assert result["stopcode"] == 1


def test_a_given_noise_scale_is_the_one_that_is_reported(simulated_ms, tmp_path):
    two, one = (image(simulated_ms.path, tmp_path / f"{scale}", niter=0, noisescale=scale) for scale in (2.0, 1.0))
    assert two["noise_scale"] == 2.0
    assert two["cycles"][0]["chi2"] == pytest.approx(one["cycles"][0]["chi2"] / 4, rel=1e-6)


@pytest.fixture(scope="module")
def native(simulated_ms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    return folder / "sky", image(simulated_ms.path, folder / "sky", pbcor=True)


def test_the_native_gridder_gives_the_same_products_and_sky(finished, native):
    (standard, result, _), (name, of_native) = finished, native
    assert [path.removeprefix(str(name)) for path in of_native["products"]] == [
        path.removeprefix(str(standard)) for path in result["products"]
    ]
    assert of_native["stopDescription"] == result["stopDescription"]
    assert of_native["image_noise"] == pytest.approx(result["image_noise"], rel=1e-4)
    for extension in ("image", "image.pbcor", "residual"):
        ours, theirs = (imhead(f"{each}.{extension}", mode="summary", verbose=False) for each in (name, standard))
        assert with_table(f"{name}.{extension}", object_of) == with_table(f"{standard}.{extension}", object_of) != ""
        for key in ("axisnames", "refval", "refpix", "incr", "shape", "unit", "masks"):
            np.testing.assert_array_equal(ours[key], theirs[key])
    ours, theirs = read_image(f"{name}.image"), read_image(f"{standard}.image")
    assert np.abs(ours - theirs).max() < 2e-3 * theirs.max()
    exportfits(f"{name}.image", str(name.with_suffix(".fits")))


def object_of(tool):
    return tool.getkeyword("imageinfo")["objectname"]


def test_the_native_gridder_predicts_its_own_residual_exactly(native):
    """Without w-terms the normal operator is exact: what the first minor cycle promised is found."""
    _, result = native
    dirty = result["cycles"][0]["peak_residual"]
    assert result["cycles"][1]["prediction_error"] < 2e-5 * dirty


def test_tcleans_minor_cycle_runs_on_the_native_gridder(simulated_ms, tmp_path):
    arguments = {"minorcycle": "clean", "deconvolver": "hogbom", "niter": 60, "gain": 0.1, "cycleniter": 30}
    for imager in ("auto", "casa"):
        image(simulated_ms.path, tmp_path / imager, imager=imager, **arguments)
    ours, theirs = (read_image(tmp_path / f"{imager}.model") for imager in ("auto", "casa"))
    assert np.abs(ours - theirs).sum() < 0.02 * theirs.sum()


def test_oblong_pixels_are_refused_by_the_native_gridder(simulated_ms, tmp_path):
    with pytest.raises(ValueError, match="oblong"):
        image(simulated_ms.path, tmp_path / "sky", gridder="native", cell=["0.1arcsec", "0.12arcsec"])


@pytest.mark.parametrize("deconvolver", ["hogbom", "multiscale"])
def test_tcleans_minor_cycle_in_our_loop_gives_tcleans_model(simulated_ms, tmp_path, deconvolver):
    arguments = {"deconvolver": deconvolver, "scales": [0, 5], "niter": 60, "gain": 0.1, "cycleniter": 30}
    image(simulated_ms.path, tmp_path / "ours", minorcycle="clean", imager="casa", **arguments)
    tclean(
        str(simulated_ms.path), imagename=str(tmp_path / "theirs"), imsize=IMSIZE, cell=f"{CELL}arcsec",
        datacolumn="data", **arguments,
    )  # fmt: skip
    theirs = read_image(tmp_path / "theirs.model")
    np.testing.assert_allclose(read_image(tmp_path / "ours.model"), theirs, atol=1e-5 * theirs.max())


def test_a_script_written_for_tclean_runs(simulated_ms, tmp_path):
    result = image(
        simulated_ms.path, tmp_path / "sky", deconvolver="multiscale", scales=[0, 5, 15], weighting="briggs",
        robust=0.5, niter=2000, gain=0.1, threshold="1mJy", cyclefactor=1.5, usemask="user", mask="", interactive=False,
        parallel=False, pblimit=0.1, restoringbeam="common",
    )  # fmt: skip
    assert result["stopcode"] in (2, 10)
    assert result["cycles"][-1]["peak_residual"] < 0.02 * result["cycles"][0]["peak_residual"]


def test_the_model_stays_inside_the_mask(simulated_ms, tmp_path):
    result = image(simulated_ms.path, tmp_path / "sky", mask="circle[[48pix,48pix],25pix]", nmajor=1)
    model = read_image(tmp_path / "sky.model")[0, 0]
    y, x = np.mgrid[:IMSIZE, :IMSIZE] - 48
    assert (model[np.hypot(x, y) > 26] == 0).all()
    assert model.sum() > 1
    assert f"{tmp_path}/sky.mask" in result["products"]


def test_two_measurement_sets_are_imaged_together(simulated_ms, tmp_path):
    other = shutil.copytree(simulated_ms.path, tmp_path / "other.ms")
    both = rmlclean(
        vis=[str(simulated_ms.path), str(other)], imagename=str(tmp_path / "both"), imsize=IMSIZE,
        cell=f"{CELL}arcsec", datacolumn="data", niter=0,
    )  # fmt: skip
    one = image(simulated_ms.path, tmp_path / "one", niter=0)
    np.testing.assert_allclose(both["image_noise"], one["image_noise"] / np.sqrt(2), rtol=1e-2)


@pytest.mark.parametrize("gridder", ["standard", "native"])
def test_savemodel_writes_the_visibilities_of_the_model(simulated_ms, writable_ms, tmp_path, gridder):
    image(writable_ms, tmp_path / "sky", nmajor=1, savemodel="modelcolumn", gridder=gridder)
    tool = table()
    tool.open(writable_ms)
    written, uvw = tool.getcol("MODEL_DATA"), tool.getcol("UVW")
    tool.close()
    truth = direct_sum(uvw, simulated_ms.frequencies, simulated_ms.sources)
    assert np.abs(written[0] - truth).mean() < 0.05 * np.abs(truth).mean()


@pytest.fixture(scope="module")
def validated(simulated_ms, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("validated")
    with pixels():
        return folder / "sky", image(simulated_ms.path, folder / "sky", regstrength="auto")


def test_cross_validation_chooses_the_strengths_and_says_how(validated):
    name, result = validated
    trials = result["cross_validation"]
    (chosen,) = [trial for trial in trials if trial["chosen"]]
    assert len(trials) > 2
    assert min(trial["excess"] for trial in trials) == 0
    assert chosen["excess"] <= chosen["error"]
    assert (Path(f"{name}.report") / "validation.png").stat().st_size > 5000
    assert "by cross-validation" in (Path(f"{name}.report") / "index.html").read_text()


def test_cross_validation_keeps_the_flux(validated, simulated_ms):
    model, (east, north) = read_image(f"{validated[0]}.model")[0, 0], offsets()
    for source in simulated_ms.sources:
        inside = np.hypot(east - source.east, north - source.north) < 0.5 + 3 * source.size
        assert model[inside].sum() == pytest.approx(source.flux, rel=0.05)


def test_masks_that_follow_the_residual(simulated_ms, tmp_path):
    result = image(
        simulated_ms.path, tmp_path / "sky", usemask="auto-multithresh", sidelobethreshold=1.0, minbeamfrac=0.0
    )
    mask, model = (read_image(f"{tmp_path}/sky.{extension}") for extension in ("mask", "model"))
    assert 0 < mask.mean() < 0.5
    assert not model[mask == 0].any()
    assert model.sum() == pytest.approx(sum(source.flux for source in simulated_ms.sources), rel=0.05)
    assert result["stopcode"] in (4, 10)


def test_strengths_are_chosen_before_a_mask_follows_the_residual(simulated_ms, tmp_path):
    masking = {"usemask": "auto-multithresh", "sidelobethreshold": 1.0, "minbeamfrac": 0.0}
    result = image(simulated_ms.path, tmp_path / "sky", regstrength="auto", **masking)
    assert sum(trial["excess"] > 0 for trial in result["cross_validation"]) == len(result["cross_validation"]) - 1


def test_where_the_data_are_silent_the_entropy_follows_the_prior_image(finished, simulated_ms, tmp_path):
    prior = str(tmp_path / "prior.image")
    flat = np.full((1, 1, IMSIZE, IMSIZE), 1e-4)
    write_image(prior, flat, f"{finished[0]}.model", "Jy/pixel")
    for name, path in (("empty", ""), ("flat", prior)):
        image(simulated_ms.path, tmp_path / name, regularizer=["entropy"], regstrength=[1e4], priorimage=path)
    empty, full = (read_image(f"{tmp_path}/{name}.model")[0, 0] for name in ("empty", "flat"))
    away = np.hypot(*offsets()) > 3
    assert np.median(empty[away]) < 1e-5
    assert np.median(full[away]) == pytest.approx(1e-4, rel=0.3)
