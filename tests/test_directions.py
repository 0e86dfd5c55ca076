"""Directions of fields: ephemerides, polynomials in time, frames; against tclean, casacore's measures and the truth."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from casatasks import tclean
from casatools import image, measures, quanta, table
from scipy.constants import arcsecond

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.data import directions
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.directions import Directions, directions_of, nodes, toward, tracked, turned
from casa_ml_tasks.data.frequency_frame import lsrk_over_observed
from casa_ml_tasks.data.tracking import check_tracking
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.parametric import read_observation
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.simulation import Source, direct_sum, lsrk_over_topocentric, simulate, with_table
from tests.major_cycles import request_of

EAST, NORTH, SIGMA = 1.0, -0.5, 0.02  # arcsec, Jy
CENTRE = (np.radians(246.0), np.radians(-24.0))  # J2000, of simulated sets
START = 60370.0  # MJD; they are observed on it
SPEED = (0.4, -0.3)  # arcsec a second, of the object of `follow`
COLUMNS = ("PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR")
DAY = 86400.0
INNER = (slice(8, -8), slice(8, -8))  # CASA's gridder errs by a percent at the edges


@pytest.fixture(scope="module")
def point_ms(tmp_path_factory):
    """A point source of 1 Jy."""
    path = tmp_path_factory.mktemp("point") / "point.ms"
    return simulate(path, antennas=8, channels=1, integrations=8, sources=(Source(1.0, EAST, NORTH),), sigma=SIGMA)


@pytest.fixture
def copy(point_ms, tmp_path):
    return shutil.copytree(point_ms.path, tmp_path / "copy.ms").as_posix()


@pytest.fixture(scope="module")
def followed(point_ms, tmp_path_factory):
    """The same, of an object that crosses the sky by 100 arcsec while it is observed."""
    path = shutil.copytree(point_ms.path, tmp_path_factory.mktemp("followed") / "followed.ms").as_posix()
    follow(path)
    return path


def follow(vis, offset=(0.0, 0.0), first=START):
    """Attach an ephemeris of ten days, and make PHASE_DIR an offset from it, arcsec."""
    days = first + np.arange(10.0)
    seconds = DAY * (days - START - 0.5)
    angles = np.degrees([CENTRE[i] + SPEED[i] * seconds * arcsecond for i in (0, 1)])
    columns = {"MJD": days, "RA": angles[0], "DEC": angles[1], "Rho": days * 0 + 1e4, "RadVel": days * 0}
    layout = {"valueType": "double", "option": 0, "maxlen": 0, "comment": "", "dataManagerType": ""}
    tool = table()
    tool.create(f"{vis}/FIELD/EPHEM0_Runner.tab", dict.fromkeys(columns, layout | {"dataManagerGroup": ""}), nrow=10)
    for name, values in columns.items():
        tool.putcol(name, values)
    tool.putkeywords(
        {"MJD0": first - 1, "dMJD": 1.0, "NAME": "Runner", "posrefsys": "ICRS"}
        | {"GeoDist": 0.0, "GeoLat": 0.0, "GeoLong": 0.0, "obsloc": "GEOCENTRIC"}
        | {"VS_CREATE": "2024/01/01/00:00", "VS_DATE": "2024/01/01/00:00", "VS_VERSION": "0001.0001"}
        | {"VS_TYPE": "Table of comet/planetary positions"}
    )
    tool.putinfo({"type": "IERS", "subType": "Comet", "readme": ""})
    tool.done()

    times = with_table(vis, lambda tb: tb.getcol("TIME"))

    def attach(tb):
        if "EPHEMERIS_ID" not in tb.colnames():
            tb.addcols({"EPHEMERIS_ID": layout | {"valueType": "int", "dataManagerGroup": ""}})
        tb.putcol("EPHEMERIS_ID", np.zeros(tb.nrows(), np.int32))
        tb.putcol("TIME", np.full(tb.nrows(), times.min()))
        for name in COLUMNS:
            for row in range(tb.nrows()):
                tb.putcell(name, row, np.reshape(offset, (2, 1)) * arcsecond)

    with_table(f"{vis}/FIELD", attach)


def move_field(vis, frame):
    """State the field's direction in another frame, whose axes u and v are then taken to be along."""
    longitude, latitude = converted(CENTRE, "J2000", frame)

    def change(tb):
        for name in COLUMNS:
            tb.putcell(name, 0, np.array([[longitude], [latitude]]))
            tb.putcolkeyword(name, "MEASINFO", tb.getcolkeyword(name, "MEASINFO") | {"Ref": frame})

    with_table(f"{vis}/FIELD", change)


