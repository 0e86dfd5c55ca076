"""A real CASA prompt, driven through a pseudo-terminal."""

import re
import sys
from pathlib import Path

import pexpect

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>]|\][^\x07]*\x07)")
#: No windows, and no colours.
PLAIN = ["--nologger", "--nogui", "--agg", "--colors", "NoColor"]


class Prompt:
    """A running casashell."""

    def __init__(self, home: Path, arguments: list[str]):
        """home: also the working directory; arguments: of Python, which starts the prompt."""
        self.folder = home
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "dumb", "LANG": "C.UTF-8"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        self._child = pexpect.spawn(
            sys.executable,
            arguments,
            cwd=home,
            env=environment,
            encoding="utf-8",
            dimensions=(200, 160),
            timeout=120,
        )
        self._count = 0
        self._wait()

    def run(self, command: str) -> str:
        """What the prompt prints at a command, without colours."""
        self._child.sendline(command)
        return self._wait()

    def value(self, name: str) -> str:
        """The repr of a variable of the prompt, or 'unset'."""
        printed = self.run(f"print('<' + repr(globals().get('{name}', 'unset')) + '>')")
        return re.findall(r"^<(.*)>", printed, re.MULTILINE)[-1].strip("'")

    def rows(self, output: str) -> dict[str, str]:
        """The names and values of an inp listing."""
        return dict(re.findall(r"^ *(\w+) *= (\S+)", output, re.MULTILINE))

    def close(self) -> None:
        self._child.ptyproc.delayafterterminate = 2.0  # seconds; a busy machine needs more than the tenth by default
        self._child.close(force=True)

    def _wait(self) -> str:
        self._count += 1
        self._child.expect_exact(f"CASA <{self._count}>: ")
        return ESCAPES.sub("", self._child.before).replace("\r", "")
