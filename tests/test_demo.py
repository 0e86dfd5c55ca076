"""The demo calibrates its real data to the flux density that 1445+099 has in the literature."""

import pytest

from casa_ml_tasks import demo


def test_the_gain_calibrator_has_its_known_flux_density(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vis = demo.import_visibilities(tmp_path)
    _, flux = demo.calibrate(vis)
    assert flux == pytest.approx(2.5, abs=0.2)


def test_a_folder_that_no_demo_has_made_is_left_alone(tmp_path):
    precious = tmp_path / "thesis.tex"
    precious.write_text("chapter 1")
    with pytest.raises(FileExistsError, match="name a new or an empty folder"):
        demo.start_afresh(tmp_path)
    assert precious.read_text() == "chapter 1"
