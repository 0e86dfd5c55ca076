"""A checkpoint on disk: what `restart=True` takes up after a killed run."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from casa_ml_tasks.engine.protocols import MinorState, StateSchema
from casa_ml_tasks.engine.solver import CycleRecord, Progress

_LATENT = "latent/"  # before the names of the minor cycle's own arrays
#: Is raised by one whenever what the engine itself stores changes its meaning. What a minor cycle stores has a version
#: of its own in its `StateSchema`.
FORMAT = 5


class FileCheckpoint:
    """One file, replaced atomically: a killed process leaves the last one or the one before, never half of one.

    Attributes:
        refusal: why `load` has not taken up a checkpoint that is there; ends a sentence about its run.
    """

    def __init__(
        self,
        path: str | Path,
        parameters: Mapping[str, object],
        data: Mapping[str, object] | None = None,
        schemas: Sequence[StateSchema] = (),
    ):
        """A checkpoint of other parameters, of other data or of another version of a schema is not taken up.

        Args:
            path: of the file.
            parameters: of the call.
            data: what tells the visibilities that are read from any others.
            schemas: of the minor cycles whose states are saved.
        """
        self._path = Path(path)
        self._parameters = json.dumps(dict(parameters), sort_keys=True, default=str)
        self._data = json.dumps(dict(data or {}), sort_keys=True, default=str)
        self._schemas = {schema.name: schema.version for schema in schemas}
        self.refusal = ""

    def save(self, progress: Progress) -> None:
        """Write the progress beside the last checkpoint, then put it in its place."""
        images = {
            "model": progress.model,
            "residual": progress.residual,
            "dirty": progress.dirty,
            "last_model": progress.last_model,
            "last_residual": progress.last_residual,
            "predicted_residual": progress.state.predicted_residual,
            **{_LATENT + name: array for name, array in progress.state.latent.items()},
        }
        numbers = {
            "format": FORMAT,
            "schemas": self._schemas,
            "parameters": self._parameters,
            "data": self._data,
            "iterations": progress.state.iterations,
            "unfinished": progress.state.unfinished,
            "records": [asdict(record) for record in progress.records],
            "calibration": progress.calibration,
        }
        unfinished = self._path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            present = {name: image for name, image in images.items() if image is not None}
            np.savez(file, allow_pickle=False, numbers=np.array(json.dumps(numbers)), **present)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self._path)

    def load(self) -> Progress | None:
        """The progress of an interrupted run with the same parameters, data and versions, or None."""
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                numbers = json.loads(str(stored["numbers"]))
                self.refusal = self._refusal(numbers)
                if self.refusal:
                    return None
                image = {name: stored[name] for name in stored.files if name != "numbers"}
        except (FileNotFoundError, zipfile.BadZipFile):
            return None
        return Progress(
            model=image["model"],
            residual=image.get("residual"),
            dirty=image.get("dirty"),
            last_model=image.get("last_model"),
            last_residual=image.get("last_residual"),
            state=MinorState(
                numbers["iterations"],
                image.get("predicted_residual"),
                latent={name.removeprefix(_LATENT): image[name] for name in image if name.startswith(_LATENT)},
                unfinished=numbers["unfinished"],
            ),
            records=tuple(CycleRecord(**record) for record in numbers["records"]),
            calibration=numbers["calibration"],
        )

    def _refusal(self, numbers: Mapping[str, object]) -> str:
        if numbers.get("format") != FORMAT or numbers["schemas"] != self._schemas:
            return "is of another version"
        if numbers["parameters"] != self._parameters:
            return "had other parameters"
        return "" if numbers["data"] == self._data else "had read other data"
