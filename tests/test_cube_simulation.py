"""Simulated cubes: against tclean, direct sums and closed forms."""

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from astropy.table import Table
from casatasks import simobserve, tclean
from casatools import ctsys
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.data.casa_image import opened, read_beam, read_cell, read_frequencies, read_image
from casa_ml_tasks.simulation import (
    CubeObservation,
    CubeSources,
    Source,
    direct_sum,
    observe_cube,
    simulate_cube,
    truth_table,
    with_table,
    write_cube,
)
from casa_ml_tasks.simulation.cube_observation import BANDS, WIDEST_BAND, CubeResponse, draw_observation
from casa_ml_tasks.simulation.cube_visibilities import visibilities
from casa_ml_tasks.simulation.direct_fourier import visibilities_of
from casa_ml_tasks.simulation.fitted_beam import fitted_beam
from casa_ml_tasks.simulation.line_profiles import double_horned_line, gaussian_line
from casa_ml_tasks.simulation.random_fields import DISK, GAUSSIAN, RING
from casa_ml_tasks.simulation.uv_coverage import Observation, gridded, imaging_weights

DECLINATION = -31.0
SNAPSHOT = CubeObservation(
    Observation("alma.cycle9.3", np.radians(DECLINATION), 0.1, None, 5.0), 230e9, 156e6, 8, 64, antennas=10
)
NAN = float("nan")


def sources(**columns):
    """Gaussians, a disk and a ring, with lines and without."""
    numbers = {
        "x": [35.3, 14.2, 50.0, 22.0],
        "y": [30.1, 44.7, 15.0, 20.5],
        "major": [9.0, 6.0, 12.0, 9.0],
        "minor": [4.0, 3.0, 9.0, 8.0],
        "angle": [0.5, 2.2, 1.2, 0.1],
        "profile": [GAUSSIAN, GAUSSIAN, DISK, RING],
        "continuum": [1.0, 0.5, 0.8, 0.0],
        "index": [2.0, -1.0, 0.0, 0.0],
        "line": ["double", "none", "gaussian", "gaussian"],
        "centre": [3.2, NAN, 5.0, 2.0],
        "width": [3.0, NAN, 2.0, 1.5],
        "line_flux": [4.0, 0.0, 2.0, 3.0],
    }
    return CubeSources(**{name: np.array(values) for name, values in (numbers | columns).items()})


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A cube and its Measurement Set with hardly any noise."""
    folder = tmp_path_factory.mktemp("observed")
    cube = simulate_cube(1, observation=SNAPSHOT, sources=sources())
    observe_cube(folder / "cube.ms", cube, noise=1e-7)
    return folder, cube


def test_a_dirty_cube_is_tcleans_of_the_same_samples(observed):
    folder, cube = observed
    tclean(
        vis=str(folder / "cube.ms"),
        imagename=str(folder / "tclean"),
        datacolumn="data",
        imsize=64,
        cell=f"{SNAPSHOT.cell}arcsec",
        phasecenter=f"ICRS 246.0deg {DECLINATION}deg",
        specmode="cube",
        outframe="LSRK",
        perchanweightdensity=False,
        pblimit=-0.1,
        niter=0,
    )
    uvw = with_table(folder / "cube.ms", lambda tool: tool.getcol("UVW"))
    response = CubeResponse.of(SNAPSHOT, uvw[:2])
    ours = response.dirty(cube.images, cube.spectra)
    theirs = read_image(folder / "tclean.residual")[:, 0]
    np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(theirs).max())
    beam, ours = read_beam(folder / "tclean.image"), fitted_beam(response.middle, SNAPSHOT.cell)
    assert (ours.major, ours.minor) == pytest.approx((beam.major, beam.minor), rel=0.02)
    assert ours.angle == pytest.approx(beam.angle, abs=2)


def test_a_dirty_image_is_that_of_simobserve_and_tclean(tmp_path, monkeypatch):
    """Baselines, visibilities and primary beam are CASA's own; the sky of a cube is behind its primary beam."""
    monkeypatch.chdir(tmp_path)  # simobserve writes here
    configuration, hours = "alma.cycle9.3", 0.5
    observation = CubeObservation(
        Observation(configuration, np.radians(DECLINATION), hours, None, 5.0), 230e9, 156e6, 1, 64
    )
    cube = simulate_cube(1, observation=observation, sources=sources())
    write_cube("cube", cube)
    direction = f"ICRS 246.0deg {DECLINATION}deg"
    simobserve(
        project="casa", skymodel="cube.sky", incenter="230GHz", inwidth="156MHz", direction=direction,
        mapsize="1arcsec", pointingspacing="100arcsec", integration="120s", totaltime=f"{3600 * hours:g}s",
        hourangle="transit", antennalist=ctsys.resolve(f"alma/simmos/{configuration}.cfg"), thermalnoise="",
        graphics="none",
    )  # fmt: skip
    tclean(
        vis=f"casa/casa.{configuration}.ms", imagename="tclean", datacolumn="data", imsize=64,
        cell=f"{observation.cell}arcsec", phasecenter=direction, pblimit=-0.1, niter=0,
    )  # fmt: skip
    theirs, primary_beam = (read_image(f"tclean.{name}")[0, 0] for name in ("residual", "pb"))
    (ours,) = cube.response.dirty(cube.images * primary_beam, cube.spectra)
    np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(theirs).max())


