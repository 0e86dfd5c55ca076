import inspect
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from casatools import image
from scipy.constants import arcsecond

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.calibration.survey import Survey, check_survey
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.request.grid import ImageGrid, cells_in_arcsec, image_size
from casa_ml_tasks.request.gridding import Gridding
from casa_ml_tasks.request.inference import Inference, Priors
from casa_ml_tasks.request.masking import Masking
from casa_ml_tasks.request.noise import Freedom, Noise
from casa_ml_tasks.request.output import Output
from casa_ml_tasks.request.products import check_outputs
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.request.stopping import Stopping
from casa_ml_tasks.request.values import listed
from casa_ml_tasks.request.weighting import Weighting
from tests.task_requests import read_resolveimage, read_rmlclean

GOOD = {
    "vis": "some.ms",
    "imagename": "my",
    "imsize": [64],
    "cell": ["0.1arcsec"],
    "specmode": "mfs",
    "gridder": "standard",
    "normtype": "flatnoise",
    "stokes": "I",
    "outlierfile": "",
    "facets": 1,
    "interactive": False,
    "parallel": False,
    "savemodel": "none",
    "usemask": "user",
    "mask": "",
    "weighting": "natural",
    "nchan": -1,
    "perchanweightdensity": True,
    "npixels": 0,
    "minorcycle": "rml",
    "deconvolver": "hogbom",
    "nterms": 2,
    "regularizer": ["l1", "log_smoothness"],
    "regstrength": [],
    "priorimage": "",
    "positivity": True,
    "noisescale": "auto",
    "threshold": 0.0,
    "startmodel": "",
    "restart": True,
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Tests run in a folder of their own, which every check must leave as it was."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_image(path, shape) -> None:
    tool = image()
    tool.fromshape(str(path), [*shape, 1, 1], overwrite=True)
    tool.done()


def content(folder) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"imsize": 64, "cell": 0.1},
        {"imsize": [64, 80], "cell": ["1", "2mas"]},
        {"vis": ["a.ms", "b.ms"], "specmode": "cont"},
        {"regularizer": [], "regstrength": [], "noisescale": 1.5},
        {"regularizer": ["l1", "tv"], "regstrength": [0.0, 2.0], "noisescale": "0.84", "positivity": False},
        {"positivity": False},
        {"minorcycle": "clean", "deconvolver": "multiscale", "usemask": "auto-multithresh"},
        {"usemask": "auto-multithresh"},
        {"threshold": "0.1mJy", "mask": "circle[[32pix, 32pix], 9pix]", "savemodel": "virtual"},
        {"threshold": "0", "mask": ["circle[[3pix, 3pix], 9pix]", "box[[1pix, 1pix], [9pix, 9pix]]"]},
    ],
)
def test_good_parameters_pass(changed, folder):
    read_rmlclean(GOOD | changed)
    assert content(folder) == []


