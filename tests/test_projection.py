"""Projection against a direct sum in double precision with the exact product of the voltage patterns."""

import logging
from dataclasses import replace

import numba
import numpy as np
import pytest
from casatools import componentlist, measures, table
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.kernels.convolution_functions import AntennaPair, ConvolutionFunctions
from casa_ml_tasks.kernels.primary_beams import ALMA_7M, ALMA_12M
from casa_ml_tasks.kernels.projection import Projection
from tests.empty_observation import observe

FREQUENCY = 230e9
CELL = 1.2 * arcsecond
BEAMS = (ALMA_12M, ALMA_7M)
SHAPES = [(40, 48), (41, 37), (32, 45)]
TERMS = [
    pytest.param((), False, id="standard"),
    pytest.param((), True, id="W-projection"),
    pytest.param(BEAMS, False, id="A-projection"),
    pytest.param(BEAMS, True, id="AW-projection"),
]
COUNT = 100


def direct_sum(
    functions: ConvolutionFunctions, image: NDArray, uvw: NDArray, types: NDArray, pointings: NDArray
) -> NDArray:
    """The formula at the head of `projection`, term by term."""
    ny, nx = image.shape
    m = (np.arange(ny) - ny // 2)[:, None] * functions.cell
    l = -(np.arange(nx) - nx // 2)[None] * functions.cell  # noqa: E741
    n = np.sqrt(1 - l**2 - m**2)
    visibilities = np.empty(len(uvw), complex)
    for k, (u, v, w) in enumerate(uvw):
        apparent = image
        if functions.beams:
            for antenna, (l0, m0) in zip(types[k], pointings[k], strict=True):
                beam = functions.beams[antenna]
                apparent = apparent * beam.voltage(np.hypot(l - l0, m - m0), functions.frequency)
        phase = u * l + v * m + functions.w_term * w * (n - 1)
        visibilities[k] = np.sum(apparent * np.exp(2j * np.pi * phase))
    return visibilities


def functions_for(shape, beams, w_term, **parameters) -> ConvolutionFunctions:
    return ConvolutionFunctions(shape, CELL, beams, FREQUENCY, w_term=w_term, **parameters)


def baselines(rng, longest=0.5 / CELL, w=2e6) -> NDArray:
    """uvw up to the Nyquist limit, w of both signs and as strong as needs several planes."""
    return np.c_[rng.uniform(-longest, longest, (COUNT, 2)), rng.uniform(-w, w, COUNT)]


def antennas(rng) -> tuple[NDArray, NDArray]:
    """Types of a heterogeneous array, and pointings of 3 arcsec that differ between the antennas of a baseline."""
    types = rng.integers(0, 2, (COUNT, 2))
    offsets = rng.uniform(-3, 3, (3, 2)) * arcsecond
    return types, offsets[rng.integers(0, 3, (COUNT, 2))]


def relative_error(actual, expected) -> float:
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def projection_for(functions, uvw, types, pointings) -> Projection:
    return Projection(functions, uvw, types, pointings) if functions.beams else Projection(functions, uvw)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("beams", "w_term"), TERMS)
def test_gridding_is_the_adjoint_of_degridding(shape, beams, w_term):
    rng = np.random.default_rng(1)
    functions = functions_for(shape, beams, w_term, tolerance=1e-2)
    projection = projection_for(functions, baselines(rng), *antennas(rng))
    image, weights = rng.normal(size=shape), rng.uniform(0.5, 2, COUNT)
    visibilities = rng.normal(size=COUNT) + 1j * rng.normal(size=COUNT)

    left = np.vdot(weights * projection.degrid(image), visibilities).real
    right = np.vdot(image, projection.grid(visibilities, weights))

    assert abs(left - right) < 1e-10 * abs(left)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("beams", "w_term"), TERMS)
