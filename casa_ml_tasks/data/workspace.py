"""Where a run writes: the unfinished in one folder, products under their own names only when they are done."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any

from casa_ml_tasks.casa_compat import write_task_history
from casa_ml_tasks.data.casa_image import can_be_opened
from casa_ml_tasks.version import version_and_commit

#: Of a sky with components, images of each.
COMPONENTS = tuple(
    f"{name}{kind}"
    for name in ("points", "emission", "absorption", "line", "continuum")
    for kind in ("", ".uncertainty")
)
#: Images that are written after the first checkpoint.
REWRITTEN = ("model", "uncertainty", "samples", *COMPONENTS, "residual", "mask", "image", "image.pbcor")
PRODUCTS = (
    *("model", "uncertainty", "samples", *COMPONENTS, "residual", "psf", "pb", "weight", "sumwt", "mask"),
    *("image", "image.pbcor"),
    *("alpha", "alpha.error", "beta"),  # of the spectrum, from Taylor terms
    *("powerspectrum", "noise"),  # tables of text
)
#: One for every Taylor term.
OF_TERMS = ("model", "residual", "psf", "pb", "weight", "sumwt", "image", "uncertainty", "samples")
_TERM = re.compile(r"\.tt\d+")


def taylor_terms(parameters: Mapping[str, Any]) -> int:
    """Taylor terms of the spectrum with their own images: `nterms` with deconvolver='mtmfs', else 0."""
    return int(parameters["nterms"]) if parameters["deconvolver"] == "mtmfs" else 0


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

    def __init__(self, imagename: str | Path, terms: int = 0, outliers: Sequence[str] = ()):
        """terms: Taylor terms with their own images; outliers: imagenames of outlier fields, which share the folder."""
        self.imagename = Path(imagename)
        self.terms = terms
        self.directory = self.imagename.with_name(f"{self.imagename.name}.work")
        self.checkpoint = self.directory / "checkpoint.npz"
        self.outliers = [Workspace(name, terms) for name in outliers]
        for number, outlier in enumerate(self.outliers, 1):
            outlier.directory = self.directory / f"outlier{number}"

    def begin(self, resume: bool) -> None:
        """Keep what an interrupted run left, but for images that it was writing, or make an empty folder."""
        if not resume:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir()
        for outlier in self.outliers:
            outlier.begin(resume and outlier.directory.exists())
        for extension, image in _products(self.directory / "image").items():
            if _TERM.sub("", extension) in REWRITTEN and not can_be_opened(image):
                shutil.rmtree(image)

    def product(self, extension: str, term: int = 0) -> Path:
        """The finished product's path, for instance of 'image'; of a Taylor term, where there are any."""
        return product_path(self.imagename, extension, term if self.terms else None)

    def publish(self, images: Path, task: str, parameters: Mapping[str, Any], casalog: Any) -> list[str]:
        """Write the history into the images, move them to their final names, and remove the folder.

        Args:
            images: name of the unfinished images, without extension.
            casalog: told what happens.

        Returns:
            The paths of the products, those of outlier fields last.
        """
        outliers = [
            outlier.publish(outlier.directory / images.name, task, parameters, casalog) for outlier in self.outliers
        ]
        made = _products(images)
        images_made = [str(path) for path in made.values() if path.is_dir()]
        write_task_history(images_made, task, [("casa_ml_tasks", version_and_commit()), *parameters.items()], casalog)
        for old in _products(self.imagename).values():
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        products = {extension: self.imagename.with_name(f"{self.imagename.name}.{extension}") for extension in made}
        for extension, source in made.items():
            os.replace(source, products[extension])
        shutil.rmtree(self.directory)
        return [str(path) for path in products.values()] + list(chain.from_iterable(outliers))


def unused_imagenames(imagenames: Sequence[str]) -> list[str]:
    """tclean's `restart=False`: the names, or all with _1, _2, ... if products of one of the names exist."""
    candidates, number = list(imagenames), 0
    while any(_products(Path(candidate)) for candidate in candidates):
        number += 1
        candidates = [f"{imagename}_{number}" for imagename in imagenames]
    return candidates


def _products(imagename: Path) -> dict[str, Path]:
    """The products that exist, by extension, such as 'image.tt0.pbcor'."""
    beginning = f"{imagename.name}."
    found = {path.name.removeprefix(beginning): path for path in imagename.parent.glob(f"{escape(beginning)}*")}
    kinds = {extension: _TERM.sub("", extension) for extension in found}
    known = sorted((PRODUCTS.index(kind), extension) for extension, kind in kinds.items() if kind in PRODUCTS)
    return {extension: found[extension] for _, extension in known}
