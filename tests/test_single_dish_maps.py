"""Single-dish maps of any unit, frame and channels on an image: against casacore's positions and known formulas."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from casatools import coordsys, image, measures
from scipy.constants import c as SPEED_OF_LIGHT

from casa_ml_tasks.data.casa_image import Beam
from casa_ml_tasks.data.map_channels import SpectralFrame, channel_weights, frequencies_in
from casa_ml_tasks.data.single_dish import ImageCoordinates, MapFile, read_single_dish
from casa_ml_tasks.data.sky_map import read_sky_map
from casa_ml_tasks.request.single_dish import SingleDishMaps
from casa_ml_tasks.simulation.mosaic import SkyImage
from casa_ml_tasks.simulation.total_power import observe_total_power

ARCSEC = np.pi / 180 / 3600
FREQUENCY = 230e9
CELL, MAP_CELL, BEAM = 0.5, 3.0, 27.0
QUIET = (1e-3, "Jy/beam")
LSRK = SpectralFrame("LSRK", ("ICRS", 246.0, -24.0))


def centre_in(frame):
    """Longitude and latitude of the centre in a frame, radians."""
    tool = measures()
    found = tool.measure(tool.direction("ICRS", "246deg", "-24deg"), frame)
    tool.done()
    return [found["m0"]["value"], found["m1"]["value"]]


def coordinates(frame, shape, cell, projection="SIN", offset=(0.0, 0.0)):
    """casacore's coordinates; the centre lies `offset` pixels beside the pixel (ny // 2, nx // 2)."""
    system = coordsys().newcoordsys(direction=True, stokes=["I"], spectral=True)
    system.setreferencecode(frame, "direction", adjust=False)
    system.setprojection(projection)
    system.setunits(["rad", "rad", "", "Hz"])
    system.setreferencevalue(centre_in(frame), "direction")
    system.setincrement([-cell * ARCSEC, cell * ARCSEC], "direction")
    system.setreferencepixel([shape[1] // 2 + offset[1], shape[0] // 2 + offset[0]], "direction")
    system.setreferencecode("LSRK", "spectral", adjust=False)
    system.setreferencevalue(FREQUENCY, "spectral")
    system.setincrement(50e6, "spectral")
    return system


def write_casa(path, system, pixels, beam=(BEAM, BEAM, 0.0), unit="Jy/beam"):
    tool = image()
    tool.fromarray(str(path), pixels.T[:, :, None, None], csys=system.torecord(), overwrite=True)
    tool.setbrightnessunit(unit)
    if beam:
        tool.setrestoringbeam(major=f"{beam[0]}arcsec", minor=f"{beam[1]}arcsec", pa=f"{beam[2]}deg")
    tool.done()
    return str(path)


def places(of, to, y, x):
    """Where pixels of one image are in another, y and x, by casacore."""
    tool, frame, found = measures(), to.referencecode("direction")[0], []
    for each in zip(x, y, strict=True):
        direction = of.toworld([*map(float, each), 0.0, 0.0], "m")["measure"]["direction"]
        found.append(to.topixel({"measure": {"direction": tool.measure(direction, frame)}})["numeric"][1::-1])
    tool.done()
    return np.array(found).T


@pytest.mark.parametrize(
    ("frame", "projection", "shape", "map_shape"),
    [
        ("ICRS", "SIN", (200, 200), (64, 64)),
        ("J2000", "TAN", (199, 201), (63, 65)),
        ("B1950", "SIN", (201, 200), (65, 64)),
        ("GALACTIC", "SIN", (200, 200), (64, 64)),
        ("GALACTIC", "ZEA", (199, 201), (65, 63)),
    ],
)
def test_a_point_source_lies_at_the_same_place_in_map_and_image(tmp_path, frame, projection, shape, map_shape):
    """The map is drawn at casacore's positions with a beam that is not round."""
    ours = coordinates("ICRS", shape, CELL)
    theirs = coordinates(frame, map_shape, MAP_CELL, projection, (0.3, -1.2))
    write_casa(tmp_path / "image", ours, np.zeros(shape))
    sources = np.array([[60, 140, 110], [130, 80, 105]])
    y, x = np.indices(map_shape)
    pixels, angle = np.zeros(map_shape), np.radians(35)
    for flux, at_y, at_x in zip((1.0, 2.0, 0.5), *places(ours, theirs, *sources), strict=True):
        north, east = (y - at_y) * MAP_CELL, -(x - at_x) * MAP_CELL
        along, across = north * np.cos(angle) + east * np.sin(angle), east * np.cos(angle) - north * np.sin(angle)
        pixels += flux * np.exp(-4 * np.log(2) * ((along / 30) ** 2 + (across / 24) ** 2))
    path = write_casa(tmp_path / "map", theirs, pixels, (30.0, 24.0, 35.0))
    found = read_single_dish(MapFile(path, noise=(0.01, "Jy/beam")), ImageCoordinates.of_image(str(tmp_path / "image")))
    dish = found.on(shape)
    sky = np.zeros((1, *shape))
    sky[0, sources[0], sources[1]] = 1.0, 2.0, 0.5
    peak, counted = pixels.max(), dish.precision.counted
    assert counted.sum() > 500
    assert np.abs(dish.pixels - dish.predicted(sky))[0].max() < 2e-3 * peak
    moved = np.abs(dish.predicted(np.roll(sky, 1, axis=2)) - dish.predicted(sky)).max()
    if frame in ("ICRS", "J2000"):  # the map's own pixels serve, whose places are known
        rows, columns = np.array([3, 30, 50]), np.array([7, 31, 44])
        at = found.grid.positions(0)[rows], found.grid.positions(1)[columns]
        assert np.abs(np.array(at) - places(theirs, ours, rows, columns)).max() < 0.01
    assert moved > 0.01 * peak


def header(npix=(40, 41), unit="Jy/beam", **others):
    """A FITS header in the frame of `sky()`; others with value None are left out."""
    out = fits.Header()
    axes = (
        ("RA---SIN", npix[1] // 2 + 1, 246.0, -MAP_CELL / 3600),
        ("DEC--SIN", npix[0] // 2 + 1, -24.0, MAP_CELL / 3600),
        ("STOKES", 1, 1, 1),
        ("FREQ", 1, FREQUENCY, 50e6),
    )
    for number, (kind, pixel, value, step) in enumerate(axes, 1):
        out[f"CTYPE{number}"], out[f"CRPIX{number}"], out[f"CRVAL{number}"] = kind, pixel, value
        out[f"CDELT{number}"] = step
    more = {"BUNIT": unit, "RADESYS": "ICRS", "SPECSYS": "LSRK", "RESTFRQ": FREQUENCY, "BMAJ": BEAM / 3600}
    for name, value in {**more, "BMIN": BEAM / 3600, "BPA": 0.0, **others}.items():
        if value is not None:
            out[name] = value
    return out


def write(path, pixels=None, **others):
    """Write (channel, ny, nx) as FITS."""
    rng = np.random.default_rng(1)
    pixels = rng.normal(size=(1, 40, 41)) if pixels is None else pixels
    fits.writeto(path, pixels[:, None].astype("f4"), header(pixels.shape[1:], **others), overwrite=True)
    return str(path)


def sky(shape=(121, 120), frequencies=(FREQUENCY,), width=50e6, rest=0.0, centre=(246.0, -24.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.radesys = ["RA---SIN", "DEC--SIN"], centre, "ICRS"
    wcs.wcs.crpix, wcs.wcs.cdelt = [shape[1] // 2 + 1, shape[0] // 2 + 1], [-1 / 3600, 1 / 3600]
    return ImageCoordinates(wcs, shape, np.array(frequencies, float), width, LSRK, rest)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("Jy/beam", 1.0),
        ("JY/BEAM ", 1.0),
        ("mJy/beam", 1e-3),
        ("K", BEAM**2 * 230**2 / 1.222e6),  # S = T theta^2 nu^2 / 1.222e6, NRAO's formula
        ("K (Tmb)", BEAM**2 * 230**2 / 1.222e6),
        ("mK", BEAM**2 * 230**2 / 1.222e9),
        ("Jy/pixel", 1.1331 * (BEAM / MAP_CELL) ** 2),
        ("MJy/sr", 1.1331 * (BEAM * ARCSEC) ** 2 * 1e6),
    ],
)
def test_units_become_jansky_per_beam(tmp_path, unit, factor):
    path = write(tmp_path / "map.fits", np.full((1, 40, 41), 2.0), unit=unit)
    found = read_single_dish(MapFile(path, noise=(0.5, unit.strip().replace(" (Tmb)", ""))), sky())
    assert found.pixels == pytest.approx(2 * factor, rel=1e-3)
    assert found.noise == pytest.approx(0.5 * factor, rel=1e-3)


def test_fits_and_casa_images_are_read_alike(tmp_path):
    shape = (40, 41)
    system = coordinates("ICRS", shape, MAP_CELL)
    pixels = np.random.default_rng(1).normal(size=(1, *shape))
    casa = write_casa(tmp_path / "map", system, pixels[0])
    found = [read_single_dish(MapFile(path, noise=QUIET), sky()) for path in (casa, write(tmp_path / "m.fits"))]
    assert found[0].pixels == pytest.approx(found[1].pixels, rel=1e-5)
    assert found[0].grid.origin == pytest.approx(found[1].grid.origin, abs=1e-4)
    assert found[0].beams[0].major == pytest.approx(found[1].beams[0].major) == 27


def test_masked_and_nan_pixels_do_not_count(tmp_path):
    pixels = np.random.default_rng(1).normal(size=(1, 40, 41))
    pixels[0, 10, 20] = np.nan
    found = read_single_dish(MapFile(write(tmp_path / "map.fits", pixels), noise=QUIET), sky())
    assert np.argwhere(~found.weights).tolist() == [[0, 10, 20]]
    assert not found.on((121, 120)).precision.counted[10, 20]


def test_an_image_of_the_beam_stands_for_its_gaussian(tmp_path):
    y, x = (np.mgrid[:41, :43] - np.array([20, 21])[:, None, None]) * MAP_CELL
    beam = 3 * np.exp(-4 * np.log(2) * (x**2 + y**2) / BEAM**2)
    path = write(tmp_path / "map.fits", BMAJ=None, unit="K")
    drawn = write(tmp_path / "beam.fits", beam[None], BMAJ=None)
    by_image, by_number = (
        read_single_dish(MapFile(path, each, QUIET), sky()) for each in (drawn, Beam(BEAM, BEAM, 0.0))
    )
    assert by_image.pixels == pytest.approx(by_number.pixels, rel=1e-3)
    frequencies = np.linspace(0, 0.04, 9)
    transforms = [each.beams[0].transform(frequencies, frequencies) for each in (by_image, by_number)]
    assert np.abs(transforms[0] - transforms[1]).max() < 1e-3 * np.abs(transforms[1]).max()


def test_aips_history_names_the_beam(tmp_path):
    path = write(tmp_path / "map.fits", BMAJ=None)
    with fits.open(path, mode="update") as units:
        units[0].header["HISTORY"] = "AIPS   CLEAN BMAJ=  8.3333E-03 BMIN=  5.5556E-03 BPA=  12.00"
    (beam,) = read_sky_map(path).beams
    assert (beam.major, beam.minor, beam.angle) == pytest.approx((30, 20, 12), rel=1e-3)


def test_an_image_of_the_noise_is_taken_with_its_unit(tmp_path):
    noise = write(tmp_path / "noise.fits", np.full((1, 40, 41), 5.0), unit="mJy/beam")
    found = read_single_dish(MapFile(write(tmp_path / "map.fits"), noise=noise), sky())
    assert found.noise == pytest.approx(np.full((1, 40, 41), 5e-3), rel=1e-6)


def ramp(count=8):
    """A cube whose brightness is the number of the channel."""
    return np.broadcast_to(np.arange(count, dtype=float)[:, None, None], (count, 40, 41))


def test_a_cube_is_interpolated_in_frequency_and_ends_where_it_ends(tmp_path):
    channels = FREQUENCY + 50e6 * np.array([-0.6, -0.2, 0.5, 3.25, 7.4, 7.6])
    path = write(tmp_path / "map.fits", ramp())
    found = read_single_dish(MapFile(path, noise=(1.0, "Jy/beam")), sky(frequencies=channels, width=20e6))
    assert found.pixels[:, 5, 5] == pytest.approx([np.nan, 0, 0.5, 3.25, 7, np.nan], nan_ok=True, abs=1e-6)
    assert found.noise[2:4, 0, 0] == pytest.approx([np.sqrt(0.5), np.hypot(0.75, 0.25)])
    assert np.isinf(found.on((121, 120)).level).tolist() == [True, False, False, False, False, True]


def test_wider_channels_are_means(tmp_path):
    channels = FREQUENCY + 50e6 * np.array([0.5, 4.5])
    path = write(tmp_path / "map.fits", ramp())
    found = read_single_dish(MapFile(path, noise=(1.0, "Jy/beam")), sky(frequencies=channels, width=200e6))
    assert found.pixels[:, 5, 5] == pytest.approx([(0 + 1 + 2 * 0.999999) / 3, 4.5], rel=0.01)
    assert found.noise[1, 0, 0] == pytest.approx(0.5)


def test_falling_frequencies_are_interpolated_alike():
    own = FREQUENCY + 1e6 * np.arange(5.0)
    channels = FREQUENCY + 1e6 * np.array([0.25, 2.5])
    rising = channel_weights(own, 1e6, channels, 1e6)
    assert channel_weights(own[::-1], 1e6, channels, 1e6)[:, ::-1] == pytest.approx(rising)
    assert rising @ own == pytest.approx(channels)


def test_radio_velocities_are_frequencies(tmp_path):
    path = write(tmp_path / "map.fits", ramp(3), CTYPE4="VRAD", CRVAL4=2e5, CDELT4=1e3, RESTFRQ=115e9)
    expected = 115e9 * (1 - (2e5 + 1e3 * np.arange(3)) / SPEED_OF_LIGHT)
    assert read_sky_map(path).frequencies == pytest.approx(expected, rel=1e-12)


def test_barycentric_frequencies_are_converted_by_the_sun_s_motion(tmp_path):
    """20 km/s towards 18h +30deg (1900), the definition of LSRK; its apex precessed to J2000 is 270.96 deg, 30.00."""
    apex, direction = np.radians([270.9594, 30.0047]), np.radians([246.0, -24.0])
    cosine = np.sin(apex[1]) * np.sin(direction[1]) + np.cos(apex[1]) * np.cos(direction[1]) * np.cos(
        apex[0] - direction[0]
    )
    found = read_sky_map(write(tmp_path / "map.fits", ramp(3), SPECSYS="BARYCENT"))
    shift = frequencies_in(found, LSRK)[0] / FREQUENCY - 1
    assert shift * SPEED_OF_LIGHT == pytest.approx(-20e3 * cosine, abs=20)


def test_topocentric_frequencies_need_time_and_telescope(tmp_path):
    found = read_sky_map(write(tmp_path / "map.fits", ramp(3), SPECSYS="TOPOCENT"))
    with pytest.raises(ValueError, match="do not say how the Earth moved"):
        frequencies_in(found, LSRK)
    path = write(
        tmp_path / "map.fits", ramp(3), SPECSYS="TOPOCENT", TELESCOP="ALMA", **{"DATE-OBS": "2020-03-01T04:00:00"}
    )
    shift = frequencies_in(read_sky_map(path), LSRK)[0] / FREQUENCY - 1
    assert 1e-6 < abs(shift) < 2e-4
    of_data = replace(LSRK, name="TOPO", date="2020-09-01T04:00:00", telescope="ALMA")
    moved = frequencies_in(read_sky_map(path), of_data)[0] / FREQUENCY - 1
    earth = 2 * 29.8e3 / SPEED_OF_LIGHT  # half a year apart, at most
    assert 0.3 * earth < abs(moved) < 1.1 * earth


BAD = [
    ({"BMAJ": None}, {}, {}, "names no beam in its header"),
    ({"BMAJ": -0.1}, {}, {}, "names no beam in its header"),
    ({"BMAJ": 3.0, "BMIN": 3.0}, {}, {}, "which pixels of 3 arcsec"),
    ({"BMAJ": 1e-5, "BMIN": 1e-5}, {}, {}, "which pixels of 3 arcsec"),
    ({"unit": ""}, {}, {}, "names no unit"),
    ({"unit": "counts"}, {}, {}, "has the unit 'counts'"),
    ({"CRVAL3": 2}, {}, {}, "no plane of Stokes I"),
    ({"CTYPE1": "X", "CTYPE2": "Y"}, {}, {}, "no two axes on the sky"),
    ({"CRVAL4": 345e9}, {}, {}, "has frequencies from 345"),
    ({}, {"centre": (200.0, -24.0)}, {}, "lies elsewhere on the sky"),
    ({"pixels": np.full((1, 40, 41), np.nan)}, {}, {"noise": QUIET}, "no finite pixel within the image"),
    ({"pixels": ramp(), "RESTFRQ": 115e9}, {"rest": FREQUENCY}, {}, "is of a line at 115 GHz"),
    ({"pixels": ramp(), "SPECSYS": None}, {"frequencies": (FREQUENCY,) * 2}, {}, "no frame of its frequencies"),
    ({"pixels": ramp() + 1}, {}, {}, "too little blank sky"),
    ({"RADESYS": "FK5", "EQUINOX": 1975.0}, {}, {}, "of equinox 1975"),
    ({}, {}, {"beam": "nothing.image"}, "sdbeam='nothing.image' does not exist"),
    ({}, {}, {"noise": "nothing.image"}, "sdnoise='nothing.image' does not exist"),
]


@pytest.mark.parametrize(("of_map", "of_image", "of_file", "message"), BAD)
def test_bad_maps_are_refused_with_one_sentence(tmp_path, of_map, of_image, of_file, message):
    path = write(tmp_path / "map.fits", **of_map)
    with pytest.raises(ValueError, match=message) as error:
        read_single_dish(replace(MapFile(path), **of_file), sky(**of_image))
    assert str(error.value).startswith(f"sdimage='{path}' ")
    assert str(error.value).count("\n") == 0


def test_a_map_with_too_few_pixels_a_beam_is_not_turned(tmp_path):
    longitude, latitude = np.degrees(centre_in("GALACTIC"))
    galactic = {"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN", "CRVAL1": longitude, "CRVAL2": latitude, "RADESYS": None}
    path = write(tmp_path / "map.fits", BMAJ=5 / 3600, BMIN=5 / 3600, **galactic)
    with pytest.raises(ValueError, match=r"has 1\.7 pixels within its beam"):
        read_single_dish(MapFile(path, noise=QUIET), sky())


def test_a_map_that_interpolation_would_change_is_not_turned(tmp_path):
    """Noise without correlation between pixels is lost in part when a map is turned."""
    longitude, latitude = np.degrees(centre_in("GALACTIC"))
    galactic = {"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN", "CRVAL1": longitude, "CRVAL2": latitude, "RADESYS": None}
    path = write(tmp_path / "map.fits", **galactic)
    with pytest.raises(ValueError, match="cannot be turned into the image's axes"):
        read_single_dish(MapFile(path, noise=(0.1, "Jy/beam")), sky())


def test_parameters_are_read_for_every_map(tmp_path):
    paths = [write(tmp_path / f"map{number}.fits") for number in (1, 2)]
    found = SingleDishMaps.from_parameters(
        sdimage=paths, sdbeam=["30arcsec 20arcsec 10deg", ""], sdnoise="20mJy/beam", sdscale=[1, 0.5]
    ).files
    assert found[0] == MapFile(paths[0], Beam(30.0, 20.0, 10.0), (20.0, "mJy/beam"), 1.0)
    assert found[1] == MapFile(paths[1], None, (20.0, "mJy/beam"), 0.5)
    assert SingleDishMaps.from_parameters().files == ()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sdimage": "nothing.fits"}, "sdimage='nothing.fits' does not exist"),
        ({"sdimage": "."}, r"sdimage='\.' is no image"),
        ({"sdbeam": "-30arcsec"}, "sdbeam='-30arcsec' is no beam"),
        ({"sdbeam": "20arcsec 30arcsec 0deg"}, "larger one first"),
        ({"sdbeam": "30"}, "neither an image nor a beam"),
        ({"sdbeam": "30K"}, "neither an image nor a beam"),
        ({"sdbeam": ["30arcsec", "20arcsec"]}, "sdbeam has 2 values for 1 maps"),
        ({"sdnoise": "-1Jy/beam"}, "sdnoise='-1Jy/beam' is no noise"),
        ({"sdnoise": "0.1"}, "sdnoise='0.1' is no noise"),
        ({"sdscale": 0}, "sdscale=0 is no weight"),
        ({"sdscale": "much"}, "sdscale='much' is no weight"),
    ],
)
def test_bad_parameters_are_refused_with_one_sentence(tmp_path, parameters, message):
    path = write(tmp_path / "map.fits")
    with pytest.raises(ValueError, match=message):
        SingleDishMaps.from_parameters(**{"sdimage": path, **parameters})


@pytest.mark.parametrize(("count", "npix"), [(120, 40), (121, 41), (121, 40)])
def test_the_map_of_a_simulated_sky_is_that_of_the_sky(tmp_path, count, npix):
    """The image has a channel more than the map."""
    pixels = np.random.default_rng(3).exponential(size=(2, count, count))
    simulated = SkyImage(pixels, cell=1.0, centre=(246.0, -24.0), frequency=FREQUENCY, channel_width=50e6)
    observe_total_power(tmp_path / "map", simulated, beam=BEAM, cell=MAP_CELL, npix=npix, sigma=1e-6)
    image_of = sky((count, count), FREQUENCY + 50e6 * np.arange(3))
    found = read_single_dish(MapFile(str(tmp_path / "map"), noise=QUIET), image_of)
    assert np.isnan(found.pixels[2]).all()
    dish = found.on((count, count))
    left = (dish.pixels - dish.predicted(np.concatenate([pixels, pixels[:1]])))[:2]
    assert np.abs(left).max() < 3e-4 * np.abs(dish.pixels).max()
    assert np.isinf(dish.level[2])


@pytest.mark.parametrize("name", ["map", "map.fits"])
def test_channels_with_beams_of_their_own_have_their_own(tmp_path, name):
    system = coordinates("ICRS", (40, 41), MAP_CELL)
    tool = image()
    tool.fromarray(str(tmp_path / "map"), np.ones((41, 40, 1, 3)), csys=system.torecord())
    tool.setbrightnessunit("Jy/beam")
    for channel, width in enumerate((30, 25, 20)):
        tool.setrestoringbeam(f"{width}arcsec", f"{width}arcsec", "0deg", channel=channel, polarization=0)
    tool.tofits(str(tmp_path / "map.fits"))
    tool.done()
    found = read_single_dish(
        MapFile(str(tmp_path / name), noise=QUIET), sky(frequencies=FREQUENCY + 50e6 * np.array([2, 1, 0]))
    )
    assert [beam.major for beam in found.beams] == pytest.approx([20, 25, 30])
    point = np.zeros((3, 121, 120))
    point[:, 60, 60] = 1.0
    peaks = found.on((121, 120)).predicted(point).max(axis=(1, 2))
    assert peaks == pytest.approx(1, rel=1e-3)
