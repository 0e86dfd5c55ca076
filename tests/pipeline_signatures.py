"""The parts of the ALMA pipeline that our stages use: their parameters, read from the real package into a JSON file.

python -m tests.pipeline_signatures

writes the file anew where the pipeline is installed. It holds names of parameters alone, no code.
"""

from __future__ import annotations

import inspect
import json
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
_INFRASTRUCTURE = "pipeline.infrastructure"
_HEURISTICS = "pipeline.hif.heuristics.imageparams_base:ImageParamsHeuristics"
#: What can be called, as 'module:name'.
CALLABLES = (
    "pipeline.h.cli.utils:cli_wrapper",
    f"{_INFRASTRUCTURE}:get_logger",
    f"{_INFRASTRUCTURE}:task_registry.set_equivalent_casa_task",
    f"{_INFRASTRUCTURE}:task_registry.set_casa_commands_comment",
    f"{_INFRASTRUCTURE}.basetask:Results",
    f"{_INFRASTRUCTURE}.basetask:Results.merge_with_context",
    f"{_INFRASTRUCTURE}.basetask:StandardTaskTemplate",
    f"{_INFRASTRUCTURE}.basetask:Executor.execute",
    f"{_INFRASTRUCTURE}.imageheader:set_miscinfo",
    f"{_INFRASTRUCTURE}.imagelibrary:ImageItem",
    f"{_INFRASTRUCTURE}.imagelibrary:ImageLibrary.add_item",
    f"{_INFRASTRUCTURE}.jobrequest:JobRequest",
    f"{_INFRASTRUCTURE}.pipelineqa:QAOrigin",
    f"{_INFRASTRUCTURE}.pipelineqa:QAPlugin",
    f"{_INFRASTRUCTURE}.pipelineqa:QAPlugin.handle",
    f"{_INFRASTRUCTURE}.pipelineqa:QAScore",
    f"{_INFRASTRUCTURE}.pipelineqa:TargetDataSelection",
    f"{_INFRASTRUCTURE}.pipelineqa:qa_registry.add_handler",
    f"{_INFRASTRUCTURE}.renderer.basetemplates:T2_4MDetailsDefaultRenderer",
    f"{_INFRASTRUCTURE}.renderer.basetemplates:T2_4MDetailsDefaultRenderer.update_mako_context",
    f"{_INFRASTRUCTURE}.renderer.qaadapter:registry.register_to_imaging_topic",
    f"{_INFRASTRUCTURE}.renderer.weblog:register_mako_templates",
    f"{_INFRASTRUCTURE}.renderer.weblog:registry.add_renderer",
    f"{_INFRASTRUCTURE}.vdp:StandardInputs",
    f"{_INFRASTRUCTURE}.vdp:VisDependentProperty",
    "pipeline.domain.observingrun:ObservingRun.get_ms",
    "pipeline.domain.observingrun:ObservingRun.get_real_spwsel",
    "pipeline.domain.measurementset:MeasurementSet.get_original_intent",
    f"{_HEURISTICS}.calc_ms_frame_ranges",
    f"{_HEURISTICS}.freq_intersection",
    f"{_HEURISTICS}.get_scanidlist",
    f"{_HEURISTICS}.get_sourcename",
    f"{_HEURISTICS}.is_eph_obj",
    f"{_HEURISTICS}.pblimits",
)


def parameters_of(function: Any) -> str:
    """Return the names of the parameters, with '=' where there is a default, and '*' and '**' as in a signature."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        stars.get(each.kind, "") + each.name + ("" if each.default is inspect.Parameter.empty else "=")
        for each in inspect.signature(function).parameters.values()
    )


def signature_of(parameters: str) -> inspect.Signature:
    """Return the signature that `parameters_of` was given."""
    kinds = {"": inspect.Parameter.POSITIONAL_OR_KEYWORD, "*": inspect.Parameter.VAR_POSITIONAL}
    return inspect.Signature(
        [
            inspect.Parameter(
                each.strip("*="),
                kinds.get(each[: each.count("*")], inspect.Parameter.VAR_KEYWORD),
                default=None if each.endswith("=") else inspect.Parameter.empty,
            )
            for each in filter(None, parameters.split(", "))
        ]
    )


def read_pipeline() -> dict[str, Any]:
    """Return what the installed pipeline has: of callables their parameters, and the names in two lists."""
    from pipeline.domain import DataType
    from pipeline.hif.tasks.makeimlist.cleantarget import CleanTarget
    from pipeline.infrastructure.renderer.weblog import UNGROUPED

    found = {}
    for name in CALLABLES:
        module, _, path = name.partition(":")
        found[name] = parameters_of(reduce(getattr, path.split("."), import_module(module)))
    return {
        "callables": found,
        "data types": [each.name for each in DataType],
        "clean target": sorted(CleanTarget()),
        "ungrouped": UNGROUPED,
    }


if __name__ == "__main__":
    import casa_ml_tasks.casa_environment  # noqa: F401  (first: it tells CASA where its data are)

    FILE.write_text(json.dumps(read_pipeline(), indent=1) + "\n")
