"""rmlclean on cubes: every channel is an image of its own."""

from pathlib import Path

import numpy as np
import pytest
from casatasks import exportfits, imhead, tclean

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data.casa_image import read_beams, read_image
from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.major.cube_channels import image_channels, needs_interpolation
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.simulation import simulate, with_table
from tests.major_cycles import opener, parameters_of, request_of

IMAGING = {"imsize": [64, 72], "cell": "0.12arcsec", "datacolumn": "data", "nmajor": 2}


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("cube_ms") / "cube.ms", channels=4)


@pytest.fixture(scope="module")
def cube(observed, pixels, tmp_path_factory):
    name = tmp_path_factory.mktemp("cube") / "sky"
    with pixels():
        return name, rmlclean(vis=str(observed.path), imagename=str(name), specmode="cube", **IMAGING)


def test_every_channel_holds_every_source(cube, observed):
    model = read_image(f"{cube[0]}.model")
    assert model.shape == (len(observed.frequencies), 1, 72, 64)
    total = sum(source.flux for source in observed.sources)
    np.testing.assert_allclose(model.sum(axis=(1, 2, 3)), total, rtol=0.03)


def test_the_residual_of_every_channel_is_its_noise(cube, observed):
    """In LSRK the first channel has few data: the observed channels begin within it."""
    expected = 1 / np.sqrt(read_image(f"{cube[0]}.sumwt").ravel())
    assert expected[0] > 2 * expected[1]
    assert cube[1]["image_noise"] == pytest.approx(observed.sigma / np.sqrt(2 * observed.rows), rel=0.1)
    assert (read_image(f"{cube[0]}.residual").std(axis=(1, 2, 3)) < 1.5 * expected).all()
    assert np.isnan(cube[1]["cycles"][-1]["reduced_chi2"])  # not all data reach the cube


def test_a_channel_of_the_cube_is_the_image_of_that_channel(cube, observed, tmp_path):
    rmlclean(vis=str(observed.path), imagename=str(tmp_path / "one"), specmode="cube", start=1, nchan=1, **IMAGING)
    alone, together = read_image(f"{tmp_path}/one.model")[0], read_image(f"{cube[0]}.model")[1]
    assert np.linalg.norm(alone - together) < 0.02 * np.linalg.norm(alone)


def test_products_are_cubes_with_a_beam_for_every_channel(cube, observed, tmp_path):
    name, channels = cube[0], len(observed.frequencies)
    beams = read_beams(f"{name}.image")
    assert len(beams) == channels
    assert None not in beams
    assert imhead(f"{name}.image", mode="get", hdkey="shape")[-1] == channels
    exportfits(f"{name}.image", str(tmp_path / "cube.fits"))
    assert (tmp_path / "cube.fits").stat().st_size > 4 * channels * 64 * 72


def test_the_native_gridder_makes_the_same_cube_of_the_datas_channels(observed, tmp_path):
    for gridder in ("standard", "native"):
        name = str(tmp_path / gridder)
        result = rmlclean(vis=str(observed.path), imagename=name, specmode="cubedata", gridder=gridder, **IMAGING)
        assert result["cycles"][-1]["reduced_chi2"] == pytest.approx(1, abs=0.15)
    theirs, ours = (read_image(f"{tmp_path}/{gridder}.model") for gridder in ("standard", "native"))
    assert np.linalg.norm(theirs - ours) < 0.02 * np.linalg.norm(theirs)


def test_niter_is_shared_by_the_channels(observed, tmp_path):
    name = str(tmp_path / "few")
    result = rmlclean(vis=str(observed.path), imagename=name, specmode="cube", **(IMAGING | {"niter": 30}))
    assert 30 <= result["iterdone"] < 30 + len(observed.frequencies)
    assert result["stopcode"] == 1


