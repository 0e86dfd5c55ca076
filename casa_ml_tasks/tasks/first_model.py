"""Where a run begins that takes up nothing: from a model that is given, one of an earlier run, or an empty sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from casatasks import casalog

from casa_ml_tasks.data.casa_image import is_casa_image, read_images
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.casa import CasaImages
from casa_ml_tasks.major.outlier_fields import CasaFields


def first_progress(major: CasaImages, workspace: Workspace, parameters: Mapping[str, Any]) -> Progress:
    """Return the progress to begin with: from `startmodel`, the model of a finished run, or an empty sky."""
    if isinstance(major, CasaFields):
        starts = [first_progress(field, field.workspace, field.parameters) for field in major.fields]
        return Progress(major.layout.pack([start.model for start in starts]))
    startmodel = [each for each in np.atleast_1d(parameters["startmodel"]).tolist() if each]
    earlier = [str(workspace.product("model", term)) for term in range(workspace.terms or 1)]
    if startmodel:
        return Progress(_read_model(startmodel, f"startmodel={startmodel}", "regrid it with imregrid", major.shape))
    if not is_casa_image(earlier[0]):
        return Progress(np.zeros(major.shape, np.float32))
    source = f"imagename='{workspace.imagename}': {' and '.join(earlier)} of an earlier run"
    model = _read_model(earlier, source, "choose another imagename or remove the old products", major.shape)
    casalog.post(f"the model begins with {' and '.join(earlier)}; restart=False begins with an empty sky", "INFO")
    return Progress(model)


def _read_model(paths: Sequence[str], source: str, remedy: str, shape: tuple[int, ...]) -> Image:
    """Read a first model. source, remedy: of the sentence that refuses another shape."""
    model = read_images(paths)
    if model.shape != shape:
        raise ValueError(
            f"{source} has {model.shape} channels or terms, Stokes planes, rows and columns, but the image asked for "
            f"has {shape}; {remedy}"
        )
    return model
