"""A pipeline that does nothing but take calls: each must fit the signature of the real one, and is recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import casa_ml_tasks.pipeline
from tests.pipeline_signatures import FILE, signature_of

FACTS = json.loads(FILE.read_text())
PLUGIN = "casa_ml_tasks.pipeline.plugin"


@dataclass
class Calls:
    """What was called, by 'module:name', with the arguments by name."""

    by_name: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the calls of all functions whose name ends so."""
        return [call for full, calls in self.by_name.items() if full.endswith(name) for call in calls]

    def take(self, name: str, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Record a call, and return its arguments by name; TypeError where the real signature does not fit."""
        arguments = dict(signature_of(FACTS["callables"][name]).bind(*args, **kwargs).arguments)
        self.by_name.setdefault(name, []).append(arguments)
        return arguments


class VisDependentProperty:
    """A property with a default, which None stands for."""

    def __init__(self, default: Any):
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return getattr(instance, self.name, self.default)

    def __set__(self, instance: Any, value: Any) -> None:
        if value is not None:
            setattr(instance, self.name, value)


def _modules(calls: Calls) -> dict[str, dict[str, Any]]:
    """Return the contents of every module that the stages import."""

    def function(name: str, returns: Callable[[dict[str, Any]], Any] = lambda _: None) -> Callable[..., Any]:
        return lambda *args, **kwargs: returns(calls.take(name, *args, **kwargs))

    def record(name: str) -> type:
        """A class whose objects have their arguments as attributes."""

        def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
            self.__dict__.update(calls.take(name, *args, **kwargs))

        return type(name.rpartition(":")[2], (), {"__init__": initialise})

    root = "pipeline.infrastructure"
    results = record(f"{root}.basetask:Results")
    original = results.__init__
    results.__init__ = lambda self: (original(self), setattr(self, "qa", SimpleNamespace(pool=[])))[0]
    decorator = lambda _: lambda decorated: decorated  # noqa: E731
    logger = SimpleNamespace(error=lambda *_: None)
    registry = {
        name: function(f"{root}:task_registry.{name}", decorator)
        for name in ("set_equivalent_casa_task", "set_casa_commands_comment")
    }
    topics = function(f"{root}.renderer.qaadapter:registry.register_to_imaging_topic")
    handlers = function(f"{root}.pipelineqa:qa_registry.add_handler")
    renderers = function(f"{root}.renderer.weblog:registry.add_renderer")
    templates = function(f"{root}.renderer.weblog:register_mako_templates")
    return {
        "pipeline": {},
        "pipeline.cli": {},
        "pipeline.domain": {"DataType": SimpleNamespace(**{name: name for name in FACTS["data types"]})},
        "pipeline.h": {},
        "pipeline.h.cli": {},
        "pipeline.h.cli.utils": {
            "cli_wrapper": function("pipeline.h.cli.utils:cli_wrapper", lambda call: call["func"])
        },
        root: {
            "get_logger": function(f"{root}:get_logger", lambda _: logger),
            "task_registry": SimpleNamespace(**registry),
        },
        f"{root}.basetask": {
            "Results": results,
            "StandardTaskTemplate": record(f"{root}.basetask:StandardTaskTemplate"),
        },
        f"{root}.imageheader": {"set_miscinfo": function(f"{root}.imageheader:set_miscinfo")},
        f"{root}.imagelibrary": {"ImageItem": record(f"{root}.imagelibrary:ImageItem")},
        f"{root}.jobrequest": {"JobRequest": record(f"{root}.jobrequest:JobRequest")},
        f"{root}.pipelineqa": {
            **{name: record(f"{root}.pipelineqa:{name}") for name in ("QAOrigin", "QAScore", "TargetDataSelection")},
            "QAPlugin": type("QAPlugin", (), {}),
            "qa_registry": SimpleNamespace(add_handler=handlers),
        },
        f"{root}.renderer": {},
        f"{root}.renderer.basetemplates": {
            "T2_4MDetailsDefaultRenderer": record(f"{root}.renderer.basetemplates:T2_4MDetailsDefaultRenderer")
        },
        f"{root}.renderer.qaadapter": {"registry": SimpleNamespace(register_to_imaging_topic=topics)},
        f"{root}.renderer.weblog": {
            "register_mako_templates": templates,
            "registry": SimpleNamespace(add_renderer=renderers),
            "UNGROUPED": FACTS["ungrouped"],
        },
        f"{root}.vdp": {
            "StandardInputs": type("StandardInputs", (), {}),
            "VisDependentProperty": VisDependentProperty,
        },
    }


@contextmanager
def stand_in() -> Iterator[Calls]:
    """Put the stand-in where the pipeline would be, while this lasts."""
    calls, modules = Calls(), {}
    for name, contents in _modules(calls).items():
        modules[name] = ModuleType(name)
        modules[name].__dict__.update(contents)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(modules[parent], last, modules[name])
    # What is imported meanwhile stays: numba, for one, cannot be imported twice.
    before = {name: sys.modules.get(name) for name in (*modules, PLUGIN)}
    with patch.dict(vars(casa_ml_tasks.pipeline)):
        sys.modules.update(modules)
        sys.modules.pop(PLUGIN, None)
        vars(casa_ml_tasks.pipeline).pop("plugin", None)
        try:
            yield calls
        finally:
            for name, module in before.items():
                if module is None:
                    sys.modules.pop(name, None)
                else:
                    sys.modules[name] = module
