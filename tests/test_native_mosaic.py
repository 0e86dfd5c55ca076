"""Major cycles of mosaics by our own kernels: against direct sums and CASA's gridder, and the tasks that use them."""

import shutil

import numpy as np
import pytest
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_frequencies, read_image, read_valid
from casa_ml_tasks.kernels.primary_beams import ALMA_7M, ALMA_12M
from casa_ml_tasks.major import pointings
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.native_mosaic import NativeMosaic
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.simulation import Source, lsrk_over_topocentric, simulate, with_table
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of
from casa_ml_tasks.simulation.observation import CENTRE
from casa_ml_tasks.tasks import run
from tests.major_cycles import opener, parameters_of

POINTINGS = ((-8.13, 0.07), (8.21, 1.04), (0.02, 12.11))
SOURCES = (Source(0.6, 1.2, 1.2, 0.6), Source(0.4, -6.0, 4.8))
SHAPE, CELL = (108, 110), 0.6  # arcsec
IMAGING = {
    "imsize": [SHAPE[1], SHAPE[0]],
    "cell": [f"{CELL}arcsec"],
    "gridder": "mosaic",
    "phasecenter": "J2000 16h24m00s -24d00m00s",
    "imager": "native",
}


@pytest.fixture(scope="module")
def two_dishes(tmp_path_factory):
    """Some antennas are of 7 m, so that there are three power beams; the data do not know that."""
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.ms"
    simulate(path, sources=SOURCES, pointings=POINTINGS, sigma=0.05, radius=60, antennas=8, integrations=3)
    diameters = np.array([12.0, 12, 12, 7, 7, 12, 7, 12])
    with_table(f"{path}/ANTENNA", lambda tb: tb.putcol("DISH_DIAMETER", diameters))
    return path, diameters


@pytest.fixture
def open_native(two_dishes, tmp_path):
    def parameters(**changes):
        return parameters_of(two_dishes[0], **{**IMAGING, **changes})

    with opener(NativeMosaic, tmp_path, parameters) as open_one:
        yield open_one


def samples_of(vis, diameters, lsrk=True):
    """Of samples: uvw towards the image, at LSRK or observed frequencies, visibility, weight, pointing, dishes."""
    names = ("UVW", "DATA", "WEIGHT", "TIME", "FIELD_ID", "ANTENNA1", "ANTENNA2")
    uvw, data, weight, time, field, *ends = with_table(vis, lambda tb: [tb.getcol(name) for name in names])
    frequency = with_table(f"{vis}/SPECTRAL_WINDOW", lambda tb: tb.getcell("CHAN_FREQ", 0))
    wavenumber = np.outer(frequency, lsrk_over_topocentric(time) if lsrk else np.ones(time.size)) / speed_of_light
    visibility, weight = data.mean(axis=0), np.broadcast_to(weight.sum(axis=0), wavenumber.shape)
    pair = np.sort(diameters[np.array(ends)], axis=0).sum(axis=0)
    turned, phase = toward_the_image(uvw, field, wavenumber)
    return np.moveaxis(turned, 0, -1), visibility * phase, weight, field, pair, frequency


def toward_the_image(uvw, field, wavenumber):
    def axes(east, north):
        ra, dec = (
            np.radians(CENTRE[0] + east / 3600 / np.cos(np.radians(CENTRE[1]))),
            np.radians(CENTRE[1] + north / 3600),
        )
        return np.array(
            [
                [-np.sin(ra), np.cos(ra), 0],
                [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)],
                [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)],
            ]
        )

    image, turned = axes(0, 0), np.empty_like(uvw)
    for number, pointing in enumerate(POINTINGS):
        rows = field == number
        turned[:, rows] = image @ axes(*pointing).T @ uvw[:, rows]
    path = (uvw[2] - turned[2]) * wavenumber
    return turned[:, None] * wavenumber, np.exp(2j * np.pi * path)


