from pathlib import Path

import numpy as np
import pytest
from casatasks import flagdata, tclean
from casatools import table

from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data import measurement_set
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import (
    SPEED_OF_LIGHT,
    Selection,
    blocks,
)
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.simulation import direct_sum, simulate


def change(vis: str, **columns) -> None:
    """Let a function change each named column of a Measurement Set."""
    tb = table()
    tb.open(vis, nomodify=False)
    for name, changed in columns.items():
        tb.putcol(name, changed(tb.getcol(name)))
    tb.close()


def column(vis, name):
    tb = table()
    tb.open(str(vis))
    values = tb.getcol(name)
    tb.close()
    return values


def put(value, *where):
    """A change of a column: `value` at the index `where`."""

    def changed(values):
        values[where] = value
        return values

    return changed


def tree(folder) -> dict[str, int]:
    """Every file with its time of change."""
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.name != "table.lock"}


def survey_of(vis, **parameters):
    return survey(DataSelection.from_parameters(**{"vis": str(vis), "datacolumn": "data", **parameters}).selections)


def test_the_survey_of_a_simulation_finds_what_was_put_in(simulated_ms):
    found = survey_of(simulated_ms.path)
    samples = 2 * simulated_ms.rows
    uvw, data = column(simulated_ms.path, "UVW"), column(simulated_ms.path, "DATA")
    assert found.visibilities == samples
    assert found.flagged_fraction == 0
    assert found.highest_frequency == simulated_ms.frequencies[-1]
    expected = np.hypot(uvw[0], uvw[1]).max() * simulated_ms.frequencies[-1] / SPEED_OF_LIGHT
    assert found.longest_baseline == pytest.approx(expected)
    assert found.noise_scale == pytest.approx(1.0, rel=0.05)
    assert found.sum_of_weights == pytest.approx(2 * samples / simulated_ms.sigma**2)
    power = np.sum(np.abs(data.mean(axis=0)) ** 2) * 2 / simulated_ms.sigma**2
    assert found.weighted_power == pytest.approx(power, rel=1e-5)


def test_the_simulated_sky_is_the_direct_sum(simulated_ms):
    (block,) = blocks(Selection(str(simulated_ms.path)))
    misfit = block.visibility - direct_sum(block.uvw, block.frequency, simulated_ms.sources)
    assert np.std(misfit.real) == pytest.approx(simulated_ms.sigma, rel=0.05)


def test_small_blocks_find_the_same_as_one(simulated_ms, monkeypatch):
    whole = survey_of(simulated_ms.path)
    monkeypatch.setattr(measurement_set, "BLOCK", 1000)
    parts = survey_of(simulated_ms.path)
    assert len(list(blocks(Selection(str(simulated_ms.path))))) > 2
    assert parts.weighted_power == pytest.approx(whole.weighted_power)
    assert parts.visibilities == whole.visibilities
    assert parts.noise_scale == pytest.approx(whole.noise_scale)


def test_a_wrong_weight_is_found_by_the_noise_scale(tmp_path):
    simulate(tmp_path / "loud.ms", noise_scale=1.5)
    assert survey_of(tmp_path / "loud.ms").noise_scale == pytest.approx(1.5, rel=0.06)


def test_channels_are_selected_by_spw(simulated_ms):
    found = survey_of(simulated_ms.path, spw="0:0")
    assert found.visibilities == simulated_ms.rows
    assert found.highest_frequency == simulated_ms.frequencies[0]


def test_each_selection_reaches_the_data(simulated_ms):
    antenna1, antenna2 = column(simulated_ms.path, "ANTENNA1"), column(simulated_ms.path, "ANTENNA2")
    expected = 2 * np.count_nonzero((antenna1 == 3) | (antenna2 == 3))
    assert survey_of(simulated_ms.path, antenna="A03").visibilities == expected
    uvw = column(simulated_ms.path, "UVW")
    expected = 2 * np.count_nonzero(np.hypot(uvw[0], uvw[1]) > 100)
    assert survey_of(simulated_ms.path, uvrange=">100m").visibilities == expected


def test_selection_parameters_act_whatever_selectdata_says_as_in_tclean(simulated_ms, tmp_path):
    parameters = {"vis": str(simulated_ms.path), "datacolumn": "data", "antenna": "A03", "selectdata": False}
    (chosen,) = DataSelection.from_parameters(**parameters).selections
    tclean(imagename=str(tmp_path / "sky"), imsize=32, cell="0.2arcsec", niter=0, calcres=False, **parameters)
    weights = survey([chosen]).sum_of_weights
    assert read_image(tmp_path / "sky.sumwt").sum() == pytest.approx(weights, rel=1e-5)


