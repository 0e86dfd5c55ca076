"""The definition of a task: what its XML file says, with the parts that it shares with other tasks.

``xml/NAME.xml`` is CASA's task XML with three elements of our own, which `assembled` resolves:

    <xi:include href="parts/gridding.xml"/>     takes the parameters and constraints of a part (XInclude)
    <override params="cell niter">...           gives parameters of a part another description, default or subparam
    <ignored params="gain nsigma"/>             says that the task accepts parameters of a part and ignores them
"""

import ast
import textwrap
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementInclude, ElementTree

_PACKAGE = Path(__file__).parent
#: The XML files of the tasks: in an installed package, or in a checkout.
DEFINITIONS = next(path for path in (_PACKAGE / "__xml__", _PACKAGE.parent / "xml") if path.is_dir())

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
    group: str = ""  # the title of the part that describes it; '' for the task's own
    is_subparameter: bool = False
    allowed: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def annotation(self) -> str:
        """The Python type hint, such as ``str | list[str]``."""
        return " | ".join(dict.fromkeys(annotation(kind) for kind in self.kinds))

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

    def holds(self, value: Any) -> bool:
        """Whether the parent's `value` fulfils the condition."""
        return bool((value == self.value) is (self.operator == "=="))


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
            constrains or overrides an unknown parameter, gives a sub-parameter two defaults or no constraint, or a
            value of the wrong type.
    """
    try:
        task = _task(assembled(path))
        _check(task)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if task.name != path.stem:
        raise ValueError(f"{path}: the task is named {task.name!r}; name it {path.stem!r} as its file.")
    return task


def assembled(path: Path) -> ElementTree.Element:
    """The <casaxml> element of one file in CASA's own elements alone: parts are included, differences applied.

    A parameter keeps the title of its part as the attribute "group".
    """
    root = ElementTree.parse(path).getroot()
    ElementInclude.include(root, base_url=str(path))
    inputs = _find(_find(root, "task"), "input")
    for part in inputs.findall(_NAMESPACE + "part"):
        for parameter in part.findall(_NAMESPACE + "param"):
            parameter.set("group", part.attrib["title"])
        place = list(inputs).index(part)
        inputs[place : place + 1] = list(part)
    parameters = {element.attrib["name"]: element for element in inputs.findall(_NAMESPACE + "param")}
    for element in [e for e in inputs if e.tag in (_NAMESPACE + "override", _NAMESPACE + "ignored")]:
        inputs.remove(element)
        for name in element.attrib["params"].split():
            if name not in parameters:
                raise ValueError(f"<{_tag(element)}> names {name!r}, which is no parameter; define or remove it.")
            change = _override if _tag(element) == "override" else _ignore
            change(parameters[name], element)
    for element in root.iter():
        if _tag(element) not in _ELEMENTS:
            raise ValueError(f"<{_tag(element)}> is not an element of a task definition; remove it.")
    return root


def read_parameters(root: ElementTree.Element) -> tuple[Parameter, ...]:
    """The parameters in a <casaxml> element, without the checks of `read_task`, which CASA's own files do not pass."""
    task = _find(root, "task")
    return tuple(_parameter(element) for element in _find(task, "input").findall(_NAMESPACE + "param"))


def annotation(kind: str) -> str:
    """The Python type hint for a value of a CASA type."""
    hint = _ANNOTATIONS[_scalar(kind)]
    return f"list[{hint}]" if kind.endswith("Vec") else hint


def _override(parameter: ElementTree.Element, override: ElementTree.Element) -> None:
    """Give `parameter` the attributes and elements of `override` in the place of its own."""
    for name, value in override.attrib.items():
        if name != "params":
            parameter.set(name, value)
    for new in override:
        for old in parameter.findall(new.tag):
            parameter.remove(old)
        parameter.append(deepcopy(new))


def _ignore(parameter: ElementTree.Element, _: ElementTree.Element) -> None:
    """Say that `parameter` is ignored, instead of its description."""
    summary = _find(parameter, "shortdescription")
    summary.text = f"{_text(summary)}: ignored"
    for description in parameter.findall(_NAMESPACE + "description"):
        parameter.remove(description)


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


def _tag(element: ElementTree.Element) -> str:
    """The name of the element without CASA's namespace."""
    return element.tag.removeprefix(_NAMESPACE)


def _find(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(_NAMESPACE + tag)
    if found is None:
        raise ValueError(f"<{_tag(element)}> holds no <{tag}>; add it.")
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
        group=element.get("group", ""),
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


def _scalar(kind: str) -> str:
    """The type without its decorations: reqPathVec (paths that exist) -> path."""
    return kind.removesuffix("Vec").replace("reqPath", "path")
