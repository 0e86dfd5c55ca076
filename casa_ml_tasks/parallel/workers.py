"""Parts of the data on workers: each stays with the worker that has read it, and is read again where that one ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

from casatasks import casalog
from distributed import Client, Future, KilledWorker, wait

from casa_ml_tasks.parallel.arguments import ByChannel, ByPart
from casa_ml_tasks.parallel.part import (
    Density,
    Errors,
    Factors,
    Part,
    PartIsLost,
    Reading,
    added,
    count_part,
    forget_parts,
    joined,
    read_again,
    read_part,
)

MOST_LOSSES = 5  # of parts in one step: then the machine is at fault, not chance
PATIENCE = 120.0  # seconds for a new worker to come where none is left
LOOK = 5.0  # seconds between looks at scheduler and workers
SENT_APART = 1 << 20  # bytes; a larger argument travels once to each worker, and not with each task

Task = Callable[..., Any]


class PartsOnWorkers:
    """Does the same with every part of the data, each on the worker that holds it.

    Attributes:
        errors: of calibration that the parts are weighted with now.
        factors: that their data are over, from the next `count` on.
        density: of their weights; None where each part has its own, or none.
    """

    def __init__(self, client: Client, parts: Sequence[Part]):
        """Read all parts, one after the other on each worker.

        Args:
            client: of the workers.
            parts: of the data.
        """
        self._client, self._parts = client, parts
        self._place: dict[int, str] = {}
        self.errors: Errors = None
        self.factors: Factors = {}
        self.density: Density | None = None
        workers = present_workers(self._client)
        for number in range(len(parts)):
            self._place[number] = workers[number % len(workers)]
        try:
            readings: list[Reading] = self.gathered(read_part)
        except BaseException:
            self.forget()
            raise
        self._place = {number: reading.worker for number, reading in enumerate(readings)}
        self.size = sum(each.size for each in readings)
        self.beyond = sum(each.beyond for each in readings)

    @property
    def channels(self) -> list[slice] | None:
        """The channels of each part; None where parts have rows of all channels, and their answers add."""
        channels = [part.channels for part in self._parts]
        return channels if any(channels[0] != other for other in channels) else None

    def count(self, errors: Errors, together: bool) -> None:
        """Weigh all parts with errors of calibration from now on.

        Args:
            errors: of calibration that the natural weights count.
            together: whether the imaging weights of a part need the density of those of others.
        """
        self.errors = errors
        if together:
            self.density = self.total(count_part, errors, self.factors)
        else:
            self.gathered(count_part, errors, self.factors)

    def answer(self, task: Task, *arguments: Any) -> Any:
        """Return what a task makes of all parts together, an image or other numbers by channel."""
        return self.total(task, *arguments) if self.channels is None else joined(self.gathered(task, *arguments))

    def gathered(self, task: Task, *arguments: Any) -> list[Any]:
        """Return what a task makes of each part. arguments: of the task after the part."""
        return self._with_patience(lambda: self._client.gather(self._finished(task, arguments)))

    def total(self, task: Task, *arguments: Any) -> Any:
        """Return the sum of what a task makes of the parts, which workers add pairwise."""

        def summed() -> Any:
            futures = self._finished(task, arguments)
            while len(futures) > 1:
                pairs = [futures[k : k + 2] for k in range(0, len(futures), 2)]
                futures = [self._client.submit(added, *pair, pure=False) if pair[1:] else pair[0] for pair in pairs]
            self._wait(futures)
            return futures[0].result()

        return self._with_patience(summed)

    def spread(self, task: Task, shared: Any, own: Sequence[Any]) -> list[Any]:
        """Return what a task that needs no part makes of each of some arguments.

        Args:
            task: of two arguments.
            shared: the first one, which is sent to each worker once.
            own: the second ones.
        """

        def made() -> list[Any]:
            workers = present_workers(self._client)[: len(own)]
            (sent,) = self._client.scatter([shared], workers=workers, broadcast=True, hash=False)
            places = [workers[number % len(workers)] for number in range(len(own))]
            futures = [
                self._client.submit(task, sent, each, workers=[place], allow_other_workers=True, pure=False)
                for each, place in zip(own, places, strict=True)
            ]
            self._wait(futures)
            return self._client.gather(futures)

        return self._with_patience(made)

    def forget(self) -> None:
        """Let the workers go of all parts."""
        if self._client.status == "running":
            self._client.run(forget_parts, self._parts[0].run, on_error="ignore")

    def _with_patience(self, step: Callable[[], Any]) -> Any:
        """Return what a step returns, taken again where a worker ends in the midst of it."""
        for _ in range(MOST_LOSSES):
            try:
                return step()
            except (PartIsLost, CancelledError):
                self._check_scheduler()
            except KilledWorker as error:
                raise RuntimeError(
                    f"a task has ended one worker after the other ({error.last_worker.address} was the "
                    "last), most likely for want of memory; give the workers more of it, or use more of them. The same "
                    "call goes on from the last cycle"
                ) from error
        raise self._too_many_losses()

    def _too_many_losses(self) -> RuntimeError:
        return RuntimeError(
            f"workers have ended in {MOST_LOSSES} attempts at one step of a cycle; look at their logs, and give them "
            "more memory or take more of them. The same call goes on from the last cycle"
        )

    def _finished(self, task: Task, arguments: Sequence[Any]) -> list[Future]:
        """Return the finished futures of a task for all parts; lost parts are read again first."""
        futures: dict[int, Future] = {}
        shared = [each if isinstance(each, ByChannel | ByPart) else self._sent(each) for each in arguments]
        for _ in range(MOST_LOSSES):
            due = [number for number in range(len(self._parts)) if number not in futures]
            asked = {number: self._submitted(task, number, shared) for number in due}
            self._wait(asked.values())
            lost = [number for number, future in asked.items() if self._is_lost(future)]
            futures |= {number: future for number, future in asked.items() if number not in lost}
            if not lost:
                return [futures[number] for number in range(len(self._parts))]
            if task is not read_part:
                self._read_again(lost)
        raise self._too_many_losses()

    def _submitted(self, task: Task, number: int, arguments: Sequence[Any]) -> Future:
        place, part = self._place[number], self._parts[number]
        arguments = [self._own(each, number) if isinstance(each, ByChannel | ByPart) else each for each in arguments]
        return self._client.submit(task, part, *arguments, workers=[place], allow_other_workers=True, pure=False)

    def _is_lost(self, future: Future) -> bool:
        """Whether a finished task has met no data. Raises what else has gone wrong on its worker."""
        if future.status == "finished":
            return False
        if future.status != "error":
            return True
        error = future.exception()
        if isinstance(error, PartIsLost):
            return True
        assert error is not None, "its status says so"
        raise error

    def _read_again(self, numbers: Sequence[int]) -> None:
        """Read lost parts again, each on the worker that holds the fewest."""
        workers = present_workers(self._client)
        held = Counter(place for number, place in self._place.items() if number not in numbers)
        for number in numbers:
            self._place[number] = min(workers, key=lambda worker: held[worker])
            held[self._place[number]] += 1
        names = ", ".join(str(number + 1) for number in numbers)
        casalog.post(f"a worker has ended: part {names} of {len(self._parts)} of the data is read again", "WARN")
        shared = [self.errors, self.factors, self._sent(self.density)]
        futures = {number: self._submitted(read_again, number, shared) for number in numbers}
        self._wait(futures.values())
        for number, future in futures.items():
            if not self._is_lost(future):
                self._place[number] = future.result()

    def _own(self, argument: ByChannel | ByPart, number: int) -> Future:
        """Return what a part has of an argument, which is on its worker already."""
        place = self._place[number]
        if isinstance(argument, ByPart) and (number, place) in argument.kept:
            return argument.kept[number, place]
        workers = [place] if place in self._client.nthreads() else None
        (own,) = self._client.scatter([argument.of(self._parts[number])], workers=workers, hash=False)
        if isinstance(argument, ByPart):
            argument.kept[number, place] = own
        return own

    def _sent(self, argument: Any) -> Any:
        """Return an argument of tasks, which is on all workers already where it is large."""
        if getattr(argument, "nbytes", -1) < SENT_APART:
            return argument
        return self._client.scatter(argument, broadcast=True, hash=False)

    def _wait(self, futures: Any) -> None:
        """Wait for the end of tasks, as long as there is somebody to do them."""
        since = time.monotonic()
        while True:
            try:
                wait(list(futures), timeout=LOOK)
            except TimeoutError:
                self._check_scheduler()
                if self._client.nthreads():
                    since = time.monotonic()
                if time.monotonic() - since > PATIENCE:
                    raise RuntimeError(
                        f"no worker is left, and none has come in {PATIENCE:.0f} s; start some and give the same call, "
                        "which goes on from the last cycle"
                    ) from None
            else:
                return

    def _check_scheduler(self) -> None:
        if self._client.status != "running":
            raise RuntimeError(
                "the scheduler of the workers does not answer any more; give the same call with another one, and it "
                "goes on from the last cycle"
            )


def present_workers(client: Client) -> list[str]:
    """Return the addresses of the workers that are there; waits for one where there is none.

    Raises:
        RuntimeError: none comes.
    """
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise RuntimeError(
            f"there is no worker, and none has come in {PATIENCE:.0f} s; look at the jobs of the cluster"
        ) from None
    return sorted(client.nthreads())
