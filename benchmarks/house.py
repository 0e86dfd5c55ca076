"""How the package is built: which folder imports which, and the counts that say how well its rooms are kept apart.

python -m benchmarks.house
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.measure import print_table

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "casa_ml_tasks"
#: Folders, and modules that lie in none, from the top: each imports from its own floor and those below.
FLOORS = (
    ("", "wrappers", "gotasks", "pipeline", "prompt", "demo", "deepfocus", "task_generator", "task_definition"),
    ("parametric", "tasks"),
    ("report",),
    ("parallel",),
    ("major",),
    ("calibration",),
    ("minor",),
    ("sources",),
    ("networks",),
    ("sampling",),
    ("simulation",),
    ("request",),
    ("data",),
    ("engine",),
    ("kernels",),
    ("quantities", "version", "casa_compat", "forked_workers", "casa_environment"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
GENERATED = ("wrappers/rmlclean.py", "wrappers/resolveimage.py")
DICTIONARY = "Mapping[str, Any]"


@dataclass(frozen=True)
class Module:
    """A module of the package.

    Attributes:
        path: inside the package.
        text: its source.
    """

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """The folder of the package that it lies in, or its own name; '' for the package itself."""
        first = self.path.parts[0]
        return "" if first == "__init__.py" else first.removesuffix(".py")

    @property
    def imports(self) -> Iterator[str]:
        """The full names of all that it imports, at the top, inside functions, and by name."""
        package = [PACKAGE, *self.path.parts[:-1]]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = [*package[: len(package) - node.level + 1]] if node.level else []
                name = ".".join([*base, node.module] if node.module else base)
                yield from (f"{name}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                yield from _named(node.args[0])


def _named(argument: ast.expr) -> Iterator[str]:
    """The module that is imported by name; of a name that is put together, as far as it is written out."""
    if isinstance(argument, ast.JoinedStr):
        argument = argument.values[0]
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value.rstrip(".")


def modules(package: Path = REPOSITORY / PACKAGE) -> list[Module]:
    """Read all modules of the package."""
    return [Module(path.relative_to(package), path.read_text()) for path in sorted(package.rglob("*.py"))]


def upward_imports(of: list[Module]) -> list[str]:
    """Return 'module imports name' of everything that a module takes from a floor above its own, or from no floor.

    The package's tests and benchmarks are no floor.
    """
    found = []
    for module in of:
        for name in module.imports:
            first, *rest = name.split(".")
            if first == PACKAGE:
                room = rest[0] if rest and rest[0] in FLOOR else _room_of_the_package(rest)
                if room not in FLOOR or FLOOR[room] < FLOOR[module.room]:
                    found.append(f"{module.path} imports {name}")
            elif first in ("tests", "benchmarks"):
                found.append(f"{module.path} imports {name}")
    return found


def _room_of_the_package(rest: list[str]) -> str:
    """The room of what is imported from the package itself: a task, such as rmlclean, or a name of no module."""
    return "" if not rest or not (REPOSITORY / PACKAGE / rest[0]).is_dir() else rest[0]


def rooms_without_floor(of: list[Module]) -> set[str]:
    """Return folders that the order does not name."""
    return {module.room for module in of} - FLOOR.keys()


def signatures_with_a_dictionary(of: list[Module]) -> list[str]:
    """Return 'module: function' of every signature that has a dictionary of anything, but in generated wrappers."""
    found = []
    for module in of:
        if module.path.as_posix() in GENERATED:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                signature = [ast.unparse(node.args), ast.unparse(node.returns) if node.returns else ""]
                if any(DICTIONARY in each for each in signature):
                    found.append(f"{module.path}: {node.name}")
    return found


def back_ends_asked_for(of: list[Module]) -> list[str]:
    """Return 'module: isinstance(...)' of every question in tasks/ for a class of major/."""
    found = []
    for module in of:
        if module.room != "tasks":
            continue
        back_ends = {name.split(".")[-1] for name in module.imports if name.startswith(f"{PACKAGE}.major.")}
        for call in _isinstance_calls(module):
            if back_ends & {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)}:
                found.append(f"{module.path}: {ast.unparse(call)}")
    return found


def _isinstance_calls(module: Module) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
    ]


def longest_modules(of: list[Module], count: int = 5) -> list[tuple[int, str]]:
    """Return lines and path of the longest modules that are written by hand, the longest first."""
    written = [each for each in of if each.path.as_posix() not in GENERATED]
    return sorted(((len(each.text.splitlines()), str(each.path)) for each in written), reverse=True)[:count]


def lines_shared_by_xml(folder: Path = REPOSITORY / "xml") -> int:
    """Return how many lines that are not empty the two largest XML descriptions of tasks have in common."""
    lines = [
        Counter(filter(None, map(str.strip, path.read_text().splitlines())))
        for path in sorted(folder.glob("*.xml"), key=lambda path: path.stat().st_size)[-2:]
    ]
    return sum((lines[0] & lines[1]).values())


def counts(of: list[Module]) -> list[tuple[str, str]]:
    """Return what is counted, and the counts."""
    upward, dictionaries = upward_imports(of), signatures_with_a_dictionary(of)
    asked = back_ends_asked_for(of)
    isinstance_in_tasks = sum(len(_isinstance_calls(each)) for each in of if each.room == "tasks")
    return [
        ("imports that run upwards", _counted(upward)),
        (f"signatures with `{DICTIONARY}`", _counted(dictionaries)),
        ("`isinstance` of a back end in `tasks/`", _counted(asked)),
        ("`isinstance` in `tasks/`", str(isinstance_in_tasks)),
        ("longest modules, lines", ", ".join(f"{path} {lines}" for lines, path in longest_modules(of))),
        ("lines shared by the two largest XMLs", str(lines_shared_by_xml())),
    ]


def _counted(found: list[str]) -> str:
    return f"{len(found)}" + (f" ({'; '.join(found)})" if found else "")


if __name__ == "__main__":
    print_table(["what", "count"], counts(modules()))