def test_the_noise_of_the_measurement_set_is_that_of_the_cube(tmp_path):
    empty = simulate_cube(3, observation=SNAPSHOT, sources=CubeSources.none())
    observe_cube(tmp_path / "empty.ms", empty, seed=5)
    data, weight = with_table(tmp_path / "empty.ms", lambda tool: (tool.getcol("DATA"), tool.getcol("WEIGHT")))
    of_image = np.mean(data.mean(axis=0), axis=-1).real  # at the phase centre
    expected = 1 / np.sqrt(weight.sum())
    assert expected == pytest.approx(empty.noise[0])
    assert np.sqrt(np.mean(of_image**2)) == pytest.approx(expected, rel=4 / np.sqrt(2 * of_image.size))


def test_visibilities_are_sums_over_the_pixels_of_the_sky(observed):
    _, cube = observed
    rng = np.random.default_rng(1)
    longest = speed_of_light / SNAPSHOT.frequency / (SNAPSHOT.cell * arcsecond) * 0.15
    uvw = rng.uniform(-longest, longest, (3, 30))
    found = visibilities(cube, uvw)
    for channel, frequency in enumerate(SNAPSHOT.frequencies):
        wavelengths = uvw.T * frequency / speed_of_light
        expected = visibilities_of(cube.sky[channel], wavelengths, SNAPSHOT.cell * arcsecond)
        np.testing.assert_allclose(found[channel], expected, atol=2e-4 * cube.spectra[:, channel].sum())


def test_an_ellipse_is_longest_along_its_position_angle():
    ellipse = Source(flux=1.0, east=0.0, north=0.0, size=0.3, ratio=0.5, angle=np.radians(30))
    along = np.array([np.sin(np.radians(30)), np.cos(np.radians(30)), 0]) * 2e2
    across = np.array([-along[1], along[0], 0])
    frequency = np.array([230e9])
    found = direct_sum(np.stack([along, across], 1), frequency, (ellipse,))[0]
    scale = 2 * (np.pi * 2e2 * 230e9 / speed_of_light * arcsecond) ** 2
    np.testing.assert_allclose(found, np.exp(-scale * np.array([0.3, 0.15]) ** 2), rtol=1e-9)


def test_the_noise_has_the_covariance_of_h_and_its_channels_are_independent():
    many = replace(SNAPSHOT, channels=3000, channel_width=1e3, pixels=24, antennas=20)
    response = CubeResponse.of(many, many.baselines)
    noise = response.draw_noise(np.random.default_rng(4))
    assert noise.std() == pytest.approx(1, abs=0.01)
    n = many.pixels
    for y, x in ((0, 0), (0, 1), (2, 0), (3, 4), (-3, 4), (8, -5), (-10, 0)):
        first = noise[:, max(y, 0) : n + min(y, 0), max(x, 0) : n + min(x, 0)]
        second = noise[:, max(-y, 0) : n + min(-y, 0), max(-x, 0) : n + min(-x, 0)]
        assert np.mean(first * second) == pytest.approx(response.middle[n + y, n + x], abs=0.03)
        assert np.mean(first[::2] * second[1::2]) == pytest.approx(0, abs=0.03)
        assert np.mean(first[1:] * second[:-1]) == pytest.approx(0, abs=0.03)


