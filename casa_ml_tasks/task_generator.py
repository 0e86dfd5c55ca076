"""Generate what the XML definitions of the tasks say, for Python, for the CASA prompt and for the documentation.

    python -m casa_ml_tasks.task_generator

writes ``wrappers/NAME.py``, the callable for scripts, ``gotasks/NAME.py``, its inp/go twin for the CASA prompt, and
``docs/parameters.md``.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from casa_ml_tasks.task_definition import DEFINITIONS, Parameter, TaskDefinition, annotation, read_task


def script_wrapper(task: TaskDefinition) -> str:
    """Source text of ``wrappers/NAME.py``, before formatting."""
    return _SCRIPT_WRAPPER.render(task=task, docstring=_docstring(task), returns=annotation(task.returns))


def prompt_wrapper(task: TaskDefinition) -> str:
    """Source text of ``gotasks/NAME.py``, before formatting."""
    return _PROMPT_WRAPPER.render(task=task)


@dataclass(frozen=True)
class Row:
    """A parameter in the reference: `meanings` of it in Markdown, by the tasks that have it."""

    default: str
    meanings: dict[str, str]

    @property
    def meaning(self) -> str:
        """One text where the tasks agree, else one of each task."""
        texts = dict.fromkeys(self.meanings.values())
        named = (f"**{task}**: {text}" for task, text in self.meanings.items())
        return "".join(texts) if len(texts) == 1 else "<br>".join(named)


def parameter_reference(tasks: Sequence[TaskDefinition]) -> str:
    """Source text of ``docs/parameters.md``: each parameter once, with what differs from task to task."""
    sections: dict[str, dict[str, Row]] = {}
    for task in tasks:
        for parameter in task.parameters:
            section = sections.setdefault(parameter.group or f"{task.name} alone", {})
            row = section.setdefault(parameter.name, Row(repr(parameter.default), {}))
            row.meanings[task.name] = _meaning(task, parameter)
    return _REFERENCE.render(tasks=[task.name for task in tasks], sections=sections)


def _meaning(task: TaskDefinition, parameter: Parameter) -> str:
    """What the task says of a parameter, in Markdown, and when the CASA prompt shows it."""
    text = f"{parameter.summary}. {parameter.description}".strip()
    for special in ("|", "*", "<", "["):
        text = text.replace(special, f"\\{special}")
    conditions: dict[str, list[str]] = {}
    for constraint in task.constraints_of(parameter.name):
        operator = "=" if constraint.operator == "==" else constraint.operator
        conditions.setdefault(constraint.parent + operator, []).append(repr(constraint.value))
    shown = " or ".join(f"`{condition}{', '.join(values)}`" for condition, values in conditions.items())
    return f"{text} *With {shown}.*" if shown else text


def _docstring(task: TaskDefinition) -> str:
    parameters = "\n".join(
        textwrap.fill(f"{p.name}: {p.summary}. {p.description}", 111, initial_indent="    ", subsequent_indent=" " * 8)
        for p in task.parameters
    )
    example = textwrap.indent(task.example, "    ")
    text = f"{task.summary}.\n\n{task.description}\n\nArgs:\n{parameters}\n\nExample:\n{example}\n"
    return textwrap.indent(text, "    ").replace("\\", "\\\\").replace('"""', '\\"""').strip()


_ENVIRONMENT = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)

_SCRIPT_WRAPPER = _ENVIRONMENT.from_string('''\
"""{{ task.name }} for scripts, with the type checks of a CASA task.

Generated from xml/{{ task.name }}.xml by task_generator.py: edit the XML and run `make wrappers`.
"""
# ruff: noqa: B006  (lists as defaults, as in CASA's own tasks; ScriptTask copies them)

from typing import Any, ClassVar

from casa_ml_tasks.wrappers.base import ScriptTask, schema


class _{{ task.name.capitalize() }}(ScriptTask):
    """{{ docstring }}
    """

    _info_group_ = {{ task.category.__repr__() }}
    _info_desc_ = {{ task.summary.__repr__() }}
    _schema_: ClassVar[dict[str, Any]] = {
{% for parameter in task.parameters %}
        {{ parameter.name.__repr__() }}: schema({{ parameter.schema }}),
{% endfor %}
    }

    def __call__(
        self,
{% for parameter in task.parameters %}
        {{ parameter.name }}: {{ parameter.annotation }} = {{ parameter.default.__repr__() }},
{% endfor %}
    ) -> {{ returns }}:
        return self._run(locals())


{{ task.name }} = _{{ task.name.capitalize() }}({{ task.name.__repr__() }})
''')

_PROMPT_WRAPPER = _ENVIRONMENT.from_string('''\
"""{{ task.name }} for the CASA prompt: inp, go, default, tget and tput.

Generated from xml/{{ task.name }}.xml by task_generator.py: edit the XML and run `make wrappers`.
"""

from casa_ml_tasks.gotasks.base import PromptTask
from casa_ml_tasks.wrappers.{{ task.name }} import {{ task.name }} as script_task

{{ task.name }} = PromptTask(script_task)
''')

_REFERENCE = _ENVIRONMENT.from_string("""\
# Parameters of {{ tasks|join(" and ") }}

Generated from `xml/` by `make wrappers`; edit the XML. Names, order and defaults are tclean's (but niter=-1), so that a
script for tclean runs. In italics: values of other parameters with which the CASA prompt shows a parameter.
{% for title, rows in sections.items() %}

## {{ title }}

| parameter | default | |
| --- | --- | --- |
{% for name, row in rows.items() %}
| `{{ name }}` | `{{ row.default }}` | {{ row.meaning }} |
{% endfor %}
{% endfor %}
""")


def main(repository: Path) -> None:
    """Write the two faces of every task, and the reference of all parameters."""
    tasks = [read_task(path) for path in sorted(DEFINITIONS.glob("*.xml"))]
    for task in tasks:
        for folder, source in (("wrappers", script_wrapper(task)), ("gotasks", prompt_wrapper(task))):
            (repository / "casa_ml_tasks" / folder / f"{task.name}.py").write_text(source)
    (repository / "docs" / "parameters.md").write_text(parameter_reference(tasks))


if __name__ == "__main__":
    main(Path(__file__).parents[1])
