"""jointdeconv on a sky that is not SIN."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from casa_ml_tasks import jointdeconv
from casa_ml_tasks.data.casa_image import opened, read_image, read_valid
from tests.test_jointdeconv import observe, sky_of


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """In galactic coordinates, which turn the image against the equator by many degrees."""
    folder, sky = tmp_path_factory.mktemp("projection"), sky_of([1.0])
    call = observe(folder, sky)
    centre = SkyCoord(246.0, -24.0, unit="deg", frame="icrs").galactic
    call["phasecenter"] = f"GALACTIC {centre.l.deg:.8f}deg {centre.b.deg:.8f}deg"
    names = {each: str(folder / each) for each in ("SIN", "CAR")}
    for projection, name in names.items():
        jointdeconv(imagename=name, projection=projection, **call)
    return sky.pixels, names


def test_the_model_is_in_the_projection_that_was_asked_for(joined):
    _, names = joined
    for projection, name in names.items():
        with opened(f"{name}.model") as tool:
            coordinates = tool.coordsys()
            assert coordinates.projection()["type"] == projection
            assert coordinates.referencecode("direction") == ["GALACTIC"]


def test_both_skies_agree(joined):
    truth, names = joined
    sin, car = (read_image(f"{name}.model")[0, 0] for name in names.values())
    seen = read_valid(f"{names['SIN']}.pb")[0, 0] > 0.3
    assert not np.array_equal(sin, car)
    assert car[seen].sum() == pytest.approx(sin[seen].sum(), rel=0.005)
    assert np.abs(car - sin)[seen].sum() < 0.05 * sin[seen].sum()
    assert read_image(f"{names['CAR']}.sky").sum() == pytest.approx(truth.sum(), rel=0.03)
    residuals = [read_valid(f"{name}.residual")[0, 0][seen] for name in names.values()]
    assert np.std(residuals[1]) == pytest.approx(np.std(residuals[0]), rel=0.1)
