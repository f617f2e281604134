"""Giving up on candidates: only for one that costs no more and is surely better on the same images."""

import numpy as np
import pytest

from archsearch.search.rivals import Rival, Rung, beaten_by, expected


def rung(images: int, ap: float, spread: float = 0.01) -> Rung:
    return Rung(images, ap, ap + spread * np.linspace(-1, 1, 51))


def rival(number: int, macs: float, early: float, late: float) -> Rival:
    return Rival(number, {"macs": macs}, {10: rung(10, early), 40: rung(40, late)}, late)


def test_a_cheaper_and_surely_better_one_beats() -> None:
    rivals = [rival(0, 90, 0.40, 0.5), rival(1, 120, 0.60, 0.6), rival(2, 80, 0.45, 0.52)]
    found = beaten_by(rung(10, 0.30), {"macs": 100}, rivals, ("macs",), 0.98)
    assert found is not None
    assert found.number in (0, 2)
    assert beaten_by(rung(10, 0.30), {"macs": 70}, rivals, ("macs",), 0.98) is None  # all cost more
    assert beaten_by(rung(10, 0.46), {"macs": 100}, rivals, ("macs",), 0.98) is None  # only the dear one is better
    assert beaten_by(rung(20, 0.30), {"macs": 100}, rivals, ("macs",), 0.98) is None  # nobody was there


def test_samples_are_compared_pair_by_pair() -> None:
    """Wide intervals that overlap, and yet one is better on every sample of images."""
    common = 0.2 * np.linspace(-1, 1, 51)
    better = Rival(0, {"macs": 1}, {10: Rung(10, 0.51, 0.51 + common)}, 0.5)
    assert beaten_by(Rung(10, 0.50, 0.50 + common), {"macs": 1}, [better], ("macs",), 0.98) is better
    assert beaten_by(Rung(10, 0.50, 0.50 + common[::-1]), {"macs": 1}, [better], ("macs",), 0.98) is None


def test_every_cost_counts() -> None:
    slow = Rival(0, {"macs": 1, "latency": 9.0}, {10: rung(10, 0.9)}, 0.9)
    assert beaten_by(rung(10, 0.1), {"macs": 2, "latency": 8.0}, [slow], ("macs", "latency"), 0.9) is None
    assert beaten_by(rung(10, 0.1), {"macs": 2, "latency": 9.0}, [slow], ("macs", "latency"), 0.9) is slow


def test_what_is_expected_on_all_images() -> None:
    other = rival(0, 90, 0.40, 0.55)  # the first images are .15 harder for it
    assert expected(rung(10, 0.30), other) == pytest.approx(0.45)
    assert expected(rung(10, 0.39), rival(0, 90, 0.40, 0.38)) == pytest.approx(0.37)
    assert expected(rung(10, 0.05), rival(0, 90, 0.40, 0.20)) == 0
    assert expected(rung(10, 0.40), other) <= other.ap
