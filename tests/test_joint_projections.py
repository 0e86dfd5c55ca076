"""jointdeconv on a sky that is not SIN."""

import shutil

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.constants import arcsecond
from scipy.ndimage import gaussian_filter

from casa_ml_tasks import jointdeconv
from casa_ml_tasks.data.casa_image import opened, read_image, read_valid
from casa_ml_tasks.data.healpix import read_healpix
from tests.test_jointdeconv import CELL, observe, sky_of
from tests.test_sky_frame import converted


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """In galactic coordinates, which turn the image against the equator by many degrees."""
    folder, sky = tmp_path_factory.mktemp("projection"), sky_of([1.0])
    call = observe(folder, sky)
    centre = SkyCoord(246.0, -24.0, unit="deg", frame="icrs").galactic
    call["phasecenter"] = f"GALACTIC {centre.l.deg:.8f}deg {centre.b.deg:.8f}deg"
    names = {each: str(folder / each) for each in ("SIN", "CAR", "HEALPIX")}
    for projection, name in names.items():
        jointdeconv(imagename=name, projection=projection, **call)
    return sky.pixels, names, call


def test_the_model_is_in_the_projection_that_was_asked_for(joined):
    _, names, _ = joined
    for projection in ("SIN", "CAR"):
        name = names[projection]
        with opened(f"{name}.model") as tool:
            coordinates = tool.coordsys()
            assert coordinates.projection()["type"] == projection
            assert coordinates.referencecode("direction") == ["GALACTIC"]


def test_both_skies_agree(joined):
    truth, names, _ = joined
    sin, car = (read_image(f"{names[each]}.model")[0, 0] for each in ("SIN", "CAR"))
    seen = read_valid(f"{names['SIN']}.pb")[0, 0] > 0.3
    assert not np.array_equal(sin, car)
    assert car[seen].sum() == pytest.approx(sin[seen].sum(), rel=0.005)
    assert np.abs(car - sin)[seen].sum() < 0.05 * sin[seen].sum()
    assert read_image(f"{names['CAR']}.sky").sum() == pytest.approx(truth.sum(), rel=0.03)
    residuals = [read_valid(f"{name}.residual")[0, 0][seen] for name in names.values()]
    for each in residuals[1:]:
        assert np.std(each) < 1.1 * np.std(residuals[0])


def test_the_sky_in_healpix_has_the_flux_and_the_shape_of_that_in_sin(joined):
    healpix = pytest.importorskip("astropy_healpix")
    truth, names, _ = joined
    sky, pixels = read_healpix(f"{names['HEALPIX']}.sky.fits")
    assert pixels.min() >= 0
    assert pixels.sum() == pytest.approx(truth.sum(), rel=0.03)
    sin, seen = read_image(f"{names['SIN']}.model")[0, 0], read_valid(f"{names['SIN']}.pb")[0, 0] > 0.3
    # Brightness at the pixels of the image, interpolated by astropy-healpix; its beam is 3 pixels wide.
    with opened(f"{names['SIN']}.model") as tool:
        y, x = np.indices(sin.shape).reshape(2, -1)
        world = tool.coordsys().toworldmany(np.stack([x, y, 0 * x, 0 * x]).astype(float))["numeric"][:2]
    sphere = healpix.HEALPix(sky.nside, "nested")
    there = converted(*np.degrees(world), "GALACTIC", "ICRS").galactic  # CASA's own are half an arcsecond off
    neighbours, weights = sphere.bilinear_interpolation_weights(there.l, there.b)
    place = np.clip(np.searchsorted(sky.numbers, neighbours), 0, sky.numbers.size - 1)
    known = sky.numbers[place] == neighbours
    brightness = np.sum(weights * known * pixels[0][*sky.places][place], axis=0).reshape(sin.shape)
    found = brightness * (CELL * arcsecond) ** 2 / np.nanmax(sky.solid_angles())
    assert found[seen].sum() == pytest.approx(sin[seen].sum(), rel=0.02)
    smooth, expected = gaussian_filter(found, 2), gaussian_filter(sin, 2)
    assert np.abs(smooth - expected)[seen].sum() < 0.05 * expected[seen].sum()


def test_a_second_run_in_healpix_begins_with_the_sky_of_the_first(joined, tmp_path):
    _, names, call = joined
    name = str(tmp_path / "sky")
    shutil.copy(f"{names['HEALPIX']}.sky.fits", f"{name}.sky.fits")
    again = jointdeconv(imagename=name, projection="healpix", niter=0, **call)
    expected = read_healpix(f"{name}.sky.fits")[1].sum()
    assert again["cycles"][0]["model_flux"] == pytest.approx(expected, rel=1e-4)
    assert expected > 1


def test_healpix_refuses_what_needs_a_rectangle_before_anything_is_written(joined, tmp_path):
    _, names, call = joined
    start = f"{names['SIN']}.model"
    refused = [
        ({"startmodel": start}, r"startmodel='.*' is not brought to the pixels of projection='HEALPIX'; leave it out"),
        ({"regularizer": ["l1", "edge_clamp"]}, "'edge_clamp' has no edges with projection='HEALPIX'; leave it out"),
        ({"phasecenter": "J2000 246deg -24deg"}, "projection='HEALPIX' has no frame J2000; give a phasecenter in one"),
        ({"inference": "posterior"}, "projection='HEALPIX' has no inference='posterior' yet; use projection='SIN'"),
    ]
    for changes, sentence in refused:
        with pytest.raises(ValueError, match=sentence):
            jointdeconv(imagename=str(tmp_path / "sky"), projection="HEALPIX", **{**call, **changes})
    assert list(tmp_path.iterdir()) == []
