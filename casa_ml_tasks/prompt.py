"""casa-ml-prompt: CASA's prompt with our tasks loaded, also on a machine where CASA has no data of its own.

The options are those of CASA's prompt: casa-ml-prompt --help.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from casaconfig import config

STARTUP = Path(__file__).parent / "gotasks" / "startup.py"
users_startup: str | None = None  # the user's own startup file, which STARTUP runs


def main() -> int:
    """Start the prompt, and return its exit status. `import casa_ml_tasks` has given CASA its data."""
    try:
        from casashell import start_casa
    except ModuleNotFoundError:
        print(f"casa-ml-prompt needs CASA's prompt: pip install casashell=={version('casatools')}", file=sys.stderr)
        return 1
    return start_casa(prompt_arguments(sys.argv[1:]))


def prompt_arguments(given: list[str]) -> list[str]:
    """The options for CASA's prompt, which takes one startup file: ours, and the user's is noted for it."""
    global users_startup
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--startupfile", default=config.startupfile)
    parser.add_argument("--nostartupfile", action="store_true")
    options, others = parser.parse_known_args(given)
    users_startup = None if options.nostartupfile else options.startupfile
    return ["--startupfile", str(STARTUP), *others]


def complete_startup() -> None:
    """Run the user's own startup file, and list our tasks with CASA's unless it has done so."""
    import casashell
    from IPython import get_ipython

    from casa_ml_tasks import gotasks

    shell = get_ipython()
    if users_startup and (path := Path(users_startup).expanduser()).is_file():
        shell.safe_execfile(str(path), shell.user_ns)
    if gotasks not in casashell.extra_task_modules:
        casashell.extra_task_modules.append(gotasks)