def test_selection_lists_go_with_the_measurement_sets(simulated_ms):
    vis = [str(simulated_ms.path)] * 2
    chosen = DataSelection.from_parameters(
        **{"vis": vis, "datacolumn": "data", "spw": ["0:0", "0:1"], "field": "0"}
    ).selections
    assert [(each.spw, each.field) for each in chosen] == [("0:0", "0"), ("0:1", "0")]
    with pytest.raises(ValueError, match=r"spw=.* has 3 values for 2 Measurement Sets; give 1 or 2"):
        DataSelection.from_parameters(vis=vis, spw=["0", "0", "0"])


def test_a_sample_needs_both_hands(writable_ms, simulated_ms):
    change(writable_ms, FLAG=put(True, 1, 0, slice(100)), FLAG_ROW=put(True, slice(-50, None)))
    found = survey_of(writable_ms)
    assert found.visibilities == 2 * simulated_ms.rows - 100 - 2 * 50
    assert found.flagged_fraction == pytest.approx(200 / (2 * simulated_ms.rows))


def test_identical_hands_leave_the_noise_to_neighbouring_integrations(writable_ms):
    change(writable_ms, DATA=lambda data: np.broadcast_to(data[:1], data.shape).copy())
    assert survey_of(writable_ms).noise_scale_method == "neighbouring integrations"


def test_flagged_nan_and_autocorrelations_do_not_matter(writable_ms, simulated_ms):
    change(
        writable_ms,
        DATA=put(np.nan, slice(None), slice(None), slice(10)),
        FLAG=put(True, 0, slice(None), slice(10)),
    )
    antenna = column(writable_ms, "ANTENNA1")
    change(writable_ms, ANTENNA2=put(antenna[20], 20))
    assert survey_of(writable_ms).visibilities == 2 * (simulated_ms.rows - 11)


def test_corrected_falls_back_to_data_with_a_warning(simulated_ms, casa_log):
    parameters = {"vis": str(simulated_ms.path), "datacolumn": "corrected"}
    assert DataSelection.from_parameters(**parameters).selections[0].datacolumn == "data"
    survey(DataSelection.from_parameters(**parameters).selections)
    assert casa_log().count("has no CORRECTED_DATA; its DATA are read instead") == 1


def test_unlike_noise_scales_are_warned_of(simulated_ms, tmp_path, casa_log):
    simulate(tmp_path / "loud.ms", noise_scale=3, seed=2)
    vis = [str(simulated_ms.path), str(tmp_path / "loud.ms")]
    found = survey(DataSelection.from_parameters(**{"vis": vis, "datacolumn": "data"}).selections)
    each = [
        survey(DataSelection.from_parameters(**{"vis": ms, "datacolumn": "data"}).selections).noise_scale for ms in vis
    ]
    assert each == [pytest.approx(1, rel=0.1), pytest.approx(3, rel=0.1)]
    assert found.noise_scale == pytest.approx(np.sqrt((1 + 9) / 2), rel=0.1)
    assert "differ in their noise scale" in casa_log()


EVERYTHING = (slice(None),)
SPOILT = {
    r"is entirely flagged in this selection; select other": {"FLAG": put(True, *EVERYTHING)},
    r"has no unflagged visibility with WEIGHT > 0; set": {"WEIGHT": put(0, *EVERYTHING)},
    r"holds 14 unflagged visibilities with infinite, NaN or negative": {"WEIGHT": put(np.inf, 0, slice(7))},
    r"holds 4 unflagged visibilities with infinite, NaN or neg": {"WEIGHT": put(-1, 0, slice(2))},
    r"holds 6 unflagged visibilities that are NaN or infinite; flag": {"DATA": put(np.nan, 0, slice(None), slice(3))},
    r"holds only autocorrelations": {"ANTENNA1": put(1, *EVERYTHING), "ANTENNA2": put(1, *EVERYTHING)},
}


@pytest.mark.parametrize("sentence", SPOILT)
def test_spoilt_data_are_refused_and_left_alone(sentence, writable_ms):
    change(writable_ms, **SPOILT[sentence])
    before = tree(writable_ms)
    with pytest.raises(ValueError, match=f"^vis='{writable_ms}' {sentence}"):
        survey_of(writable_ms)
    assert tree(writable_ms) == before


def test_the_remedy_for_nan_works(writable_ms, simulated_ms):
    change(writable_ms, DATA=put(np.nan, 0, slice(None), slice(3)))
    flagdata(vis=writable_ms, mode="clip", flagbackup=False)
    assert survey_of(writable_ms).visibilities == 2 * (simulated_ms.rows - 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("field", "nosuch"),
        ("spw", "99"),
        ("timerange", "1990/01/01"),
        ("uvrange", ">1e9m"),
        ("uvrange", "rubbish"),
        ("antenna", "DA99"),
        ("scan", "9999"),
        ("observation", "77"),
        ("intent", "NOPE"),
    ],
)
def test_a_selection_of_nothing_names_its_parameter(name, value, simulated_ms):
    before = tree(simulated_ms.path)
    with pytest.raises(ValueError, match=f"^{name}='{value}' selects nothing in vis="):
        survey_of(simulated_ms.path, **{"field": "0", name: value})
    assert tree(simulated_ms.path) == before


