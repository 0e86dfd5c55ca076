"""Our kernels beside their peers, all at the same measured accuracy, taking turns."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.kernel_peers import (
    Errors,
    Factory,
    Problem,
    Program,
    available_peers,
    matched_epsilon,
    ours,
    plan,
    with_plain_loops,
)
from benchmarks.measure import print_table
from benchmarks.stopwatch import Timing, interleaved
from benchmarks.uv_coverage import ALMA, VLA
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.kernels.w_expansion import ExpandedOperator
from casa_ml_tasks.kernels.w_stacking import StackedOperator

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

#: What is asked of each precision.
TOLERANCES: dict[np.dtype, float] = {SINGLE: 1e-4, DOUBLE: 1e-6}

#: Our time over ducc0's, at most; and the plan's time over that of one application.
GOALS: dict[np.dtype, float] = {SINGLE: 0.33, DOUBLE: 0.4}
GOAL_OF_GRADIENT, GOAL_OF_PLAN, GOAL_WITH_W = 0.33, 3.0, 0.5

#: Visibilities and pixels a side; with w, telescope and pixels a side; threads.
CASES, QUICK_CASES = ((1e6, 1024), (1e6, 2048), (5e6, 1024), (5e6, 2048)), ((1e5, 256),)
WIDE_CASES = {"ALMA, 230 GHz": (ALMA, 1024), "VLA B, 350 MHz": (VLA, 2048)}
THREADS = (1, 2)

OURS, PLAIN, DUCC = "casa_ml_tasks", "casa_ml_tasks, plain loops", "ducc0 wgridder"
DIRECTIONS = ("degrid", "grid")

#: By program and what it does.
Times = Mapping[tuple[str, str], Timing]


@dataclass(frozen=True)
class Candidate:
    """A program with its settings, which it is planned with for any number of threads."""

    factory: Factory
    setting: float  # tolerance or epsilon
    errors: Errors

    def program(self, problem: Problem, threads: int) -> Program:
        """Planned."""
        return self.factory(problem, self.setting, threads)


def candidates(problem: Problem, own: Mapping[str, Factory], peers: Mapping[str, Factory]) -> dict[str, Candidate]:
    """Ours with its tolerance, and each peer with the epsilon that gives it the accuracy of our first."""
    tolerance, threads = TOLERANCES[problem.precision], available_cores()
    settings = {name: (factory, tolerance) for name, factory in own.items()}
    reference = ours(problem, tolerance, threads).errors()
    for name, factory in peers.items():
        settings[name] = factory, matched_epsilon(factory, problem, reference.degrid, threads)
    return {
        name: Candidate(factory, setting, factory(problem, setting, threads).errors())
        for name, (factory, setting) in settings.items()
    }


def calls(
    programs: Mapping[str, Program], tasks: Sequence[str] = DIRECTIONS
) -> dict[tuple[str, str], Callable[[], Any]]:
    """Those of the tasks that the programs can do."""
    found = {}
    for name, program in programs.items():
        for task in tasks:
            if (function := getattr(program, task)) is not None:
                found[name, task] = function
    return found


def ratio(times: Times, name: str, task: str) -> float:
    """Our median time over another's."""
    return times[OURS, task].median / times[name, task].median


def cells(name: str, errors: Errors, times: Times) -> list[str]:
    """Errors, best times and ratios of one program."""
    found = [name, f"{errors.degrid:.1e}", f"{errors.grid:.1e}"]
    for direction in DIRECTIONS:
        found += [f"{times[name, direction].best:.4f}", f"{ratio(times, name, direction):.2f}"]
    return found


COLUMNS = ("program", "error of degrid", "of grid", "degrid [s]", "ours / its", "grid [s]", "ours / its")


def print_goals(ratios: Mapping[str, list[float]], goals: Mapping[str, float]) -> None:
    """A list: the largest ratio of each kind, and whether its goal is met."""
    print("\nThe largest ratios of all cases:\n")
    for what, found in ratios.items():
        verdict = "met" if max(found) <= goals[what] else "missed"
        print(f"- {what}: {max(found):.2f} (goal {goals[what]}, {verdict})")