def test_degridding_matches_the_direct_sum(shape, beams, w_term):
    """Measured at the default tolerance of 1e-3, oversampling 15: 2e-4 to 4e-4."""
    rng = np.random.default_rng(2)
    functions = functions_for(shape, beams, w_term)
    uvw, (types, pointings) = baselines(rng), antennas(rng)
    image = rng.normal(size=shape)

    actual = projection_for(functions, uvw, types, pointings).degrid(image)

    expected = direct_sum(functions, image, uvw, types, pointings)
    assert relative_error(actual, expected) < 1e-3


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
def test_tolerance_is_kept(tolerance):
    rng = np.random.default_rng(3)
    functions = functions_for((40, 48), (), True, tolerance=tolerance)
    uvw, nothing = baselines(rng, w=3e5), np.zeros((COUNT, 2, 2))
    image = rng.normal(size=(40, 48))

    error = relative_error(Projection(functions, uvw).degrid(image), direct_sum(functions, image, uvw, None, nothing))

    assert tolerance / 100 < error < tolerance


def test_a_source_off_the_axis_has_the_sign_of_the_conventions():
    """One pixel East and North of the centre; East is towards smaller x."""
    functions = functions_for((41, 37), (), True)
    image = np.zeros((41, 37))
    image[20 + 7, 18 - 5] = 2.0
    uvw = np.array([[3e4, -1e4, 4e6]])

    l, m = 5 * CELL, 7 * CELL  # noqa: E741
    expected = 2 * np.exp(2j * np.pi * (3e4 * l - 1e4 * m + 4e6 * (np.sqrt(1 - l**2 - m**2) - 1)))
    assert relative_error(Projection(functions, uvw).degrid(image), np.array([expected])) < 1e-3


def test_the_w_term_is_that_of_casa(tmp_path):
    """A point source 2.1 degrees off the axis, as casatasks' ft predicts it from a component, term by term."""
    from casatasks import ft

    ms, components = str(tmp_path / "vla.ms"), str(tmp_path / "point.cl")
    observe(ms, "VLA", 25.0, 1.4e9, extent=280.0, declination=-10.0)
    x, y, cell = 60, 330, 40 * arcsecond
    l, m = (200 - x) * cell, (y - 200) * cell  # noqa: E741
    n = np.sqrt(1 - l**2 - m**2)
    centre = np.radians(-10)
    east = np.radians(246) + np.arctan2(l, n * np.cos(centre) - m * np.sin(centre))
    north = np.arcsin(m * np.cos(centre) + n * np.sin(centre))
    me, source, tb = measures(), componentlist(), table()
    try:
        direction = me.direction("J2000", f"{east:.17g}rad", f"{north:.17g}rad")
        source.addcomponent(2.0, "Jy", "Stokes", direction, "point", freq="1.4GHz")
        source.rename(components)
        source.close()
        ft(ms, complist=components, usescratch=True)
        tb.open(ms)
        expected = tb.getcol("MODEL_DATA")[0, 0]
        uvw = tb.getcol("UVW").T / speed_of_light
        tb.close()
        tb.open(ms + "/SPECTRAL_WINDOW")
        uvw *= tb.getcell("CHAN_FREQ", 0)[0]
    finally:
        tb.done()
        source.done()
        me.done()
    image = np.zeros((400, 400))
    image[y, x] = 2.0

    with_w, without = (
        Projection(ConvolutionFunctions((400, 400), cell, w_term=w_term), uvw).degrid(image) for w_term in (True, False)
    )

    assert relative_error(with_w, expected) < 1e-3
    assert relative_error(without, expected) > 0.5


def test_a_baseline_and_its_reverse_are_conjugate():
    rng = np.random.default_rng(4)
    functions = functions_for((32, 45), BEAMS, True)
    uvw, (types, pointings) = baselines(rng, w=1e6), antennas(rng)
    image = rng.normal(size=(32, 45))

    forward = Projection(functions, uvw, types, pointings).degrid(image)
    backward = Projection(functions, -uvw, types[:, ::-1], pointings[:, ::-1]).degrid(image)

    assert relative_error(backward, forward.conj()) < 1e-12


