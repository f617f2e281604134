"""Figures of a ranking against values worked out by hand; the runs are in tests/experiments/test_supernet_study.py."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from train import tiny

from archsearch.costs.fast import CostModel
from archsearch.experiments.rank import Pair, RankStudy, _jsonable, benchmark_rows, figures, pairs, spread
from archsearch.files import InputError
from archsearch.runs import Run
from archsearch.space import fingerprint


def row(i: int, supernet: float, alone: tuple[float, ...], macs: int) -> Pair:
    return Pair(f"a{i}", {}, {"/stem": i}, supernet, supernet - 0.1, supernet + 0.1, alone, macs, 10 * macs)


ROWS = [
    row(0, 0.10, (0.20, 0.24), 100),
    row(1, 0.30, (0.10, 0.14), 200),
    row(2, 0.20, (0.30, 0.30), 300),
    row(3, 0.40, (0.50, 0.40), 400),
    row(4, 0.60, (0.40, 0.48), 500),
    row(5, 0.50, (0.60, 0.60), 600),
]


def test_figures_in_numbers() -> None:
    """Mean stand-alone AP: .22 .12 .30 .45 .44 .60; pairs in another order than the supernet's: 01, 12, 34, 45."""
    found = figures(ROWS, 2)
    assert (found.architectures, found.seeds) == (6, 2)
    assert found.kendall.value == pytest.approx((15 - 2 * 4) / 15)
    # Ranks: supernet 1 3 2 4 6 5, alone 2 1 3 5 4 6: squared differences 1 4 1 1 4 1.
    assert found.spearman.value == pytest.approx(1 - 6 * 12 / (6 * 35))
    assert found.macs_kendall.value == pytest.approx((15 - 2 * 2) / 15)  # pairs 01 and 34
    assert found.regret == pytest.approx(0.60 - 0.44)
    assert found.macs_regret == pytest.approx(0)
    assert found.bins[0] == (100, 300, 3, pytest.approx(-1 / 3))  # 01 and 12 disagree, 02 agrees
    assert found.bins[1] == (400, 600, 3, pytest.approx(-1 / 3))  # 34 and 45 disagree, 35 agrees
    assert found.macs_bins == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    # Seeds: .2 .1 .3 .5 .4 .6 and .24 .14 .30 .40 .48 .60 disagree about one pair, 34.
    assert found.between_seeds == pytest.approx(13 / 15)
    for agreement in (found.kendall, found.spearman, found.macs_kendall):
        assert -1 <= agreement.low <= agreement.value <= agreement.high <= 1


def test_a_perfect_ranking_and_its_opposite() -> None:
    same = [row(i, 0.1 * i, (0.1 * i,), 100 - i) for i in range(5)]
    found = figures(same, 1)
    assert (found.kendall.value, found.kendall.low, found.kendall.high) == pytest.approx((1, 1, 1))
    assert found.macs_kendall.value == pytest.approx(-1)
    assert found.regret == 0
    assert found.macs_regret == pytest.approx(0.4)
    assert found.between_seeds is None


def test_fewer_than_three_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match="2 architectures with both figures: at least three"):
        figures(ROWS[:2], 1)


def test_a_bin_of_one_has_no_tau_and_equal_figures_have_none_at_all() -> None:
    found = figures(ROWS[:4], 3)
    assert [bin_[2] for bin_ in found.bins] == [2, 1, 1]
    assert [bin_[3] is None for bin_ in found.bins] == [False, True, True]
    flat = figures([row(i, 0.0, (0.0,), 100 + i) for i in range(4)], 2)
    assert math.isnan(flat.kendall.value)
    assert figures([row(i, 0.0, (0.0, 0.0), 100 + i) for i in range(4)], 2).between_seeds is None
    assert json.loads(json.dumps(_jsonable({"a": [float("nan"), 1.0]}), allow_nan=False)) == {"a": [None, 1.0]}


def test_only_architectures_with_both_figures_are_paired_and_seeds_keep_their_places(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for name, macs in (("b", 20), ("a", 10), ("c", 5)):
        run.record("candidate", fingerprint=name, arch={}, choices={}, ap=0.5, ap_low=0.4, ap_high=0.6, macs=macs,
                   params=1)  # fmt: skip
    for name, seed, ap in (("a", 1, 0.2), ("b", 0, 0.3), ("a", 0, 0.1), ("b", 1, 0.4), ("z", 0, 0.9)):
        run.record("result", config=name, seed=seed, ap=ap)
    found = pairs(run)
    assert [(p.fingerprint, p.alone_aps) for p in found] == [("a", (0.1, 0.2)), ("b", (0.3, 0.4))]
    assert found[1].alone_ap == pytest.approx(0.35)
    rows = benchmark_rows(found, {"a": 1.5, "b": 2.5})
    assert rows[0] == {
        "fingerprint": "a", "choices": {}, "supernet_ap": 0.5, "alone_ap": pytest.approx(0.15), "alone_aps": [0.1, 0.2],
        "macs": 10, "params": 1, "latency_ms": 1.5,
    }  # fmt: skip
    assert "latency_ms" not in benchmark_rows(found)[0]


def test_architectures_are_spread_over_the_range_of_macs() -> None:
    space, costs = tiny.space(), CostModel(tiny.space())
    archs = spread(space, 8, 0)
    macs = [costs(arch).macs for arch in archs]
    assert len({fingerprint(arch) for arch in archs}) == 8
    assert macs == sorted(macs)
    low, high = macs[0], macs[-1]
    assert high > 2 * low
    for k, value in enumerate(macs):
        assert abs(value - (low + (high - low) * k / 7)) < 0.1 * (high - low)
    assert spread(space, 8, 0) == archs
    assert spread(space, 8, 1) != archs


def test_a_space_with_fewer_architectures_is_refused() -> None:
    plain: dict[str, Any] = {**tiny.LITEPOSE, "stages": [
        {"width": 4, "stride": 2, "blocks": [{"kernel": 3, "expand": 1}]}, *tiny.LITEPOSE["stages"][1:]
    ], "head": {"filters": [8, 8]}}  # fmt: skip
    space = type(tiny.space())(tiny.space().kind, plain, "few")
    assert space.size == 4
    assert len(spread(space, 4, 0)) == 4
    with pytest.raises(InputError, match="few: 5 architectures asked for, 2000 random ones are 4"):
        spread(space, 5, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": 2}, "greater than or equal to 3"),
        ({"architectures": 4, "macs_bins": 5}, "macs_bins 5 for 4 architectures"),
        ({"seeds": [1, 1]}, r"seeds \(1, 1\) repeat"),
    ],
)
def test_studies_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    fields = {"kind": "rank", "name": "r", "supernet": "x", "train": {"images": 8}, **changes}
    with pytest.raises(ValidationError, match=words):
        RankStudy.model_validate(fields)
