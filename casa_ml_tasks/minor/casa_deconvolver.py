"""tclean's own minor cycles (hogbom, clark, multiscale, ...) behind our protocol: the reference to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from casatools import iterbotsink, synthesisdeconvolver

from casa_ml_tasks.data.casa_image import read_images, write_image
from casa_ml_tasks.data.workspace import product_paths
from casa_ml_tasks.engine.protocols import Image, MinorState, StateSchema

#: The images that casatools' deconvolver reads beside the residual.
_COMPANIONS = ("psf", "pb", "sumwt", "residual")


class CasaDeconvolver:
    """Runs casatools' deconvolver on copies of the images in a folder of its own, so that it is pure from outside."""

    schema = StateSchema("clean", 1)

    def __init__(
        self, images: str | Path, directory: str | Path, deconvolution: Mapping[str, Any], iteration: Mapping[str, Any]
    ):
        """Say where the images are; the first update copies them.

        Args:
            images: name of the CASA images of the dirty sky, without extension.
            directory: folder for the copies; an old one is removed.
            deconvolution, iteration: parameters of `synthesisdeconvolver` and `iterbotsink`, as tclean sets them.
        """
        self._images = images
        self._name = Path(directory) / "image"
        self._deconvolution = {**deconvolution, "imagename": str(self._name), "startmodel": ""}
        self._iteration = dict(iteration)
        self._terms = int(deconvolution["nterms"]) if deconvolution["deconvolver"] == "mtmfs" else 0
        shutil.rmtree(directory, ignore_errors=True)

    def _copy_images(self) -> None:
        self._name.parent.mkdir()
        for extension in _COMPANIONS:
            copies = product_paths(self._name, extension, self._terms)
            for image, copy in zip(product_paths(self._images, extension, self._terms), copies, strict=True):
                shutil.copytree(image, copy)

    def _write(self, extension: str, images: Image, unit: str) -> None:
        paths = product_paths(self._name, extension, self._terms)
        for path, part in zip(paths, np.split(images, len(paths)), strict=True):
            write_image(path, part, product_paths(self._name, "residual", self._terms)[0], unit)

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One minor cycle. residual: Jy/beam, model: Jy/pixel, (channel or term, stokes, ny, nx) both."""
        if not self._name.parent.exists():
            self._copy_images()
        self._write("residual", residual, "Jy/beam")
        self._write("model", model, "Jy/pixel")
        deconvolver, control = synthesisdeconvolver(), iterbotsink()
        try:
            deconvolver.setupdeconvolution(decpars=self._deconvolution)
            left = self._iteration["niter"] - state.iterations
            control.setupiteration(iterpars={**self._iteration, "niter": left})
            deconvolver.initminorcycle()
            deconvolver.setupmask()
            control.resetminorcycleinfo()
            control.mergeinitrecord(deconvolver.initminorcycle(), 0)
            if control.cleanComplete() > 0:
                return model, MinorState(state.iterations, converged=True)
            done = deconvolver.executeminorcycle(iterbotrecord=control.getminorcyclecontrols())["iterdone"]
        finally:
            deconvolver.done()
            control.done()
        found = read_images(product_paths(self._name, "model", self._terms))
        return found, MinorState(state.iterations + int(done), converged=done == 0)
