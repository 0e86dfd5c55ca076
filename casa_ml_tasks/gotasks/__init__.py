"""The tasks as the CASA prompt uses them, with inp and go; in ~/.casa/startup.py:

import casashell
import casa_ml_tasks.gotasks
from casa_ml_tasks.gotasks import *

casashell.extra_task_modules.append(casa_ml_tasks.gotasks)
"""

from casa_ml_tasks.gotasks.deepfocus import deepfocus
from casa_ml_tasks.gotasks.jointdeconv import jointdeconv
from casa_ml_tasks.gotasks.resolveimage import resolveimage
from casa_ml_tasks.gotasks.rmlclean import rmlclean

__all__ = ["deepfocus", "jointdeconv", "resolveimage", "rmlclean"]
