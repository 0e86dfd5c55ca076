"""tclean's own minor cycles (hogbom, clark, multiscale, ...) behind our protocol: the reference to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casatools import iterbotsink, synthesisdeconvolver

from casa_ml_tasks.data.casa_image import read_image, write_image
from casa_ml_tasks.engine.protocols import Image, MinorState

#: The images that casatools' deconvolver reads beside the residual.
_COMPANIONS = ("psf", "pb", "sumwt", "residual")


class CasaDeconvolver:
    """Runs casatools' deconvolver on copies of the images in a folder of its own, so that it is pure from outside."""

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
        shutil.rmtree(directory, ignore_errors=True)

    def _copy_images(self) -> None:
        self._name.parent.mkdir()
        for extension in _COMPANIONS:
            shutil.copytree(f"{self._images}.{extension}", f"{self._name}.{extension}")

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One minor cycle. residual: Jy/beam, model: Jy/pixel, (1, 1, ny, nx) both."""
        if not self._name.parent.exists():
            self._copy_images()
        write_image(f"{self._name}.residual", residual, f"{self._name}.residual", "Jy/beam")
        write_image(f"{self._name}.model", model, f"{self._name}.residual", "Jy/pixel")
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
        return read_image(f"{self._name}.model"), MinorState(state.iterations + int(done), converged=done == 0)
