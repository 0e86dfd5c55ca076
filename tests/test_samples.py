"""What is counted is what is imaged: samples by `stokes` and by imager, against tclean and against the columns."""

import numpy as np
import pytest
from casatasks import imhead, tclean

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.stokes import correlations
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.simulation import Source, simulate, with_table
from tests.major_cycles import opener, parameters_of

IMAGING = {"imsize": [32, 32], "cell": ["0.3arcsec"], "niter": 0}
CENTRE = (0, 0, 16, 16)
POLARISED = (Source(1.0, 0.0, 0.0, polarisation=(0.2, 0.3, 0.0)),)  # XX is 1.2 Jy, YY 0.8 Jy
SIGMA = 0.05


@pytest.fixture
def observe(tmp_path):
    """A Measurement Set with flags (correlation, channel, row) at some indices, and its number of rows."""

    def make(correlations: str, *flagged: tuple, **changes) -> tuple[str, int]:
        vis = tmp_path / "sky.ms"
        settings = {"antennas": 8, "integrations": 6, "sources": POLARISED, "sigma": SIGMA} | changes
        rows = simulate(vis, correlations=correlations, **settings).rows
        for index in flagged:
            with_table(vis, lambda tb, index=index: tb.putcol("FLAG", _flagged(tb.getcol("FLAG"), index)))
        return str(vis), rows

    return make


def _flagged(flags, index):
    flags[index] = True
    return flags


@pytest.fixture
def native(tmp_path):
    with opener(
        NativeMajorCycle, tmp_path, lambda vis, **changes: parameters_of(vis, gridder="native", **IMAGING | changes)
    ) as open_one:
        yield open_one


def of_tclean(vis, tmp_path, **changes):
    """Of tclean, the phase centre of its dirty image, Jy/beam, and its sum of weights."""
    name = str(tmp_path / "tclean")
    tclean(vis, imagename=name, datacolumn="data", **IMAGING | changes)
    return read_image(f"{name}.residual")[CENTRE], read_image(f"{name}.sumwt")[0, 0, 0, 0]


def of_native(major):
    return major.residual(np.zeros(major.shape))[CENTRE], read_image(major.product("sumwt"))[0, 0, 0, 0]


def survey_of(vis, **changes):
    return survey(DataSelection.from_parameters(**parameters_of(vis, **IMAGING | changes)).selections)


