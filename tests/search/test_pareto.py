"""Fronts, ranks, hypervolume and attainment against brute force on small grids, where ties and duplicates abound."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from archsearch.search.pareto import Sense, attainment, front, gains, hypervolume, hypervolume_over, minimised, ranks

Floats = NDArray[np.float64]


@st.composite
def problems(draw: st.DrawFn, most: int = 4, points: int = 14) -> tuple[Floats, list[Sense]]:
    """Points on a grid of 0 to 5, and the sense of each objective."""
    objectives = draw(st.integers(1, most))
    senses: list[Sense] = draw(st.lists(st.sampled_from(["min", "max"]), min_size=objectives, max_size=objectives))
    rows = draw(st.lists(st.lists(st.integers(0, 5), min_size=objectives, max_size=objectives), max_size=points))
    return np.array(rows, dtype=float).reshape(-1, objectives), senses


def beats(a: Floats, b: Floats, senses: Sequence[Sense]) -> bool:
    """Dominance as it is defined, without arithmetic."""
    pairs = list(zip(a, b, senses, strict=True))
    no_worse = all(x <= y if sense == "min" else x >= y for x, y, sense in pairs)
    return no_worse and any(x != y for x, y, _ in pairs)


def front_by_pairs(values: Floats, senses: Sequence[Sense]) -> list[bool]:
    return [not any(beats(other, point, senses) for other in values) for point in values]


def cells_covered(values: Floats, senses: Sequence[Sense], size: int = 6) -> int:
    """Unit cells between the grid's points and its worst corner that some point dominates, counted one by one."""
    signs = [1 if sense == "min" else -1 for sense in senses]
    cells = np.array(list(itertools.product(range(size), repeat=len(senses))))
    return int((values * signs <= cells[:, None]).all(axis=2).any(axis=1).sum())


@given(problems())
def test_front_is_what_pairs_say(problem: tuple[Floats, list[Sense]]) -> None:
    assert front(*problem).tolist() == front_by_pairs(*problem)


@given(problems())
def test_ranks_peel_front_after_front(problem: tuple[Floats, list[Sense]]) -> None:
    values, senses = problem
    expected, left, rank = np.full(len(values), -1), np.arange(len(values)), 0
    while len(left):
        on = np.array(front_by_pairs(values[left], senses))
        expected[left[on]] = rank
        left, rank = left[~on], rank + 1
    assert ranks(values, senses).tolist() == expected.tolist()


def reference(senses: Sequence[Sense]) -> list[float]:
    """A corner one unit beyond the worst of the grid 0 .. 5 (less is better) or -5 .. 0 (more is better)."""
    return [6.0 if sense == "min" else -6.0 for sense in senses]


@settings(max_examples=60)
@given(problems())
def test_hypervolume_counts_cells(problem: tuple[Floats, list[Sense]]) -> None:
    values, senses = problem
    values = values * [1 if sense == "min" else -1 for sense in senses]
    assert hypervolume(values, reference(senses), senses) == pytest.approx(cells_covered(values, senses))


@settings(max_examples=30)
@given(problems(points=7))
def test_hypervolume_over_evaluations_is_that_of_every_prefix(problem: tuple[Floats, list[Sense]]) -> None:
    values, senses = problem
    values = values * [1 if sense == "min" else -1 for sense in senses]
    expected = [cells_covered(values[: i + 1], senses) for i in range(len(values))]
    assert hypervolume_over(values, reference(senses), senses).tolist() == pytest.approx(expected)


@given(problems(), st.data())
@settings(max_examples=200, deadline=None)
def test_gains_are_differences_of_hypervolumes(problem: tuple[Floats, list[Sense]], data: st.DataObject) -> None:
    values, senses = problem
    known = values[: data.draw(st.integers(0, len(values)))]
    end = [float(data.draw(st.integers(1, 6)) if sense == "min" else data.draw(st.integers(-1, 4))) for sense in senses]
    before = hypervolume(known, end, senses)
    expected = [hypervolume(np.vstack((known, row)), end, senses) - before for row in values]
    assert gains(values, known, end, senses).tolist() == pytest.approx(expected)


def test_points_beyond_the_reference_add_nothing() -> None:
    values = [[1.0, 9.0], [7.0, 1.0], [2.0, 3.0], [5.0, 1.0]]
    assert hypervolume(values, [5.0, 5.0], ["min", "min"]) == 3 * 2
    assert hypervolume_over(values, [5.0, 5.0], ["min", "min"]).tolist() == [0, 0, 6, 6]
    assert hypervolume([[1.0, 9.0]], [5.0, 5.0], ["min", "max"]) == 4 * 4
    assert hypervolume([], [5.0, 5.0], ["min", "max"]) == 0


