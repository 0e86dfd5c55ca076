"""What every task does around its work when called from Python: check the types, write to the CASA log."""

import copy
import inspect
from typing import Any, ClassVar

from casa_ml_tasks.casa_compat import CasaValidator, coerce, create_error_string, end_log, except_log, start_log
from casa_ml_tasks.forked_workers import begin_imaging
from casa_ml_tasks.tasks.arguments import Arguments

_KINDS: dict[str, dict[str, Any]] = {
    "string": {"type": "cStr", "coerce": coerce.to_str},
    "stringVec": {"type": "cStrVec", "coerce": [coerce.to_list, coerce.to_strvec]},
    "int": {"type": "cInt"},
    "intVec": {"type": "cIntVec", "coerce": [coerce.to_list, coerce.to_intvec]},
    "double": {"type": "cFloat", "coerce": coerce.to_float},
    "doubleVec": {"type": "cFloatVec", "coerce": [coerce.to_list, coerce.to_floatvec]},
    "bool": {"type": "cBool"},
    "boolVec": {"type": "cBoolVec", "coerce": [coerce.to_list, coerce.to_boolvec]},
    "record": {"type": "cDict"},
    "variant": {"type": "cVariant", "coerce": [coerce.to_variant]},
    "any": {"type": "cVariant", "coerce": [coerce.to_variant]},
    "path": {"type": "cPath", "coerce": coerce.expand_path},
    "pathVec": {"type": "cPathVec", "coerce": [coerce.to_list, coerce.expand_pathvec]},
    "reqPath": {"type": "cReqPath", "coerce": coerce.expand_path},
    "reqPathVec": {"type": "cReqPathVec", "coerce": [coerce.to_list, coerce.expand_pathvec]},
}


def schema(
    *kinds: str, allowed: list[Any] | None = None, minimum: float | None = None, maximum: float | None = None
) -> dict[str, Any]:
    """Rule of casatools' validator for a parameter of one of the CASA types `kinds` (reqPath: an existing path)."""
    rules = [dict(_KINDS[kind]) for kind in kinds]
    limits = {"allowed": allowed, "min": minimum, "max": maximum}
    rules[0] |= {key: value for key, value in limits.items() if value is not None}
    return rules[0] if len(rules) == 1 else {"anyof": rules}


class ScriptTask:
    """A task as `from casa_ml_tasks import NAME` gives it; its subclasses are generated from xml/.

    The work is done by the family of the same name in casa_ml_tasks.tasks, which is imported at the first call.
    """

    _info_group_: ClassVar[str]
    _info_desc_: ClassVar[str]
    _schema_: ClassVar[dict[str, Any]]

    def __init__(self, name: str):
        self.__name__ = name

    @property
    def _defaults(self) -> dict[str, Any]:
        """The default of every parameter."""
        signature = inspect.signature(type(self).__call__).parameters  # type: ignore[attr-defined]  # of a subclass
        return {name: signature[name].default for name in self._schema_}

    def _run(self, arguments: dict[str, Any]) -> Any:
        """Check and coerce `arguments` (names outside the schema are ignored), then run the task.

        Raises:
            AssertionError: an argument has the wrong type or value, as in CASA's own tasks.
            RuntimeError: the process was forked after imaging.
            Exception: whatever the task raises, after it has been logged.
        """
        validator = CasaValidator()
        given = {name: copy.deepcopy(arguments[name]) for name in self._schema_}
        if not validator.validate(given, self._schema_):
            raise AssertionError(create_error_string(validator.errors))
        parameters = validator.document
        state = start_log(self.__name__, [f"{name}={value!r}" for name, value in parameters.items()])
        result = None
        try:
            begin_imaging(self.__name__)
            from casa_ml_tasks.tasks import families, run  # which import JAX

            result = run.run_task(families.FAMILIES[self.__name__], Arguments(parameters, self._defaults))
        except Exception as error:
            except_log(self.__name__, error)
            raise
        finally:
            result = end_log(state, self.__name__, result)
        return result