def converted(angles, frame, other):
    me, qa = measures(), quanta()
    me.doframe(me.observatory("ALMA"))
    me.doframe(me.epoch("UTC", qa.quantity(START, "d")))
    found = me.measure(me.direction(frame, *(qa.quantity(float(each), "rad") for each in angles)), other)
    me.done()
    qa.done()
    return found["m0"]["value"], found["m1"]["value"]


def dirty_images(vis, folder, phasecenter):
    """tclean's and ours, (ny, nx)."""
    common = {"imsize": 64, "cell": "0.1arcsec", "phasecenter": phasecenter}
    tclean(vis=vis, imagename=f"{folder}/theirs", niter=0, datacolumn="data", **common)
    major = NativeMajorCycle(request_of(vis, **common | {"imsize": [64, 64]}, gridder="native"), folder)
    try:
        return read_image(f"{folder}/theirs.residual")[0, 0], major.residual(np.zeros((1, 1, 64, 64)))[0, 0]
    finally:
        major.close()


def assert_as_tclean(vis, folder, phasecenter, peak=True):
    theirs, ours = dirty_images(vis, folder, phasecenter)
    assert np.abs(ours - theirs)[INNER].max() < 2e-3
    if peak:
        assert ours.max() > 0.97
        assert ours.argmax() == theirs.argmax()
    return ours


def text(frame, shift=(0.0, 0.0)):
    """A phase centre `shift` arcsec from the field's, in another frame."""
    longitude, latitude = converted(CENTRE, "J2000", frame)
    longitude += shift[0] * arcsecond / np.cos(latitude)
    return f"{frame} {longitude:.12f}rad {latitude + shift[1] * arcsecond:.12f}rad"


@pytest.mark.parametrize("frame", ["ICRS", "B1950", "GALACTIC", "SUPERGAL"])
def test_images_in_every_frame_are_tcleans(frame, point_ms, tmp_path):
    assert_as_tclean(str(point_ms.path), tmp_path, text(frame, (1, -1)))


@pytest.mark.parametrize("frame", ["B1950", "GALACTIC", "APP"])
def test_fields_in_every_frame_are_imaged_as_by_tclean(frame, copy, tmp_path):
    move_field(copy, frame)
    assert_as_tclean(copy, tmp_path, text("J2000", (-1, 1)))


def test_every_field_may_have_a_frame_of_its_own(copy, tmp_path):
    longitude, latitude = converted(CENTRE, "J2000", "GALACTIC")

    def change(tb):
        keywords = tb.getcolkeyword("PHASE_DIR", "MEASINFO")
        layout = {"valueType": "int", "option": 0, "maxlen": 0, "comment": "", "dataManagerType": ""}
        tb.addcols({"PhaseDir_Ref": layout | {"dataManagerGroup": ""}})
        tb.putcol("PhaseDir_Ref", np.array([directions.FRAMES.index("GALACTIC")], np.int32))
        del keywords["Ref"]
        codes = {"TabRefTypes": np.array(directions.FRAMES), "TabRefCodes": np.arange(22, dtype=np.uint32)}
        tb.putcolkeyword("PHASE_DIR", "MEASINFO", keywords | {"VarRefCol": "PhaseDir_Ref"} | codes)
        tb.putcell("PHASE_DIR", 0, np.array([[longitude], [latitude]]))

    with_table(f"{copy}/FIELD", change)
    assert_as_tclean(copy, tmp_path, text("J2000"))


def test_a_polynomial_in_time_is_followed_as_by_tclean(copy, tmp_path):
    times = with_table(copy, lambda tb: tb.getcol("TIME"))

    def change(tb):
        for name in COLUMNS:
            tb.putcell(name, 0, np.array([CENTRE, np.array(SPEED) / 100 * arcsecond]).T)
        tb.putcol("NUM_POLY", np.array([1]))
        tb.putcol("TIME", times[:1])

    with_table(f"{copy}/FIELD", change)
    ours = assert_as_tclean(copy, tmp_path, "", peak=False)
    assert ours.max() < 0.9  # the source moves with the field


@pytest.mark.parametrize("phasecenter", ["TRACKFIELD", "table", "", text("GALACTIC", (3, 0))])
def test_an_object_with_an_ephemeris_is_imaged_as_by_tclean(phasecenter, followed, tmp_path):
    follows = phasecenter in ("TRACKFIELD", "table")
    path = f"{followed}/FIELD/EPHEM0_Runner.tab"
    ours = assert_as_tclean(followed, tmp_path, path if phasecenter == "table" else phasecenter, peak=follows)
    if follows:
        assert np.unravel_index(ours.argmax(), ours.shape) == (32 + 10 * NORTH, 32 - 10 * EAST)