def test_a_regulariser_that_couples_channels_makes_them_more_alike(cube, observed, tmp_path):
    name = str(tmp_path / "coupled")
    coupling = {"regularizer": ["l1", "log_smoothness", "tsv_channel"], "regstrength": [1.0, 1.0, 300.0]}
    rmlclean(vis=str(observed.path), imagename=name, specmode="cube", **coupling, **IMAGING)
    apart, together = (read_image(f"{path}.model")[1:] for path in (cube[0], name))
    assert np.std(together, axis=0).mean() < 0.5 * np.std(apart, axis=0).mean()
    total = sum(source.flux for source in observed.sources)
    np.testing.assert_allclose(together.sum(axis=(1, 2, 3)), total, rtol=0.05)


MEGAHERTZ, FIRST = 1e6, 230e9
ANTENNAS, INTEGRATIONS = 6, 2
ROWS = ANTENNAS * (ANTENNAS - 1) // 2 * INTEGRATIONS
SPECTRAL = {"imsize": [32, 32], "cell": ["0.3arcsec"], "specmode": "cubedata", "niter": 0}

#: First channel and spacing, MHz beyond FIRST, and number of channels of each spectral window.
WINDOWS = {
    "one": [(0, 1, 8)],
    "descending": [(7, -1, 8)],
    "two": [(0, 1, 4), (4, 1, 4)],
    "gap": [(0, 1, 4), (6, 1, 4)],
    "overlap": [(7, -1, 5), (0, 1, 5)],
    "shifted": [(0, 1, 4), (6.4, 1, 4)],
    "widths": [(0, 2, 4), (7.5, 1, 4)],
}


def test_a_regulariser_that_does_not_bound_the_image_leaves_the_noise_of_casas_imager(tmp_path):
    """CASA's PSFs have negative eigenvalues; tsv alone let the model grow along them, to 1e21 Jy."""
    vis = str(simulate(tmp_path / "cube.ms", channels=1, sigma=0.1).path)
    imaging = {"imsize": 64, "cell": "0.15arcsec", "datacolumn": "data", "specmode": "cube"}
    result = rmlclean(vis=vis, imagename=str(tmp_path / "sky"), regularizer=["tsv"], **imaging)
    assert "calibration_error" not in result
    assert read_image(f"{tmp_path / 'sky'}.residual").std() < result["image_noise"]


@pytest.fixture(scope="module")
def window_ms(tmp_path_factory):
    """Makes Measurement Sets of some WINDOWS, of a source in the phase centre: n Jy in the n-th channel of all."""
    made: dict[str, str] = {}

    def make(name: str) -> str:
        if name not in made:
            made[name] = _observe_windows(tmp_path_factory.mktemp(name), WINDOWS[name])
        return made[name]

    return make


def _observe_windows(folder: Path, windows: list[tuple[float, float, int]]) -> str:
    """One Measurement Set; all windows have the same number of channels."""
    path, channels = folder / "windows.ms", windows[0][2]
    simulate(path, antennas=ANTENNAS, integrations=INTEGRATIONS, channels=channels, sources=(), sigma=1.0)
    for _ in windows[1:]:
        for name in ("", "SPECTRAL_WINDOW", "DATA_DESCRIPTION"):
            with_table(path / name, lambda tb, source=str(path / name): tb.copyrows(source, nrow=tb.nrows()))
    number = np.repeat(np.arange(len(windows)), ROWS)
    with_table(path / "DATA_DESCRIPTION", lambda tb: tb.putcol("SPECTRAL_WINDOW_ID", np.arange(len(windows))))
    with_table(path, lambda tb: tb.putcol("DATA_DESC_ID", number))
    steps = np.array([spacing for _, spacing, _ in windows]) * MEGAHERTZ
    offset = np.array([first for first, _, _ in windows]) * MEGAHERTZ
    frequencies, widths = FIRST + offset + steps * np.arange(channels)[:, None], np.tile(steps, (channels, 1))
    columns = {"CHAN_FREQ": frequencies, "CHAN_WIDTH": widths, "EFFECTIVE_BW": abs(widths), "RESOLUTION": abs(widths)}
    for name, values in columns.items():
        with_table(path / "SPECTRAL_WINDOW", lambda tb, name=name, values=values: tb.putcol(name, values))
    flux = (1 + np.arange(channels) + channels * number[:, None]).T.astype(complex)
    with_table(path, lambda tb: tb.putcol("DATA", np.broadcast_to(flux, (2, *flux.shape)).copy()))
    return str(path)


