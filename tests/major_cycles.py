"""What the tests of major cycles share: parameters of a task, and major cycles that are closed in the end."""

import inspect
from contextlib import contextmanager

from casa_ml_tasks import rmlclean
from casa_ml_tasks.request.request import Request


def parameters_of(vis, **changes):
    """Every parameter of rmlclean, at its default where nothing is said."""
    signature = inspect.signature(type(rmlclean).__call__).parameters
    defaults = {name: parameter.default for name, parameter in signature.items() if name != "self"}
    return defaults | {"vis": str(vis), "imagename": "sky", "datacolumn": "data"} | changes


def request_of(vis, **changes):
    """The Request of these parameters."""
    return Request.from_parameters(**parameters_of(vis, **changes))


@contextmanager
def opener(kind, folder, parameters):
    """A function that opens a major cycle in a folder of its own; `parameters` makes a task's of its arguments."""
    opened = []

    def open_one(*arguments, options=None, **changes):
        directory = folder / f"major{len(opened)}"
        directory.mkdir()
        request = Request.from_parameters(**parameters(*arguments, **changes))
        opened.append(kind(request, directory, **(options or {})))
        return opened[-1]

    try:
        yield open_one
    finally:
        for major in opened:
            major.close()
