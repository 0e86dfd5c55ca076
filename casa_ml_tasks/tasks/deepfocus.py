"""deepfocus: sources, their shapes and their lines in dirty images, as a CASA task."""

from __future__ import annotations

from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.request.values import listed
from casa_ml_tasks.tasks import imaging, rml_minor_cycles
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.deepfocus_of_image import ImageCall
from casa_ml_tasks.tasks.deepfocus_of_visibilities import VisibilityCall
from casa_ml_tasks.tasks.deepfocus_result import Searched
from casa_ml_tasks.tasks.family import Context, ImagesOnDisk
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.source_products import PRODUCTS

DeepfocusCall = VisibilityCall | ImageCall


class Deepfocus:
    """Sources in dirty images.

    There are 'sources' and 'lines' (how many), 'catalog' (path of the table), 'field_flags' (sentences on what is
    unlike what the networks know) and 'image_noise' (Jy/beam); with visibilities also all that `Rmlclean` returns.
    """

    name = "deepfocus"
    products = (
        imaging.MODEL,
        *PRODUCTS,
        *(each for each in imaging.IMAGES if each.extension != "mask"),
    )
    schemas = rml_minor_cycles.SCHEMAS

    def read(self, arguments: Arguments) -> DeepfocusCall:
        """Check the parameters of one of the two kinds of calls."""
        vis, dirtyimage = arguments.values["vis"], arguments.values["dirtyimage"]
        if bool(dirtyimage) == bool(listed(vis)):
            raise ValueError(
                f"vis={vis!r} and dirtyimage={dirtyimage!r}: give one of them, visibilities or a dirty image"
            )
        kind = ImageCall if dirtyimage else VisibilityCall
        return kind.read(arguments, self.name)

    def check(self, call: DeepfocusCall) -> Survey | ImagesOnDisk:
        """Check the call against disk, data and networks."""
        return call.check(self.name)

    def work(self, call: DeepfocusCall, context: Context) -> Searched:
        """Find the sources, and write all products."""
        return call.work(context)

    def conclude(self, call: DeepfocusCall, context: Context, work: Searched) -> TaskResult:
        """Warn of what the sources tell; return them."""
        return call.conclude(context, work)
