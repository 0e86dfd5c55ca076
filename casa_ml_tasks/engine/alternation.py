"""Images and data in turn: after each image, what is believed of the visibilities is fitted to it, until both agree.

An image is solved for with the visibilities as they are believed to be: their weights, and corrections of their values.
`DataStep`s then fit those beliefs to the image. Where one of them changes the visibilities, the image is solved for
again, beginning with the model of the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from enum import Enum
from typing import Protocol

from casa_ml_tasks.engine.exit_criteria import ExitCriteria, Outcome, StopCode
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.engine.solver import Numbers, Progress

MOST_ROUNDS = 20  # a data step may stop earlier by its own rule; this ends those that have none


class Verdict(Enum):
    """What became of the visibilities in a data step."""

    CHANGED = "changed"
    SETTLED = "settled"


class DataStep(Protocol):
    """Fits a part of what is believed of the visibilities to an image: noise, weights, gains.

    Attributes:
        name: under which a checkpoint keeps what it has found.
    """

    name: str

    def fit(self, progress: Progress) -> Verdict:
        """Fit to the image of a finished round; the major cycle images with the result from then on.

        Args:
            progress: how the round ended, with the records of this round alone.

        Returns:
            CHANGED where the image has to be solved for again.
        """
        ...

    def interrupts(self, progress: Progress) -> bool:
        """Return whether a round should end here, unfinished, because more minor cycles would fit what is no sky."""
        ...

    def as_numbers(self) -> Numbers:
        """Return what has been found as plain numbers for a checkpoint; empty where the model alone tells it again."""
        ...


class Alternation:
    """Rounds of an image and of the data steps that are asked after it, until all of them have settled.

    The steps are asked in their order, and none after one that has changed the visibilities: it would compare them with
    an image that was made of others. So what can be corrected comes before what is only noise.

    Attributes:
        start: where the next round begins.
        rounds: how each round has ended.
        settled: whether no step has changed anything since the last image, or there are enough rounds.
    """

    def __init__(self, steps: Sequence[DataStep], start: Progress, most_rounds: int = MOST_ROUNDS):
        """Begin with the first round.

        Args:
            steps: in the order in which they are asked.
            start: where the first round begins.
            most_rounds: the end, whatever the steps say.
        """
        self.start, self.settled = start, False
        self._first = start
        self.rounds: list[Progress] = []
        self._steps, self._most_rounds = steps, most_rounds

    def finish_round(self, progress: Progress) -> None:
        """Ask the steps about the image that the round has ended with."""
        agree = all(step.fit(progress) is Verdict.SETTLED for step in self._steps)
        found = {step.name: numbers for step in self._steps if (numbers := step.as_numbers())}
        self.rounds.append(replace(progress, calibration=found or None))
        self.start = same_model_for_other_data(self.rounds[-1])
        if progress.stop is StopCode.INTERRUPTED:  # its model has what is no sky
            self.start = replace(self.start, model=self._first.model, state=MinorState(progress.state.iterations))
        agree = agree and progress.stop is not StopCode.INTERRUPTED
        self.settled = agree or len(self.rounds) >= self._most_rounds

    def interrupts(self, progress: Progress) -> bool:
        """Return whether one of the steps wants to be asked before the round has ended."""
        return any(step.interrupts(progress) for step in self._steps)

    def criteria_of_round(self, criteria: ExitCriteria) -> ExitCriteria:
        """Return the criteria of the next round: the major cycles of those before are subtracted from `nmajor`."""
        if not self.rounds:
            return criteria
        done = sum(len(each.records) for each in self.rounds)
        nmajor = criteria.nmajor if criteria.nmajor < 0 else max(criteria.nmajor - done, 0)
        return LaterRoundCriteria(**{**asdict(criteria), "nmajor": nmajor})


def same_model_for_other_data(progress: Progress) -> Progress:
    """Return the model to begin with where the visibilities have changed, without all that was computed from them.

    The number of minor iterations and the minor cycle's own arrays stay.
    """
    state = MinorState(progress.state.iterations, latent=progress.state.latent)
    return Progress(progress.model, state=state, calibration=progress.calibration)


class LaterRoundCriteria(ExitCriteria):
    """Exit criteria of a round whose first model was found with other weights: its residual tells no divergence."""

    def stop(self, iterations: int, cycles: int, outcomes: Sequence[Outcome]) -> StopCode:
        """Return the reason to stop now as `ExitCriteria` does, without the first of the outcomes.

        The first counts only where the residual stays above the noise: no later cycle has lowered it then.
        """
        stop = super().stop(iterations, cycles, outcomes[1:] or outcomes)
        stuck = stop is StopCode.NONE and self.exceeds_noise_for_good(outcomes)
        return StopCode.NO_CHANGE if stuck else stop


def with_all_records(rounds: Sequence[Progress]) -> Progress:
    """Return how the last round ended, with the records of all rounds as those of one run."""
    records = list(rounds[0].records)
    for each in rounds[1:]:
        count, seconds = len(records), records[-1].seconds
        records += [
            replace(record, cycle=count + number, seconds=seconds + record.seconds)
            for number, record in enumerate(each.records)
        ]
    return replace(rounds[-1], records=tuple(records))