def test_an_offset_from_an_ephemeris_is_imaged_as_by_tclean(copy, tmp_path):
    follow(copy, (1.0, 0.5))
    ours = assert_as_tclean(copy, tmp_path, "TRACKFIELD")
    assert np.unravel_index(ours.argmax(), ours.shape) == (32 + 10 * (NORTH + 0.5), 32 - 10 * (EAST + 1.0))


@pytest.fixture(params=["TRACKFIELD", "GALACTIC"])
def call(request, point_ms, followed):
    vis, phasecenter = {"TRACKFIELD": (followed, "TRACKFIELD"), "GALACTIC": (str(point_ms.path), text("GALACTIC"))}[
        request.param
    ]
    return {"vis": vis, "phasecenter": phasecenter, "imsize": 64, "cell": "0.1arcsec", "datacolumn": "data"}


@pytest.mark.parametrize(
    ("task", "more"),
    [
        (rmlclean, {"gridder": "standard"}),
        (rmlclean, {"gridder": "native", "niter": 0}),
        (resolveimage, {"niter": 0}),
    ],
    ids=["standard", "native", "resolveimage"],
)
def test_the_tasks_find_source_and_noise_in_moving_and_turned_images(task, more, call, tmp_path):
    answer = task(imagename=f"{tmp_path}/image", **call, **more)
    assert answer["noise_scale"] == pytest.approx(1, abs=0.1)
    pixels = read_image(f"{tmp_path}/image.image")[0, 0]
    assert pixels.max() == pytest.approx(1, abs=0.04)
    place = np.array(np.unravel_index(pixels.argmax(), pixels.shape))
    east, north = offset_of(f"{tmp_path}/image.image", place, follows=call["phasecenter"] == "TRACKFIELD")
    np.testing.assert_allclose([east, north], [EAST, NORTH], atol=0.06)


def offset_of(path, place, follows):
    """Of a pixel (y, x) from the image's centre, or in J2000 from the field's; arcsec East and North."""
    if follows:
        return (32 - place[1]) / 10, (place[0] - 32) / 10
    tool = image()
    tool.open(path)
    angles = tool.coordsys().toworld([*place[::-1].astype(float), 0.0, 0.0], "n")["numeric"][:2]
    tool.done()
    east, north, _ = toward(*CENTRE) @ toward(*converted(angles, "GALACTIC", "J2000"))[2] / arcsecond
    return east, north


def test_the_model_column_holds_what_an_object_sends(followed, tmp_path, point_ms):
    path = shutil.copytree(followed, tmp_path / "copy.ms").as_posix()
    options = {"imsize": [64, 64], "cell": "0.1arcsec", "gridder": "native", "savemodel": "modelcolumn"}
    major = NativeMajorCycle(request_of(path, **options, phasecenter="TRACKFIELD"), tmp_path)
    model = np.zeros((1, 1, 64, 64), np.float32)
    model[0, 0, 32 + round(10 * NORTH), 32 - round(10 * EAST)] = 1
    major.predict(model)
    major.close()
    uvw, times, written = with_table(path, lambda tb: [tb.getcol(name) for name in ("UVW", "TIME", "MODEL_DATA")])
    expected = direct_sum(uvw * lsrk_over_topocentric(times), point_ms.frequencies, point_ms.sources)
    np.testing.assert_allclose(written[0], expected, atol=2e-4)


def test_what_is_read_for_parametric_models_follows_the_object(followed, point_ms):
    observation = read_observation(followed, 3.0, datacolumn="data")
    uvw = np.stack([observation.u, observation.v, 0 * observation.u])
    expected = direct_sum(uvw * 299792458.0, np.array([1.0]), (Source(1.0, EAST, NORTH, index=0.0),))[0]
    residual = (observation.visibility - expected) / observation.sigma
    assert np.mean(np.abs(residual) ** 2) / 2 == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(("frame", "error"), [("ICRS", 1e-9), ("GALACTIC", 1e-7), ("SUPERGAL", 1e-7), ("B1950", 2e-4)])
def test_turned_baselines_have_the_path_of_every_direction(frame, error, point_ms):
    """B1950 is stretched by the elliptic terms of aberration, which turn no baseline."""
    baselines = np.random.default_rng(1).normal(size=(3, 50)) * 1e3  # along the axes of J2000, metres
    centre = tuple(np.add(converted(CENTRE, "J2000", frame), (1e-3, 2e-3)))
    wanted = SimpleNamespace(centre=centre, frame=frame, tracks="")
    uvw = turned(toward(*CENTRE) @ baselines, np.full(50, START * DAY), np.zeros(50, int), str(point_ms.path), wanted)
    source, middle = (CENTRE[0] + 1e-4, CENTRE[1] - 1e-4), converted(centre, frame, "J2000")
    expected = (toward(*source)[2] - toward(*middle)[2]) @ baselines
    lmn = toward(*centre) @ toward(*converted(source, "J2000", frame))[2]
    np.testing.assert_allclose((lmn - [0, 0, 1]) @ uvw, expected, atol=3e3 * 3e-3 * error)


