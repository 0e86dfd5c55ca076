"""Where a run begins that takes up nothing: from a model that is given, one of an earlier run, or an empty sky."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from casatasks import casalog

from casa_ml_tasks.data.casa_image import is_casa_image, read_images
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Field, Image, MajorCycle
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.request.request import Request


def first_progress(major: MajorCycle, workspace: Workspace, requests: Sequence[Request]) -> Progress:
    """Return the progress to begin with: from `startmodel`, the model of a finished run, or an empty sky.

    Args:
        major: has the shapes of the images.
        workspace: of the run.
        requests: of each field.
    """
    fields = zip(major.fields, [workspace, *workspace.outliers], requests, strict=True)
    return Progress(major.layout.pack([_first_model(*each) for each in fields]))


def _first_model(field: Field, workspace: Workspace, request: Request) -> Image:
    startmodel = list(request.output.startmodel)
    earlier = [str(workspace.product("model", term)) for term in range(workspace.terms or 1)]
    if startmodel:
        return _read_model(startmodel, f"startmodel={startmodel}", "regrid it with imregrid", field.shape)
    if not is_casa_image(earlier[0]):
        return np.zeros(field.shape, np.float32)
    source = f"imagename='{workspace.imagename}': {' and '.join(earlier)} of an earlier run"
    model = _read_model(earlier, source, "choose another imagename or remove the old products", field.shape)
    casalog.post(f"the model begins with {' and '.join(earlier)}; restart=False begins with an empty sky", "INFO")
    return model


def _read_model(paths: Sequence[str], source: str, remedy: str, shape: tuple[int, ...]) -> Image:
    """Read a first model. source, remedy: of the sentence that refuses another shape."""
    model = read_images(paths)
    if model.shape != shape:
        raise ValueError(
            f"{source} has {model.shape} channels or terms, Stokes planes, rows and columns, but the image asked for "
            f"has {shape}; {remedy}"
        )
    return model
