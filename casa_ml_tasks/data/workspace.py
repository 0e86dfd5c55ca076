"""Where a run writes: the unfinished in one folder, products under their own names only when they are done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casa_ml_tasks.casa_compat import write_task_history
from casa_ml_tasks.data.casa_image import can_be_opened

REWRITTEN = ("model", "residual", "mask", "image", "image.pbcor")  # after the first checkpoint
PRODUCTS = ("model", "residual", "psf", "pb", "weight", "sumwt", "mask", "image", "image.pbcor")


class Workspace:
    """The folder `imagename.work` of a run that is not finished.

    A killed run leaves this folder and no product that looks finished. The next run with `restart=True` and the same
    parameters goes on in it; any other run begins with an empty one.
    """

    def __init__(self, imagename: str | Path):
        self.imagename = Path(imagename)
        self.directory = self.imagename.with_name(f"{self.imagename.name}.work")
        self.checkpoint = self.directory / "checkpoint.npz"

    def begin(self, resume: bool) -> None:
        """Keep what an interrupted run left, but for images that it was writing, or make an empty folder."""
        if not resume:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir()
            return
        for extension in REWRITTEN:
            image = self.directory / f"image.{extension}"
            if image.exists() and not can_be_opened(image):
                shutil.rmtree(image)

    def product(self, extension: str) -> Path:
        """The finished product's path, for instance of 'image'."""
        return self.imagename.with_name(f"{self.imagename.name}.{extension}")

    def publish(self, images: Path, task: str, parameters: Mapping[str, Any], casalog: Any) -> list[str]:
        """Write the history into the images, move them to their final names, and remove the folder.

        Args:
            images: name of the unfinished images, without extension.
            casalog: told what happens.

        Returns:
            The paths of the products.
        """
        made = [extension for extension in PRODUCTS if images.with_name(f"{images.name}.{extension}").exists()]
        sources = {extension: images.with_name(f"{images.name}.{extension}") for extension in made}
        write_task_history([str(path) for path in sources.values()], task, list(parameters.items()), casalog)
        for extension in PRODUCTS:
            shutil.rmtree(self.product(extension), ignore_errors=True)
        for extension, source in sources.items():
            os.replace(source, self.product(extension))
        shutil.rmtree(self.directory)
        return [str(self.product(extension)) for extension in made]


def unused_imagename(imagename: str) -> str:
    """tclean's `restart=False`: imagename, or imagename_1, imagename_2, ... if products of that name exist."""

    def taken(name: str) -> bool:
        return any(Path(f"{name}.{extension}").exists() for extension in PRODUCTS)

    candidate, number = imagename, 0
    while taken(candidate):
        number += 1
        candidate = f"{imagename}_{number}"
    return candidate
