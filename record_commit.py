"""Build hook: an installed package has no git checkout beside it, so the commit is written into it."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VERSION = runpy.run_path(str(Path(__file__).parent / "casa_ml_tasks" / "version.py"))


class RecordCommit(BuildHookInterface):
    """Adds casa_ml_tasks/commit.txt to a wheel or an sdist that is built from a git checkout."""

    @property
    def record(self) -> Path:
        """The file, until it is in the archive."""
        return Path(self.directory) / VERSION["RECORD"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """version: 'editable' for a package that stays in its checkout, where git is asked at run time."""
        commit = VERSION["commit_of"](Path(self.root))
        if commit and version != "editable":
            self.record.parent.mkdir(parents=True, exist_ok=True)
            self.record.write_text(commit)
            build_data["force_include"][str(self.record)] = f"casa_ml_tasks/{self.record.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the file."""
        self.record.unlink(missing_ok=True)
