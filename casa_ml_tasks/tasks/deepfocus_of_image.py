"""deepfocus in a dirty image that is there: checks, sources, products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.table import Table
from casatasks import casalog

from casa_ml_tasks.data.dirty_images import DirtyImages, read_dirty_images
from casa_ml_tasks.data.source_images import ordered_copy, set_beam, write_cube
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.quantities import quantity
from casa_ml_tasks.request.output import Output
from casa_ml_tasks.request.products import check_folder
from casa_ml_tasks.sources.products import model_cube
from casa_ml_tasks.sources.restored import restored
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.deepfocus_result import FoundInImage, Searched, read_truth, with_sources
from casa_ml_tasks.tasks.family import Context, ImagesOnDisk
from casa_ml_tasks.tasks.found_sources import check_size, dirty_cube, networks_of, sources_and_noise
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.source_catalogue import catalogue
from casa_ml_tasks.tasks.source_products import write_catalogue, write_source_images
from casa_ml_tasks.tasks.unused_parameters import warn_of_unused

#: Parameters that act on a dirty image.
ACTING = ("dirtyimage", "psfimage", "imagename", "weights", "truth", "restart")


@dataclass(frozen=True)
class ImageCall:
    """A call with a dirty image.

    Attributes:
        values: every parameter.
        truth: table of true sources; None where there is none.
    """

    values: Mapping[str, Any]
    truth: Table | None
    terms = 0

    @classmethod
    def read(cls, arguments: Arguments, task: str) -> Self:
        """Check what the arguments alone can tell, and warn of those without effect."""
        values = arguments.values
        Output.from_parameters(imagename=values["imagename"])
        warn_of_unused(task, arguments, lambda name, _: "" if name in ACTING else "dirtyimage is given")
        return cls(values, read_truth(values["truth"]))

    @property
    def parameters(self) -> Sequence[Mapping[str, object]]:
        """Every parameter."""
        return [self.values]

    def renamed(self, imagenames: Sequence[str]) -> Self:
        """Return the same call for products of another name."""
        return replace(self, values={**self.values, "imagename": imagenames[0]})

    @property
    def images(self) -> DirtyImages:
        """The dirty image with its PSF.

        Raises:
            ValueError: one of them is not what it should be.
        """
        return read_dirty_images(self.values["dirtyimage"], self.values["psfimage"])

    def check(self, task: str) -> ImagesOnDisk:
        """Check the images and the networks, before anything is written."""
        imagename = str(self.values["imagename"])
        check_folder(imagename)
        networks, images = networks_of(self.values["weights"]), self.images
        for path in (images.path, images.psf_path):
            if path.parent.resolve() == Path(imagename).parent.resolve() and path.name.startswith(
                f"{Path(imagename).name}."
            ):
                raise ValueError(f"imagename='{imagename}' would replace '{path}', which is read; choose another name")
        noise = np.where(images.blank, np.inf, 1.0)
        check_size(dirty_cube(images.dirty, images.psf, noise, images.beam, images.axes), networks)
        if images.known < 1:
            casalog.post(
                "the PSF reaches over the half of twice the field: sidelobes further from a source than that are not "
                "known and taken for zero; a PSF made with twice the imsize has them all",
                "INFO",
                task,
            )
        if images.blank.any():
            casalog.post(
                f"{images.blank.sum()} of {len(images.blank)} channels of dirtyimage='{images.path}' have no data and "
                "are left out",
                "WARN",
                task,
            )
        return ImagesOnDisk((str(images.path), str(images.psf_path)), images.dirty.shape, images.digest)

    def work(self, context: Context) -> Searched:
        """Find the sources, and write them."""
        images, place = self.images, context.workspace.unfinished
        found, cube, residual = sources_and_noise(
            images.dirty,
            images.psf,
            images.blank,
            images.beam,
            images.axes,
            networks_of(self.values["weights"]),
            "deepfocus",
        )
        template = context.workspace.directory / "template"
        ordered_copy(images.path, template)
        model = model_cube(found)
        write_cube(place("model"), model, template, "Jy/pixel")
        write_cube(place("residual"), residual, template, "Jy/beam")
        write_cube(place("image"), restored(model, residual, cube.beam), template, "Jy/beam")
        for extension in ("residual", "image"):
            set_beam(place(extension), images.beam)
        write_source_images(place, template, found, cube)
        table = catalogue(found, images.axes, cube.noise, images.response)
        write_catalogue(place, table)
        return Searched(FoundInImage(found, table, images.axes), None)

    def conclude(self, context: Context, work: Searched) -> TaskResult:
        """Return the sources and the report's sections."""
        plane, channels = work.sources.found.integrated, work.sources.catalogue.channels
        blank = int(np.sum(np.isnan(channels["noise"])))
        summary = {
            "dirty image": str(self.values["dirtyimage"]),
            "channels": f"{len(channels)}" + (f", {blank} of them without data" if blank else ""),
            "noise": f"{quantity(float(np.nanmedian(channels['noise'])), 'Jy/beam')} a channel, "
            f"{quantity(plane.noise, 'Jy/beam')} of all together",
        }
        numbers = {"image_noise": float(np.nanmedian(channels["noise"]))}
        result = TaskResult(StopCode.NOT_IMAGED, numbers=numbers, summary=summary)
        return with_sources(result, work.sources, self.truth, context.workspace)
