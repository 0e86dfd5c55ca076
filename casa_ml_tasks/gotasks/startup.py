"""What casa-ml-prompt runs at its start, in the namespace of the prompt."""

from casa_ml_tasks.gotasks import *  # noqa: F403
from casa_ml_tasks.prompt import complete_startup as _complete_startup

_complete_startup()
