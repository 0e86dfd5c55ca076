"""The run shell: what every task does around its own work, from the call to products, report and dictionary."""

from __future__ import annotations

import shutil
import traceback
from dataclasses import asdict
from typing import Any

import casatools
from casatasks import casalog

from casa_ml_tasks.data.workspace import Workspace, unused_imagenames
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.page import write_report
from casa_ml_tasks.tasks import compiled_programs
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.families import known_products
from casa_ml_tasks.tasks.family import ACall, Call, Context, Family, Work
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.unfinished_run import says_what_is_left, take_up
from casa_ml_tasks.version import __version__, commit, version_and_commit

#: Parameters that say where a run computes, and not what.
WHERE = ("parallel", "cluster")


def run_task(family: Family[ACall, Work], arguments: Arguments) -> dict[str, Any]:
    """Run a task.

    Args:
        family: the task.
        arguments: of the call.

    Returns:
        tclean's dictionary (stopcode, stopDescription, iterdone, nmajordone, summarymajor, summaryminor), what the
        family adds, 'products' and 'report' (paths), 'version' and 'commit' ('' where it is not known) of this package.

    Raises:
        ValueError: for bad input, before anything is written.
    """
    products = known_products(family)
    call = family.read(arguments)
    if not arguments.values["restart"]:
        call = call.renamed(unused_imagenames(_imagenames(call), products))
    data = family.check(call)
    main, *outliers = _imagenames(call)
    workspace = Workspace(main, products, call.terms, outliers)
    checkpoint = FileCheckpoint(workspace.checkpoint, {"fields": _of_image(call)}, asdict(data), family.schemas)
    context = Context(data, workspace, checkpoint, take_up(checkpoint, workspace, family.name))
    with says_what_is_left(workspace, family.name):
        try:
            work = family.work(call, context)
        finally:
            compiled_programs.forget_if_many()
        published = workspace.publish(family.name, call.parameters[0], casalog)
    result = family.conclude(call, context, work)
    page = _report(family.name, call, arguments, workspace, result)
    casalog.post(f"stopped: {result.stop.description}; report: {page or 'none'}", "INFO", family.name)
    of_package = {"version": __version__, "commit": commit()}
    return {**result.as_dictionary(), "products": published, "report": page, **of_package}


def _of_image(call: Call) -> list[dict[str, Any]]:
    """Return the parameters that the image depends on: the number of workers, and where they are, are none of them."""
    return [{name: each for name, each in field.items() if name not in WHERE} for field in call.parameters]


def _imagenames(call: Call) -> list[str]:
    return [str(parameters["imagename"]) for parameters in call.parameters]


def _report(task: str, call: Call, arguments: Arguments, workspace: Workspace, result: TaskResult) -> str:
    """Write the report. Returns its path, '' where that failed: it must not cost the products, which are complete."""
    made_with = f"casa_ml_tasks {version_and_commit()}; CASA {casatools.version_string()}"
    seed = result.numbers.get("seed")
    content = ReportContent(
        task=task,
        imagename=str(workspace.imagename),
        parameters=call.parameters[0],
        defaults=arguments.defaults,
        summary={
            "stopped because": result.stop.description,
            **result.summary,
            "made with": made_with if seed is None else f"{made_with}; seed {seed}",
        },
        sections=result.sections,
    )
    try:
        return str(write_report(content, workspace.product("report")))
    except Exception as error:  # noqa: BLE001  (whatever it is)
        shutil.rmtree(workspace.product("report"), ignore_errors=True)
        casalog.post(f"the images are complete, but not the report: {type(error).__name__} ({error})", "WARN", task)
        casalog.post("".join(traceback.format_exception(error)), "INFO", task)
        return ""
