"""resolveimage for the CASA prompt: inp, go, default, tget and tput.

Generated from xml/resolveimage.xml by task_generator.py: edit the XML and run `make wrappers`.
"""

from casa_ml_tasks.gotasks.base import PromptTask
from casa_ml_tasks.wrappers.resolveimage import resolveimage as script_task

resolveimage = PromptTask(script_task)