def test_the_psf_of_a_channel_between_the_nodes_is_that_of_its_frequency():
    wide = replace(SNAPSHOT, channels=9, channel_width=WIDEST_BAND * 230e9 / 9, pixels=96, antennas=30)
    response = CubeResponse.of(wide, wide.baselines)
    for channel in (0, 2, 5, 8):
        alone = replace(wide, channels=1, frequency=wide.frequencies[channel])
        object.__setattr__(alone, "cell", wide.cell)
        exact = CubeResponse.of(alone, wide.baselines).middle
        assert np.abs(response.psf_of(channel) - exact).max() < 2e-3


def test_weights_of_samples_are_those_of_the_grid():
    uv = np.random.default_rng(2).normal(scale=0.1, size=(2, 500))
    n = 16
    weight = imaging_weights(uv, n, 0.5)
    grid = np.zeros((2 * n, 2 * n))
    for (u, v), each in zip(uv.T, weight, strict=True):
        for sign in (1, -1):
            grid[round(sign * v * 2 * n) % (2 * n), round(sign * u * 2 * n) % (2 * n)] += each
    expected = np.asarray(gridded(np.hstack([uv, -uv]), n, 0.5).transfer)
    np.testing.assert_allclose(grid[:, : n + 1] / grid.mean(), expected, rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_cube_and_another_another():
    first, again, other = (simulate_cube(seed, pixels=32, channels=10) for seed in (11, 11, 12))
    np.testing.assert_array_equal(first.dirty, again.dirty)
    for field in fields(CubeSources):
        np.testing.assert_array_equal(getattr(first.sources, field.name), getattr(again.sources, field.name))
    assert first.observation == again.observation
    assert first.observation != other.observation


def test_the_sky_has_the_flux_of_the_truth():
    cube = simulate_cube(1, observation=replace(SNAPSHOT, channels=40), sources=sources(centre=[20.2, NAN, 15.0, 12.0]))
    frequencies = cube.observation.frequencies
    ratio = frequencies / cube.observation.frequency
    continuum = ratio**2 + 0.5 / ratio + 0.8
    total = cube.sky.sum(axis=(1, 2))
    np.testing.assert_allclose(total[[0, -1]], continuum[[0, -1]], rtol=2e-3)
    assert np.sum(total - continuum) == pytest.approx(4 + 2 + 3, rel=1e-3)


@pytest.mark.parametrize(("profile", "peaks"), [(gaussian_line, 1), (double_horned_line, 2)])
@pytest.mark.parametrize(("centre", "width"), [(30.3, 12.0), (28.0, 17.0)])
def test_a_line_has_the_flux_1_its_centre_and_its_width(profile, peaks, centre, width):
    channels = np.arange(64)
    line = profile(64, centre, width)
    assert line.sum() == pytest.approx(1, abs=1e-4)
    assert line @ channels == pytest.approx(centre, abs=1e-3)
    above = profile(64 * 50, centre * 50, width * 50)
    assert np.sum(above > above.max() / 2) / 50 == pytest.approx(width, rel=0.01)
    assert np.sum((line[1:-1] > line[:-2]) & (line[1:-1] >= line[2:])) == peaks


def test_a_source_has_the_signal_to_noise_ratio_that_the_mean_of_the_channels_shows():
    quiet = sources(continuum=[1.0, 0.0, 0.0, 0.0], line_flux=[0.0, 0.0, 0.0, 0.0])
    cube = simulate_cube(2, observation=replace(SNAPSHOT, antennas=None, channels=20), sources=quiet)
    alone = cube.dirty.mean(axis=0).max()
    empty = simulate_cube(2, observation=cube.observation, sources=CubeSources.none())
    noise = np.concatenate([empty.response.draw_noise(np.random.default_rng(i)) for i in range(20)])
    noise = noise.reshape(20, 20, -1).mean(axis=1).std() * cube.noise[0]
    assert cube.snr[0] == pytest.approx(alone / noise, rel=0.1)
    assert np.all(cube.snr[1:] == 0)


def test_drawn_cubes_have_real_bands_and_every_kind_of_source():
    cubes = [simulate_cube(seed, pixels=48, channels=32) for seed in range(60)]
    for cube in cubes:
        band = cube.observation.frequencies
        assert any(low <= cube.observation.frequency / 1e9 <= high for low, high in BANDS)
        assert band[-1] - band[0] <= WIDEST_BAND * band.mean()
        assert len(cube.sources) <= 6
        assert np.all(cube.snr >= 0)
    counts = [len(cube.sources) for cube in cubes]
    assert 0 in counts
    assert 6 in counts
    kinds = {kind for cube in cubes for kind in cube.sources.line}
    assert kinds == {"none", "gaussian", "double"}
    profiles = {int(kind) for cube in cubes for kind in cube.sources.profile}
    assert profiles == {GAUSSIAN, DISK, RING}
    assert any(cube.sources.line.size and np.all(cube.sources.line == "none") for cube in cubes)
    assert any(np.any((cube.sources.line != "none") & (cube.sources.continuum == 0)) for cube in cubes)


@pytest.mark.parametrize("angle", [-70.0, 0.0, 25.0, 88.0])
def test_the_beam_of_a_gaussian_is_that_gaussian(angle):
    y, x = np.mgrid[:41, :52]
    east, north = (26 - x) * 0.1, (y - 20) * 0.1
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    along, across = east * sine + north * cosine, east * cosine - north * sine
    psf = np.exp(-4 * np.log(2) * ((along / 1.0) ** 2 + (across / 0.6) ** 2))
    beam = fitted_beam(psf, 0.1)
    assert (beam.major, beam.minor, beam.angle) == pytest.approx((1.0, 0.6, angle), abs=1e-5)


def test_written_cubes_are_read_by_casa_and_sources_are_where_the_table_says(observed):
    folder, cube = observed
    write_cube(folder / "cube", cube)
    np.testing.assert_array_equal(read_image(folder / "cube.image")[:, 0], cube.dirty)
    np.testing.assert_array_equal(read_image(folder / "cube.psf")[0, 0], cube.psf)
    np.testing.assert_allclose(read_frequencies(folder / "cube.image"), SNAPSHOT.frequencies, rtol=1e-12)
    assert read_cell(folder / "cube.image") == pytest.approx(SNAPSHOT.cell)
    for table in (Table.read(folder / "cube.truth.ecsv"), Table.read(folder / "cube.truth.fits"), truth_table(cube)):
        with opened(folder / "cube.image") as tool:
            for row in table:
                world = tool.toworld([row["x"], row["y"], 0, 0])["numeric"]
                distance = np.degrees(world[:2]) - [row["ra"], row["dec"]]
                np.testing.assert_allclose((distance + 180) % 360 - 180, 0, atol=1e-9)
        np.testing.assert_allclose(table["snr"], cube.snr)


def test_the_command_line_writes_cubes(tmp_path):
    command = [sys.executable, "-m", "casa_ml_tasks.simulation", str(tmp_path), "--seed", "5", "--count", "2"]
    subprocess.run([*command, "--pixels", "24", "--channels", "3"], check=True, cwd=tmp_path)
    for seed in (5, 6):
        cube = simulate_cube(seed, pixels=24, channels=3)
        np.testing.assert_array_equal(read_image(tmp_path / f"cube{seed}.image")[:, 0], cube.dirty)
        assert len(Table.read(tmp_path / f"cube{seed}.truth.ecsv")) == len(cube.sources)


def test_an_unknown_configuration_of_a_cube_is_refused():
    with pytest.raises(ValueError, match=r"configuration='alma.cycle99' is none of casadata's"):
        simulate_cube(1, pixels=24, channels=2, configurations=["alma.cycle99"])
    assert draw_observation(1, 24, 2).uv.configuration.startswith("alma.cycle")
