"""What an inference takes of the parameters that are meant for CLEAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from casatasks import casalog

from casa_ml_tasks.tasks.arguments import Arguments

#: Parameters that would change the data or the question, the value that they have here, and why.
NOT_TAKEN: Mapping[str, tuple[Any, str]] = {
    "weighting": ("natural", "the likelihood has natural weights, those of the noise"),
    "uvtaper": ([""], "the likelihood has natural weights, those of the noise"),
    "usemask": ("user", "emission is found everywhere in the image"),
    "mask": ("", "emission is found everywhere in the image"),
    "interactive": (False, "there is nothing to steer"),
}


def without_clean(arguments: Arguments, task: str) -> Arguments:
    """Return the arguments as an inference takes them; the CASA log names what of the call that leaves out."""
    given = arguments.values
    for name, (value, reason) in NOT_TAKEN.items():
        if given[name] not in (value, "", [], [""]):
            casalog.post(f"{name}={given[name]!r} is ignored: {reason}", "WARN", task)
    return replace(arguments, values={**given, **{name: value for name, (value, _) in NOT_TAKEN.items()}})
