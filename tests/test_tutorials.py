"""The tutorials run, find the truth that they simulate, and print what the documentation shows."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numpyro")

from casa_ml_tasks import parametric

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_ring_and_its_star_are_found_as_the_documentation_shows(monkeypatch, pixels, tmp_path, capsys):
    fitted = []

    def fit(*arguments):
        fitted.append(parametric_fit(*arguments, samples=100, warmup=60, chains=2))
        return fitted[0]

    parametric_fit = parametric.fit
    monkeypatch.setattr(parametric, "fit", fit)
    monkeypatch.setattr(sys, "argv", ["ring_disk.py", "--figure", str(tmp_path / "ring.png")])
    with pixels():
        tutorial = runpy.run_path(str(REPOSITORY / "tutorials" / "ring_disk.py"), run_name="__main__")

    assert (tmp_path / "ring.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    documented = (REPOSITORY / "docs" / "parametric.md").read_text()
    for name, found in fitted[0].summary().items():
        component, parameter = name.split(".")
        assert abs(found.mean - getattr(tutorial["TRUTH"][component], parameter)) < 3.5 * found.std
        row = re.compile(rf"^ *{re.escape(name)} +(\S+) +(\S+) ", re.MULTILINE)
        assert row.search(printed)
        mean, std = map(float, row.search(documented).groups())
        assert abs(found.mean - mean) < 0.5 * std


def test_two_arrays_and_a_dish_find_all_flux_as_the_documentation_shows(monkeypatch, pixels, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["joint_mosaic.py", "--figure", str(tmp_path / "mosaic.png")])
    with pixels():
        runpy.run_path(str(REPOSITORY / "tutorials" / "joint_mosaic.py"), run_name="__main__")

    assert (tmp_path / "mosaic.png").stat().st_size > 10_000
    documented = (REPOSITORY / "docs" / "jointdeconv_tutorial.md").read_text()
    fluxes = re.compile(r"^ *(truth|interferometer|joint) +([\d.]+)$", re.MULTILINE)
    found, shown = (
        {name: float(flux) for name, flux in fluxes.findall(text)} for text in (capsys.readouterr().out, documented)
    )
    assert found == pytest.approx(shown, rel=0.01)
    assert found["joint"] == pytest.approx(found["truth"], rel=0.02)
    assert found["interferometer"] < 0.9 * found["truth"]


def test_a_simulated_cube_becomes_the_catalogue_that_the_documentation_shows(monkeypatch, pixels, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["deepfocus_catalogue.py", "--figure", str(tmp_path / "map.png")])
    with pixels():
        runpy.run_path(str(REPOSITORY / "tutorials" / "deepfocus_catalogue.py"), run_name="__main__")

    assert (tmp_path / "map.png").stat().st_size > 10_000
    row = re.compile(r"^ *(\d+) +([\d.]+) +([\d.]+) \+- ([\d.]+) +([\d.]+) +\d+ +\d+  \w+$", re.MULTILINE)
    printed, documented = capsys.readouterr().out, (REPOSITORY / "docs" / "deepfocus_tutorial.md").read_text()
    found, shown = (np.array(row.findall(text), float) for text in (printed, documented))
    assert found.shape == shown.shape
    assert (found[:, 1] < 0.1).all()  # arcsec, half a beam
    assert (np.abs(found[:, 2] - shown[:, 2]) < 0.5 * shown[:, 3]).all()
