"""jointdeconv: both arrays and a single dish explain one sky, which reaches beyond the image."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from casa_ml_tasks import jointdeconv
from casa_ml_tasks.data.casa_image import image_shape, read_beam, read_cell, read_image, read_valid
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.simulation import SkyImage, observe_mosaic, observe_total_power, with_table

CELL, IMSIZE = 0.8, 72  # arcsec, pixels
POINTINGS = ((-12.0, 0.0), (12.0, 0.0), (0.0, 18.0))
FLUX, WIDTH = 12.0, 30.0  # Jy, and full width at half maximum, arcsec: wider than the shortest baseline sees
POINT, EAST, NORTH = 0.5, -5, 8  # Jy, pixels
DISH_NOISE = 0.01  # Jy/beam


def sky_of(channels):
    """A wide Gaussian and a point in each channel, of factors of brightness."""
    y, x = np.mgrid[-80:80, -80:80] * CELL
    wide = np.exp(-4 * np.log(2) * (x**2 + y**2) / WIDTH**2)
    wide *= FLUX / wide.sum()
    wide[80 + NORTH, 80 - EAST] += POINT
    return SkyImage(np.multiply.outer(channels, wide), CELL)


def observe(folder, sky):
    observe_mosaic(
        folder / "12m.ms", sky, configuration="alma.cycle9.1", antennas=20, pointings=POINTINGS, sigma=0.05, visits=2
    )
    observe_mosaic(folder / "7m.ms", sky, configuration="aca.cycle9", pointings=((0.0, 5.0),), sigma=0.1, visits=8)
    observe_total_power(folder / "tp.image", sky, beam=26.7, cell=4.0, npix=40, sigma=DISH_NOISE)
    return {
        "vis": [str(folder / "12m.ms"), str(folder / "7m.ms")],
        "sdimage": str(folder / "tp.image"),
        "sdnoise": f"{DISH_NOISE}Jy/beam",
        "imsize": IMSIZE,
        "cell": f"{CELL}arcsec",
        "phasecenter": sky.phasecenter,
        "datacolumn": "data",
    }


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    sky = sky_of([1.0])
    return sky, observe(folder, sky)


@pytest.fixture(scope="module")
def joined(observed, tmp_path_factory):
    sky, call = observed
    name = str(tmp_path_factory.mktemp("joined") / "sky")
    return sky.pixels, name, jointdeconv(imagename=name, pbcor=True, **call)


def test_the_model_is_the_sky_without_the_primary_beam(joined):
    truth, name, _ = joined
    seen = read_valid(f"{name}.pb")[0, 0] > 0.3
    inside = truth[0, 44 : 44 + IMSIZE, 44 : 44 + IMSIZE]
    model = read_image(f"{name}.model")[0, 0]
    assert model[seen].sum() == pytest.approx(inside[seen].sum(), rel=0.02)
    around = np.s_[36 + NORTH - 2 : 36 + NORTH + 3, 36 - EAST - 2 : 36 - EAST + 3]
    assert model[around].sum() == pytest.approx(inside[around].sum(), rel=0.05)


def test_the_whole_sky_has_the_flux_that_the_dish_sees(joined):
    truth, name, _ = joined
    sky = read_image(f"{name}.sky")
    assert sky.shape[-1] > IMSIZE
    assert sky.sum() == pytest.approx(truth.sum(), rel=0.03)
    start = sky.shape[-1] // 2 - IMSIZE // 2
    middle = sky[..., start : start + IMSIZE, start : start + IMSIZE]
    np.testing.assert_array_equal(middle, read_image(f"{name}.model"))


def test_both_arrays_and_the_dish_are_explained_to_their_noise(joined):
    _, name, result = joined
    residual, pb = read_valid(f"{name}.residual")[0, 0], read_valid(f"{name}.pb")[0, 0]
    assert np.nanstd(residual[pb > 0.3]) < 1.2 * result["image_noise"]
    left = read_valid(f"{name}.sd.residual")
    assert np.nanstd(left) < 1.2 * DISH_NOISE
    assert result["single_dish"][0] == pytest.approx(np.nanstd(left) / DISH_NOISE, rel=0.2)
    assert image_shape(f"{name}.sd.residual") == (1, 1, 40, 40)
    assert read_cell(f"{name}.sd.residual") == pytest.approx(4.0)


def test_data_of_one_sky_have_one_flux_scale(joined):
    _, name, result = joined
    first, *others = result["flux_scale"]
    assert (first["factor"], first["error"]) == (1, 0)
    assert [Path(each["name"]).name for each in result["flux_scale"]] == ["12m.ms", "7m.ms", "tp.image"]
    for each in others:
        assert 0 < each["error"] < 0.1
        assert abs(each["factor"] - 1) < 3 * each["error"]
    for figure in ("coverage", "amplitudes", "power_spectra", "set_residuals"):
        assert (Path(f"{name}.report") / f"{figure}.png").exists()


def test_a_set_that_is_too_bright_is_found_and_divided(observed, tmp_path):
    _, call = observed
    bright = str(tmp_path / "bright.ms")
    shutil.copytree(call["vis"][1], bright)

    def brighten(tool):
        tool.putcol("DATA", 1.2 * tool.getcol("DATA"))
        for column, power in (("SIGMA", 1), ("WEIGHT", -2)):
            tool.putcol(column, 1.2**power * tool.getcol(column))

    with_table(bright, brighten)
    result = jointdeconv(imagename=str(tmp_path / "sky"), fluxscale="fit", **{**call, "vis": [call["vis"][0], bright]})
    _, array, dish = result["flux_scale"]
    print(array, dish)
    assert array["sigma"] > 3
    assert abs(array["factor"] - 1.2) < 3 * array["error"]
    assert abs(dish["factor"] - 1) < 3 * dish["error"]


def test_the_restored_image_has_the_flux_of_the_sky(joined):
    truth, name, _ = joined
    image, pb = read_valid(f"{name}.image.pbcor")[0, 0], read_valid(f"{name}.pb")[0, 0]
    area = read_beam(f"{name}.image").area(CELL)
    seen = pb > 0.5
    inside = truth[0, 44 : 44 + IMSIZE, 44 : 44 + IMSIZE]
    assert image[seen].sum() / area == pytest.approx(inside[seen].sum(), rel=0.05)


def test_arrays_alone_miss_the_flux_of_the_wide_source(observed, tmp_path):
    sky, call = observed
    name = str(tmp_path / "alone")
    jointdeconv(imagename=name, **{**call, "sdimage": ""})
    assert not Path(f"{name}.sky").exists()
    assert not Path(f"{name}.sd.residual").exists()
    assert read_image(f"{name}.model").shape[-1] == IMSIZE
    assert read_image(f"{name}.model").sum() < 0.97 * sky.pixels.sum()


def test_a_run_that_failed_at_its_end_goes_on_where_it_was(observed, joined, tmp_path, monkeypatch):
    _, call = observed
    _, _, whole = joined
    name = str(tmp_path / "sky")
    finish = SkyMosaic.finish

    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(SkyMosaic, "finish", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        jointdeconv(imagename=name, pbcor=True, **call)
    assert not Path(f"{name}.model").exists()
    monkeypatch.setattr(SkyMosaic, "finish", finish)
    result = jointdeconv(imagename=name, pbcor=True, **call)
    assert result["iterdone"] == whole["iterdone"]
    np.testing.assert_array_equal(read_image(f"{name}.model"), read_image(f"{joined[1]}.model"))


def test_a_second_run_begins_with_the_sky_of_the_first(observed, joined, tmp_path):
    _, call = observed
    _, first, whole = joined
    name = str(tmp_path / "sky")
    for extension in ("sky", "model"):
        shutil.copytree(f"{first}.{extension}", f"{name}.{extension}")
    again = jointdeconv(imagename=name, **call)
    assert again["cycles"][0]["model_flux"] == pytest.approx(whole["cycles"][-1]["model_flux"])
    assert again["iterdone"] < whole["iterdone"]


def test_a_map_beside_the_image_is_refused_before_anything_is_written(observed, tmp_path):
    _, call = observed
    with pytest.raises(ValueError, match=r"sdimage='.*tp.image' .*lies elsewhere on the sky"):
        jointdeconv(imagename=str(tmp_path / "sky"), **{**call, "phasecenter": "ICRS 247deg -24deg"})
    assert list(tmp_path.iterdir()) == []


def test_antennas_without_a_known_beam_are_refused_before_anything_is_written(observed, tmp_path):
    _, call = observed
    vis = str(shutil.copytree(call["vis"][1], tmp_path / "other.ms"))
    with_table(f"{vis}/OBSERVATION", lambda tool: tool.putcol("TELESCOPE_NAME", ["OTHER"]))
    with pytest.raises(ValueError, match=r"telescope='OTHER' with dish_diameter=7.0 m has no beam model .* a vptable"):
        jointdeconv(imagename=str(tmp_path / "sky"), **{**call, "vis": vis})
    assert [each.name for each in tmp_path.iterdir()] == ["other.ms"]


def test_pointings_beside_the_image_are_refused(observed, tmp_path):
    _, call = observed
    with pytest.raises(ValueError, match="no pointing sees the image; check phasecenter"):
        jointdeconv(imagename=str(tmp_path / "sky"), **{**call, "sdimage": "", "phasecenter": "ICRS 247deg -24deg"})
    assert list(tmp_path.iterdir()) == []


def test_a_channel_that_lacks_a_pointing_has_an_operator_of_its_own(tmp_path):
    call = observe(tmp_path, sky_of([1.0, 1.0]))

    def flag(tool):
        flags = tool.getcol("FLAG")
        flags[:, 1] |= tool.getcol("FIELD_ID") == 0
        tool.putcol("FLAG", flags)

    with_table(call["vis"][0], flag)
    result = jointdeconv(imagename=str(tmp_path / "cube"), specmode="cubedata", **call)
    last = result["cycles"][-1]
    assert result["nmajordone"] == 2  # a mean operator of both channels needs more
    assert last["prediction_error"] < 0.1 * result["image_noise"]


def test_channels_are_imaged_side_by_side_and_one_without_the_dish_without(tmp_path):
    sky = sky_of([1.0, 0.5])
    call = observe(tmp_path, sky)
    first = SkyImage(sky.pixels[:1], CELL)
    observe_total_power(tmp_path / "tp.image", first, beam=26.7, cell=4.0, npix=40, sigma=DISH_NOISE)
    name = str(tmp_path / "cube")
    jointdeconv(imagename=name, specmode="cubedata", **call)
    fluxes = read_image(f"{name}.sky").sum(axis=(1, 2, 3))
    assert fluxes[0] == pytest.approx(sky.pixels[0].sum(), rel=0.03)
    assert fluxes[1] < 0.97 * sky.pixels[1].sum()