def peers(options: argparse.Namespace) -> None:
    """Print degridding and gridding beside the peers, without w; then the gradient and the plan."""
    cases, threads = (QUICK_CASES, (1,)) if options.quick else (CASES, THREADS)
    available = available_peers()
    ratios, goals = defaultdict(list), {}
    gradients: list[list[str]] = []

    def note(what: str, found: float, goal: float) -> None:
        ratios[what].append(found)
        goals[what] = goal

    def rows() -> Iterator[list[str]]:
        for precision in TOLERANCES:
            for count, size in cases:
                problem = Problem.of(ALMA, count, size, precision)
                found = candidates(problem, {OURS: ours, PLAIN: with_plain_loops}, available)
                for number in threads:
                    yield from case(problem, found, number)

    def case(problem: Problem, found: Mapping[str, Candidate], threads: int) -> Iterator[list[str]]:
        tolerance = TOLERANCES[problem.precision]
        operator = plan(problem, tolerance, threads)
        programs = {name: each.program(problem, threads) for name, each in found.items()}
        every = calls(programs, (*DIRECTIONS, "gradient"))
        every[OURS, "plan"] = partial(plan, problem, tolerance, threads)
        every[OURS, "sort"] = partial(operator.sort, problem.visibilities)
        times = interleaved(every, options.runs)
        common = [
            f"{problem.observation.size / 1e6:.3g}", f"{problem.shape[0]}^2", problem.precision.name, str(threads),
        ]  # fmt: skip
        for name, candidate in found.items():
            yield [*common, *cells(name, candidate.errors, times)]
            if name.startswith("ducc0"):
                for direction in DIRECTIONS:
                    title = f"{direction}, {problem.precision.name}, over {name}"
                    note(title, ratio(times, name, direction), GOALS[problem.precision])
        if DUCC in found:
            note(f"gradient over {DUCC}'s degrid, subtract, grid", ratio(times, DUCC, "gradient"), GOAL_OF_GRADIENT)
        application = (times[OURS, "degrid"].median + times[OURS, "grid"].median) / 2
        note("plan over an application", times[OURS, "plan"].median / application, GOAL_OF_PLAN)
        gradients.append([*common, *gradient_and_plan(times, application)])

    def gradient_and_plan(times: Times, application: float) -> list[str]:
        beside = ["", ""]
        if (DUCC, "gradient") in times:
            beside = [f"{times[DUCC, 'gradient'].best:.4f}", f"{ratio(times, DUCC, 'gradient'):.2f}"]
        return [
            f"{times[OURS, 'gradient'].best:.4f}",
            *beside,
            f"{times[OURS, 'plan'].best:.4f}",
            f"{times[OURS, 'plan'].median / application:.2f}",
            f"{times[OURS, 'sort'].best:.4f}",
        ]

    common = ("visibilities [1e6]", "pixels", "precision", "threads")
    print_table((*common, *COLUMNS), rows())
    print()
    columns = ("gradient [s]", "ducc0's [s]", "ours / its", "plan [s]", "plan / application", "sort data [s]")
    print_table((*common, *columns), gradients)
    print_goals(ratios, goals)


def way(problem: Problem) -> str:
    """How our operator treats w."""
    operator = plan(problem, TOLERANCES[problem.precision], available_cores())
    if isinstance(operator, ExpandedOperator):
        return f"expanded, {len(operator.terms)} terms"
    if isinstance(operator, StackedOperator):
        planes = operator.layers[-1].first_plane + operator.kernel.support - operator.layers[0].first_plane
        return f"stacked, {planes} planes"
    return "none needed"


def wterm(options: argparse.Namespace) -> None:
    """Print degridding and gridding with w beside ducc0's wgridder."""
    available = {name: factory for name, factory in available_peers().items() if name == DUCC}
    visibilities, threads = (1e5, (1,)) if options.quick else (1e6, THREADS)
    ratios = defaultdict(list)

    def rows() -> Iterator[list[str]]:
        for title, (telescope, size) in WIDE_CASES.items():
            for precision in TOLERANCES:
                problem = Problem.of(telescope, visibilities, size, precision, w_term=True, compared=(32, 32))
                found = candidates(problem, {OURS: ours}, available)
                ours_is = f"{OURS}: {way(problem)}"
                for number in threads:
                    programs = {name: each.program(problem, number) for name, each in found.items()}
                    times = interleaved(calls(programs), options.runs)
                    common = [
                        title,
                        f"{np.degrees(size * problem.cell):.2g} deg, {size}^2",
                        precision.name,
                        str(number),
                    ]
                    for name, candidate in found.items():
                        shown = cells(name, candidate.errors, times)
                        yield [*common, ours_is if name == OURS else name, *shown[1:]]
                        if name == DUCC:
                            for task in DIRECTIONS:
                                ratios[f"{task}, {title}, over {name}"].append(ratio(times, name, task))

    print(f"{visibilities / 1e6:g} million visibilities.\n")
    print_table(("data", "field", "precision", "threads", *COLUMNS), rows())
    print_goals(ratios, dict.fromkeys(ratios, GOAL_WITH_W))
