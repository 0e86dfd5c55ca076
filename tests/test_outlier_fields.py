"""Outlier fields: a bright source far outside the image, on a simulated sky whose truth is known."""

import numpy as np
import pytest
from casatasks import tclean

from casa_ml_tasks import rmlclean
from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.casa_image import opened, read_beam, read_image
from casa_ml_tasks.data.workspace import Product, unused_imagenames
from casa_ml_tasks.engine.field_layout import FieldLayout
from casa_ml_tasks.engine.protocols import MinorCycle, MinorState
from casa_ml_tasks.minor.minor_cycle_of_fields import MinorCycleOfFields
from casa_ml_tasks.request.outliers import outlier_requests
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.simulation import Source, simulate
from tests.major_cycles import parameters_of
from tests.state_schema import has_the_arrays_of
from tests.task_requests import read_rmlclean

IMSIZE, OUTLIER, CELL = 64, 24, 0.12
FAINT, BRIGHT = Source(flux=0.02, east=1.0, north=-0.5), Source(flux=2.0, east=24.0, north=5.0)
DECLINATION = -24 + BRIGHT.north / 3600
RIGHT_ASCENSION = 246 + BRIGHT.east / 3600 / np.cos(np.radians(DECLINATION))
SIZE = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data"}


def outlier_file(folder, name="far", **lines):
    """A file with one outlier, around the bright source unless the lines say otherwise."""
    block = {
        "imagename": folder / name,
        "imsize": f"[{OUTLIER},{OUTLIER}]",
        "phasecenter": f"J2000 {RIGHT_ASCENSION:.9f}deg {DECLINATION:.9f}deg",
    }
    path = folder / f"{name}.txt"
    path.write_text("".join(f"{key}={value}\n" for key, value in (block | lines).items()))
    return str(path)


def image(ms, folder, lines=None, **changes):
    arguments = {"outlierfile": outlier_file(folder, **lines or {}), "regularizer": ["l1"], **SIZE}
    return rmlclean(vis=str(ms.path), imagename=str(folder / "near"), **arguments | changes)