@pytest.fixture
def native(tmp_path):
    with opener(
        NativeMajorCycle, tmp_path, lambda vis, **changes: parameters_of(vis, **SPECTRAL | changes)
    ) as open_one:
        yield open_one


def spectrum_of_tclean(vis, tmp_path, **changes):
    """Of the phase centre, Jy/beam, and the sums of weights, both (channel,)."""
    name = str(tmp_path / "tclean")
    tclean(vis, imagename=name, datacolumn="data", **SPECTRAL | changes)
    return read_image(f"{name}.residual")[:, 0, 16, 16], read_image(f"{name}.sumwt").ravel()


SPECTRA = [
    ("one", {"start": 3, "nchan": 2}, [4, 5]),
    ("one", {"width": 2, "interpolation": "cubic"}, [1.5, 3.5, 5.5, 7.5]),
    ("one", {"start": "230.005GHz", "width": "-1MHz", "nchan": 3}, [6, 5, 4]),
    ("one", {"start": "0km/s", "width": "-1.3034455km/s", "restfreq": "230.002GHz", "nchan": 3}, [3, 4, 5]),
    ("one", {"start": "230.000GHz", "width": "1.5MHz", "interpolation": "nearest"}, [1, 2.5, 4, 5.5, 7]),
    ("descending", {"width": 2}, [1.5, 3.5, 5.5, 7.5]),
    ("two", {}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ("gap", {"start": "230.0005GHz", "width": "2MHz"}, [1.5, 3.5, 0, 5.5, 7.5]),
    ("overlap", {}, [6, 7, 8, 7, 7, 3, 2, 1]),
    ("shifted", {"interpolation": "nearest"}, [1, 2, 3, 4, 0, 0, 5, 6, 7, 8]),
    ("widths", {}, [1, 2, 3, 4, 5.5, 7.5]),
]


@pytest.mark.parametrize(("windows", "asked", "expected"), SPECTRA, ids=str)
def test_a_visibility_goes_to_the_channel_that_has_its_frequency(windows, asked, expected, window_ms, native, tmp_path):
    vis = window_ms(windows)
    request = request_of(vis, **SPECTRAL | asked)
    assert not needs_interpolation(request, image_channels(request))
    theirs, sums = spectrum_of_tclean(vis, tmp_path, **asked)
    major = native(vis, **asked)
    ours = major.residual(np.zeros(major.shape))[:, 0, 16, 16]
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    np.testing.assert_allclose(theirs, expected, atol=2e-3)
    np.testing.assert_allclose(read_image(major.product("sumwt")).ravel(), sums, rtol=1e-5)
    beams, of_tclean = (read_beams(name) for name in (major.product("psf"), tmp_path / "tclean.psf"))
    np.testing.assert_allclose([each.major for each in beams], [each.major for each in of_tclean], rtol=1e-3)


INTERPOLATED = [
    ("one", {"start": "230.0003GHz", "width": "1MHz"}),
    ("one", {"start": "230.000GHz", "width": "1.5MHz"}),
    ("one", {"start": "230.006GHz", "width": "-2MHz"}),
    ("shifted", {}),
]


@pytest.mark.parametrize(("windows", "asked"), INTERPOLATED, ids=str)
def test_channels_that_have_to_be_interpolated_are_left_to_casa(windows, asked, window_ms, tmp_path):
    vis = window_ms(windows)
    request = request_of(vis, **SPECTRAL | asked)
    channels, nearest = image_channels(request), request.changed(interpolation="nearest")
    assert needs_interpolation(request, channels)
    assert not needs_interpolation(nearest, channels)
    arguments = {"vis": vis, "imagename": str(tmp_path / "sky"), "datacolumn": "data", **SPECTRAL, **asked}
    with pytest.raises(ValueError, match=r"^interpolation='linear' has to .* use interpolation='nearest', or gridder="):
        rmlclean(**arguments, gridder="native")
    assert list(tmp_path.iterdir()) == []


def test_resolveimage_interpolates_as_tclean_does(window_ms, tmp_path):
    vis, asked = window_ms("one"), {"start": "230.000GHz", "width": "1.5MHz"}
    resolveimage(vis=vis, imagename=str(tmp_path / "sky"), datacolumn="data", **SPECTRAL, **asked)
    theirs, _ = spectrum_of_tclean(vis, tmp_path, **asked)
    np.testing.assert_allclose(theirs, [1.25, 2.75, 4.25, 5.75, 7.25], atol=2e-3)
    np.testing.assert_allclose(read_image(f"{tmp_path}/sky.residual")[:, 0, 16, 16], theirs, atol=1e-4)


def test_a_channel_narrower_than_those_of_the_data_is_refused(window_ms, tmp_path):
    with pytest.raises(ValueError, match=r"width='0.5MHz', nchan=-1: CASA makes no image channels of these; give"):
        rmlclean(vis=window_ms("one"), imagename=str(tmp_path / "sky"), **SPECTRAL, datacolumn="data", width="0.5MHz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("perchanweightdensity", [True, False])
@pytest.mark.parametrize("asked", [{"width": 2}, {"start": 2, "nchan": 2}], ids=str)
def test_briggs_weights_of_overlapping_windows_are_tcleans(asked, perchanweightdensity, window_ms, native, tmp_path):
    vis = window_ms("overlap")
    weighting = {"weighting": "briggs", "robust": -0.5, "perchanweightdensity": perchanweightdensity, **asked}
    _, sums = spectrum_of_tclean(vis, tmp_path, **weighting)
    major = native(vis, **weighting)
    np.testing.assert_allclose(read_image(major.product("sumwt")).ravel(), sums, rtol=1e-5)
    beams, of_tclean = (read_beams(name) for name in (major.product("psf"), tmp_path / "tclean.psf"))
    np.testing.assert_allclose([each.major for each in beams], [each.major for each in of_tclean], rtol=1e-3)


def test_what_lies_outside_the_channels_is_not_counted(window_ms, casa_log):
    request = request_of(window_ms("gap"), **SPECTRAL | {"start": 2, "nchan": 3})
    channels = image_channels(request)
    found = survey(request.selection.selections, channels=channels)
    assert found.visibilities == 2 * ROWS
    assert found.weighted_power == pytest.approx(2 * ROWS * (3**2 + 4**2))
    assert f"{6 * ROWS} of {8 * ROWS} visibilities lie outside the image's channels" in casa_log()
    with pytest.raises(ValueError, match="no selected channel of the data lies in those of the image, 240 to 241 GHz"):
        survey(request.selection.selections, channels=ImageChannels((240e9, 241e9)))


def test_predicted_visibilities_are_those_of_their_channels(window_ms, native, tmp_path):
    vis = _observe_windows(tmp_path, WINDOWS["one"])
    major = native(vis, start="230.0045GHz", width="-2MHz", nchan=2, savemodel="modelcolumn")
    model = np.zeros(major.shape)
    model[:, 0, 16, 16] = 5, 7
    major.predict(model)
    column = with_table(vis, lambda tb: tb.getcol("MODEL_DATA"))
    expected = np.array([0, 0, 7, 7, 5, 5, 0, 0])[:, None]
    np.testing.assert_allclose(column, np.broadcast_to(expected, column.shape), atol=1e-3)


def test_channels_are_found_by_frequency():
    rising, falling = ImageChannels((0.0, 2.0, 4.0)), ImageChannels((4.0, 2.0, 0.0))
    frequencies = np.array([-0.1, 0.0, 1.9, 2.0, 3.9, 4.1])
    assert rising.of(frequencies).tolist() == [-1, 0, 0, 1, 1, -1]
    assert falling.of(frequencies).tolist() == [-1, -1, 1, 1, 0, -1]
    assert rising.hold(np.array([0.51, 1.51, 4.5]), np.ones(3))
    assert not rising.hold(np.array([0.6]), np.ones(1))
    assert not rising.hold(np.array([2.0]), np.ones(1))
    assert not rising.hold(np.array([1.0]), np.full(1, 1.6))
