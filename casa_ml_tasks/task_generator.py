"""Turn the XML definition of a task into its two Python faces.

    python casa_ml_tasks/task_generator.py xml casa_ml_tasks

reads every ``xml/NAME.xml`` (CASA's task XML) and writes ``wrappers/NAME.py``, the callable for scripts, and
``gotasks/NAME.py``, its inp/go twin for the CASA prompt. It runs as a plain file and imports nothing of this package,
which cannot be imported before the wrappers exist.
"""

import ast
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jinja2

_NAMESPACE = "{http://casa.nrao.edu/schema/psetTypes.html}"
_TEXT_ELEMENTS = {"shortdescription", "description", "type", "value", "example"}
_STRUCTURE_ELEMENTS = {"casaxml", "task", "input", "param", "allowed", "constraints", "when", "equals", "notequals"}
_ELEMENTS = _TEXT_ELEMENTS | _STRUCTURE_ELEMENTS | {"default", "returns"}
_NUMBERS: dict[str, type] = {"int": int, "double": float}
_ANNOTATIONS = {
    "string": "str",
    "path": "str",
    "int": "int",
    "double": "float",
    "bool": "bool",
    "record": "dict[str, Any]",
    "variant": "Any",
    "any": "Any",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter: `kinds` are the CASA types it accepts, `default_kind` is the type of its default."""

    name: str
    kinds: tuple[str, ...]
    default_kind: str
    default: Any
    summary: str
    description: str
    is_subparameter: bool = False
    allowed: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def annotation(self) -> str:
        """The Python type hint, such as ``str | list[str]``."""
        return " | ".join(dict.fromkeys(_annotation(kind) for kind in self.kinds))

    @property
    def schema(self) -> str:
        """The arguments of `casa_ml_tasks.wrappers.base.schema`, as source text."""
        limits = {"allowed": list(self.allowed) or None, "minimum": self.minimum, "maximum": self.maximum}
        arguments = [repr(kind) for kind in self.kinds]
        arguments += [f"{key}={value!r}" for key, value in limits.items() if value is not None]
        return ", ".join(arguments)


@dataclass(frozen=True)
class Constraint:
    """`child` is shown by inp where `parent` `operator` (== or !=) `value`.

    CASA's task XML may give the child another default there; here it can only repeat it (None: it does not).
    """

    child: str
    parent: str
    operator: str
    value: Any
    default: Any


@dataclass(frozen=True)
class TaskDefinition:
    """What one XML file says."""

    name: str
    category: str
    summary: str
    description: str
    example: str
    returns: str
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]

    def constraints_of(self, child: str) -> list[Constraint]:
        """The constraints of which any one shows the sub-parameter `child`."""
        return [constraint for constraint in self.constraints if constraint.child == child]


def read_task(path: Path) -> TaskDefinition:
    """Read and check one definition.

    Raises:
        ValueError: the file holds an unknown element, names a task other than its file, repeats a parameter,
            constrains an unknown parameter, gives a sub-parameter two defaults or no constraint, or a value of the
            wrong type.
    """
    root = ElementTree.parse(path).getroot()
    for element in root.iter():
        if (tag := element.tag.removeprefix(_NAMESPACE)) not in _ELEMENTS:
            raise ValueError(f"{path}: <{tag}> is not an element of a task definition; remove it.")
    try:
        task = _task(root)
        _check(task)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if task.name != path.stem:
        raise ValueError(f"{path}: the task is named {task.name!r}; name it {path.stem!r} as its file.")
    return task


def read_parameters(root: ElementTree.Element) -> tuple[Parameter, ...]:
    """The parameters in a <casaxml> element, without the checks of `read_task`, which CASA's own files do not pass."""
    task = _find(root, "task")
    return tuple(_parameter(element) for element in _find(task, "input").findall(_NAMESPACE + "param"))


def script_wrapper(task: TaskDefinition) -> str:
    """Source text of ``wrappers/NAME.py``, before formatting."""
    return _SCRIPT_WRAPPER.render(task=task, docstring=_docstring(task), returns=_annotation(task.returns))


def prompt_wrapper(task: TaskDefinition) -> str:
    """Source text of ``gotasks/NAME.py``, before formatting."""

    def conditions(child: str) -> str:
        return ", ".join(f"When({c.parent!r}, {c.operator!r}, {c.value!r})" for c in task.constraints_of(child))

    return _PROMPT_WRAPPER.render(task=task, conditions=conditions)


def _task(root: ElementTree.Element) -> TaskDefinition:
    task = _find(root, "task")
    parameters = read_parameters(root)
    return TaskDefinition(
        name=task.attrib["name"],
        category=task.attrib["category"],
        summary=_words(task, "shortdescription"),
        description=_block(task, "description"),
        example=_block(task, "example"),
        returns=_find(task, "returns").attrib["type"],
        parameters=parameters,
        constraints=tuple(_constraints(task, {p.name: p.default_kind for p in parameters})),
    )


def _check(task: TaskDefinition) -> None:
    defaults: dict[str, Any] = {}
    for parameter in task.parameters:
        name = parameter.name
        if name in defaults:
            raise ValueError(f"parameter {name!r} is defined twice; keep one.")
        defaults[name] = parameter.default
        for kind in parameter.kinds:
            if _scalar(kind) not in _ANNOTATIONS:
                raise ValueError(f"parameter {name!r} has the type {kind!r}; use one of {', '.join(_ANNOTATIONS)}.")
        kind = _scalar(parameter.default_kind)
        values = parameter.default if isinstance(parameter.default, list) else [parameter.default]
        if not all(isinstance(value, _NUMBERS.get(kind, object)) for value in values):
            raise ValueError(
                f"parameter {name!r} has the default {parameter.default!r}, which is no {kind}; correct it."
            )
        if parameter.is_subparameter != bool(task.constraints_of(name)):
            raise ValueError(
                f"parameter {name!r} needs both subparam='true' and a constraint that shows it, or neither."
            )
    for constraint in task.constraints:
        for name in (constraint.parent, constraint.child):
            if name not in defaults:
                raise ValueError(f"a constraint names {name!r}, which is no parameter; define or remove it.")
        default = defaults[constraint.child]
        if constraint.default not in (None, default):
            raise ValueError(
                f"{constraint.child!r} has the default {default!r}, but {constraint.default!r} where "
                f"{constraint.parent!r} {constraint.operator} {constraint.value!r}; make them equal."
            )


def _find(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(_NAMESPACE + tag)
    if found is None:
        raise ValueError(f"<{element.tag.removeprefix(_NAMESPACE)}> holds no <{tag}>; add it.")
    return found


def _parameter(element: ElementTree.Element) -> Parameter:
    kind = element.attrib["type"]
    types = element.findall(_NAMESPACE + "type")
    must_exist = any(e.get("mustexist", "").lower() in ("true", "yes") for e in [element, *types])
    kinds = [_text(t) for t in types] or [kind]
    if must_exist:
        kinds = [k.replace("path", "reqPath") for k in kinds]
    value = element.find(_NAMESPACE + "value")
    default_kind = value.get("type", kind) if value is not None and kind in ("any", "variant") else kind
    allowed = element.find(_NAMESPACE + "allowed")
    choices = [] if allowed is None or len(kinds) > 1 else allowed.findall(_NAMESPACE + "value")
    values = [_literal(_text(choice), kinds[0]) for choice in choices if not choice.get("range")]
    if allowed is not None and allowed.get("ignorecase") == "true":
        values += [value.upper() for value in values]
    limits = {choice.get("range"): _literal(_text(choice), kinds[0]) for choice in choices if choice.get("range")}
    return Parameter(
        name=element.attrib["name"],
        kinds=tuple(kinds),
        default_kind=default_kind,
        default=_default(value, default_kind),
        summary=_words(element, "shortdescription"),
        description=_words(element, "description"),
        is_subparameter=element.get("subparam") == "true",
        allowed=tuple(dict.fromkeys(values)),
        minimum=limits.get("min"),
        maximum=limits.get("max"),
    )


def _constraints(task: ElementTree.Element, kinds: dict[str, str]) -> list[Constraint]:
    return [
        Constraint(
            child=(child := default.attrib["param"]),
            parent=(parent := when.attrib["param"]),
            operator="==" if condition.tag == _NAMESPACE + "equals" else "!=",
            value=_literal(condition.attrib["value"], kinds.get(parent, "any")),
            default=None if (v := default.find(_NAMESPACE + "value")) is None else _default(v, kinds.get(child, "any")),
        )
        for when in task.iter(_NAMESPACE + "when")
        for condition in when
        for default in condition.findall(_NAMESPACE + "default")
    ]


def _default(value: ElementTree.Element | None, kind: str) -> Any:
    """The content of a <value> element as a Python value; items of a vector are <value> elements inside it."""
    if kind == "record":
        return {}
    if kind.endswith("Vec"):
        items = [] if value is None else value.findall(_NAMESPACE + "value")
        return [_literal(_text(item), _scalar(kind)) for item in items]
    return _literal("" if value is None else _text(value), kind)


def _literal(text: str, kind: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if kind in ("string", "path"):
        return value if isinstance(value, str) else text
    if kind == "bool":
        return text.lower() in ("true", "yes", "1")
    return float(value) if kind == "double" and isinstance(value, int) else value


def _text(element: ElementTree.Element) -> str:
    return (element.text or "").strip()


def _words(element: ElementTree.Element, tag: str) -> str:
    return " ".join((element.findtext(_NAMESPACE + tag) or "").split()).replace("\\'", "'")


def _block(element: ElementTree.Element, tag: str) -> str:
    return textwrap.dedent((element.findtext(_NAMESPACE + tag) or "").expandtabs()).strip()


def _annotation(kind: str) -> str:
    hint = _ANNOTATIONS[_scalar(kind)]
    return f"list[{hint}]" if kind.endswith("Vec") else hint


def _scalar(kind: str) -> str:
    """The type without its decorations: reqPathVec (paths that exist) -> path."""
    return kind.removesuffix("Vec").replace("reqPath", "path")


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

from casa_ml_tasks.gotasks.base import PromptTask, When
from casa_ml_tasks.wrappers.{{ task.name }} import {{ task.name }} as script_task

{{ task.name }} = PromptTask(
    script_task,
    summaries={
{% for parameter in task.parameters %}
        {{ parameter.name.__repr__() }}: {{ parameter.summary.__repr__() }},
{% endfor %}
    },
    subparameters={
{% for parameter in task.parameters if parameter.is_subparameter %}
        {{ parameter.name.__repr__() }}: [{{ conditions(parameter.name) }}],
{% endfor %}
    },
)
''')


def main(xml: Path, package: Path) -> None:
    """Write the two faces of every task defined in the folder `xml` into `package`."""
    for path in sorted(xml.glob("*.xml")):
        task = read_task(path)
        (package / "wrappers" / f"{task.name}.py").write_text(script_wrapper(task))
        (package / "gotasks" / f"{task.name}.py").write_text(prompt_wrapper(task))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} FOLDER_OF_XML PACKAGE_FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