def test_pointing_offsets_are_exact_where_the_mean_offset_is_not():
    """Antennas 8 arcsec apart (a third of the beam): the product's own shape changes, not only its centre."""
    rng = np.random.default_rng(5)
    functions = functions_for((40, 48), BEAMS, False)
    uvw, types = baselines(rng), np.zeros((COUNT, 2), int)
    pointings = np.broadcast_to(np.array([[4.0, 1.0], [-4.0, 2.0]]) * arcsecond, (COUNT, 2, 2))
    image = rng.normal(size=(40, 48))
    truth = direct_sum(functions, image, uvw, types, pointings)
    mean = np.broadcast_to(pointings.mean(axis=1, keepdims=True), pointings.shape)

    assert relative_error(Projection(functions, uvw, types, pointings).degrid(image), truth) < 1e-3
    assert relative_error(Projection(functions, uvw, types, mean).degrid(image), truth) > 0.05


def test_one_data_set_holds_all_kinds_of_baselines():
    functions = functions_for((32, 32), BEAMS, False)
    types = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    image = np.zeros((32, 32))
    image[16, 6] = 1.0

    visibilities = Projection(functions, np.zeros((4, 3)), types).degrid(image)

    large, small = (beam.voltage(10 * CELL, FREQUENCY) for beam in BEAMS)
    np.testing.assert_allclose(visibilities, [large**2, large * small, large * small, small**2], atol=1e-3)
    assert visibilities[1] == visibilities[2]


def test_the_number_of_threads_does_not_matter():
    rng = np.random.default_rng(6)
    functions = functions_for((40, 48), BEAMS, True)
    projection = projection_for(functions, baselines(rng, w=1e6), *antennas(rng))
    visibilities = rng.normal(size=COUNT) + 1j * rng.normal(size=COUNT)
    threads = numba.get_num_threads()
    if threads == 1:
        pytest.skip("numba has one thread")
    image = projection.grid(visibilities)
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(projection.grid(visibilities), image)
    finally:
        numba.set_num_threads(threads)


@pytest.mark.parametrize(
    ("beams", "w_term", "name"),
    [
        ((), False, "standard"),
        ((), True, "W-projection"),
        (BEAMS, False, "A-projection"),
        (BEAMS, True, "AW-projection"),
    ],
)
def test_terms_have_the_names_of_the_field(beams, w_term, name):
    assert functions_for((32, 32), beams, w_term).algorithm == name


def count_builds(monkeypatch) -> list:
    builds = []
    build = ConvolutionFunctions._build
    monkeypatch.setattr(ConvolutionFunctions, "_build", lambda *key: builds.append(key[1:]) or build(*key))
    return builds


def test_tables_are_made_once_and_the_oldest_leaves_memory_first(monkeypatch):
    builds = count_builds(monkeypatch)
    functions = functions_for((32, 32), BEAMS, False, tolerance=1e-2)
    mixed, alike = AntennaPair(0, 1), AntennaPair(0, 0)

    assert functions.table(mixed) is functions.table(mixed)
    assert len(builds) == 1

    small = replace(functions, memory_limit=functions.table(mixed).nbytes)
    for pair in (mixed, alike, mixed):
        small.table(pair)
    assert [pair for pair, _ in builds[1:]] == [mixed, alike, mixed]