WRONG = [
    ({"vis": ""}, "vis='' names no Measurement Set; give its path"),
    ({"vis": []}, "vis=.* names no Measurement Set"),
    ({"imagename": ""}, "imagename='' names no image; give the name"),
    ({"imagename": "products/"}, "imagename='products/' names no image"),
    ({"imsize": 0}, "imsize=0 is no image size; give one or two whole numbers of at least 8"),
    ({"imsize": [64, 7]}, "imsize=.* is no image size"),
    ({"imsize": [64, 64, 64]}, "imsize=.* is no image size"),
    ({"imsize": 64.5}, "imsize=64.5 is no image size"),
    ({"imsize": []}, "imsize=.* is no image size"),
    ({"cell": []}, r"cell=\[\] names no pixel size; give the pixel size, for example"),
    ({"cell": ""}, "cell='' names no pixel size"),
    ({"cell": [""]}, "cell=.* names no pixel size"),
    ({"cell": "0arcsec"}, "cell='0arcsec' is not a positive angle; give the pixel size"),
    ({"cell": -1.0}, "cell=-1.0 is not a positive angle"),
    ({"cell": "3arcse"}, "cell='3arcse' is not a positive angle"),
    ({"cell": "1Jy"}, "cell='1Jy' is not a positive angle"),
    ({"cell": float("nan")}, "cell=nan is not a positive angle"),
    ({"specmode": "mvc"}, "specmode='mvc' is not imaged yet; use one of mfs, cont, cube, cubedata, cubesource"),
    ({"specmode": "cube", "gridder": "native"}, "specmode='cube' needs frequencies regridded"),
    (
        {"stokes": "IQUV", "gridder": "mosaic"},
        "gridder='mosaic' with stokes='IQUV' .* use one plane at a time",
    ),
    ({"normtype": "flatsky", "gridder": "mosaic"}, "normtype='flatsky' is not imaged yet; use normtype='flatnoise'"),
    ({"deconvolver": "mtmfs", "gridder": "mosaic"}, "gridder='mosaic' .* deconvolver='mtmfs' is not imaged yet"),
    ({"stokes": "QU", "gridder": "native"}, "stokes='QU' needs gridder='standard'"),
    (
        {"stokes": "IQUV", "regstrength": "auto"},
        "regstrength='auto' serves images of total intensity without Taylor terms",
    ),
    ({"outlierfile": "outliers.txt"}, "outlierfile='outliers.txt' does not exist; give a text file with a block"),
    ({"facets": 2}, "facets=2 is not supported yet; use facets=1"),
    ({"interactive": True}, "interactive=True is not supported; use interactive=False"),
    ({"interactive": 1}, "interactive=1 is not supported"),
    (
        {"weighting": "briggsbwtaper"},
        "weighting='briggsbwtaper' does not go with specmode='mfs'; use specmode='cube', or weighting='briggs'",
    ),
    ({"weighting": "briggsbwtaper", "specmode": "cube", "nchan": 1}, "weighting='briggsbwtaper' .* use nchan=-1"),
    (
        {"weighting": "briggsbwtaper", "specmode": "cube", "perchanweightdensity": False},
        "weighting='briggsbwtaper' does not go with perchanweightdensity=False",
    ),
    ({"weighting": "briggsbwtaper", "specmode": "cube", "npixels": 2}, "weighting='briggsbwtaper' .* use npixels=0"),
    ({"savemodel": "always"}, "savemodel='always' is unknown; use one of none, virtual, modelcolumn"),
    ({"minorcycle": "clean", "deconvolver": "mtmfs", "nterms": 0}, "nterms=0 is no number of Taylor terms; use 2"),
    ({"minorcycle": "clean", "noisescale": "loud"}, "noisescale='loud' is no noise scale"),
    *(
        ({"minorcycle": "deepfocus", name: value}, f"{name}='{value}' does not go with minorcycle='deepfocus'.*; use")
        for name, value in [
            ("gridder", "mosaic"),
            ("deconvolver", "mtmfs"),
            ("outlierfile", "outliers.txt"),
            ("stokes", "QU"),
        ]
    ),
    (
        {"minorcycle": "deepfocus", "positivity": False},
        "positivity=False does not go with minorcycle='deepfocus'.*; use",
    ),
    (
        {"minorcycle": "deepfocus", "regularizer": ["points", "tsv"]},
        "minorcycle='deepfocus' does not serve regularizer=.*; leave out 'points'",
    ),
    ({"regularizer": ["l1", "l3"]}, "regularizer='l3' is unknown; use any of l1, tsv, tv, entropy"),
    (
        {"regularizer": ["tsv"], "positivity": False},
        r"regularizer=.* grow without bound .*; add one of compactness, l1",
    ),
    ({"regularizer": ["entropy"], "positivity": False}, "regularizer='entropy' takes the logarithm .* positivity=True"),
    ({"regstrength": "strong"}, "regstrength='strong' is unknown; use 'auto'"),
    ({"regstrength": "auto", "gridder": "mosaic"}, "regstrength='auto' serves continuum images of one pointing"),
    ({"regstrength": "auto", "regularizer": []}, "regstrength='auto' has no regularizer"),
    ({"regstrength": [1.0]}, r"regstrength=\[1.0\] has 1 values for regularizer=.*; give one each"),
    ({"regstrength": [1.0, -2.0]}, r"regstrength=\[1.0, -2.0\] is not a list of factors; give numbers"),
    ({"noisescale": "automatic"}, "noisescale='automatic' is no noise scale; use 'auto' or a positive number"),
    ({"noisescale": 0}, "noisescale=0 is no noise scale"),
    ({"noisescale": -1.5}, "noisescale=-1.5 is no noise scale"),
    ({"noisescale": "2Jy"}, "noisescale='2Jy' is no noise scale"),
    ({"threshold": "0.1 arcsec"}, "threshold='0.1 arcsec' is no flux density; give a number in Jy"),
    ({"threshold": "0.1"}, "threshold='0.1' is no flux density"),
    ({"threshold": "low"}, "threshold='low' is no flux density"),
    ({"threshold": ""}, "threshold='' is no flux density"),
    ({"startmodel": "nowhere.model"}, "startmodel='nowhere.model' does not exist; give a CASA image"),
    ({"priorimage": "my.image"}, "priorimage='my.image' serves regularizer='entropy' only"),
    ({"priorimage": "no.image", "regularizer": ["entropy"]}, "priorimage='no.image' does not exist; give a CASA image"),
    ({"mask": "nowhere.mask"}, "mask='nowhere.mask' does not exist; give an image, a region file"),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG)
