"""Imports run downwards only, and few signatures take a dictionary of anything."""

from pathlib import Path

import pytest

from benchmarks.house import (
    Module,
    back_ends_asked_for,
    counts,
    modules,
    rooms_without_floor,
    signatures_with_a_dictionary,
    upward_imports,
)

MOST_SIGNATURES = 9


@pytest.fixture(scope="module")
def house():
    found = modules()
    for what, count in counts(found):
        print(f"{what}: {count}")
    return found


def module(path, text):
    return Module(Path(path), text)


def test_every_folder_has_its_floor(house):
    assert rooms_without_floor(house) == set()


def test_imports_run_downwards_only(house):
    assert upward_imports(house) == []


def test_few_signatures_take_a_dictionary_of_anything(house):
    found = signatures_with_a_dictionary(house)
    assert len(found) <= MOST_SIGNATURES, "\n".join(found)


def test_no_task_asks_for_a_back_end(house):
    assert back_ends_asked_for(house) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("data/a.py", "from casa_ml_tasks.minor.rml import minor_cycle"),
        ("data/a.py", "import casa_ml_tasks.minor"),
        ("data/a.py", "from casa_ml_tasks import minor"),
        ("data/a.py", "from casa_ml_tasks import rmlclean"),
        ("data/a.py", "from .. import minor"),
        ("data/a.py", "from ..minor.rml import minor_cycle"),
        ("minor/rml/a.py", "from ...major import casa"),
        ("data/a.py", "def f():\n    from casa_ml_tasks.minor import rml"),
        ("tasks/a.py", "importlib.import_module('casa_ml_tasks.wrappers.rmlclean')"),
        ("tasks/a.py", "import_module(f'casa_ml_tasks.wrappers.{name}')"),
        ("quantities.py", "from casa_ml_tasks.data.casa_image import read_image"),
        ("tasks/a.py", "from tests.simulated_ms import simulate"),
    ],
)
def test_an_import_that_runs_upwards_is_found(path, text):
    assert len(upward_imports([module(path, text)])) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("minor/a.py", "from casa_ml_tasks.data.casa_image import read_image"),
        ("minor/rml/a.py", "from .. import resolve"),
        ("minor/rml/a.py", "from casa_ml_tasks.minor.resolve import energy"),
        ("wrappers/a.py", "import_module(f'casa_ml_tasks.tasks.{name}')"),
        ("minor/rml/a.py", "importlib.import_module(name)"),
        ("prompt.py", "from casa_ml_tasks import gotasks"),
        ("data/a.py", "from casa_ml_tasks.version import commit\nimport numpy as np"),
    ],
)
def test_an_import_that_runs_downwards_is_none(path, text):
    assert upward_imports([module(path, text)]) == []


def test_a_dictionary_counts_wherever_it_stands_in_a_signature():
    text = (
        "def a(b: Sequence[Mapping[str, Any]]): ...\n"
        "def c() -> Mapping[str, Any]: ...\n"
        "def d(e: Mapping[str, int]): ..."
    )
    assert signatures_with_a_dictionary([module("data/a.py", text)]) == ["data/a.py: a", "data/a.py: c"]


def test_asking_for_a_back_end_is_found():
    text = "from casa_ml_tasks.major.native import NativeMajorCycle\n"
    assert back_ends_asked_for([module("tasks/a.py", f"{text}isinstance(major, NativeMajorCycle)")])
    assert back_ends_asked_for([module("tasks/a.py", f"{text}isinstance(major, (int, NativeMajorCycle))")])
    assert not back_ends_asked_for([module("tasks/a.py", f"{text}isinstance(major, str)")])
