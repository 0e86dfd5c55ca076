"""What every task does at the CASA prompt: inp, go, default, tget and tput.

There, a parameter is a global variable of the prompt. casashell calls `inp()`, `set_global_defaults()`, `tget()`,
`tput()` and the task itself, and lists it by `_info_group_` and `_info_desc_`.
"""

import inspect
import runpy
import shutil
import textwrap
from pathlib import Path
from typing import Any

from casa_ml_tasks.casa_compat import CasaValidator, prompt_globals
from casa_ml_tasks.task_definition import DEFINITIONS, read_task
from casa_ml_tasks.wrappers.base import ScriptTask

_BLUE, _RED, _GREEN, _BOLD_ON_GREY, _PLAIN = "\x1b[34m", "\x1b[91m", "\x1b[92m", "\x1b[1m\x1b[47m", "\x1b[0m"
_INDENT = 3
_VALUE_WIDTH = 23


class PromptTask:
    """The inp/go twin of a script task; its XML says what `inp` shows of each parameter, and when."""

    def __init__(self, task: ScriptTask):
        definition = read_task(DEFINITIONS / f"{task.__name__}.xml")
        self.__name__ = task.__name__
        self.__doc__ = task.__doc__
        self.__signature__ = inspect.signature(task)  # type: ignore[arg-type]  # a subclass has __call__
        self._info_group_ = task._info_group_
        self._info_desc_ = task._info_desc_
        self._task = task
        self._summaries = {parameter.name: parameter.summary for parameter in definition.parameters}
        self._subparameters = {
            parameter.name: definition.constraints_of(parameter.name)  # any one of them shows it
            for parameter in definition.parameters
            if parameter.is_subparameter
        }
        self._parents = {constraint.parent for constraint in definition.constraints}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task with the arguments given, or, as `go` does, with the variables of the prompt if there are none.

        The parameters are saved in NAME.last first.
        """
        given = self.__signature__.bind(*args, **kwargs).arguments or prompt_globals()
        values = self._values(given)
        try:
            self._save(Path(f"{self.__name__}.last"), values)
        except OSError as error:
            print(f"The parameters are not saved: {error}.")
        return self._task(**values)  # type: ignore[operator]  # a subclass has __call__

    def inp(self) -> None:
        """Print the parameters: blue where changed, red where invalid, green the sub-parameters in force."""
        print(f"# {self.__name__} -- {self._info_desc_}")
        values = self._values(prompt_globals())
        shown = [name for name in values if self._is_active(name, values)]
        width = max(len(name) + _INDENT * self._depth(name) for name in shown)
        columns = shutil.get_terminal_size().columns
        for name in shown:
            print(self._row(name, values[name], width, columns))

    def set_global_defaults(self) -> None:
        """Forget the prompt's variables that are named as parameters: the `default` command."""
        variables = prompt_globals()
        for name in self._summaries:
            variables.pop(name, None)

    def tget(self, savefile: str | None = None) -> None:
        """Set the prompt's variables from `savefile`; by default NAME.last, or else NAME.saved."""
        names = [savefile] if savefile else [f"{self.__name__}.last", f"{self.__name__}.saved"]
        path = next((path for path in map(Path, names) if path.is_file()), None)
        if path is None:
            print(f"There is no {' or '.join(names)} in {Path.cwd()}; all parameters are set to their defaults.")
            self.set_global_defaults()
            return
        saved = runpy.run_path(str(path))
        prompt_globals().update({name: saved[name] for name in self._summaries if name in saved})

    def tput(self, outfile: str | None = None) -> None:
        """Save the parameters in `outfile`; by default NAME.last."""
        self._save(Path(outfile or f"{self.__name__}.last"), self._values(prompt_globals()))

    def _values(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The value of every parameter: the variable of its name, or its default."""
        return {name: variables.get(name, self._default(name)) for name in self._summaries}

    def _default(self, name: str) -> Any:
        return self.__signature__.parameters[name].default

    def _is_active(self, name: str, values: dict[str, Any]) -> bool:
        """Whether `inp` shows the parameter: some condition holds, and the parent is shown itself."""
        conditions = self._subparameters.get(name)
        return conditions is None or any(
            when.holds(values[when.parent]) and self._is_active(when.parent, values) for when in conditions
        )

    def _depth(self, name: str) -> int:
        conditions = self._subparameters.get(name, [])
        return 1 + max(self._depth(when.parent) for when in conditions) if conditions else 0

    def _row(self, name: str, value: Any, width: int, columns: int) -> str:
        label = (" " * _INDENT * self._depth(name) + name).ljust(width)
        text = repr(value)
        margin = " " * (width + len(" = ") + _VALUE_WIDTH) + " # "
        gap = f"\n{margin}" if len(text) > _VALUE_WIDTH else " " * (_VALUE_WIDTH - len(text)) + " # "
        summary = textwrap.wrap(self._summaries[name], max(columns - len(margin), 20))
        setting = f"{self._label_colour(name)}{label} ={_PLAIN} {self._value_colour(name, value)}{text}{_PLAIN}"
        return setting + gap + f"\n{margin}".join(summary)

    def _label_colour(self, name: str) -> str:
        if name in self._parents:
            return _BOLD_ON_GREY
        return _GREEN if name in self._subparameters else ""

    def _value_colour(self, name: str, value: Any) -> str:
        if not CasaValidator().validate({name: value}, {name: self._task._schema_[name]}):
            return _RED
        return "" if value == self._default(name) else _BLUE

    def _save(self, path: Path, values: dict[str, Any]) -> None:
        """Write the parameters as Python assignments, and the call as a comment."""
        lines = [f"{name:<20} = {value!r}" for name, value in values.items()]
        call = ",".join(f"{name}={value!r}" for name, value in values.items())
        path.write_text("\n".join([*lines, f"#{self.__name__}( {call} )", ""]))
