"""Where a run writes: the unfinished in one folder, products under their own names only when they are done."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any

from casa_ml_tasks.casa_compat import write_task_history
from casa_ml_tasks.data.casa_image import can_be_opened
from casa_ml_tasks.version import version_and_commit


@dataclass(frozen=True)
class Product:
    """Something that a task leaves as `imagename.extension`.

    Attributes:
        extension: behind the name that all products share, for instance 'image.pbcor'.
        is_image: whether it is a CASA image, which gets the history of the call; or else a table, a text or a folder.
        is_rewritten: whether it is an image that is written after the first checkpoint, so that a killed run may leave
            half of it.
    """

    extension: str
    is_image: bool = True
    is_rewritten: bool = False


#: Extensions of images of which every Taylor term has its own.
OF_TERMS = ("model", "residual", "psf", "pb", "weight", "sumwt", "image", "uncertainty", "samples")
_TERM = re.compile(r"\.tt\d+")


def product_path(imagename: str | Path, extension: str, term: int | None = None) -> Path:
    """imagename.image.pbcor for the extension 'image.pbcor', or imagename.image.tt0.pbcor of a Taylor term."""
    path, (kind, *more) = Path(imagename), extension.split(".")
    of_term = [] if term is None or kind not in OF_TERMS else [f"tt{term}"]
    return path.with_name(".".join([path.name, kind, *of_term, *more]))


def product_paths(imagename: str | Path, extension: str, terms: int) -> list[Path]:
    """The one image, or those of n Taylor terms: 2 n - 1 PSFs and sums of weights, one primary beam, n others."""
    if not terms:
        return [product_path(imagename, extension)]
    count = {"psf": 2 * terms - 1, "sumwt": 2 * terms - 1, "pb": 1}.get(extension, terms)
    return [product_path(imagename, extension, term) for term in range(count)]


class Workspace:
    """The folder `imagename.work` of a run that is not finished.

    A killed run leaves this folder and no product that looks finished. The next run with `restart=True` and the same
    parameters goes on in it; any other run begins with an empty one.
    """

    def __init__(
        self, imagename: str | Path, products: Sequence[Product], terms: int = 0, outliers: Sequence[str] = ()
    ):
        """Say where everything is; nothing is written.

        Args:
            imagename: the name that all products begin with.
            products: what this task may leave, in the order of its list of products, and what other tasks may have left
                under the same name, which goes when the new products come.
            terms: Taylor terms with their own images.
            outliers: imagenames of outlier fields, which share the folder.
        """
        self.imagename = Path(imagename)
        self.terms = terms
        self.directory = self.imagename.with_name(f"{self.imagename.name}.work")
        self.checkpoint = self.directory / "checkpoint.npz"
        self.outliers = [Workspace(name, products, terms) for name in outliers]
        for number, outlier in enumerate(self.outliers, 1):
            outlier.directory = self.directory / f"outlier{number}"
        self._known = products

    def begin(self, resume: bool) -> None:
        """Keep what an interrupted run left, but for images that it was writing, or make an empty folder."""
        if not resume:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir()
        for outlier in self.outliers:
            outlier.begin(resume and outlier.directory.exists())
        for product, image in _existing(self.directory / "image", self._known).values():
            if product.is_rewritten and not can_be_opened(image):
                shutil.rmtree(image)

    def product(self, extension: str, term: int = 0) -> Path:
        """The finished product's path, for instance of 'image'; of a Taylor term, where there are any."""
        return product_path(self.imagename, extension, term if self.terms else None)

    def unfinished(self, extension: str) -> Path:
        """The path of a product until it is published."""
        return product_path(self.directory / "image", extension)

    def publish(self, task: str, parameters: Mapping[str, Any], casalog: Any) -> list[str]:
        """Write the history into the images, move all products to their final names, and remove the folder.

        Args:
            task, parameters: of the history.
            casalog: told what happens.

        Returns:
            The paths of the products, those of outlier fields last.
        """
        outliers = [outlier.publish(task, parameters, casalog) for outlier in self.outliers]
        made = _existing(self.directory / "image", self._known)
        images = [str(path) for product, path in made.values() if product.is_image]
        write_task_history(images, task, [("casa_ml_tasks", version_and_commit()), *parameters.items()], casalog)
        for _, old in _existing(self.imagename, self._known).values():
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        products = {extension: self.imagename.with_name(f"{self.imagename.name}.{extension}") for extension in made}
        for extension, (_, source) in made.items():
            os.replace(source, products[extension])
        shutil.rmtree(self.directory)
        return [str(path) for path in products.values()] + list(chain.from_iterable(outliers))


def unused_imagenames(imagenames: Sequence[str], products: Sequence[Product]) -> list[str]:
    """tclean's `restart=False`: the names, or all with _1, _2, ... if products of one of the names exist.

    Args:
        imagenames: of all images of a call.
        products: what any task may have left under them.
    """
    candidates, number = list(imagenames), 0
    while any(_existing(Path(candidate), products) for candidate in candidates):
        number += 1
        candidates = [f"{imagename}_{number}" for imagename in imagenames]
    return candidates


def _existing(imagename: Path, products: Sequence[Product]) -> dict[str, tuple[Product, Path]]:
    """The products that exist and their paths, by extension, such as 'image.tt0.pbcor', in the order of `products`."""
    beginning = f"{imagename.name}."
    found = {path.name.removeprefix(beginning): path for path in imagename.parent.glob(f"{escape(beginning)}*")}
    kinds = {extension: _TERM.sub("", extension) for extension in sorted(found)}
    return {
        extension: (product, found[extension])
        for product in products
        for extension, kind in kinds.items()
        if kind == product.extension
    }
