"""Every private CASA name that this package uses; when a CASA release moves one, only this file changes.

Tested with CASA 6.7.0.31 and 6.7.5.18.
"""

from functools import wraps
from typing import Any

from casatasks.private.cleanhelper import write_task_history
from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from casatasks.private.task_logging import end_log, except_log, start_log
from casatools.coercetype import coerce
from casatools.errors import create_error_string
from casatools.typecheck import CasaValidator

from casa_ml_tasks.forked_workers import note_imaging

__all__ = [
    "CasaValidator",
    "ImagerParameters",
    "PySynthesisImager",
    "coerce",
    "create_error_string",
    "end_log",
    "except_log",
    "prompt_globals",
    "start_log",
    "write_task_history",
]

_initialise = PySynthesisImager.__init__


@wraps(_initialise)
def _noted(*args: Any, **kwargs: Any) -> None:
    note_imaging()
    _initialise(*args, **kwargs)


PySynthesisImager.__init__ = _noted  # CASA's imager starts threads when tclean has it, too


def prompt_globals() -> dict[str, Any]:
    """The global variables of the running CASA prompt.

    Raises:
        RuntimeError: no CASA prompt is running.
    """
    from casashell.private.stack_manip import find_frame  # casashell is optional: only its own prompt comes here

    variables = find_frame()
    if variables is None:
        raise RuntimeError("inp and go need the CASA prompt, which is not running; import the task from casa_ml_tasks.")
    return variables