def test_a_wrong_parameter_is_named_with_its_remedy(changed, sentence, folder):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        read_rmlclean(GOOD | changed)
    assert content(folder) == []


@pytest.mark.parametrize("parameter", ["mask", "startmodel", "priorimage"])
def test_an_image_given_must_have_the_shape_of_the_image_asked_for(parameter, folder):
    make_image("my.image", (64, 32))
    before = content(folder)
    read_rmlclean(GOOD | {parameter: "my.image", "imsize": [64, 32], "regularizer": ["entropy"]})
    sentence = f"^{parameter}='my.image' has 64 x 32 pixels, imsize asks for 32 x 64; regrid it"
    with pytest.raises(ValueError, match=sentence):
        read_rmlclean(GOOD | {parameter: ["my.image"], "imsize": [32, 64], "regularizer": ["entropy"]})
    assert content(folder) == before


def test_a_startmodel_that_is_no_casa_image_is_refused(folder):
    (folder / "my.fits").write_text("SIMPLE")
    with pytest.raises(ValueError, match=r"^startmodel='my.fits' is not a CASA image; import it with importfits"):
        read_rmlclean(GOOD | {"startmodel": "my.fits"})


def test_a_region_file_is_taken_as_a_mask(folder):
    (folder / "my.crtf").write_text("#CRTFv0\ncircle[[32pix, 32pix], 9pix]\n")
    read_rmlclean(GOOD | {"mask": "my.crtf"})


def test_cell_and_imsize_are_read_as_tclean_reads_them():
    assert cells_in_arcsec("2mas") == pytest.approx([0.002])
    assert cells_in_arcsec([0.3]) == [0.3]
    assert cells_in_arcsec(["1arcmin", "0.5"]) == pytest.approx([60, 0.5])
    assert image_size(100) == (100, 100)
    assert image_size([64, 80]) == (64, 80)


SURVEY = Survey(
    visibilities=100,
    flagged_fraction=0.0,
    longest_baseline=1e6,
    highest_frequency=299.792458e9,
    noise_scale=1.0,
    noise_scale_method="XX-YY",
    sum_of_weights=1.0,
    weighted_power=1.0,
)


def test_a_cell_that_undersamples_the_longest_baseline_is_warned_of(casa_log):
    """A million wavelengths make a fringe of 0.2063 arcsec; at 1 mm wavelength they are 1 km."""
    check_survey(SURVEY, Request.from_parameters(**GOOD | {"cell": "0.1arcsec"}).grid)
    assert "samples the longest baseline" not in casa_log()
    check_survey(SURVEY, Request.from_parameters(**GOOD | {"cell": "0.5arcsec"}).grid)
    sentence = (
        "cell='0.5arcsec' samples the longest baseline (1 km at 299.8 GHz) with 0.41 pixels a fringe; use at most 0.069"
    )
    assert sentence in casa_log()


