"""What the package imports is what its wheel asks for."""

import ast
import re
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

#: Imported where somebody asks for it, with the extra that brings it.
OPTIONAL = {
    "casashell": "prompt",
    "IPython": "prompt",  # casashell's
    "numpyro": "parametric",
    "astropy_healpix": "healpix",
    "pycuda": "gpu",
    "distributed": "cluster",
    "dask_jobqueue": "cluster",
    "dask": "cluster",
    "casampi": "mpi",
    "pyvkfft": "gpu",
}
#: Imported where it is the host: it is on no package index, and what has its name there is something else.
HOST = {"pipeline"}
#: Declared although no module of ours imports it.
FOR_OTHERS = {"six"}  # casatasks imports it and does not declare it


def imported() -> dict[str, set[str]]:
    """Modules from outside the standard library and the package, with the files that import them, also in functions."""
    found: dict[str, set[str]] = {}
    for path in (REPOSITORY / "casa_ml_tasks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(str(path.relative_to(REPOSITORY)))
    return {name: files for name, files in found.items() if name not in {*sys.stdlib_module_names, "casa_ml_tasks"}}


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in requirements}


def test_every_import_is_declared_and_every_dependency_is_imported():
    assert imported().keys() - OPTIONAL.keys() - HOST == declared(PROJECT["dependencies"]) - FOR_OTHERS


def test_an_optional_import_comes_with_its_extra():
    extras = PROJECT["optional-dependencies"]
    assert OPTIONAL.keys() <= imported().keys()
    for name, extra in OPTIONAL.items():
        assert name == "IPython" or name in declared(extras[extra])


def test_one_module_alone_imports_the_pipeline():
    assert imported()["pipeline"] == {"casa_ml_tasks/pipeline/plugin.py"}


def test_no_task_needs_an_optional_import():
    files, apart = set().union(*(imported()[name] for name in OPTIONAL)), ("parametric", "parallel")
    assert {path for path in files if path.split("/")[1] not in apart} == {
        "casa_ml_tasks/casa_compat.py",  # in a function that only the prompt calls
        "casa_ml_tasks/data/healpix.py",
        "casa_ml_tasks/kernels/cuda/device.py",
        "casa_ml_tasks/prompt.py",
    }
