"""Figures of a ranking against values worked out by hand; the runs are in tests/experiments/test_supernet_study.py."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from experiments import made
from pydantic import ValidationError
from scipy import stats
from train import tiny

from archsearch.costs.fast import CostModel
from archsearch.experiments.rank import RankStudy, _jsonable, benchmark_rows, pairs, read_benchmark, resolved, spread
from archsearch.experiments.ranking import Concordance, Pair, bootstrapped, figures
from archsearch.files import InputError, write_jsonl, write_text
from archsearch.runs import Run
from archsearch.space import fingerprint, to_plain


def row(i: int, supernet: float, alone: tuple[float, ...], macs: int, size_px: int = 32) -> Pair:
    return Pair(
        f"a{i}", {}, {"/stem": i}, supernet, supernet - 0.1, supernet + 0.1, alone, macs, 10 * macs, (size_px, size_px)
    )


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
    assert found.difference.value == pytest.approx(2)


def test_two_rankings_are_compared_on_the_same_samples() -> None:
    """Where MACs are the supernet's AP in other units, no sample tells the two apart, whatever the tau."""
    noisy = [row(i, 0.1 * k, (0.1 * i,), 1000 + k) for i, k in enumerate((3, 0, 1, 5, 2, 7, 4, 6))]
    found = figures(noisy, 1)
    assert found.kendall.high - found.kendall.low > 0.3
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
    better = [row(i, 0.1 * i, (0.1 * i,), 1000 + k) for i, k in enumerate((3, 0, 1, 5, 2, 7, 4, 6))]
    found = figures(better, 1)
    assert found.difference.value == pytest.approx(1 - found.macs_kendall.value)
    assert 0 <= found.difference.low < found.difference.value < found.difference.high


def test_tau_within_one_input_size_does_not_see_a_bias_between_sizes() -> None:
    """The small size is overrated by .5: of 15 pairs the 9 between sizes are wrong, the 6 within are right."""
    rows = [row(i, 0.5 + 0.1 * i, (0.1 * i,), 100 + i, 32) for i in range(3)]
    rows += [row(i, 0.1 * i, (0.1 * i,), 100 - i, 48) for i in range(3, 6)]
    found = figures(rows, 1)
    assert found.sized_pairs == 6
    assert found.sized.value == found.sized.low == found.sized.high == 1
    assert found.kendall.value < 0.5
    assert found.macs_sized.value == pytest.approx(0)  # right at 32 px, wrong at 48 px
    assert found.sized_difference.value == pytest.approx(1)
    different = figures([row(i, 0.1 * i, (0.1 * i,), 100 + i, 32 + i) for i in range(4)], 1)
    assert different.sized_pairs == 0
    assert math.isnan(different.sized.value)


def test_tau_b_is_that_of_scipy_and_groups_pool_their_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, size=(2, 12)).tolist()
        picks = rng.integers(12, size=12)
        expected = stats.kendalltau([a[i] for i in picks], [b[i] for i in picks]).statistic
        assert Concordance(a, b)(picks) == pytest.approx(expected)
    # Groups xx xx: pairs 01 (agree) and 23 (a is tied): 1 / sqrt(1 * 2).
    grouped = Concordance([1, 2, 5, 5], [1, 2, 0, 3], ["x", "x", "y", "y"])
    assert grouped(np.arange(4)) == pytest.approx(1 / math.sqrt(2))
    assert math.isnan(bootstrapped(Concordance([1, 1, 1], [1, 2, 3]), 3).low)


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
    run, (arch,) = Run(tmp_path), tiny.samples(1)
    with pytest.raises(InputError, match="no such file"):
        pairs(run)
    write_text(tmp_path / "study.yaml", "{kind: rank}")
    with pytest.raises(InputError, match=r"study.yaml: it names no supernet"):
        pairs(run)
    write_text(tmp_path / "study.yaml", "{kind: rank, supernet: /mine}")
    figure = {"arch": to_plain(arch), "choices": {}, "ap_low": 0.4, "ap_high": 0.6, "params": 1}
    for name, macs in (("b", 20), ("a", 10), ("c", 5)):
        for supernet, ap in (("/mine", 0.5), ("/another", 0.1)):  # what another supernet said is on record too
            run.record("candidate", fingerprint=name, ap=ap, macs=macs, supernet=supernet, **figure)
    for name, seed, ap in (("a", 1, 0.2), ("b", 0, 0.3), ("a", 0, 0.1), ("b", 1, 0.4), ("z", 0, 0.9)):
        run.record("result", config=name, seed=seed, ap=ap)
    found = pairs(run)
    assert [(p.fingerprint, p.alone_aps) for p in found] == [("a", (0.1, 0.2)), ("b", (0.3, 0.4))]
    assert {(p.supernet_ap, p.input_hw) for p in found} == {(0.5, arch.input_hw)}
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