def test_outputs_that_can_be_written_pass(folder):
    make_image("my.model", (64, 64))
    before = content(folder)
    check_outputs(Request.from_parameters(**GOOD))
    check_outputs(Request.from_parameters(**GOOD | {"imagename": str(folder / "other"), "imsize": [640, 64]}))
    assert content(folder) == before


@pytest.mark.parametrize("extension", ["model", "residual", "psf"])
def test_products_of_another_shape_are_refused(extension, folder):
    make_image(f"my.{extension}", (32, 64))
    before = content(folder)
    sentence = f"^imagename='my': 'my.{extension}' exists with 32 x 64 pixels, imsize asks for 64 x 64; choose another"
    with pytest.raises(ValueError, match=sentence):
        check_outputs(Request.from_parameters(**GOOD))
    check_outputs(Request.from_parameters(**GOOD | {"restart": False}))
    assert content(folder) == before


def test_a_product_that_is_no_image_is_refused(folder):
    (folder / "my.model").write_text("no image")
    with pytest.raises(ValueError, match=r"^imagename='my': 'my.model' exists and is not a CASA image; choose another"):
        check_outputs(Request.from_parameters(**GOOD))


def test_a_missing_or_write_protected_folder_is_refused(folder, monkeypatch):
    with pytest.raises(ValueError, match=r"^imagename='no/my': the folder 'no' does not exist; create it first"):
        check_outputs(Request.from_parameters(**GOOD | {"imagename": "no/my"}))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"^imagename='my': the folder '\.' is not writable; choose another"):
        check_outputs(Request.from_parameters(**GOOD))
    assert content(folder) == []


