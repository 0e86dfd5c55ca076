"""The catalogue's numbers on the sky against astropy and casatools, and its three kinds of files."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table
from casatools import table as table_tool
from numpy.testing import assert_allclose

from casa_ml_tasks.data.catalogue_files import read_casa_table, write_casa_table
from casa_ml_tasks.data.image_axes import read_axes
from casa_ml_tasks.sources.finder import Found, Shapes
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.line_finder import Line, SpectralFit
from casa_ml_tasks.sources.sky_shapes import on_sky
from casa_ml_tasks.sources.source_spectra import Spectra
from casa_ml_tasks.tasks.source_catalogue import catalogue
from casa_ml_tasks.tasks.source_products import write_catalogue
from tests.test_image_axes import written

CHANNELS = 7  # of `written`
LINE = Line(1, 4, 2.5, 0.1, 1.5, 0.2, 0.8, 0.04, 20.0, 0.99, "single")


@dataclass
class Nothing:
    """In the place of images that the catalogue does not read."""


def found_of(x, y, flags=("",)):
    """As the finder leaves it: sources with one line each, of fluxes 1, 2, ..., blank in channel 5."""
    count = len(x)
    shapes = Gaussians(x, y, np.full(count, 6.0), np.full(count, 3.0), np.full(count, 0.5), np.arange(1.0, count + 1))
    every = np.arange(count)
    errors = Gaussians(*np.tile([[0.1], [0.2], [0.3], [0.4], [0.05]], count), flux=shapes.flux / (10.0 - every))
    flux = np.outer(np.arange(1.0, count + 1), np.ones(CHANNELS))
    flux[:, 5] = np.nan
    error = np.where(np.isnan(flux), np.inf, 0.01)
    fit = SpectralFit((LINE,), 0.9, 0.005, 0.0, 0.001, (), CHANNELS)
    return Found(
        shapes=Shapes(
            gaussians=shapes,
            errors=errors,
            delta_chi2=100.0 + every,
            network=np.full(count, 0.5),
            probability=np.full(count, 0.9),
            at_bound=np.zeros(count, bool),
            unresolved=np.zeros(count, bool),
            channels=np.tile([0, 6], (count, 1)),
        ),
        spectra=Spectra(flux, error),
        spectral_fits=(fit,) * count,
        integrated=Nothing(),
        fluxes=(np.arange(1.0, count + 1), np.full(count, 0.02)),
        shape_errors=np.full(count, 0.03),
        residual=Nothing(),
        proposal=Nothing(),
        flags=(("blend", "edge"),) * count,
        field_flags=(),
    )


@pytest.fixture
def axes(tmp_path):
    written(tmp_path / "a.image", frame="ICRS", rotation=0.3, latitude=40.0)
    return read_axes(tmp_path / "a.image")


@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0, 151.0])
def test_a_position_angle_is_the_direction_in_which_astropy_goes_along_the_axis(axes, angle):
    x, y = 12.0, 50.0
    centre = SkyCoord(*(float(each[0]) for each in axes.directions(x, y)), unit="deg")
    end = centre.directional_offset_by(angle * units.deg, 20 * units.arcsec)
    to_x, to_y = (float(each[0]) for each in axes.pixels(end.ra.deg, end.dec.deg))
    in_pixels = np.arctan2(to_y - y, to_x - x)
    shapes = Gaussians([x], [y], [2 * np.hypot(to_x - x, to_y - y)], [1.0], [in_pixels], [1.0])
    sky = on_sky(shapes, shapes, axes)
    assert_allclose((sky.angle[0] - angle + 90) % 180 - 90, 0, atol=0.05)
    assert_allclose(sky.major, 40, rtol=1e-3)


def test_errors_of_places_are_those_of_moved_sources(axes):
    shapes = Gaussians([12.0], [50.0], [3.0], [2.0], [0.0], [1.0])
    errors = Gaussians([0.4], [0.1], [0.1], [0.1], [0.1], [0.1])
    rng = np.random.default_rng(1)
    moved = axes.directions(12 + 0.4 * rng.normal(size=20000), 50 + 0.1 * rng.normal(size=20000))
    sky = on_sky(shapes, errors, axes)
    east = (moved[0] - sky.longitude + 180) % 360 - 180
    assert_allclose(sky.longitude_error, np.std(east) * np.cos(np.radians(sky.latitude)) * 3600, rtol=0.02)
    assert_allclose(sky.latitude_error, np.std(moved[1]) * 3600, rtol=0.02)


def test_columns_have_units_and_fluxes_are_divided_by_the_primary_beam(axes):
    response = np.full((66, 63), 0.5)
    made = catalogue(found_of([10.0, 40.0], [20.0, 30.0]), axes, np.full(CHANNELS, 1e-3), response)
    sources = made.sources
    assert [str(sources[name].unit) for name in ("ra", "ra_err", "major", "pa", "flux")] == [
        *("deg", "arcsec", "arcsec", "deg", "Jy")
    ]
    assert_allclose(sources["flux"], [2, 4])
    assert_allclose(sources["flux_err"], 0.04)
    assert_allclose(sources["continuum"], 1.8)
    assert_allclose(sources["continuum_err"], 2 * np.hypot(0.005, 0.03 * 0.9))
    assert_allclose(sources["spectrum"][1, :5], 4)
    assert list(sources["flags"]) == ["blend,edge"] * 2
    assert list(sources["snr"]) == [10, 9]
    assert list(sources["probability"]) == [0.9, 0.9]
    directions = SkyCoord(sources["ra"], sources["dec"])
    named = SkyCoord([f"{n[1:3]}h{n[3:5]}m{n[5:10]}s {n[10:13]}d{n[13:15]}m{n[15:]}s" for n in sources["name"]])
    assert (directions.separation(named).arcsec < 0.13).all()


def test_a_line_has_frequency_velocity_width_and_flux_in_physical_units(tmp_path, axes):
    made = catalogue(found_of([10.0], [20.0]), axes, np.full(CHANNELS, 1e-3), None)
    (line,) = made.lines
    assert_allclose(line["frequency"], 115.2e9 - 0.5 * 5e6, rtol=1e-12)
    channel = 299792.458 * 5e6 / 115.271202e9  # km/s
    assert_allclose(line["velocity"], 299792.458 * (1 - line["frequency"] / 115.271202e9), atol=1e-6)
    error = np.hypot(0.04, 0.03 * 0.8)  # of the noise, and of the shape
    assert_allclose([line["fwhm"], line["flux"], line["flux_err"]], np.array([1.5, 0.8, error]) * channel, rtol=1e-9)
    assert (line["id"], line["line"], line["first"], line["last"], line["kind"]) == (1, 1, 1, 4, "single")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_all_files_hold_the_same_numbers_however_many_sources_there_are(tmp_path, axes, count):
    noise = np.where(np.arange(CHANNELS) == 5, np.inf, 1e-3)
    made = catalogue(found_of(10.0 * np.arange(count), 20.0 + np.arange(count)), axes, noise, None)
    write_catalogue(lambda extension: tmp_path / f"a.{extension}", made)
    shutil.move(tmp_path / "a.catalog", tmp_path / "b.catalog")  # as products are when they are published
    of_fits = Table.read(tmp_path / "a.catalog.fits", "SOURCES")
    text = Table.read(tmp_path / "a.catalog.ecsv")
    of_casa = read_casa_table(tmp_path / "b.catalog")
    for name in ("ra", "dec", "pa_err", "flux", "id"):
        for other in (of_fits, text, of_casa):
            assert_allclose(other[name], made.sources[name], rtol=1e-12)
            assert other[name].unit == made.sources[name].unit
    for other in (of_fits, of_casa):
        assert other["spectrum"].shape[0] == count
    if count:
        assert_allclose(of_casa["spectrum"], made.sources["spectrum"])
        assert_allclose(text["spectrum"], made.sources["spectrum"])
        assert list(of_casa["flags"]) == list(text["flags"]) == list(made.sources["flags"])
    assert len(Table.read(tmp_path / "a.lines.ecsv")) == len(Table.read(tmp_path / "a.catalog.fits", "LINES")) == count


def test_sub_tables_move_with_their_table(tmp_path):
    main, sub = Table({"a": [1.0]}), Table({"b": [2.0, 3.0]})
    write_casa_table(tmp_path / "a.catalog", {"sources": main, "lines": sub})
    shutil.move(tmp_path / "a.catalog", tmp_path / "b.catalog")
    tool = table_tool()
    tool.open(str(tmp_path / "b.catalog"))
    path = tool.getkeyword("LINES").removeprefix("Table: ")
    tool.close()
    assert_allclose(read_casa_table(path)["b"], [2, 3])
