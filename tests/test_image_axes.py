"""Pixels and channels on the sky, against casatools."""

import numpy as np
import pytest
from casatools import coordsys, measures
from casatools import image as image_tool
from numpy.testing import assert_allclose

from casa_ml_tasks.data.image_axes import read_axes

PLACES = np.array([[3.2, 50.7], [31.0, 33.0], [60.4, 1.3]])  # x, y


def written(path, projection="SIN", frame="J2000", rotation=0.0, latitude=-24.0):
    coordinates = coordsys().newcoordsys(direction=True, stokes=["I"], spectral=True)
    coordinates.setreferencecode(frame, "direction")
    coordinates.setprojection(projection)
    coordinates.setunits(["deg", "deg", "", "Hz"])
    coordinates.setreferencevalue([359.9995, latitude], "direction")
    coordinates.setreferencepixel([31, 33], "direction")
    coordinates.setincrement([-0.3 / 60, 0.3 / 60], "direction")
    cosine, sine = np.cos(rotation), np.sin(rotation)
    coordinates.setlineartransform("direction", np.array([[cosine, -sine], [sine, cosine]]))
    coordinates.setreferencevalue(115.2e9, "spectral")
    coordinates.setreferencepixel(2.0, "spectral")
    coordinates.setincrement(-5e6, "spectral")
    coordinates.setrestfrequency("115.271202GHz")
    tool = image_tool()
    tool.fromshape(outfile=str(path), shape=[63, 66, 1, 7], csys=coordinates.torecord(), overwrite=True)
    tool.done()
    return coordinates


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"projection": "TAN", "frame": "ICRS"},
        {"frame": "GALACTIC", "latitude": 31.0},
        {"rotation": 0.4},
        {"projection": "ZEA", "latitude": 75.0, "rotation": -1.0},
    ],
    ids=["SIN", "TAN", "galactic", "rotated", "near the pole"],
)
def test_directions_and_pixels_are_those_of_casatools(tmp_path, kind):
    coordinates = written(tmp_path / "a.image", **kind)
    axes = read_axes(tmp_path / "a.image")
    expected = np.array([coordinates.toworld([*place, 0, 0], "n")["numeric"][:2] for place in PLACES])
    longitude, latitude = axes.directions(*PLACES.T)
    assert_allclose(longitude, expected[:, 0] % 360, rtol=0, atol=1e-9)
    assert_allclose(latitude, expected[:, 1], rtol=0, atol=1e-9)
    assert_allclose(np.transpose(axes.pixels(longitude, latitude)), PLACES, atol=1e-5)
    assert axes.frame == kind.get("frame", "J2000")


@pytest.mark.parametrize("kind", [{}, {"rotation": 0.4, "latitude": 60.0}], ids=["SIN", "rotated"])
def test_a_step_of_a_pixel_leads_as_far_and_in_the_direction_that_casa_measures(tmp_path, kind):
    coordinates = written(tmp_path / "a.image", **kind)
    axes, measure = read_axes(tmp_path / "a.image"), measures()

    def direction(x, y):
        longitude, latitude = coordinates.toworld([x, y, 0, 0], "n")["numeric"][:2]
        return measure.direction("J2000", f"{longitude:.15g}deg", f"{latitude:.15g}deg")

    x, y = PLACES[0]
    for column, step in enumerate(((0.5, 0.0), (0.0, 0.5))):
        behind, ahead = direction(x - step[0], y - step[1]), direction(x + step[0], y + step[1])
        distance = 3600 * measure.separation(behind, ahead)["value"]
        angle = np.radians(measure.posangle(behind, ahead)["value"])
        expected = distance * np.array([np.sin(angle), np.cos(angle)])
        assert_allclose(axes.jacobians(x, y)[0][:, column], expected, atol=1e-3 * distance)
    measure.done()


def test_frequencies_and_velocities_are_those_of_casatools(tmp_path):
    coordinates = written(tmp_path / "a.image")
    axes = read_axes(tmp_path / "a.image")
    expected = [coordinates.toworld([0, 0, 0, channel], "n")["numeric"][3] for channel in range(7)]
    assert_allclose(axes.frequencies, expected, rtol=1e-12)
    assert_allclose(axes.widths, -5e6)
    assert_allclose(axes.frequency([2.25, 6.5, -0.5]), 115.2e9 - 5e6 * np.array([0.25, 4.5, -2.5]), rtol=1e-12)
    velocity = coordinates.frequencytovelocity(expected, "Hz", "radio", "km/s")
    assert_allclose(axes.velocities, velocity, atol=1e-6)


def test_a_fits_file_has_the_axes_of_its_image_in_another_order(tmp_path):
    written(tmp_path / "a.image", rotation=0.4)
    tool = image_tool()
    tool.open(str(tmp_path / "a.image"))
    tool.tofits(str(tmp_path / "a.fits"), stokeslast=True)
    tool.done()
    axes, of_fits = (read_axes(tmp_path / name) for name in ("a.image", "a.fits"))
    assert_allclose(of_fits.frequencies, axes.frequencies, rtol=1e-12)
    assert_allclose(of_fits.directions(*PLACES.T), axes.directions(*PLACES.T), atol=1e-9)
