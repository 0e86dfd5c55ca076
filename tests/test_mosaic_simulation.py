"""Simulated mosaics and total-power maps: against sums over sources, and as CASA's own tasks image and measure them."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from casatasks import imfit, imstat, tclean
from casatools import measures
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.kernels.primary_beams import ALMA_7M, ALMA_12M
from casa_ml_tasks.simulation import SkyImage, hexagon, observe_mosaic, observe_total_power, with_table

CENTRE = SkyCoord(246.0, -24.0, unit="deg")
FLUX, EAST, NORTH = 2.0, -5.5, 8.25  # Jy, arcsec
POINTINGS = ((-8.0, 3.0), (10.0, 0.0), (0.0, 14.0))


def sky_of(points, shape=(151, 180), cell=0.25, channels=1):
    """An image that is empty but for points, (flux, pixels East, pixels North of the centre)."""
    pixels = np.zeros((channels, *shape))
    for flux, east, north in points:
        pixels[:, shape[0] // 2 + north, shape[1] // 2 - east] += flux
    return SkyImage(pixels, cell)


def columns(path, *names):
    return with_table(path, lambda tool: [tool.getcol(name) for name in names])


def in_icrs(directions):
    """CASA's J2000, (2, direction), radians, as it converts it itself."""
    me = measures()
    found = []
    for right_ascension, declination in directions.T:
        there = me.direction("J2000", f"{right_ascension:.15f}rad", f"{declination:.15f}rad")
        converted = me.measure(there, "ICRS")
        found.append([converted["m0"]["value"], converted["m1"]["value"]])
    me.done()
    return SkyCoord(*np.transpose(found), unit="rad")


