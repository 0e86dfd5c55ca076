"""Let casatools start offline, on a machine where nobody has configured it.

casatools looks for measures data below the home folder, tries to update it, and fails where there is none. Where the
user has a casaconfig of their own (``~/.casa/config.py`` or a site configuration), it wins. Where there is none, the
measures data of the casadata package serve, and nothing is updated. The log is left where casatools puts it.

This must run before the first import of casatools, which reads the configuration once.
"""

import sys
from pathlib import Path

import casadata
from casaconfig import config


def _user_has_configured_casa() -> bool:
    """Whether a configuration file other than casaconfig's own defaults has been loaded."""
    return len(config.load_success()) > 1


def configure_casa() -> None:
    """Point casaconfig at casadata where the user has set nothing and has no data of their own.

    Raises:
        RuntimeError: under ``python -O``, which removes the assertions that casatools checks its arguments with.
    """
    if sys.flags.optimize:
        raise RuntimeError("python -O removes the checks that casatools makes of its arguments; run without -O")
    if "casatools" in sys.modules or _user_has_configured_casa():
        return
    if not (Path(config.measurespath) / "geodetic").is_dir():
        config.measurespath = casadata.datapath
        config.datapath = [casadata.datapath]
        _correct_failed_import()
    config.measures_auto_update = False
    config.data_auto_update = False


def _correct_failed_import() -> None:
    """Where casatools was imported first and failed for want of data, its library keeps the paths it was given."""
    if (utils := sys.modules.get("casatools.utils")) is not None:
        utils.utils().setpath(config.datapath)
