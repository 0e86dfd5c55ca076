"""Every private CASA name that this package uses; when a CASA release moves one, only this file changes.

Tested with CASA 6.7.0.31 and 6.7.5.18.
"""

from casatasks.private.cleanhelper import write_task_history
from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
from casatasks.private.imagerhelpers.input_parameters import ImagerParameters
from casatasks.private.task_logging import end_log, except_log, start_log
from casatools.coercetype import coerce
from casatools.errors import create_error_string
from casatools.typecheck import CasaValidator

__all__ = [
    "CasaValidator",
    "ImagerParameters",
    "PySynthesisImager",
    "coerce",
    "create_error_string",
    "end_log",
    "except_log",
    "start_log",
    "write_task_history",
]
