"""Doubt about fronts, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from archsearch.search.pareto import front
from archsearch.search.uncertain import band, drawn, mean_interval, memberships, settled_by

SENSES = ("min", "max")


def draws(xs: list[float], ys: list[float], half: list[float], samples: int = 20_000) -> np.ndarray:  # type: ignore[type-arg]
    ys_N, half_N = np.array(ys), np.array(half)
    values = drawn(ys_N, ys_N - half_N, ys_N + half_N, samples, np.random.default_rng(0))
    return np.stack((np.broadcast_to(xs, values.shape), values), axis=2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=10), st.integers(0, 3))
def test_memberships_are_fronts_sample_by_sample(points: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.array([rng.permutation(points) for _ in range(5)], dtype=float)
    for senses in (("min", "max"), ("max", "max"), ("min", "min")):
        assert np.array_equal(memberships(values, senses), [front(v, senses) for v in values])
    three = np.dstack((values, rng.integers(0, 3, values.shape[:2])))
    assert np.array_equal(memberships(three, ["min"] * 3), [front(v, ["min"] * 3) for v in three])


def test_probability_is_that_of_one_normal_above_another() -> None:
    """A dearer point is on the front if it is better than the cheaper one: P(N(0.02, 2 sd^2) > 0)."""
    values = draws([1, 2, 3], [0.30, 0.32, 0.10], [0.04, 0.04, 0.02])
    found = memberships(values, SENSES).mean(axis=0)
    sd = 0.04 / 1.959964
    assert found == pytest.approx([1, stats.norm.cdf(0.02 / (sd * 2**0.5)), 0], abs=0.01)


def test_drawn_intervals_hold_95_percent_on_each_side() -> None:
    values = drawn([0.3, 0.5], [0.2, 0.5], [0.5, 0.5], 100_000, np.random.default_rng(1))
    assert np.quantile(values[:, 0], [0.025, 0.5, 0.975]) == pytest.approx([0.2, 0.3, 0.5], abs=0.003)
    assert (values[:, 1] == 0.5).all()
    with pytest.raises(ValueError, match=r"value 0\.6 of point 1 is not within its interval 0\.1 to 0\.5"):
        drawn([0.3, 0.6], [0.1, 0.1], [0.5, 0.5], 10, np.random.default_rng(0))


def test_the_point_in_doubt_is_the_one_to_measure() -> None:
    """The dearer point alone decides where the cheaper one is known, and a hopeless one decides nothing."""
    values = draws([1, 2, 3], [0.30, 0.32, 0.10], [0.0, 0.04, 0.04])
    found = settled_by(values[:, :, 1], memberships(values, SENSES))
    assert found[1] == pytest.approx(1, abs=0.15)  # the bin at the border stays in doubt
    assert found[1] > 0.85
    assert found[[0, 2]] == pytest.approx([0, 0], abs=0.01)
    equal = draws([1, 2, 3], [0.30, 0.30, 0.10], [0.04, 0.04, 0.04])
    halves = settled_by(equal[:, :, 1], memberships(equal, SENSES))
    assert halves[0] == pytest.approx(halves[1], abs=0.02)
    assert 0.25 < halves[0] < 0.5
    sure = draws([1, 2], [0.3, 0.5], [0.01, 0.01])
    assert settled_by(sure[:, :, 1], memberships(sure, SENSES)).tolist() == [0, 0]


def test_a_band_holds_the_front_of_values() -> None:
    values = draws([1, 2], [0.3, 0.4], [0.02, 0.04])
    low, middle, high = band(values, [0.5, 1, 1.5, 2, 9], SENSES)
    assert np.isnan([low[0], middle[0], high[0]]).all()
    assert middle[1:] == pytest.approx([0.3, 0.3, 0.4, 0.4], abs=0.002)
    assert low[1:] == pytest.approx([0.28, 0.28, 0.36, 0.36], abs=0.003)
    assert high[1:] == pytest.approx([0.32, 0.32, 0.44, 0.44], abs=0.003)


def test_interval_of_a_mean_is_students() -> None:
    values = [0.31, 0.29, 0.33, 0.30]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    with pytest.raises(ValueError, match="1 values have no spread"):
        mean_interval([0.3])