def beam_of(pointing, pair, frequency):
    beams = {24: (ALMA_12M, ALMA_12M), 19: (ALMA_12M, ALMA_7M), 14: (ALMA_7M, ALMA_7M)}[int(pair)]
    east, north = np.array(POINTINGS[pointing]) * arcsecond
    y, x = np.indices(SHAPE)
    angle = np.hypot((SHAPE[1] // 2 - x) * CELL * arcsecond - east, (y - SHAPE[0] // 2) * CELL * arcsecond - north)
    first, second = (each.power(angle, frequency) for each in beams)
    return np.sqrt(first * second)


def direct_sums(two_dishes, sky, channels, image_frequencies):
    """The residual sums and the power of each image channel, which is made of these channels of the data."""
    uvw, visibility, weight, field, pair, _ = samples_of(*two_dishes, lsrk=len(channels) == 1)
    sums, power = np.zeros((2, len(channels), *SHAPE))
    for number, members in enumerate(channels):
        for pointing in range(len(POINTINGS)):
            for dishes in np.unique(pair):
                rows = np.flatnonzero((field == pointing) & (pair == dishes))
                beam = beam_of(pointing, dishes, image_frequencies[number])
                for channel in members:
                    baselines, share = uvw[channel, rows], weight[channel, rows]
                    model = visibilities_of(beam * sky, baselines, CELL * arcsecond, True)
                    difference = share * (visibility[channel, rows] - model)
                    sums[number] += beam * image_of(difference, baselines, SHAPE, CELL * arcsecond, True)
                    power[number] += share.sum() * beam**2
    return sums, power


def a_sky():
    sky = np.zeros(SHAPE, np.float32)
    sky[50:54, 60:63], sky[66, 44] = 0.02, 0.5
    return sky


@pytest.mark.parametrize(("specmode", "channels"), [("mfs", [[0, 1]]), ("cubedata", [[0], [1]])])
def test_residuals_and_primary_beams_of_two_kinds_of_dishes_are_direct_sums(
    open_native, two_dishes, specmode, channels
):
    major = open_native(specmode=specmode)
    sums, power = direct_sums(two_dishes, a_sky(), channels, read_frequencies(major.product("pb")))
    beam = np.sqrt(power / power.max(axis=(1, 2), keepdims=True))
    seen = major.primary_beam()[:, 0] > 0
    assert not (seen ^ (beam > 0.2))[np.abs(beam - 0.2) > 1e-5].any()
    np.testing.assert_allclose(major.primary_beam()[:, 0], np.where(seen, beam, 0), atol=1e-5)
    expected = np.where(seen, sums / np.sqrt(power * power.max(axis=(1, 2), keepdims=True)), 0)
    residual = major.residual((a_sky() * np.where(seen, beam, 0))[:, None])
    assert relative_error(residual[:, 0], expected) < 1e-5
    assert np.isnan(read_valid(major.product("residual"))).sum() == np.count_nonzero(~seen)


def test_units_of_the_sky_have_another_denominator(two_dishes, tmp_path):
    with opener(SkyMosaic, tmp_path, lambda: parameters_of(two_dishes[0], **IMAGING)) as open_sky:
        major = open_sky()
        sums, power = direct_sums(two_dishes, a_sky(), [[0, 1]], read_frequencies(major.product("pb")))
        residual = major.residual(a_sky()[None, None])
        assert relative_error(residual[0], sums / power.max()) < 1e-5
        assert major.noise()[0, 0] == pytest.approx(power.max() ** -0.5, rel=1e-4)


def test_model_visibilities_fill_the_column(open_native, two_dishes):
    major = open_native(savemodel="modelcolumn")
    beam = major.primary_beam()
    major.residual(0 * beam)
    major.predict(a_sky() * beam)
    uvw, _, _, field, pair, _ = samples_of(*two_dishes)
    column, time, untouched = with_table(
        two_dishes[0], lambda tb: [tb.getcol(name) for name in ("MODEL_DATA", "TIME", "UVW")]
    )
    frequency = with_table(f"{two_dishes[0]}/SPECTRAL_WINDOW", lambda tb: tb.getcell("CHAN_FREQ", 0))
    wavenumber = np.outer(frequency, lsrk_over_topocentric(time)) / speed_of_light
    phase = toward_the_image(untouched, field, wavenumber)[1]
    rows = np.flatnonzero((field == 2) & (pair == 19))
    seen = a_sky() * (beam[0, 0] > 0) * beam_of(2, 19, read_frequencies(major.product("pb"))[0])
    expected = visibilities_of(seen, uvw[1, rows], CELL * arcsecond, True)
    assert relative_error(column[0, 1, rows] * phase[1, rows], expected) < 1e-5


def test_noise_is_that_of_draws(open_native):
    major = open_native()
    seen = major.primary_beam() > 0
    draws = [np.std(major.draw_noise(seed)[seen]) for seed in range(20)]
    assert np.mean(draws) == pytest.approx(major.noise()[0, 0], rel=0.03)


def test_a_store_in_files_with_plans_made_anew_gives_the_same_images(open_native, monkeypatch):
    from casa_ml_tasks.data import visibility_store
    from casa_ml_tasks.major import mosaic_data

    in_memory = open_native()
    model = a_sky() * in_memory.primary_beam()
    expected = in_memory.residual(model)
    monkeypatch.setattr(visibility_store, "SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr(mosaic_data, "SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr(visibility_store, "CHUNK", 200)
    in_files = open_native()
    assert isinstance(in_files.observed.uvw, np.memmap)
    assert not in_files.operator.plans
    np.testing.assert_allclose(in_files.residual(model), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("weighting", [{}, {"weighting": "briggs", "robust": 0.5}], ids=str)
def test_images_are_those_of_casas_mosaic_gridder_up_to_its_error(open_native, tmp_path, two_dishes, weighting):
    """The image is as large as the beams of 7 m antennas, which CASA would fold otherwise."""
    changes = weighting | {"imsize": [220]}
    native = open_native(**changes)
    (tmp_path / "casa").mkdir()
    parameters = parameters_of(two_dishes[0], **IMAGING | changes | {"imager": "casa"})
    with opener(CasaMajorCycle, tmp_path / "casa", lambda: parameters) as open_casa:
        casa = open_casa()
        ours, theirs = (major.residual(np.zeros(major.shape))[0, 0] for major in (native, casa))
        beams = [major.primary_beam()[0, 0] for major in (native, casa)]
        sums = [read_image(major.product("sumwt")).item() for major in (native, casa)]
        seen = (beams[0] > 0) & (beams[1] > 0)
        assert sums[0] == pytest.approx(sums[1], rel=5e-4)  # visibilities on the edges of uv cells
        np.testing.assert_allclose(beams[0][seen], beams[1][seen], atol=0.02)
        assert np.std((ours - theirs)[seen]) < 0.05 * np.std(ours[seen])
        assert native.noise() == pytest.approx(casa.noise(), rel=0.1)


def test_antennas_look_where_the_pointing_table_says(two_dishes, tmp_path, monkeypatch):
    """One antenna looks 6 arcsec to the North of the fields, so that its baselines have beams of two directions."""
    monkeypatch.setattr(pointings, "DIAMETERS", 1e-6)
    path = shutil.copytree(two_dishes[0], tmp_path / "offset.ms")
    astray, offset = 3, 6 * arcsecond

    def change(tb):
        directions = tb.getcol("DIRECTION")
        directions[1, 0, tb.getcol("ANTENNA_ID") == astray] += offset
        tb.putcol("DIRECTION", directions)

    with_table(f"{path}/POINTING", change)
    ends, field, weight = with_table(
        path, lambda tb: [[tb.getcol("ANTENNA1"), tb.getcol("ANTENNA2")], tb.getcol("FIELD_ID"), tb.getcol("WEIGHT")]
    )
    with opener(NativeMosaic, tmp_path, lambda **options: parameters_of(path, **IMAGING, **options)) as open_one:
        major = open_one(usepointing=True)
        (frequency,) = read_frequencies(major.product("pb"))
        power = np.zeros(SHAPE)
        for row in range(field.size):
            beams = [
                one_beam(two_dishes[1][end[row]], field[row], offset * (end[row] == astray), frequency) for end in ends
            ]
            power += 2 * weight[:, row].sum() * beams[0] * beams[1]
        beam = np.sqrt(power / power.max())
        inner = beam > 0.25
        np.testing.assert_allclose(major.primary_beam()[0, 0][inner], beam[inner], atol=2e-5)
        away = open_one(usepointing=False).primary_beam()[0, 0]
        assert np.abs(away - beam)[inner].max() > 0.01


def one_beam(diameter, pointing, north_of_it, frequency):
    east, north = np.array(POINTINGS[pointing]) * arcsecond
    y, x = np.indices(SHAPE)
    lag = (SHAPE[1] // 2 - x) * CELL * arcsecond - east, (y - SHAPE[0] // 2) * CELL * arcsecond - north - north_of_it
    return {12: ALMA_12M, 7: ALMA_7M}[int(diameter)].power(np.hypot(*lag), frequency)


@pytest.mark.parametrize("weighting", ["briggs", "briggsbwtaper"])
def test_a_field_that_one_channel_lacks_leaves_fluxes_as_they_are(tmp_path, monkeypatch, weighting):
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory)
    path, name = tmp_path / "lacking.ms", tmp_path / "sky"
    simulate(path, sources=(Source(1.0, 6.0, 0.6),), pointings=((-8.0, 0.0), (8.0, 0.0)), sigma=0.05, radius=60)

    def flag(tb):
        flags = tb.getcol("FLAG")
        flags[:, 0, tb.getcol("FIELD_ID") == 0] = True
        tb.putcol("FLAG", flags)

    with_table(path, flag)
    options = {"specmode": "cubedata", "perchanweightdensity": True, "weighting": weighting, "noisescale": 1.0}
    result = rmlclean(vis=str(path), imagename=str(name), datacolumn="data", **IMAGING | options | {"imager": "auto"})
    model, beam = (read_image(f"{name}.{kind}")[:, 0] for kind in ("model", "pb"))
    sky = np.divide(model, beam, where=beam > 0, out=np.zeros(beam.shape))
    y, x = np.indices(SHAPE)
    near = np.hypot((SHAPE[1] // 2 - x) * CELL - 6.0, (y - SHAPE[0] // 2) * CELL - 0.6) < 3
    np.testing.assert_allclose(sky[:, near].sum(axis=1), 1.0, atol=0.03)
    peaks = [cycle["peak_residual"] for cycle in result["cycles"]]
    assert peaks[1] < 0.03 * peaks[0]


def test_a_field_that_no_data_of_the_image_see_is_named(open_native):
    with pytest.raises(ValueError, match="no pointing sees the image; check phasecenter"):
        open_native(phasecenter="J2000 16h30m00s -24d00m00s")