def test_tables_on_disk_serve_another_process_and_other_beams_do_not_take_them(monkeypatch, tmp_path):
    builds = count_builds(monkeypatch)
    functions = functions_for((32, 32), BEAMS, True, tolerance=1e-2, cache_directory=tmp_path / "cf.cache")
    table = functions.table(AntennaPair(0, 1), 1)

    np.testing.assert_array_equal(replace(functions).table(AntennaPair(0, 1), 1), table)
    assert len(builds) == 1
    for other in (
        replace(functions, beams=(ALMA_12M, ALMA_12M)),
        replace(functions, frequency=231e9),
        replace(functions, tolerance=2e-2),
        replace(functions, cell=1.01 * CELL),
    ):
        assert not np.array_equal(other.table(AntennaPair(0, 1), 1), table)
    assert len(builds) == 5
    assert sorted(path.suffix for path in (tmp_path / "cf.cache").iterdir()) == 5 * [".npz"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def fill_with_text(path):
    path.write_text("not a table")


def put_an_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def put_another_table(path):
    np.savez(path, table=np.zeros((3, 3, 4, 4), complex), identity="another convolution function")


def poison(path):
    with np.load(path) as stored:
        table, identity = stored["table"].copy(), str(stored["identity"])
    table[0, 0, 0, 0] = np.nan
    np.savez(path, table=table, identity=identity)


@pytest.mark.parametrize("damage", [truncate, fill_with_text, put_an_array, put_another_table, poison])
def test_a_damaged_or_foreign_file_is_made_anew_with_a_warning(tmp_path, caplog, damage):
    functions = functions_for((32, 32), BEAMS, False, tolerance=1e-2, cache_directory=tmp_path)
    table = functions.table(AntennaPair())
    (path,) = tmp_path.iterdir()
    damage(path)

    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(replace(functions).table(AntennaPair()), table)
    assert str(path) in caplog.text

    caplog.clear()
    np.testing.assert_array_equal(replace(functions).table(AntennaPair()), table)
    assert not caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").touch()
    functions = functions_for((32, 32), BEAMS, False, tolerance=1e-2, cache_directory=tmp_path / "file" / "cache")

    with caplog.at_level(logging.WARNING):
        table = functions.table(AntennaPair())

    np.testing.assert_array_equal(table, replace(functions, cache_directory=None).table(AntennaPair()))
    assert "cache_directory=" in caplog.text


UVW = np.zeros((3, 3))
TYPES = np.zeros((3, 2), int)


def with_value(array, value):
    changed = array.astype(float)
    changed.flat[1] = value
    return changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"uvw": with_value(UVW, np.nan)}, "uvw has 1 values that are NaN or infinite"),
        ({"uvw": with_value(UVW, np.inf)}, "uvw has 1 values that are NaN or infinite"),
        ({"uvw": with_value(UVW, 0.51 / CELL)}, "cell=.* rad samples uvw up to"),
        ({"uvw": np.zeros((3, 2))}, r"uvw has the shape \(3, 2\)"),
        ({"antenna_types": np.zeros((2, 2), int)}, "antenna_types has the shape"),
        ({"antenna_types": TYPES + 2}, "antenna_types must be integers from 0 to 1"),
        ({"antenna_types": TYPES.astype(float)}, "antenna_types must be integers"),
        ({"pointings": np.zeros((3, 2))}, "pointings has the shape"),
        ({"pointings": with_value(np.zeros((3, 2, 2)), np.nan)}, "pointings has 1 values that are NaN"),
    ],
)
def test_bad_visibilities_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Projection(functions_for((32, 32), BEAMS, False), **{"uvw": UVW, **arguments})


def test_pointings_without_beams_are_refused():
    with pytest.raises(ValueError, match=r"functions\.beams is empty"):
        Projection(functions_for((32, 32), (), False), UVW, pointings=np.ones((3, 2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda projection: projection.degrid(np.zeros((32, 31))), r"image has the shape \(32, 31\)"),
        (lambda projection: projection.degrid(np.full((32, 32), np.nan)), "image has 1024 values"),
        (lambda projection: projection.grid(np.zeros(4)), "visibilities has the shape"),
        (lambda projection: projection.grid(np.full(3, np.nan)), "visibilities has 3 values"),
        (lambda projection: projection.grid(np.zeros(3), np.zeros(2)), "weights has the shape"),
    ],
)
def test_bad_images_and_visibilities_are_refused(call, message):
    projection = Projection(functions_for((32, 32), (), False), UVW)
    with pytest.raises(ValueError, match=message):
        call(projection)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (32, 0)}, "shape="),
        ({"cell": 0.0}, "cell="),
        ({"cell": np.nan}, "cell="),
        ({"tolerance": 1e-6}, "tolerance="),
        ({"beams": BEAMS, "frequency": 0.0}, "frequency="),
        ({"cell": 0.03, "w_term": True}, "reaches the horizon"),
    ],
)
def test_impossible_convolution_functions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionFunctions(**{"shape": (32, 32), "cell": CELL, **arguments})


def test_no_visibilities_make_an_empty_image():
    projection = Projection(functions_for((32, 33), BEAMS, True), np.zeros((0, 3)))
    assert projection.degrid(np.ones((32, 33))).shape == (0,)
    np.testing.assert_array_equal(projection.grid(np.zeros(0)), np.zeros((32, 33)))
