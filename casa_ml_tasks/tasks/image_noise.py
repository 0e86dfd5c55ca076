"""The noise scale that a call asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casa_ml_tasks.calibration.survey import Survey


def noise_scale(parameters: Mapping[str, Any], data: Survey) -> float:
    """Return the true noise over the noise that WEIGHT claims: the user's, or the measured one."""
    return data.noise_scale if parameters["noisescale"] == "auto" else float(parameters["noisescale"])