def test_a_full_disk_is_refused(folder, monkeypatch):
    """24 images of 1000 x 1000 pixels of 4 bytes are 96 MB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=95_999_999))
    with pytest.raises(ValueError, match=r"^imagename='my': images of 1000 x 1000 pixels need 0.096 GB .* make room"):
        check_outputs(Request.from_parameters(**GOOD | {"imsize": 1000}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=96_000_000))
    check_outputs(Request.from_parameters(**GOOD | {"imsize": 1000}))
    assert content(folder) == []


OF_BOTH = (DataSelection, ImageGrid, Gridding, Weighting, Freedom, Noise, Stopping, Masking, Output)
OF_ONE = {rmlclean: (Regularisation,), resolveimage: (Inference, Priors)}
#: Defaults that mean the same, or nothing where all others are defaults.
MEANT_ALIKE = ("gridder", "perchanweightdensity", "noise")


@pytest.mark.parametrize("task", OF_ONE, ids=lambda task: task.__name__)
def test_settings_have_the_defaults_of_the_task(task):
    defaults = {name: each.default for name, each in inspect.signature(type(task).__call__).parameters.items()}
    for settings in (*OF_BOTH, *OF_ONE[task]):
        for name, each in inspect.signature(settings.from_parameters).parameters.items():
            if each.default is not inspect.Parameter.empty and name not in MEANT_ALIKE:
                assert listed(each.default) == listed(defaults[name]), f"{settings.__name__}: {name}"


def test_a_request_has_typed_settings():
    request = Request.from_parameters(
        **GOOD | {"imsize": [64, 80], "cell": ["1", "2mas"], "stokes": "IQUV", "threshold": "3mJy", "noisescale": "0.8"}
    )
    assert request.grid.shape == (80, 64)
    assert request.grid.cells == pytest.approx((1.0, 0.002))
    assert request.grid.cell == pytest.approx(arcsecond)
    assert request.grid.planes == ("I", "Q", "U", "V")
    assert request.stopping.threshold == pytest.approx(0.003)
    assert request.noise.scale_or(1.5) == 0.8
    assert Noise().scale_or(1.5) == 1.5


def test_a_changed_request_is_checked_anew():
    request = Request.from_parameters(**GOOD)
    changed = request.changed(imagename="other", gridder="native")
    assert (changed.output.imagename, changed.gridding.native, changed.selection.imager) == ("other", True, "native")
    assert changed.casa == GOOD | {"imagename": "other", "gridder": "native"}
    assert changed.changed(imagename="my", gridder="standard") == request
    with pytest.raises(ValueError, match="specmode='cube' needs frequencies regridded"):
        changed.changed(specmode="cube")


@pytest.mark.parametrize(
    ("changed", "serve"),
    [
        ({}, True),
        ({"specmode": "cubedata"}, True),
        ({"specmode": "cube"}, False),
        ({"gridder": "wproject"}, True),
        ({"gridder": "mosaic"}, True),
        ({"gridder": "mosaic", "specmode": "cube"}, False),
        ({"gridder": "mosaic", "savemodel": "virtual"}, False),
        ({"gridder": "mosaic", "pblimit": -0.1}, False),
        ({"gridder": "awp2"}, False),
        ({"stokes": "XX"}, True),
        ({"stokes": "Q"}, False),
        ({"cell": ["1arcsec", "2arcsec"]}, False),
        ({"cell": ["1arcsec", "1000mas"]}, True),
        ({"projection": "TAN"}, False),
        ({"deconvolver": "mtmfs"}, False),
        ({"outlierfile": "a.txt"}, False),
    ],
)
def test_our_kernels_serve_one_plane_of_square_pixels(changed, serve):
    assert Request.from_parameters(**GOOD | changed).kernels_may_serve == serve


def test_a_data_model_may_be_asked_for_where_our_kernels_will_be_chosen():
    assert Request.from_parameters(**GOOD | {"noisemodel": ["spw"]}).noise.freedom.noise == ("spw",)
    with pytest.raises(ValueError, match=r"^noisemodel=\['spw'\] needs gridder='native', and gridder='standard' is"):
        Request.from_parameters(**GOOD | {"noisemodel": ["spw"], "imager": "casa"})


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (
            {"gridder": "mosaic"},
            r"^smearing=0\.001 needs gridder='native', and gridder='mosaic' is given; change either",
        ),
        ({"imager": "casa"}, r"^smearing=0\.001 needs gridder='native'"),
        ({"specmode": "cubedata"}, r"^smearing=0\.001 needs specmode='mfs'"),
        ({"noisemodel": ["spw"]}, r"^smearing=0\.001 averages what noisemodel=\['spw'\] tells apart; use smearing=0"),
    ],
)
def test_averages_are_imaged_by_our_kernels_in_one_continuum_image(others, sentence):
    assert Request.from_parameters(**GOOD | {"smearing": 1e-3}).gridding.smearing == 1e-3
    with pytest.raises(ValueError, match=sentence):
        Request.from_parameters(**GOOD | {"smearing": 1e-3, **others})


def test_a_gpu_serves_our_kernels_alone():
    assert Request.from_parameters(**GOOD | {"device": "gpu", "specmode": "cubedata"}).gridding.device == "gpu"
    with pytest.raises(ValueError, match=r"^device='gpu' needs gridder='native', and gridder='mosaic' is given"):
        Request.from_parameters(**GOOD | {"device": "gpu", "gridder": "mosaic"})


def test_settings_go_to_other_processes():
    request = Request.from_parameters(**GOOD)
    assert pickle.loads(pickle.dumps(request)) == request


def test_an_inference_is_read_with_its_priors():
    _, inference = read_resolveimage(
        GOOD
        | {
            "offset": 3,
            "slope": [-4.0, 1.0],
            "components": "absorption",
            "pointsources": ["J2000 19:58:40.9 +40.55.58"],
        }
    )
    assert inference.priors == Priors(offset=3.0, slope=(-4.0, 1.0))
    assert inference.has_absorption
    assert inference.directions == ("J2000 19:58:40.9 +40.55.58",)
    assert inference.most_samples == 288