def test_selections_that_exclude_each_other_are_named_together(simulated_ms):
    longest = np.hypot(*column(simulated_ms.path, "UVW")[:2]).max()
    between = f">{longest / 2:.0f}m"
    antenna1, antenna2, uvw = (column(simulated_ms.path, name) for name in ("ANTENNA1", "ANTENNA2", "UVW"))
    shortest = np.argmin(np.hypot(*uvw[:2]))
    pair = f"A{antenna1[shortest]:02d}&A{antenna2[shortest]:02d}"
    with pytest.raises(ValueError, match=f"uvrange='{between}', antenna='{pair}' together selects nothing"):
        survey_of(simulated_ms.path, uvrange=between, antenna=pair)


def test_what_is_no_measurement_set_is_refused(simulated_ms, tmp_path):
    (tmp_path / "text.ms").write_text("no table")
    for vis, sentence in {
        "": "names no Measurement Set",
        tmp_path / "missing.ms": "does not exist",
        tmp_path / "text.ms": "is not a Measurement Set; import it first",
        simulated_ms.path / "ANTENNA": "is a CASA table but not a Measurement Set",
    }.items():
        with pytest.raises(ValueError, match=f"vis='{vis}' {sentence}"):
            survey_of(vis)


def test_a_damaged_copy_is_refused(writable_ms):
    tb = table()
    tb.open(f"{writable_ms}/SPECTRAL_WINDOW", nomodify=False)
    tb.removerows([0])
    tb.close()
    with pytest.raises(ValueError, match="has no rows in its SPECTRAL_WINDOW table; the copy is damaged"):
        survey_of(writable_ms)


def test_a_missing_or_unknown_column_is_refused(writable_ms):
    with pytest.raises(ValueError, match="datacolumn='model' is unknown; use 'data' or 'corrected'"):
        survey_of(writable_ms, datacolumn="model")
    tb = table()
    tb.open(writable_ms, nomodify=False)
    tb.renamecol("DATA", "FLOAT_DATA")
    tb.close()
    for name in ("data", "corrected"):
        with pytest.raises(
            ValueError, match=f"datacolumn='{name}': vis=.* has no column .*DATA; give a Measurement Set"
        ):
            survey_of(writable_ms, datacolumn=name)


def test_one_hand_in_one_integration_leaves_the_weight_as_it_is(writable_ms, casa_log):
    tb = table()
    tb.open(f"{writable_ms}/POLARIZATION", nomodify=False)
    tb.putcell("CORR_TYPE", 0, [9, 10])
    tb.close()
    first = column(writable_ms, "TIME")[0]
    change(writable_ms, FLAG_ROW=lambda flags: column(writable_ms, "TIME") > first + 1)
    found = survey_of(writable_ms)
    assert (found.noise_scale, found.noise_scale_method) == (1.0, "WEIGHT as it is")
    assert "WEIGHT is taken as it is" in casa_log()


REAL = {
    "HD142527_B9cont.ms.tar.gz": (1.505, "XX-YY"),
    "Antennae_North_CO32_mosaic.ms.tar.gz": (0.844, "XX-YY"),
    "HD142527_CO65_1ch.ms.tar.gz": (0.954, "neighbouring integrations"),
    "3C273XC1.fits": (0.040, "neighbouring integrations"),
}


@pytest.mark.parametrize("name", REAL)
def test_noise_scale_of_real_data(name, real_ms, tmp_path):
    scale, method = REAL[name]
    found = survey_of(real_ms(name, tmp_path))
    assert found.noise_scale == pytest.approx(scale, rel=0.05)
    assert found.noise_scale_method == method


def test_infinite_weights_of_unused_cross_hands_do_not_matter(real_ms, tmp_path):
    vis = real_ms("SR1_M87_2017_095_hi_hops_netcal_StokesI.uvfits", tmp_path)
    found = survey_of(vis)
    assert found.visibilities == 6458
    assert np.isfinite([found.sum_of_weights, found.weighted_power, found.noise_scale]).all()


def test_spectral_windows_are_read_one_by_one(real_ms, tmp_path):
    vis = real_ms("HD142527_B9cont.ms.tar.gz", tmp_path)
    every = survey_of(vis)
    each = [survey_of(vis, spw=str(spw)) for spw in range(3)]
    assert sum(one.visibilities for one in each) == every.visibilities
    assert sum(one.weighted_power for one in each) == pytest.approx(every.weighted_power)
    assert max(one.highest_frequency for one in each) == every.highest_frequency
