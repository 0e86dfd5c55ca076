"""Requests as the tasks read them: for tests."""

from typing import Any

from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.inference import Inference
from casa_ml_tasks.request.outliers import outlier_requests
from casa_ml_tasks.request.request import Request


def read_rmlclean(parameters: dict[str, Any]) -> tuple[Request, Regularisation | None]:
    """Read the parameters of rmlclean with all checks that open no Measurement Set."""
    request = Request.from_parameters(**parameters)
    outlier_requests(request)
    regularisation = None if request.cleans else Regularisation.from_parameters(request, **parameters)
    check_images(request)
    return request, regularisation


def read_resolveimage(parameters: dict[str, Any]) -> tuple[Request, Inference]:
    """Read the parameters of resolveimage in the same way."""
    request = Request.from_parameters(**parameters)
    inference = Inference.from_parameters(request, **parameters)
    check_images(request)
    return request, inference
