"""deepfocus for the CASA prompt: inp, go, default, tget and tput.

Generated from xml/deepfocus.xml by task_generator.py: edit the XML and run `make wrappers`.
"""

from casa_ml_tasks.gotasks.base import PromptTask
from casa_ml_tasks.wrappers.deepfocus import deepfocus as script_task

deepfocus = PromptTask(script_task)
