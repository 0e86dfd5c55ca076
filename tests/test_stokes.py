"""rmlclean on Stokes planes: which of them the data hold, their noise, and the polarised sky."""

import numpy as np
import pytest
from casatasks import imhead

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection
from casa_ml_tasks.data.stokes import check_stokes, correlations, stokes_planes
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.minor.rml.regularisers.registry import of_signed_images
from casa_ml_tasks.simulation import Source, simulate
from tests.major_cycles import opener, parameters_of

SKY = (
    Source(flux=0.5, east=1.0, north=-0.5, polarisation=(0.1, -0.2, 0.05)),
    Source(flux=1.0, east=-1.2, north=0.8, size=0.3, polarisation=(-0.15, 0.1, 0.02)),
)
IMAGING = {"imsize": [64, 72], "cell": "0.12arcsec", "datacolumn": "data"}


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    path = tmp_path_factory.mktemp("linear") / "linear.ms"
    return simulate(path, sources=SKY, channels=1, correlations="XX XY YX YY")


@pytest.fixture(scope="module")
def circular(tmp_path_factory):
    path = tmp_path_factory.mktemp("circular") / "circular.ms"
    return simulate(path, sources=SKY, channels=1, correlations="RR RL LR LL")


@pytest.fixture
def open_major(linear, tmp_path):
    def parameters(vis=linear.path, **changes):
        return parameters_of(vis, **(IMAGING | changes))

    with opener(CasaMajorCycle, tmp_path, parameters) as open_one:
        yield open_one


@pytest.fixture(scope="module")
def polarised(linear, pixels, tmp_path_factory):
    name = tmp_path_factory.mktemp("iquv") / "sky"
    with pixels():
        return name, rmlclean(vis=str(linear.path), imagename=str(name), stokes="IQUV", nmajor=1, pbcor=True, **IMAGING)


def total(stokes):
    """Jy, of all sources."""
    return sum(each.flux * (1.0, *each.polarisation)["IQUV".index(stokes)] for each in SKY)


def test_the_planes_of_an_image():
    assert stokes_planes("IQUV") == ("I", "Q", "U", "V")
    assert stokes_planes("XXYY") == ("XX", "YY")
    assert stokes_planes("pseudoI") == ("pseudoI",)


def test_every_plane_holds_its_flux(polarised):
    model = read_image(f"{polarised[0]}.model")
    assert model.shape == (1, 4, 72, 64)
    np.testing.assert_allclose(model.sum(axis=(0, 2, 3)), [total(stokes) for stokes in "IQUV"], atol=0.03)


def test_intensity_alone_is_positive(polarised):
    """Its pixels render the point source between them; with the CLEAN beam they are positive.

    The extended source is 15 % negative in Q, the point source 20 % negative in U.
    """
    lowest = read_image(f"{polarised[0]}.model").min(axis=(0, 2, 3))
    convolved = read_image(f"{polarised[0]}.image")[0, 0] - read_image(f"{polarised[0]}.residual")[0, 0]
    assert convolved.min() > -1e-3 * convolved.max()
    assert lowest[2] < -0.02
    assert read_image(f"{polarised[0]}.image").min(axis=(0, 2, 3))[1] < -0.05


def test_what_is_left_is_noise(polarised, linear):
    """Each Stokes parameter is half the sum of two correlations."""
    expected = linear.sigma / np.sqrt(2 * linear.rows)
    assert polarised[1]["image_noise"] == pytest.approx(expected, rel=0.1)
    assert (read_image(f"{polarised[0]}.residual").std(axis=(0, 2, 3)) < 2 * expected).all()


def test_chi_squared_and_flux_are_those_of_stokes_i(polarised):
    last = polarised[1]["cycles"][-1]
    assert last["reduced_chi2"] == pytest.approx(1, abs=0.15)
    assert last["model_flux"] == pytest.approx(total("I"), rel=0.03)


def test_products_have_all_planes(polarised):
    for extension in ("model", "residual", "image", "image.pbcor", "psf", "pb", "mask"):
        assert list(imhead(f"{polarised[0]}.{extension}", mode="get", hdkey="shape")) == [64, 72, 4, 1]


def test_feeds_of_either_kind_measure_the_same_sky(circular, tmp_path):
    name = str(tmp_path / "v")
    result = rmlclean(vis=str(circular.path), imagename=name, stokes="V", nmajor=1, **IMAGING)
    assert read_image(f"{name}.model").sum() == pytest.approx(total("V"), abs=0.02)
    assert np.isnan(result["cycles"][-1]["reduced_chi2"])


@pytest.mark.parametrize("weighting", [{"weighting": "natural"}, {"weighting": "briggs", "robust": 0.5}], ids=str)
def test_the_noise_of_a_correlation_is_that_of_stokes_i_times_root_two(open_major, weighting):
    for stokes, factor in (("IQUV", 1), ("XX", np.sqrt(2))):
        noise = open_major(stokes=stokes, **weighting).noise()
        assert noise.shape == (1, len(stokes_planes(stokes)))
        np.testing.assert_allclose(noise, factor * open_major(**weighting).noise()[0, 0], rtol=0.02)


@pytest.mark.parametrize(
    ("stokes", "of_linear", "of_circular"),
    [("I", 1, 1), ("IQUV", 1, 1), ("XX", 1, 0), ("RRLL", 0, 1), ("IV", 0, 1), ("IQ", 1, 0), ("U", 1, 1)],
)
def test_what_the_data_do_not_have_is_refused(linear, circular, stokes, of_linear, of_circular):
    for observed, possible in ((linear, of_linear), (circular, of_circular)):
        if possible:
            check_stokes([Selection(str(observed.path))], stokes)
        else:
            with pytest.raises(ValueError, match=f"^stokes='{stokes}' cannot be made of .* use one of I"):
                check_stokes([Selection(str(observed.path))], stokes)


def test_parallel_hands_alone_have_no_u(simulated_ms, tmp_path):
    assert correlations(str(simulated_ms.path)) == {"XX", "YY"}
    with pytest.raises(ValueError, match=r"^stokes='IQUV' cannot be made of the correlations XX, YY of vis=.*I, Q, IQ"):
        rmlclean(vis=str(simulated_ms.path), imagename=str(tmp_path / "sky"), stokes="IQUV", **IMAGING)
    assert list(tmp_path.iterdir()) == []


def test_the_native_gridder_refuses_polarisation(linear, tmp_path):
    with pytest.raises(ValueError, match=r"^stokes='IQUV' needs gridder='standard'"):
        rmlclean(vis=str(linear.path), imagename=str(tmp_path / "a"), stokes="IQUV", gridder="native", **IMAGING)
    assert list(tmp_path.iterdir()) == []


def test_regularisers_of_planes_that_may_be_negative_take_no_logarithm():
    given = [("l1", 2.0), ("log_smoothness", 3.0), ("entropy", 1.0)]
    assert of_signed_images(given) == [("l1", 2.0), ("tsv", 3.0)]
