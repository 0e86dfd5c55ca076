"""rmlclean on real ALMA and VLA data, each with a trap of its own; skipped where the data are not at hand."""

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image


@pytest.fixture
def run(real_ms, tmp_path):
    def image(archive, **arguments):
        vis = real_ms(archive, tmp_path)
        result = rmlclean(vis=str(vis), imagename=str(tmp_path / "sky"), datacolumn="data", **arguments)
        names = ("model", "residual", "pb")
        return result, {name: read_image(tmp_path / f"sky.{name}")[0, 0] for name in names}

    return image


def test_hd142527_three_spws_flags_zero_weights_and_weights_too_high(run):
    result, images = run("HD142527_B9cont.ms.tar.gz", imsize=256, cell="0.05arcsec", weighting="briggs")
    inside = images["pb"] > 0.2
    assert result["noise_scale"] == pytest.approx(1.5, rel=0.05)  # by XX - YY
    # The spectral windows disagree by a third in amplitude.
    assert result["calibration_error"]["fraction"] > 0.1
    assert result["image_noise"] > 2 * result["thermal_noise"]
    assert result["nmajordone"] <= 6
    # A horseshoe around the star: bright in the North, a hole in the centre.
    model = images["model"]
    hole, north = model[120:136, 120:136].mean(), model[138:160, 110:146].mean()
    assert north > 5 * hole
    assert images["residual"][inside].std() < 2.5 * result["image_noise"]


def test_3c273_unit_weights_and_high_dynamic_range(run):
    """The core is 29.8 Jy, the jet points south-west; WEIGHT is 1, the noise 0.04 Jy; 0.4 % is unexplained."""
    result, images = run("3C273XC1.fits", imsize=256, cell="0.25arcsec")
    model = images["model"]
    y, x = np.unravel_index(model.argmax(), model.shape)
    assert model[y - 3 : y + 4, x - 3 : x + 4].sum() == pytest.approx(29.8, rel=0.05)
    assert result["noise_scale"] == pytest.approx(0.04, rel=0.1)
    assert result["calibration_error"]["fraction"] == pytest.approx(0.004, rel=0.5)


def test_antennae_a_mosaic_of_23_pointings_is_deconvolved(run):
    result, images = run(
        "Antennae_North_CO32_mosaic.ms.tar.gz", imsize=300, cell="0.3arcsec", gridder="mosaic", nmajor=2
    )
    inside = images["pb"] > 0.2
    chi2 = [cycle["chi2"] for cycle in result["cycles"]]
    assert result["noise_scale"] == pytest.approx(0.84, rel=0.02)
    assert chi2 == sorted(chi2, reverse=True)
    assert np.abs(images["residual"][inside]).max() < 0.25 * result["cycles"][0]["peak_residual"]
    assert (images["model"][images["pb"] == 0] == 0).all()
    assert (images["pb"][images["pb"] > 0] > 0.199).all()  # of a weight density that errors of calibration have changed
