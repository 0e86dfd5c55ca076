"""rmlclean for the CASA prompt: inp, go, default, tget and tput.

Generated from xml/rmlclean.xml by task_generator.py: edit the XML and run `make wrappers`.
"""

from casa_ml_tasks.gotasks.base import PromptTask
from casa_ml_tasks.wrappers.rmlclean import rmlclean as script_task

rmlclean = PromptTask(script_task)