@st.composite
def repeated(draw: st.DrawFn) -> tuple[list[Floats], int, tuple[Sense, Sense]]:
    rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=0, max_size=6)
    runs = [np.array(r, dtype=float).reshape(-1, 2) for r in draw(st.lists(rows, min_size=1, max_size=5))]
    sense = st.sampled_from(["min", "max"])
    return runs, draw(st.integers(1, len(runs))), (draw(sense), draw(sense))


@given(repeated())
def test_attainment_is_what_goals_say(case: tuple[list[Floats], int, tuple[Sense, Sense]]) -> None:
    """A goal is attained by k runs if and only if a corner of the surface is at least as good; no corner too many."""
    runs, k, senses = case
    corners = attainment(runs, k, senses)

    def reaches(points: Floats, goal: Floats) -> bool:
        return any(np.array_equal(p, goal) or beats(p, goal, senses) for p in points)

    for goal in itertools.product(range(-1, 7), repeat=2):
        wanted = np.array(goal, dtype=float)
        assert (sum(reaches(run, wanted) for run in runs) >= k) == reaches(corners, wanted)
    assert front(corners, senses).all()
    assert (np.diff(corners[:, 0]) > 0).all()


def test_attainment_of_one_run_is_its_front() -> None:
    values = np.random.default_rng(0).uniform(size=(50, 2))
    kept = values[front(values, ("min", "max"))]
    assert np.array_equal(attainment([values], 1, ("min", "max")), kept[np.argsort(kept[:, 0])])


def test_duplicates_stay_on_the_front_together() -> None:
    values = [[1, 5], [2, 4], [1, 5], [2, 5], [2, 4.0]]
    assert front(values, ["min", "min"]).tolist() == [True, True, True, False, True]
    assert ranks(values, ["min", "min"]).tolist() == [0, 0, 0, 1, 0]


def test_blocks_and_sweeps_agree() -> None:
    """Four objectives, of which one says nothing, are three: larger than one block."""
    values = np.random.default_rng(1).integers(0, 30, size=(1500, 3)).astype(float)
    four = np.column_stack((values, np.ones(len(values))))
    assert np.array_equal(front(values, ["min"] * 3), front(four, ["min"] * 4))
    assert np.array_equal(ranks(values, ["min"] * 3), ranks(four, ["min"] * 4))
    three = hypervolume(values, [30] * 3, ["min"] * 3)
    assert hypervolume(four, [30, 30, 30, 3], ["min"] * 4) == pytest.approx(2 * three)


@pytest.mark.parametrize(
    ("values", "senses", "fault"),
    [
        ([[1, np.nan]], ["min", "max"], "value nan of point 0, objective 1, is not a finite number"),
        ([[1, 2], [3, np.inf]], ["min", "max"], "value inf of point 1, objective 1"),
        ([[1, 2]], ["min"], r"values of shape \(1, 2\) for 1 objectives"),
        ([[1, 2]], ["min", "less"], "sense 'less' is not one of min, max"),
    ],
)
def test_values_that_have_no_order_are_refused(values: object, senses: list[Sense], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        minimised(values, senses)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, 3])
def test_more_runs_than_there_are_cannot_attain(k: int) -> None:
    with pytest.raises(ValueError, match=f"attained_by {k} is not between 1 and the 2 runs"):
        attainment([[[1, 2]], [[2, 1]]], k, ("min", "min"))


RNG = np.random.default_rng(0)
UNIFORM_2, UNIFORM_3 = RNG.uniform(size=(10_000, 2)), RNG.uniform(size=(10_000, 3))
QUICK: dict[str, Callable[[], object]] = {
    "front of 2": lambda: front(UNIFORM_2, ("min", "max")),
    "front of 3": lambda: front(UNIFORM_3, ("min", "max", "min")),
    "ranks of 2": lambda: ranks(UNIFORM_2, ("min", "max")),
    "ranks of 3": lambda: ranks(UNIFORM_3, ("min", "max", "min")),
    "hypervolume of 2": lambda: hypervolume(UNIFORM_2, (1, 0), ("min", "max")),
    "hypervolume of 3": lambda: hypervolume(UNIFORM_3, (1, 0, 1), ("min", "max", "min")),
    "hypervolume over": lambda: hypervolume_over(UNIFORM_2, (1, 0), ("min", "max")),
    "attainment": lambda: attainment(np.split(UNIFORM_2, 10), 5, ("min", "max")),
}


@pytest.mark.parametrize("name", list(QUICK))
def test_ten_thousand_points_take_less_than_a_second(name: str) -> None:
    QUICK[name]()  # imports
    start = time.process_time()
    QUICK[name]()
    assert time.process_time() - start < 1
