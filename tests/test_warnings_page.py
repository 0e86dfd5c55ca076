"""docs/warnings.md explains every warning that the package posts to the CASA log, and none that it does not post."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import casa_ml_tasks
from casa_ml_tasks.wrappers.rmlclean import rmlclean

PACKAGE = Path(casa_ml_tasks.__file__).parent
PAGE = PACKAGE.parent / "docs" / "warnings.md"
VARIES = "…"
FEWEST_LETTERS = 10  # of fixed text, by which a sentence is known again


def fixed_text(node: ast.expr) -> str:
    """The text of a string expression, with … in place of what is only known when the program runs."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(fixed_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return fixed_text(node.left) + fixed_text(node.right)
    return VARIES


def is_warning(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == "WARN"


def posts_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and sentence of every call of `post` with the priority WARN."""
    for node in ast.walk(ast.parse(source)):
        arguments = [*node.args, *(each.value for each in node.keywords)] if isinstance(node, ast.Call) else []
        if any(is_warning(each) for each in arguments):
            yield node.lineno, " ".join(fixed_text(arguments[0]).split())


def posted() -> list[tuple[str, str]]:
    """Place and sentence of every warning."""
    return [
        (f"{path.relative_to(PACKAGE.parent)}:{line}", sentence)
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, sentence in posts_of(path.read_text(encoding="utf-8"))
    ]


def documented(page: str) -> list[str]:
    """The sentences that a page quotes, each in a block of lines that begin with '> '."""
    blocks = re.findall(r"(?:^> .*\n?)+", page, re.MULTILINE)
    return [" ".join(block.replace("> ", " ").split()) for block in blocks]


def key(sentence: str) -> str:
    """The longest part of a sentence that never varies."""
    return max((part.strip() for part in sentence.split(VARIES)), key=len)


@pytest.mark.parametrize(("place", "sentence"), posted())
def test_every_warning_is_explained(place, sentence):
    assert len(key(sentence)) >= FEWEST_LETTERS, (
        f"{place} posts a warning whose sentence stands elsewhere: write the sentence, or its beginning, as a string "
        "in the call of casalog.post, so that docs/warnings.md can be held against it"
    )
    page = documented(PAGE.read_text(encoding="utf-8"))
    assert any(key(sentence) in each for each in page), (
        f"docs/warnings.md does not explain the warning of {place}; add to the section that fits, with its meaning and "
        f"what to do below it:\n\n> {sentence}\n"
    )


@pytest.mark.parametrize("quoted", documented(PAGE.read_text(encoding="utf-8")))
def test_no_warning_is_explained_that_is_not_posted(quoted):
    assert any(key(sentence) in quoted for _, sentence in posted()), (
        f"nothing posts this warning any longer; remove it from docs/warnings.md, or write what is posted now:\n\n"
        f"> {quoted}\n"
    )


def test_no_warning_is_posted_in_another_way():
    """Every "WARN" in the package is an argument of a call that the tests above have seen."""
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    constants = sum(is_warning(node) for source in sources for node in ast.walk(ast.parse(source)))
    assert constants == len(posted()) >= 10


def test_the_page_for_scripts_names_parameters_that_exist():
    page = (PAGE.parent / "your_tclean_script.md").read_text(encoding="utf-8")
    table = page.split("## Which parameters act")[1].split("## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`([a-z]+)", cell)}
    assert len(named) > 50
    assert named <= set(inspect.signature(type(rmlclean).__call__).parameters)
