"""Which code made an image: the version of the package and, where it is known, the commit."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

#: Written by record_commit.py when a wheel is built from a git checkout.
RECORD = "commit.txt"


@cache
def commit() -> str:
    """The commit of this code, with '-dirty' where files differ from it; '' where nothing says it."""
    package = Path(__file__).parent
    if (package / RECORD).is_file():
        return (package / RECORD).read_text().strip()
    return commit_of(package.parent)


def commit_of(folder: Path) -> str:
    """Twelve digits of the commit that is checked out in the folder, with '-dirty' where files differ from it.

    '' where the folder is not the top of a git checkout (one further up is another project's), or git does not answer.
    """
    if not (folder / ".git").exists():
        return ""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def version_and_commit() -> str:
    """Such as '0.1.0, commit 5325eb7e4c58', for people."""
    return f"{__version__}, commit {commit()}" if commit() else __version__
