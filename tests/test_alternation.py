"""Images and data in turn, with an image of one pixel and one number that is believed of the data."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from casa_ml_tasks.engine.alternation import Alternation, Verdict, with_all_records
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.engine.solver import CycleRecord, Progress

FLUX, GAIN = 2.0, 1.3  # of the sky, Jy, and of the second of two antennas
DATA = FLUX * np.array([1.0, GAIN])
EMPTY = Progress(np.zeros((1, 1, 1, 1)))


class Observation:
    """Two samples of a one-pixel sky, and the gain that the second is believed to have."""

    def __init__(self):
        self.gain = 1.0
        self.starts = []

    def alternate(self, steps, start=EMPTY, **bound):
        """An image in each round until the steps have settled."""
        rounds = Alternation(steps, start, **bound)
        while not rounds.settled:
            rounds.finish_round(self.image(rounds.start))
        return rounds

    def image(self, start):
        """The pixel that explains the corrected data best."""
        self.starts.append(start)
        flux = np.mean(DATA / [1.0, self.gain])
        record = CycleRecord(0, 5, [[0.0]], 0.0, 0.0, flux, 0.0, 1.0)
        return Progress(
            np.full((1, 1, 1, 1), flux), state=MinorState(5 + start.state.iterations), records=(record,) * 2
        )


class FitGain:
    """The gain by least squares, with that of the first sample as reference."""

    name = "gain"

    def __init__(self, observation, tolerance=1e-9):
        self.observation, self.tolerance = observation, tolerance

    def fit(self, progress):
        flux, before = progress.model.item(), self.observation.gain
        self.observation.gain = DATA[1] / flux / (DATA[0] / flux)
        return Verdict.SETTLED if abs(self.observation.gain / before - 1) < self.tolerance else Verdict.CHANGED

    def as_numbers(self):
        return {"gain": self.observation.gain}


class DampedGain(FitGain):
    """Half of the way to what the image says of the second sample alone."""

    def fit(self, progress):
        before = self.observation.gain
        self.observation.gain = (before + DATA[1] / progress.model.item()) / 2
        return Verdict.SETTLED if abs(self.observation.gain / before - 1) < self.tolerance else Verdict.CHANGED


def recorder(verdicts):
    """A step that gives these verdicts in turn, and the models that it was shown."""
    shown, verdicts = [], list(verdicts)

    def fit(progress):
        shown.append(progress.model.item())
        return verdicts.pop(0)

    return SimpleNamespace(name="recorder", fit=fit, as_numbers=dict), shown


def test_a_gain_and_a_pixel_that_are_fitted_in_turn_are_those_of_the_truth():
    observation = Observation()
    rounds = observation.alternate([FitGain(observation)]).rounds
    assert observation.gain == pytest.approx(GAIN)
    assert rounds[-1].model.item() == pytest.approx(FLUX)
    assert len(rounds) == 2  # the first with the wrong gain, the second settles
    assert rounds[-1].calibration == {"gain": {"gain": pytest.approx(GAIN)}}


def test_what_it_settles_at_agrees_with_itself():
    """A gain that follows the image with its own degeneracy still ends where image and gain explain all data."""
    observation = Observation()
    rounds = observation.alternate([DampedGain(observation, 1e-3)]).rounds
    np.testing.assert_allclose(rounds[-1].model.item() * np.array([1.0, observation.gain]), DATA, rtol=0.02)


def test_without_data_steps_one_image_is_all():
    assert len(Observation().alternate([]).rounds) == 1


def test_rounds_are_bounded():
    restless, shown = recorder([Verdict.CHANGED] * 4)
    assert len(Observation().alternate([restless], most_rounds=4).rounds) == len(shown) == 4


def test_a_round_that_was_interrupted_is_not_the_last():
    observation, (content, shown) = Observation(), recorder([Verdict.SETTLED] * 2)
    rounds = Alternation([content], EMPTY)
    rounds.finish_round(replace(observation.image(rounds.start), stop=StopCode.INTERRUPTED))
    assert not rounds.settled
    rounds.finish_round(observation.image(rounds.start))
    assert rounds.settled
    assert len(shown) == 2


def test_a_step_is_not_shown_an_image_of_visibilities_that_another_has_changed():
    observation = Observation()
    later, shown = recorder([Verdict.SETTLED])
    observation.alternate([FitGain(observation), later])
    assert shown == [pytest.approx(FLUX)]


def test_each_round_begins_with_the_model_of_the_last_and_nothing_that_was_computed_from_other_data():
    observation = Observation()
    first, _ = observation.alternate([FitGain(observation)]).rounds
    start = observation.starts[1]
    assert start.model is first.model
    assert start.state.iterations == first.state.iterations
    assert start.residual is start.dirty is start.last_model is None
    assert start.records == ()


def test_sketches_before_an_inference_are_rounds_of_the_same_run():
    observation = Observation()
    sketches = observation.alternate([FitGain(observation)])
    rounds = observation.alternate([FitGain(observation)], sketches.start)
    whole = with_all_records((*sketches.rounds, *rounds.rounds))
    assert [record.cycle for record in whole.records] == [0, 0, 2, 3, 4, 5]
    assert whole.records[-1].seconds == 3.0
    assert len(rounds.rounds) == 1  # the sketches have found the gain
    assert rounds.rounds[0].state.iterations == 15