def test_a_resolved_study_says_what_the_supernet_learned_from(tmp_path: Path) -> None:
    net = made.supernet(tmp_path / "net" / "20260101-000000")
    fields = {"kind": "rank", "name": "r", "supernet": str(tmp_path / "net"), "train": {"images": 8}}
    plain = resolved(RankStudy.model_validate(fields))
    assert plain["data"] == made.study().data.model_dump(mode="json")
    assert plain["supernet"] == str(net.path / "supernet")
    again = RankStudy.model_validate(yaml.safe_load(yaml.safe_dump(plain)))  # people repeat a run with its study.yaml
    assert resolved(again) == plain
    other = RankStudy.model_validate({**fields, "data": {**plain["data"], "seed": 3}})
    with pytest.raises(InputError, match="data: not those of the supernet in"):
        resolved(other)


LINE = {
    "fingerprint": "0123456789ab", "choices": {"/a": 1}, "supernet_ap": 0.5, "alone_ap": None, "macs": 5, "params": 2,
}  # fmt: skip


def test_a_benchmark_is_read_without_the_line_that_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    rows = [{**LINE, "alone_aps": []}, {**LINE, "fingerprint": "f" * 12, "alone_ap": 0.25}]
    write_jsonl(path, [{"source": {"space": "x"}}, *rows])
    assert read_benchmark(path) == rows
    write_jsonl(path, rows)
    assert read_benchmark(path) == rows
    write_jsonl(path, benchmark_rows([row(0, 0.5, (0.1,), 10)]))
    with pytest.raises(InputError, match="line 1: fingerprint 'a0' is not 12 hexadecimal digits"):
        read_benchmark(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"fingerprint": ', "line 2 is not JSON"),
        ("[]", r"line 2: \[\] is not an architecture"),
        ('{"source": {}}', "line 2: no fingerprint"),
        ({"fingerprint": "0123456789AB"}, "line 2: fingerprint '0123456789AB' is not 12"),
        ({"choices": [1]}, r"line 2: choices \[1\] are not a mapping"),
        ({"supernet_ap": None}, "line 2: supernet_ap None is not a number from 0 to 1"),
        ({"supernet_ap": 1.5}, "line 2: supernet_ap 1.5 is not a number from 0 to 1"),
        ({"supernet_ap": float("nan")}, "line 2: supernet_ap nan is not a number from 0 to 1"),
        ({"alone_ap": "0.5"}, "line 2: alone_ap '0.5' is not a number from 0 to 1"),
        ({"macs": 2.5}, "line 2: macs 2.5 is not a whole number from 1"),
        ({"params": True}, "line 2: params True is not a whole number from 1"),
        ({}, "line 2 is architecture 0123456789ab, as line 1 is"),
    ],
)
def test_a_malformed_line_is_named(line: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    second = line if isinstance(line, str) else json.dumps({**LINE, **line})
    path.write_text(f"{json.dumps(LINE)}\n{second}\n")
    with pytest.raises(InputError, match=words) as caught:
        read_benchmark(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