def flux(model, source, centre=(0.0, 0.0), radius=0.6):
    """Of the model within `radius` arcsec of a source; `centre` of the image, arcsec East and North."""
    y, x = np.mgrid[: model.shape[-2], : model.shape[-1]]
    east, north = -(x - model.shape[-1] // 2) * CELL + centre[0], (y - model.shape[-2] // 2) * CELL + centre[1]
    return model[0, 0][np.hypot(east - source.east, north - source.north) < radius].sum()


@pytest.fixture(scope="module")
def bright_ms(tmp_path_factory):
    return simulate(
        tmp_path_factory.mktemp("bright") / "bright.ms", antennas=16, integrations=5, sources=(FAINT, BRIGHT)
    )


@pytest.fixture(scope="module")
def noise(bright_ms):
    return bright_ms.sigma / np.sqrt(2 * bright_ms.rows * len(bright_ms.frequencies))


@pytest.fixture(scope="module")
def finished(bright_ms, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pixels():
        return folder, image(bright_ms, folder, pbcor=True)


def test_both_fluxes_are_found(finished):
    folder, result = finished
    assert flux(read_image(folder / "near.model"), FAINT) == pytest.approx(FAINT.flux, rel=0.1)
    far = flux(read_image(folder / "far.model"), BRIGHT, centre=(BRIGHT.east, BRIGHT.north))
    assert far == pytest.approx(BRIGHT.flux, rel=0.01)
    assert result["outlier_flux"][str(folder / "far")] == pytest.approx(BRIGHT.flux, rel=0.02)


def test_the_residual_of_the_main_field_is_noise_and_no_higher_than_tcleans(finished, bright_ms, noise, tmp_path):
    ours = read_image(finished[0] / "near.residual").std()
    tclean(
        str(bright_ms.path), imagename=str(tmp_path / "near"), outlierfile=outlier_file(tmp_path), niter=500, gain=0.2,
        threshold=f"{3 * noise}Jy", pblimit=-0.1, **SIZE,
    )  # fmt: skip
    assert ours < 1.2 * noise
    assert ours <= read_image(tmp_path / "near.residual").std()


def test_it_converges_in_a_dozen_major_cycles(finished):
    _, result = finished
    assert result["stopcode"] == 10
    assert result["nmajordone"] <= 12


def test_without_the_outlier_field_its_sidelobes_ruin_the_residual(bright_ms, noise, tmp_path):
    image(bright_ms, tmp_path, outlierfile="", nmajor=1, cycleniter=40)
    assert read_image(tmp_path / "near.residual").std() > 5 * noise


def test_every_outlier_has_the_products_of_the_main_field(finished):
    folder, result = finished
    kinds = [path.removeprefix(f"{folder}/near.") for path in result["products"] if "/near." in path]
    assert {"model", "residual", "image", "image.pbcor", "pb", "mask", "psf", "sumwt"} == set(kinds)
    assert [f"{folder}/far.{kind}" for kind in kinds] == result["products"][len(kinds) :]
    with opened(folder / "far.image") as tool:
        assert tool.brightnessunit() == "Jy/beam"
        assert any("taskname=rmlclean" in line for line in tool.history(list=False))
    assert read_beam(folder / "far.image") == read_beam(folder / "far.psf")
    assert not (folder / "near.work").exists()


def test_a_run_that_was_stopped_ends_in_the_same_images(bright_ms, tmp_path, monkeypatch):
    for name in ("undisturbed", "stopped"):
        (tmp_path / name).mkdir()
    image(bright_ms, tmp_path / "undisturbed", nmajor=1)
    run, calls = PySynthesisImager.runMajorCycle, []

    def stop_after_the_minor_cycle(imager, **arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(imager, **arguments)

    monkeypatch.setattr(PySynthesisImager, "runMajorCycle", stop_after_the_minor_cycle)
    with pytest.raises(KeyboardInterrupt):
        image(bright_ms, tmp_path / "stopped", nmajor=1)
    assert {path.name for path in (tmp_path / "stopped").iterdir()} == {"near.work", "far.txt"}
    image(bright_ms, tmp_path / "stopped", nmajor=1)
    assert len(calls) == 3
    for product in ("near.model", "far.model", "far.residual"):
        expected = read_image(tmp_path / "undisturbed" / product)
        actual = read_image(tmp_path / "stopped" / product)
        np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_a_finished_run_goes_on_from_the_models_of_all_fields(finished, bright_ms):
    folder, _ = finished
    again = image(bright_ms, folder, nmajor=0)
    assert again["outlier_flux"][str(folder / "far")] == pytest.approx(BRIGHT.flux, rel=0.02)


def test_an_unused_number_serves_all_fields(tmp_path):
    (tmp_path / "far_1.image").mkdir()
    names = [str(tmp_path / name) for name in ("near", "far")]
    products = (Product("image"), Product("model"))
    assert unused_imagenames(names, products) == names
    (tmp_path / "near.model").mkdir()
    assert unused_imagenames(names, products) == [f"{name}_2" for name in names]


def test_outliers_of_a_cube_have_its_channels_and_a_mask_of_their_own(bright_ms, tmp_path):
    image(bright_ms, tmp_path, {"mask": "circle[[12pix,12pix],6pix]"}, specmode="cubedata", nmajor=1)
    model = read_image(tmp_path / "far.model")
    assert read_image(tmp_path / "far.pb").max() < 0.2, "where tclean's pblimit would hide it"
    assert not model[..., :5].any()
    assert model.shape == (2, 1, OUTLIER, OUTLIER)
    assert model.sum(axis=(1, 2, 3)) == pytest.approx([BRIGHT.flux, BRIGHT.flux], rel=0.05)


def test_packed_fields_come_back():
    rng = np.random.default_rng(1)
    images = [rng.normal(size=(2, 3, *shape)) for shape in ((4, 5), (2, 2), (1, 7))]
    layout = FieldLayout(((4, 5), (2, 2), (1, 7)))
    packed = layout.pack(images)
    assert packed.shape == (2, 3, 1, 31)
    for actual, expected in zip(layout.unpack(packed), images, strict=True):
        np.testing.assert_array_equal(actual, expected)


class Recorder:
    """A minor cycle that explains everything at once and remembers at what noise it was asked."""

    def __init__(self, calls, noise=1.0):
        self.calls, self.noise = calls, noise

    def update(self, residual, model, state):
        self.calls.append(self.noise)
        return model + residual, MinorState(state.iterations + 1, 0.1 * residual)


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ((1.0, 1000.0), ([], [1.0])),  # a peak that may be a sidelobe waits
        ((800.0, 1000.0), ([100.0], [80.0])),  # what stands out is sketched above the sidelobes
        ((20.0, 10.0), ([1.0], [1.0])),  # sidelobes below the noise do not matter
    ],
)
def test_sidelobes_of_other_fields_count_as_noise(peaks, expected):
    layout, calls = FieldLayout(((2, 2), (2, 2))), ([], [])
    sketches = [lambda noise, own=own: Recorder(own, noise) for own in calls]
    minor = MinorCycleOfFields([Recorder(own) for own in calls], sketches, layout, np.ones((1, 1, 1, 1)), 0.1)
    residual = layout.pack([np.full((1, 1, 2, 2), peak) for peak in peaks])
    model, state = minor.update(residual, np.zeros_like(residual), MinorState())
    assert isinstance(minor, MinorCycle)
    assert has_the_arrays_of(minor.schema, state)
    assert not state.converged
    for own, asked in zip(calls, expected, strict=True):
        assert own == pytest.approx(asked)
    for part, own in zip(layout.unpack(model), calls, strict=True):
        assert part.any() == bool(own)


def test_a_block_is_read_as_tclean_reads_it(tmp_path):
    path = tmp_path / "outliers.txt"
    path.write_text(
        "# two of them\nimagename = one\nimsize=[80,64]\ncell=[8.0arcsec,8.0arcsec]\nnchan=1\n"
        "phasecenter=J2000 19:58:40.895 +40.55.58.543\nmask=circle[[40pix,40pix],10pix]\n\n"
        "imagename='two'\nimsize=50\nphasecenter=ICRS 19:58:40 +41.00.00\n"
    )
    given = parameters_of("my.ms", imagename="my", outlierfile=str(path), cell="1arcsec", startmodel="main.model")
    one, two = (each.casa for each in outlier_requests(Request.from_parameters(**given)))
    assert (one["imagename"], one["imsize"], one["cell"]) == ("one", [80, 64], ["8.0arcsec", "8.0arcsec"])
    assert one["mask"] == "circle[[40pix,40pix],10pix]"
    assert (two["imagename"], two["imsize"], two["cell"]) == ("two", [50], "1arcsec")
    assert (two["mask"], two["startmodel"], two["outlierfile"]) == ("", "", "")


@pytest.mark.parametrize(
    ("lines", "changed", "sentence"),
    [
        ({}, {"outlierfile": "nowhere.txt"}, "outlierfile='nowhere.txt' does not exist; give a text file"),
        ({}, {"gridder": "native"}, "gridder='native' makes no outlier fields; use one of standard"),
        ({}, {"gridder": "mosaic"}, "gridder='mosaic' makes no outlier fields"),
        ({}, {"minorcycle": "clean"}, ".* serves minorcycle='rml'; for minorcycle='clean' use tclean"),
        ({}, {"regstrength": "auto"}, "regstrength='auto' takes outliers for structure; use"),
        ({"imagename": ""}, {}, ".*: imagename='' names no image"),
        ({"imagename": "my"}, {}, ".* imagename='my' is the name of another field; give each its own"),
        ({"imsize": "small"}, {}, ".*far.*: imsize=small is no image size"),
        ({"cell": "0Jy"}, {}, ".*far.*: cell=.* is not a positive angle"),
        ({"phasecenter": ""}, {}, ".*far.*: phasecenter='' is no direction; give one such as"),
        ({"phasecenter": "J2000 east +3deg"}, {}, ".*: phasecenter='J2000 east .3deg' is no direction"),
        ({"mask": "nowhere.mask"}, {}, ".*far.*: mask='nowhere.mask' does not exist"),
        ({"startmodel": "nowhere.model"}, {}, ".*far.*: startmodel='nowhere.model' does not exist"),
        ({"gridder": "mosaic"}, {}, ".*far.*: gridder='mosaic' makes no outlier fields"),
        ({"usemask": "none"}, {}, ".*far.*: usemask='none' makes no outlier fields; use one of user"),
        ({"wprojplanes": "many"}, {}, ".*far.*: wprojplanes=many is no number of planes"),
        ({"colour": "red"}, {}, ".* has the line 'colour=red'; write name=value, with one of imagename"),
        ({"specmode": "cube"}, {}, ".* has 'specmode=cube', and the call specmode='mfs'; all fields share it"),
    ],
)
def test_what_is_wrong_with_an_outlier_is_said_before_anything_is_written(lines, changed, sentence, tmp_path):
    parameters = parameters_of("some.ms", imagename="my", outlierfile=outlier_file(tmp_path, **lines), **SIZE)
    before = list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=f"^{sentence}"):
        read_rmlclean(parameters | changed)
    assert list(tmp_path.iterdir()) == before


def test_a_block_needs_an_imagename(tmp_path):
    path = tmp_path / "outliers.txt"
    for text, sentence in (("imsize=80\n", "in a block without imagename"), ("# nothing\n", "lists no outlier")):
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            read_rmlclean(parameters_of("some.ms", imagename="my", outlierfile=str(path), **SIZE))


def test_outliers_that_overlap_the_main_field_are_refused(bright_ms, tmp_path):
    beside = {"phasecenter": f"J2000 {246 - 5 / 3600:.9f}deg -24deg"}
    with pytest.raises(
        ValueError, match=r"far' overlaps '.*near': .*; move it in the outlierfile or make a field smaller"
    ):
        image(bright_ms, tmp_path, beside)
