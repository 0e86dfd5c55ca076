"""jointdeconv for the CASA prompt: inp, go, default, tget and tput.

Generated from xml/jointdeconv.xml by task_generator.py: edit the XML and run `make wrappers`.
"""

from casa_ml_tasks.gotasks.base import PromptTask
from casa_ml_tasks.wrappers.jointdeconv import jointdeconv as script_task

jointdeconv = PromptTask(script_task)
