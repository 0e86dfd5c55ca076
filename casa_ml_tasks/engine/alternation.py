"""Images and data in turn: after each image, what is believed of the visibilities is fitted to it, until both agree.

An image is solved for with the visibilities as they are believed to be: their weights, and corrections of their values.
`DataStep`s then fit those beliefs to the image. Where one of them changes the visibilities, the image is solved for
again, beginning with the model of the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from enum import Enum
from typing import Any, Protocol

from casa_ml_tasks.engine.exit_criteria import ExitCriteria, Outcome, StopCode
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.engine.solver import Progress

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

    def as_numbers(self) -> Mapping[str, Any]:
        """Return what has been found as plain numbers for a checkpoint; empty where the model alone tells it again."""
        ...


#: Solves for one image: from where it begins, and from how the rounds before ended, to how it ended.
SolveRound = Callable[[Progress, Sequence[Progress]], Progress]


def alternate(
    solve_round: SolveRound, steps: Sequence[DataStep], start: Progress, most_rounds: int = MOST_ROUNDS
) -> tuple[Progress, ...]:
    """Solve for the image and ask the data steps, until all of them have settled.

    The steps are asked in their order, and none after one that has changed the visibilities: it would compare them with
    an image that was made of others. So what can be corrected comes before what is only noise.

    Args:
        solve_round: solves for the image with the visibilities as they are believed to be by now.
        steps: in the order in which they are asked.
        start: where the first round begins.
        most_rounds: the end, settled or not.

    Returns:
        How each round ended.
    """
    rounds: list[Progress] = []
    while len(rounds) < most_rounds:
        rounds.append(solve_round(start, rounds))
        settled = all(step.fit(rounds[-1]) is Verdict.SETTLED for step in steps)
        found = {step.name: numbers for step in steps if (numbers := step.as_numbers())}
        rounds[-1] = replace(rounds[-1], calibration=found or None)
        if settled:
            break
        start = same_model_for_other_data(rounds[-1])
    return tuple(rounds)


def same_model_for_other_data(progress: Progress) -> Progress:
    """Return the model to begin with where the visibilities have changed, without all that was computed from them.

    The number of minor iterations and the minor cycle's own arrays stay.
    """
    state = MinorState(progress.state.iterations, latent=progress.state.latent)
    return Progress(progress.model, state=state, calibration=progress.calibration)


class LaterRoundCriteria(ExitCriteria):
    """Exit criteria of a round that begins with a model of other weights: its first residual tells no divergence."""

    def stop(self, iterations: int, cycles: int, outcomes: Sequence[Outcome]) -> StopCode:
        """Return the reason to stop now as `ExitCriteria` does, without the first of the outcomes."""
        return super().stop(iterations, cycles, outcomes[1:] or outcomes)


def criteria_of_round(criteria: ExitCriteria, earlier: Sequence[Progress]) -> ExitCriteria:
    """Return the criteria of the next round: the major cycles of the earlier ones are subtracted from `nmajor`."""
    if not earlier:
        return criteria
    done = sum(len(each.records) for each in earlier)
    nmajor = criteria.nmajor if criteria.nmajor < 0 else max(criteria.nmajor - done, 0)
    return LaterRoundCriteria(**{**asdict(criteria), "nmajor": nmajor})


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
