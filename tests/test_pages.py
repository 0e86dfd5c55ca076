"""The pages of the documentation name tests, files and versions that exist."""

import re
from pathlib import Path

import pytest

from casa_ml_tasks import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")], key=str)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_a_page_names_exist(page):
    for file, function in re.findall(r"(test_\w+\.py)::(test_\w+)", page.read_text()):
        source = (REPOSITORY / "tests" / file).read_text()
        assert re.search(rf"^def {function}\(", source, re.MULTILINE), f"{file}::{function}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_files_that_contributors_are_sent_to_exist():
    for path in re.findall(
        r"`((?:casa_ml_tasks|tests|xml|docs)/[\w/.]+)`", (REPOSITORY / "CONTRIBUTING.md").read_text()
    ):
        if "NAME" not in path:
            assert (REPOSITORY / path).exists(), path


def test_every_statement_on_units_and_conventions_has_its_test():
    page = (REPOSITORY / "docs" / "units_and_conventions.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    statements = re.split(r"\n- ", page.partition("## The image on the sky")[2])[1:]
    assert len(rows) > 10
    assert len(statements) > 10
    assert all("::test_" in each for each in [*rows, *statements])


def test_the_citation_has_this_version():
    assert f"\nversion: {__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()
