"""Targets as hif_makeimlist lists them, whose heuristics answer what a test wants and take the real one's calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from casa_ml_tasks.engine.exit_criteria import StopCode
from tests.pipeline_stand_in import FACTS, Calls

HEURISTICS = "pipeline.hif.heuristics.imageparams_base:ImageParamsHeuristics"
OBSERVING_RUN = "pipeline.domain.observingrun:ObservingRun"
MEASUREMENT_SET = "pipeline.domain.measurementset:MeasurementSet"


def answering(name: str, answers: dict[str, Any]) -> SimpleNamespace:
    """Return an object whose methods take what those of the real class take, and return `answers`."""
    calls = Calls()

    def method(of: str, answer: Any) -> Any:
        def answered(*args: Any, **kwargs: Any) -> Any:
            arguments = calls.take(f"{name}.{of}", None, *args, **kwargs)
            return answer(arguments) if callable(answer) else answer

        return answered

    return SimpleNamespace(**{of: method(of, answer) for of, answer in answers.items()})


def heuristics(**answers: Any) -> SimpleNamespace:
    """Return the heuristics of a target with all data in every Measurement Set."""
    usual = {
        "get_scanidlist": lambda call: (["7"] * len(call["vis"]), list(range(len(call["vis"])))),
        "calc_ms_frame_ranges": lambda call: (["16:230~231GHz"] * len(call["inputs"].vis), *range(6)),
        "freq_intersection": (230e9, 230.1e9, 1e6),
        "get_sourcename": "Orion",
        "is_eph_obj": False,
        "pblimits": (0.2, 0.3),
    }
    made = answering(HEURISTICS, usual | answers)
    made.imagename_prefix = "uid___A1"
    return made


def target(**changes: Any) -> dict[str, Any]:
    """Return a continuum target of two Measurement Sets."""
    listed = {
        **dict.fromkeys(FACTS["clean target"]),
        "antenna": ["0,1,2&", "0,1&"],
        "cell": ["0.2arcsec"],
        "datacolumn": "data",
        "datatype": "REGCAL_CONTLINE_SCIENCE",
        "field": "Orion",
        "gridder": "standard",
        "heuristics": heuristics(),
        "imagename": "uid___A1.sSTAGENUMBER.Orion_sci.spw16.cont.regcal",
        "imsize": [48, 48],
        "intent": "TARGET",
        "nbin": -1,
        "nchan": -1,
        "phasecenter": "ICRS 05:35:14 -005.22.23",
        "specmode": "cont",
        "spw": "16",
        "spwsel_lsrk": {"spw16": "230~231GHz LSRK"},
        "start": "",
        "stokes": "I",
        "uvrange": "",
        "vis": ["a.ms", "b.ms"],
        "width": "",
    }
    assert set(listed) == set(FACTS["clean target"])
    return listed | changes


def observing_run(intent: str = "OBSERVE_TARGET#ON_SOURCE") -> SimpleNamespace:
    """Return one in whose Measurement Sets the virtual window 16 is the real window 3."""
    ms = answering(MEASUREMENT_SET, {"get_original_intent": {intent}})
    return answering(
        OBSERVING_RUN,
        {
            "get_ms": ms,
            "get_real_spwsel": lambda call: [each.replace("16", "3", 1) for each in call["spwsel"]],
        },
    )


def returned(imagename: str, **changes: Any) -> dict[str, Any]:
    """Return what rmlclean returns of an image at the thermal noise."""
    kinds = ("model", "residual", "psf", "pb", "mask", "image", "image.pbcor")
    return {
        "stopcode": int(StopCode.CONVERGED),
        "nmajordone": 3,
        "iterdone": 40,
        "image_noise": 1e-3,
        "thermal_noise": 1e-3,
        "residual_statistics": {"image": {"deviation": 1.0, "largest": -3.9}},
        "cycles": [{"model_flux": 0.0}, {"model_flux": 1.25}],
        "products": [f"{imagename}.{kind}" for kind in kinds],
        "report": "",
    } | changes