def some(rows):
    return slice(0, rows // 2)


@pytest.mark.parametrize("stokes", ["I", "IQUV"])
def test_casas_imager_drops_samples_with_a_flagged_cross_hand_and_they_are_not_counted(observe, tmp_path, stokes):
    vis, rows = observe("XX XY YX YY", (1, 0, slice(0, 100)))
    _, sum_of_weights = of_tclean(vis, tmp_path)
    found = survey_of(vis, gridder="standard", stokes=stokes)
    assert found.visibilities == 2 * rows - 100
    assert found.sum_of_weights == pytest.approx(sum_of_weights, rel=1e-5)


def test_our_own_imager_has_them(observe, native):
    vis, rows = observe("XX XY YX YY", (1, 0, slice(0, 100)))
    found = survey_of(vis, gridder="native")
    assert found.visibilities == 2 * rows
    peak, sum_of_weights = of_native(native(vis))
    assert sum_of_weights == pytest.approx(found.sum_of_weights, rel=1e-5) == pytest.approx(4 * rows / SIGMA**2)
    assert peak == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("correlations", ["XX YY", "XX XY YX YY", "RR LL"])
def test_pseudo_i_takes_whichever_hand_is_good(observe, native, tmp_path, correlations):
    vis, rows = observe(correlations, (0, slice(None), slice(0, 80)), (-1, 0, slice(50, 120)))
    theirs = of_tclean(vis, tmp_path, stokes="pseudoI")
    major = native(vis, stokes="pseudoI")
    assert of_native(major) == pytest.approx(theirs, rel=2e-4)
    found = survey_of(vis, gridder="native", stokes="pseudoI")
    assert found.visibilities == 2 * rows - 30
    assert found.sum_of_weights == pytest.approx(theirs[1], rel=1e-5)
    assert found.noise_scale == pytest.approx(1.0, rel=0.1)
    assert imhead(str(major.product("psf")), mode="get", hdkey="crval3") == imhead(
        f"{tmp_path}/tclean.psf", mode="get", hdkey="crval3"
    )


def test_pseudo_i_is_i_where_nothing_is_flagged(observe, native):
    vis, _ = observe("XX YY")
    assert of_native(native(vis, stokes="pseudoI")) == pytest.approx(of_native(native(vis)), rel=1e-6)


@pytest.mark.parametrize(("stokes", "flux"), [("XX", 1.2), ("YY", 0.8)])
def test_a_single_hand_is_tcleans(observe, native, tmp_path, stokes, flux):
    vis, _ = observe("XX YY")
    theirs = of_tclean(vis, tmp_path, stokes=stokes)
    major = native(vis, stokes=stokes)
    assert of_native(major) == pytest.approx(theirs, rel=2e-4)
    assert theirs[0] == pytest.approx(flux, abs=0.01)
    assert imhead(str(major.product("psf")), mode="get", hdkey="crval3") == stokes


@pytest.mark.parametrize("specmode", ["mfs", "cubedata"])
def test_a_single_hand_needs_nothing_of_the_others(observe, native, specmode):
    """Of which tclean makes an empty image."""
    vis, rows = observe("XX YY", (1,))
    with_table(vis, lambda tb: tb.putcol("WEIGHT", tb.getcol("WEIGHT") * [[1.0], [7.0]]))
    major = native(vis, stokes="XX", specmode=specmode)
    peak, sum_of_weights = of_native(major)
    assert peak == pytest.approx(1.2, abs=0.01)
    assert sum_of_weights == pytest.approx(rows / SIGMA**2 * (2 if specmode == "mfs" else 1))
    found = survey_of(vis, gridder="native", stokes="XX")
    assert (found.visibilities, found.flagged_fraction) == (2 * rows, 0)
    assert found.noise_scale == pytest.approx(1.0, rel=0.1)
    assert found.noise_scale_method == "neighbouring integrations"
    noise = major.noise()[0, 0]
    assert noise == pytest.approx(1 / np.sqrt(sum_of_weights))


@pytest.mark.parametrize("weighting", ["uniform", "briggs"])
def test_weights_of_a_single_hand_are_tcleans(observe, native, tmp_path, weighting):
    vis, _ = observe("XX YY")
    theirs = of_tclean(vis, tmp_path, stokes="XX", weighting=weighting)
    assert of_native(native(vis, stokes="XX", weighting=weighting)) == pytest.approx(theirs, rel=3e-4)


def test_the_noise_of_polarised_hands_is_found_when_one_comes_and_goes(observe):
    """Every other integration has XX alone, 20 % brighter than I: four times the noise."""
    vis, _ = observe("XX YY")
    time = with_table(vis, lambda tb: tb.getcol("TIME"))
    absent = np.searchsorted(np.unique(time), time) % 2 == 1
    with_table(vis, lambda tb: tb.putcol("FLAG", _flagged(tb.getcol("FLAG"), (1, slice(None), absent))))
    assert survey_of(vis, gridder="native", stokes="pseudoI").noise_scale < 10


FLAGGED = [
    (
        "XX YY",
        (1,),
        {"gridder": "native"},
        r"has one polarisation flagged .* stokes='I' needs it; use stokes='pseudoI'",
    ),
    ("XX YY", (1,), {"gridder": "standard"}, r"has one polarisation flagged .*; use stokes='pseudoI'"),
    ("XX YY", (0,), {"gridder": "native", "stokes": "XX"}, r"has one polarisation .*stokes='XX' needs it; use stokes="),
    ("XX YY", (1,), {"gridder": "standard", "stokes": "XX"}, r"has a flagged correlation in every sample .*'native'"),
    ("XX XY YX YY", (2,), {"gridder": "standard"}, r"has a flagged correlation in every .*; use gridder='native'"),
    ("XX YY", (slice(None),), {"stokes": "pseudoI"}, r"is entirely flagged in this selection; select other"),
]


@pytest.mark.parametrize(("correlations", "flagged", "asked", "sentence"), FLAGGED, ids=str)
def test_what_is_flagged_is_said_with_its_remedy(observe, correlations, flagged, asked, sentence):
    vis, _ = observe(correlations, flagged, integrations=1)
    with pytest.raises(ValueError, match=f"^vis='{vis}' {sentence}"):
        survey_of(vis, **asked)


def test_the_remedies_work(observe):
    vis, rows = observe("XX XY YX YY", (1,))
    assert survey_of(vis, gridder="native").visibilities == 2 * rows
    assert survey_of(vis, gridder="standard", stokes="pseudoI").visibilities == 2 * rows


def test_both_tasks_image_a_single_hand(observe, tmp_path):
    vis, rows = observe("XX YY", (1,))
    for task, more in ((rmlclean, {"gridder": "native", "niter": 1000, "noisescale": 1.0}), (resolveimage, {})):
        name = str(tmp_path / task.__name__)
        result = task(vis=vis, imagename=name, datacolumn="data", stokes="XX", **IMAGING | more)
        assert imhead(f"{name}.image", mode="get", hdkey="crval3") == "XX"
        assert read_image(f"{name}.image").max() == pytest.approx(1.2, abs=0.05)
        assert result["image_noise"] == pytest.approx(SIGMA / np.sqrt(2 * rows), rel=0.15)
        if task is rmlclean:
            assert result["cycles"][-1]["reduced_chi2"] == pytest.approx(1, abs=0.15)


def test_steps_in_a_selection_of_channels_are_counted_as_they_are_imaged(observe, native, tmp_path):
    vis, rows = observe("XX YY", channels=4)
    _, sum_of_weights = of_tclean(vis, tmp_path, spw="0:0~3^2")
    for gridder, channels in (("standard", 4), ("native", 2)):
        assert survey_of(vis, gridder=gridder, spw="0:0~3^2").visibilities == channels * rows
    assert sum_of_weights == pytest.approx(4 * 2 * rows / SIGMA**2, rel=1e-5)
    assert of_native(native(vis, spw="0:0~3^2"))[1] == pytest.approx(2 * 2 * rows / SIGMA**2, rel=1e-5)


def test_cross_hands_of_the_eht_cost_casas_imager_what_they_are_said_to(real_ms, tmp_path):
    vis = real_ms("SR1_M87_2017_095_hi_hops_netcal_StokesI.uvfits", tmp_path)
    assert len(correlations(vis)) == 4
    ours = survey_of(vis, gridder="native")
    try:
        theirs = survey_of(vis, gridder="standard").sum_of_weights
    except ValueError:
        theirs = 0.0
    _, sum_of_weights = of_tclean(vis, tmp_path, cell="2e-6arcsec")
    assert theirs == pytest.approx(sum_of_weights, rel=1e-4)
    assert theirs < ours.sum_of_weights