def test_where_an_offset_field_is_in_a_moving_image(copy):
    follow(copy, (3.0, -2.0))
    times = with_table(copy, lambda tb: tb.getcol("TIME"))
    moving = SimpleNamespace(centre=CENTRE, frame="ICRS", tracks="TRACKFIELD")
    for time in (times.min(), times.max()):
        east, north, _ = toward(*CENTRE) @ toward(*directions_of(copy).seen_in(0, time, moving))[2] / arcsecond
        np.testing.assert_allclose([east, north], [3, -2], atol=1e-4)


def test_frequencies_of_epochs_decades_apart_cost_what_was_observed(copy, monkeypatch):
    times = with_table(copy, lambda tb: tb.getcol("TIME"))
    times = np.concatenate([times, times - 30 * 365.25 * DAY])
    factor = lsrk_over_observed(copy, "TOPO", times, np.zeros(times.size, int))
    np.testing.assert_allclose(factor, lsrk_over_topocentric(times), rtol=1e-10)
    assert nodes(times, 600.0).size <= 8
    monkeypatch.setattr(Directions, "_factors", None)  # what is asked again is remembered
    np.testing.assert_array_equal(lsrk_over_observed(copy, "TOPO", times, np.zeros(times.size, int)), factor)


def test_a_changed_table_is_read_again(copy):
    before = directions_of(copy)
    assert directions_of(copy) is before
    move_field(copy, "GALACTIC")
    assert directions_of(copy).phase_centre(0, START * DAY)["refer"] == "GALACTIC"


def test_an_unknown_telescope_is_where_its_first_antenna_is(copy):
    times = with_table(copy, lambda tb: tb.getcol("TIME"))
    known = lsrk_over_observed(copy, "TOPO", times, np.zeros(times.size, int))
    with_table(f"{copy}/OBSERVATION", lambda tb: tb.putcell("TELESCOPE_NAME", 0, "My two dishes"))
    found = lsrk_over_observed(copy, "TOPO", times, np.zeros(times.size, int))
    np.testing.assert_allclose(found, known, rtol=1e-9)
    assert np.ptp(found) > 0


def test_nodes_are_the_ends_of_every_observed_interval():
    np.testing.assert_array_equal(nodes(np.array([3.0, 1, 2, 11, 95, 94, 2]), 10.0), [1, 3, 11, 94, 95])


@pytest.mark.parametrize(
    ("phasecenter", "expected"), [("trackfield", "TRACKFIELD"), ("Mars", "MARS"), ("", ""), (0, ""), (text("ICRS"), "")]
)
def test_what_a_phase_centre_follows(phasecenter, expected):
    assert tracked(phasecenter) == expected


def selected(vis):
    return DataSelection((str(vis),), datacolumn="data").selections


def test_trackfield_needs_an_ephemeris(point_ms, followed):
    check_tracking(selected(followed), "TRACKFIELD", 0.1)
    with pytest.raises(ValueError, match=r"phasecenter='TRACKFIELD' .* has none; attach one with ms.addephemeris"):
        check_tracking(selected(point_ms.path), "TRACKFIELD", 0.1)


def test_an_object_that_crosses_an_image_at_rest_is_named(point_ms, followed, casa_log):
    check_tracking(selected(point_ms.path), "", 0.1)
    check_tracking(selected(followed), "TRACKFIELD", 0.1)
    assert "moves" not in casa_log()
    check_tracking(selected(followed), "", 0.1)
    moved = 210 * np.hypot(SPEED[0] * np.cos(CENTRE[1]), SPEED[1])  # 8 integrations of 30 s
    assert f"field 0 of vis='{followed}' moves by {moved:.2g}" in casa_log()
    assert "use phasecenter='TRACKFIELD' to follow it" in casa_log()


def test_an_ephemeris_that_ended_is_named(copy):
    follow(copy, first=START - 30)
    with pytest.raises(ValueError, match=r"ephemeris '.*EPHEM0_Runner.tab' .* says nothing for the time 603"):
        directions_of(copy).phase_centre(0, START * DAY)
    shutil.rmtree(Path(copy, "FIELD", "EPHEM0_Runner.tab"))
    with pytest.raises(ValueError, match="no ephemeris FIELD/EPHEM0_"):
        directions_of(copy)
