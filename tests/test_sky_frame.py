"""Skies in any frame: their coordinates against astropy's and CASA's, and a mosaic on them against direct sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from casatasks import exportfits
from casatools import coordsys, image, measures

from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.healpix import HealpixSky, read_healpix
from casa_ml_tasks.data.projections import HEALPIX, PROJECTIONS
from casa_ml_tasks.data.skies import sky_of, with_pixels_of, write_sky
from casa_ml_tasks.data.sky_frame import (
    SinImage,
    SkyFrame,
    jacobian,
    positions,
    reprojection_of,
    rotation,
)
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.reprojected_operator import ReprojectedNormalOperator
from casa_ml_tasks.kernels.reprojection import PointwiseSky, SlicedSky
from casa_ml_tasks.request.grid import ImageGrid
from casa_ml_tasks.request.projection import checked_projection
from casa_ml_tasks.simulation.direct_fourier import relative_error

ARCMIN = np.radians(1 / 60)
CENTRE = SkyCoord(246.0, -24.0, unit="deg", frame="icrs")
BAND, LONGEST = 0.3, 0.25  # cycles a pixel, with and without the primary beam
NORTH = SkyCoord(80.0, 89.0, unit="deg", frame="icrs")


def frame_of(name, cell=2 * ARCMIN, shape=(36, 41), projection="TAN", centre=CENTRE):
    there = {"GALACTIC": centre.galactic, "J2000": centre.fk5, "ICRS": centre}[name]
    lonlat = there.spherical.lon.rad, there.spherical.lat.rad
    return SkyFrame(lonlat, name, (cell, cell * 1.1), shape, projection)


def image_of(sky_cell=2 * ARCMIN, shape=(160, 171)):
    return SinImage((CENTRE.ra.rad, CENTRE.dec.rad), "ICRS", sky_cell, shape)


def sphere_of(sky):
    """The directions of a sky's pixels in ICRS: astropy's from a header of our own, each converted by CASA."""
    axes = ("GLON-", "GLAT-") if sky.frame == "GALACTIC" else ("RA---", "DEC--")
    header = {
        "CTYPE1": axes[0] + sky.projection,
        "CTYPE2": axes[1] + sky.projection,
        "CRVAL1": np.degrees(sky.centre[0]),
        "CRVAL2": np.degrees(sky.centre[1]),
        "CRPIX1": sky.shape[1] // 2 + 1,
        "CRPIX2": sky.shape[0] // 2 + 1,
        "CDELT1": -np.degrees(sky.cell[0]),
        "CDELT2": np.degrees(sky.cell[1]),
    }
    y, x = np.indices(sky.shape)
    return converted(*WCS(header).wcs_pix2world(x.ravel(), y.ravel(), 0), sky.frame, "ICRS")


def converted(longitude, latitude, of, to):
    tool = measures()
    found = [
        tool.measure(tool.direction(of, f"{a:.15g}deg", f"{b:.15g}deg"), to)
        for a, b in zip(longitude, latitude, strict=True)
    ]
    tool.done()
    return SkyCoord([each["m0"]["value"] for each in found], [each["m1"]["value"] for each in found], unit="rad")


def seen_from(plane, directions):
    """y and x in an image of ICRS directions."""
    offset = directions.transform_to(CENTRE.skyoffset_frame()).cartesian
    return plane.shape[0] // 2 + offset.z.value / plane.cell, plane.shape[1] // 2 - offset.y.value / plane.cell


@pytest.mark.parametrize("frame", ["ICRS", "J2000", "GALACTIC"])
@pytest.mark.parametrize("centre", [CENTRE, NORTH], ids=["South", "pole"])
def test_casa_has_the_same_coordinates(frame, centre):
    template = coordsys().newcoordsys(direction=True, spectral=True, stokes=["I"])
    for projection in PROJECTIONS:
        sky = frame_of(frame, projection=projection, centre=centre)
        tool = with_pixels_of(sky, template)
        y, x = np.indices(sky.shape).reshape(2, -1)
        world = tool.toworldmany(np.stack([x, y, 0 * x, 0 * x]).astype(float))["numeric"][:2]
        theirs = SkyCoord(*world, unit="rad").cartesian.xyz.value.reshape(3, *sky.shape)
        assert np.abs(theirs - sky.directions()).max() < 1e-3 * sky.cell[0], projection
        assert tool.projection()["type"] == projection
        assert tool.referencecode("direction") == [frame]
        np.testing.assert_allclose(sky.pixels(sky.directions()), np.indices(sky.shape), atol=0.1)
        tool.done()


def test_a_casa_image_of_a_sky_is_read_by_others(tmp_path):
    template = str(tmp_path / "template")
    tool, frequencies = image(), coordsys()
    axes = frequencies.newcoordsys(direction=True, spectral=True, stokes=["I"]).torecord()
    tool.fromshape(template, [8, 8, 1, 2], csys=axes)
    tool.done()
    for number, (frame, projection) in enumerate([("ICRS", "TAN"), ("J2000", "CAR"), ("GALACTIC", "CAR")]):
        sky, path = frame_of(frame, projection=projection), str(tmp_path / f"sky{number}")
        pixels = np.random.default_rng(1).normal(size=(2, 1, *sky.shape)).astype(np.float32)
        write_sky(path, template, sky, np.zeros_like(pixels), "Jy/pixel")
        write_sky(path, template, sky, pixels, "Jy/pixel")
        np.testing.assert_array_equal(read_image(path), pixels)
        exportfits(path, f"{path}.fits")
        header = fits.getheader(f"{path}.fits")
        assert header["BUNIT"] == "Jy/pixel"
        y, x = np.indices(sky.shape).reshape(2, -1)
        world = WCS(header).celestial.wcs_pix2world(x, y, 0)
        theirs = SkyCoord(*world, unit="deg").cartesian.xyz.value.reshape(3, *sky.shape)
        assert np.abs(theirs - sky.directions()).max() < 1e-3 * sky.cell[0]


@pytest.mark.parametrize(
    ("of", "to", "error"),
    [("GALACTIC", "ICRS", 1e-5), ("J2000", "ICRS", 1e-5), ("ICRS", "GALACTIC", 1e-5), ("B1950", "J2000", 0.02)],
)
def test_frames_are_turned_as_casa_has_it(of, to, error):
    around = CENTRE.directional_offset_by(np.arange(6) * 60 * units.deg, 3 * units.deg)
    expected = converted(around.ra.deg, around.dec.deg, of, to).cartesian.xyz.value
    matrix = rotation(of, to, (CENTRE.ra.rad, CENTRE.dec.rad))
    found = matrix @ around.cartesian.xyz.value
    np.testing.assert_allclose(found, expected, rtol=0, atol=np.radians(error / 3600))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("frame", "projection"), [("ICRS", "TAN"), ("GALACTIC", "CAR"), ("ICRS", "AIT")])
def test_pixels_are_where_astropy_has_them(frame, projection):
    sky, plane = frame_of(frame, projection=projection), image_of()
    expected = seen_from(plane, sphere_of(sky))
    assert np.abs(positions(sky, plane).reshape(2, -1) - expected).max() < 1e-3


def test_pixels_cover_the_sphere_once():
    for projection in ("CAR", "AIT", "TSC", "ZEA"):
        sky = SkyFrame((1.0, 0.3), "ICRS", (np.radians(2),) * 2, (200, 250), projection)
        np.testing.assert_allclose(
            np.nansum(sky.solid_angles()) / (4 * np.pi), 1, atol=0.25 if projection == "TSC" else 0.05
        )
        assert np.isnan(sky.directions()).any()
    assert np.isnan(positions(sky, SinImage((1.0, 0.3), "ICRS", 0.01, (250, 250)))).mean() > 0.5


def test_solid_angles_are_those_of_the_projection():
    """TAN: cos^3 of the distance from the centre (Calabretta & Greisen 2002, eq. 54); SIN: 1 / cos."""
    for projection, power in (("TAN", 3), ("SIN", -1)):
        sky = SkyFrame((1.0, 0.3), "ICRS", (0.002, 0.003), (101, 101), projection)
        cos = np.tensordot(sky.directions()[:, 50, 50], sky.directions(), 1)
        np.testing.assert_allclose(sky.solid_angles(), 0.002 * 0.003 * cos**power, rtol=1e-4)


def test_a_sky_in_the_frame_of_the_image_is_a_slice():
    plane = image_of(shape=(20, 25))
    sky = SkyFrame(plane.centre, "ICRS", (plane.cell, plane.cell), (41, 36), "SIN")
    reprojection = reprojection_of(sky, plane, BAND)
    assert isinstance(reprojection, SlicedSky)
    expected = positions(sky, plane)[:, reprojection.corner[0], reprojection.corner[1]]
    np.testing.assert_allclose(expected, 0, atol=1e-9)
    np.testing.assert_allclose(jacobian(sky, plane), np.eye(2), atol=1e-9)
    other = SkyFrame(plane.centre, "ICRS", (plane.cell, 1.01 * plane.cell), (41, 36), "SIN")
    assert isinstance(reprojection_of(other, plane, BAND), PointwiseSky)


def test_a_sky_elsewhere_is_refused():
    sky = SkyFrame((0.1, 0.2), "ICRS", (ARCMIN, ARCMIN), (20, 20), "TAN")
    with pytest.raises(ValueError, match="no pixel of the sky lies where the visibilities are"):
        reprojection_of(sky, image_of(), BAND)


def mosaic_on(plane):
    """Two pointings with Gaussian beams, more than two degrees apart, and the direct sum of what they see of a sky."""
    rng = np.random.default_rng(5)
    uvw = np.zeros((70, 3))
    uvw[:, :2] = rng.uniform(-LONGEST, LONGEST, (70, 2)) / plane.cell
    weight, corners, box = rng.uniform(0.5, 2, (70, 2)), np.array([[5, 2], [35, 50]]), (120, 112)
    centres = corners + np.array([60, 56])

    def beam(k, y, x):
        return np.exp(-((y - centres[k, 0]) ** 2 + (x - centres[k, 1]) ** 2) / (2 * 11.0**2))

    beams = np.stack([beam(k, *(np.indices(box) + corners[k][:, None, None])) for k in (0, 1)])
    psfs = np.stack([psf_of_weights(uvw, 1.0, weight[:, [k]], box, plane.cell) for k in (0, 1)]) / weight.sum()

    def dirty_of(flux, y, x):
        m, l = (y - plane.shape[0] // 2) * plane.cell, -(x - plane.shape[1] // 2) * plane.cell  # noqa: E741
        phasor = np.exp(2j * np.pi * (np.outer(uvw[:, 0], l) + np.outer(uvw[:, 1], m)))
        seen = [beam(k, y, x) for k in (0, 1)]
        dirty = [seen[k] * (phasor.conj().T @ (weight[:, k] * (phasor @ (seen[k] * flux)))).real for k in (0, 1)]
        return sum(dirty) / weight.sum()

    return Mosaic(psfs, beams, corners, plane.shape).normal(), dirty_of


@pytest.mark.parametrize(("frame", "projection"), [("ICRS", "TAN"), ("GALACTIC", "CAR")])
def test_a_mosaic_of_any_sky_is_the_direct_sum(frame, projection):
    sky, plane = frame_of(frame, projection=projection, cell=3 * ARCMIN, shape=(81, 74)), image_of()
    y, x = seen_from(plane, sphere_of(sky))
    flux = np.random.default_rng(6).normal(size=sky.shape)
    point = np.zeros(sky.shape)
    point[50, 47] = 1
    with jax.enable_x64(True):
        operator, dirty_of = mosaic_on(plane)
        reprojection = reprojection_of(sky, plane, BAND)
        assert reprojection.seen.mean() > 0.8
        normal = ReprojectedNormalOperator.of(reprojection, operator, jacobian(sky, plane))
        for each in (flux, np.ones(sky.shape), point):
            expected = dirty_of(each.ravel(), y, x).reshape(sky.shape)
            assert relative_error(normal(jnp.asarray(each)), expected) < 1e-4
        single = reprojection_of(sky, plane, BAND, precision=np.float32)
    assert single(jnp.asarray(flux, np.float32)).dtype == np.float32


def test_healpix_is_one_more_sky(tmp_path):
    healpix = pytest.importorskip("astropy_healpix")
    plane = image_of()
    for frame, nested in (("ICRS", True), ("GALACTIC", False)):
        area = frame_of(frame, cell=4 * ARCMIN, shape=(60, 64))
        sky = HealpixSky.covering(area, nested)
        pixel = np.sqrt(np.nanmax(sky.solid_angles()))
        assert 0.7 < pixel / area.cell[0] < 1.42
        np.testing.assert_allclose(np.nansum(sky.solid_angles()), area.solid_angles().sum(), rtol=0.02)
        sphere = healpix.HEALPix(sky.nside, "nested" if nested else "ring", frame=frame.lower())
        assert set(sky.numbers) <= set(sphere.cone_search_skycoord(CENTRE, 4 * units.deg))
        y, x = seen_from(plane, sphere.healpix_to_skycoord(sky.numbers).icrs)
        found = positions(sky, plane)
        assert np.isfinite(found[0]).sum() == sky.numbers.size
        assert np.abs(found[:, *sky.places] - [y, x]).max() < 1e-3
        flux = sky.in_rows(np.random.default_rng(7).normal(size=sky.numbers.size))
        again, values = read_healpix(write_sky(tmp_path / "sky", "", sky, flux[None, None], "Jy/pixel"))
        np.testing.assert_array_equal(values[0], flux.astype(np.float32))
        np.testing.assert_array_equal(again.directions(), sky.directions())
        np.testing.assert_allclose(again.centre, sky.centre, atol=1e-12)
    with jax.enable_x64(True):
        operator, dirty_of = mosaic_on(plane)
        normal = ReprojectedNormalOperator.of(reprojection_of(sky, plane, BAND), operator, jacobian(sky, plane))
        expected = dirty_of(flux[*sky.places], y, x)
        assert relative_error(normal(jnp.asarray(flux))[*sky.places], expected) < 1e-4
        assert not normal(jnp.asarray(flux))[np.isnan(found[0])].any()


def test_healpix_says_what_it_needs(monkeypatch):
    with pytest.raises(ValueError, match="projection='HEALPIX' has no frame J2000; give a phasecenter in one of ICRS"):
        HealpixSky.covering(frame_of("J2000"))
    with pytest.raises(ValueError, match=r"no pixels as fine as cell='0\.0001arcsec'; use a larger cell"):
        HealpixSky.covering(frame_of("ICRS", cell=np.radians(1e-4 / 3600)))
    with pytest.raises(ValueError, match="is for images within 25 degrees of their centre; use a smaller imsize"):
        HealpixSky.covering(frame_of("ICRS", cell=60 * ARCMIN))
    monkeypatch.setitem(__import__("sys").modules, "astropy_healpix", None)
    with pytest.raises(ValueError, match=r"install it with pip install 'casa-ml-tasks\[healpix\]'"):
        HealpixSky.covering(frame_of("ICRS"))


def test_the_frame_of_an_image_follows_from_its_coordinates():
    for frame in ("ICRS", "J2000", "GALACTIC"):
        sky = frame_of(frame, projection="SIN")
        found = SinImage.of(sky.wcs(), (7, 9))
        np.testing.assert_allclose(found.centre, sky.centre, rtol=1e-12)
        assert (found.frame, found.shape) == (frame, (7, 9))
        assert found.cell == pytest.approx(sky.cell[1])


def test_a_sky_is_about_the_centre_of_the_image():
    plane = image_of()
    sky = sky_of("CAR", plane)
    assert isinstance(reprojection_of(sky_of("SIN", plane), plane, BAND), SlicedSky)
    np.testing.assert_allclose(positions(sky, plane)[:, 80, 85], (80, 85), atol=1e-6)
    assert reprojection_of(sky, plane, BAND).seen.all()


def test_an_unknown_projection_is_refused():
    assert checked_projection("tan") == "TAN"
    assert checked_projection("healpix", (HEALPIX,)) == HEALPIX
    with pytest.raises(ValueError, match="projection='XYZ' is unknown; use one of SIN, TAN"):
        checked_projection("XYZ")
    with pytest.raises(ValueError, match="projection='COD' is unknown"):
        ImageGrid.from_parameters(imsize=[64], cell="1arcsec", projection="COD")