def fields_of(path):
    """The phase centres of a Measurement Set."""
    return in_icrs(columns(path / "FIELD", "PHASE_DIR")[0][:, 0])


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A point seen by both arrays and by a single dish."""
    folder = tmp_path_factory.mktemp("observed")
    sky = sky_of([(FLUX, round(EAST / 0.25), round(NORTH / 0.25))])
    observe_mosaic(folder / "12m.ms", sky, configuration="alma.cycle9.2", pointings=POINTINGS, sigma=0.5)
    observe_mosaic(folder / "7m.ms", sky, configuration="aca.cycle9", pointings=((0.0, 0.0),), sigma=1.5, visits=5)
    observe_total_power(folder / "tp.image", sky, beam=26.7, cell=3.0, npix=60, sigma=1e-3)
    return folder, sky


def test_visibilities_are_a_sum_over_sources_seen_through_the_beams_of_both_dishes(tmp_path, monkeypatch):
    configurations = tmp_path / "mixed.cfg"
    rng = np.random.default_rng(4)
    lines = [f"{east} {north} {up} {diameter}" for east, north, up, diameter in zip(
        *rng.uniform(-200, 200, (2, 6)), rng.uniform(-3, 3, 6), [12.0, 7.0] * 3, strict=True)]  # fmt: skip
    configurations.write_text("\n".join(lines))
    monkeypatch.setattr("casa_ml_tasks.simulation.antennas.CONFIGURATIONS", tmp_path)
    points = [(1.0, 0, 0), (0.5, -70, 60), (2.0, 81, -73)]
    sky = sky_of(points, channels=2)
    observe_mosaic(tmp_path / "mixed.ms", sky, configuration="mixed", pointings=POINTINGS, sigma=1e-9)

    pointings = fields_of(tmp_path / "mixed.ms")
    frequencies = columns(tmp_path / "mixed.ms/SPECTRAL_WINDOW", "CHAN_FREQ")[0][:, 0]
    diameters = columns(tmp_path / "mixed.ms/ANTENNA", "DISH_DIAMETER")[0]
    names = ("UVW", "FIELD_ID", "ANTENNA1", "ANTENNA2", "DATA")
    uvw, fields, first, second, data = columns(tmp_path / "mixed.ms", *names)
    beam_of = {12.0: ALMA_12M, 7.0: ALMA_7M}
    for row in range(fields.size):
        for channel, frequency in enumerate(frequencies):
            expected = 0
            for flux, east, north in points:
                place = on_the_sphere(east * 0.25 * arcsecond, north * 0.25 * arcsecond)
                offset = place.transform_to(pointings[fields[row]].skyoffset_frame()).cartesian.xyz.value
                direction = np.array([offset[1], offset[2], offset[0] - 1])
                beams = [beam_of[diameters[antenna[row]]] for antenna in (first, second)]
                distance = np.hypot(*direction[:2])
                power = np.prod([beam.voltage(distance, frequency) for beam in beams])
                power *= all(distance * frequency < beam.cutoff for beam in beams)
                turns = direction @ uvw[:, row] * frequency / speed_of_light
                expected += flux * power * np.exp(2j * np.pi * turns)
            np.testing.assert_allclose(data[:, channel, row], expected, atol=2e-7)


def on_the_sphere(east, north):
    """The direction at direction cosines l, m from CENTRE."""
    x, y, z = np.sqrt(1 - east**2 - north**2), east, north
    frame = CENTRE.skyoffset_frame()
    return SkyCoord(x=x, y=y, z=z, representation_type="cartesian", frame=frame).transform_to("icrs")


def test_fields_and_pointings_are_where_they_were_asked_for_and_dishes_as_large(observed):
    folder, _ = observed
    for name, diameter, offsets in (("12m.ms", 12.0, POINTINGS), ("7m.ms", 7.0, ((0.0, 0.0),))):
        fields = fields_of(folder / name)
        east, north = CENTRE.spherical_offsets_to(fields)
        np.testing.assert_allclose(np.transpose([east.arcsec, north.arcsec]), offsets, atol=2e-3)
        assert set(columns(folder / name / "ANTENNA", "DISH_DIAMETER")[0]) == {diameter}

        times, ids = columns(folder / name, "TIME", "FIELD_ID")
        pointed_at, when = columns(folder / name / "POINTING", "DIRECTION", "TIME")
        for time, field in set(zip(times, ids, strict=True)):
            towards = in_icrs(pointed_at[:, 0, np.abs(when - time) < 1])
            assert towards.size
            assert np.all(towards.separation(fields[field]) < 1e-3 * units.arcsec)


def test_weights_are_those_of_the_noise(observed):
    folder, _ = observed
    for name, sigma in (("12m.ms", 0.5), ("7m.ms", 1.5)):
        data, weight, stated = columns(folder / name, "DATA", "WEIGHT", "SIGMA")
        np.testing.assert_allclose(weight, sigma**-2)
        np.testing.assert_allclose(stated, sigma)
        noise = (data[0] - data[1]) / np.sqrt(2)
        assert np.std([noise.real, noise.imag]) == pytest.approx(sigma, rel=4 / np.sqrt(4 * noise.size))


def test_the_single_dish_finds_all_flux_in_its_place(observed, tmp_path):
    folder, _ = observed
    found = imstat(str(folder / "tp.image"))
    assert found["flux"][0] == pytest.approx(FLUX, rel=1e-2)
    fit = imfit(str(folder / "tp.image"))["results"]["component0"]
    place = SkyCoord(fit["shape"]["direction"]["m0"]["value"], fit["shape"]["direction"]["m1"]["value"], unit="rad")
    east, north = CENTRE.spherical_offsets_to(place)
    np.testing.assert_allclose([east.arcsec, north.arcsec], [EAST, NORTH], atol=0.05)
    assert fit["shape"]["majoraxis"]["value"] == pytest.approx(26.7, rel=5e-3)
    assert fit["peak"]["value"] == pytest.approx(FLUX, rel=5e-3)


def test_the_noise_of_the_map_is_as_wide_as_its_beam(tmp_path):
    observe_total_power(tmp_path / "tp.image", sky_of([]), beam=26.7, cell=6.0, npix=240, sigma=0.3)
    noise = read_image(tmp_path / "tp.image")[0, 0].astype(float)
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    correlation = np.mean(noise[:, 4:] * noise[:, :-4]) / noise.var()
    assert correlation == pytest.approx(np.exp(-2 * np.log(2) * (24 / 26.7) ** 2), abs=0.05)


def test_casas_mosaic_gridder_finds_the_flux_of_a_point(observed, tmp_path):
    folder, sky = observed
    tclean(
        vis=[str(folder / "12m.ms"), str(folder / "7m.ms")],
        imagename=str(tmp_path / "mosaic"),
        datacolumn="data",
        imsize=250,
        cell="0.25arcsec",
        phasecenter=sky.phasecenter,
        gridder="mosaic",
        pbcor=True,
    )
    place = imstat(str(tmp_path / "mosaic.image.pbcor"))
    assert place["max"][0] == pytest.approx(FLUX, rel=0.03)  # CASA's beams are 1 % wider than their formula
    assert list(place["maxpos"][:2]) == [125 - round(EAST / 0.25), 125 + round(NORTH / 0.25)]


def test_a_hexagon_has_neighbours_at_the_nyquist_spacing():
    places = np.array(hexagon(2, 12.0, 230e9))
    assert len(places) == 19
    distance = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
    spacing = speed_of_light / 230e9 / 12 / np.sqrt(3) / arcsecond
    assert np.sort(distance[np.argmin(np.hypot(*places.T))])[1:7] == pytest.approx(spacing)


def test_an_unknown_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"configuration='alma.cycle99' is none of casadata's"):
        observe_mosaic(tmp_path / "x.ms", sky_of([]), configuration="alma.cycle99", pointings=POINTINGS, sigma=1.0)
    assert not (tmp_path / "x.ms").exists()
