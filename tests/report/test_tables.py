"""Rows of results: the columns in their order, AP at equal time by hand, records that a kill wrote twice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from report.records import FIGURES, HEIGHTS, make_run

from archsearch.files import InputError
from archsearch.report import tables
from archsearch.report.tables import Curve
from archsearch.runs import Run

HEAD = (
    "config,seed,ap,ap50,ap75,ap_m,ap_l,ar,params,macs,macs_ptflops_0_6,latency_ms,latency_iqr_ms,device,images_seen,"
    "train_s,ap_low,ap_high,ap_equal_time,ap_h0_50,ap_h50_60,ap_h60_70,ap_h70_80,ap_h80_up"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs") / "full", seeds=(0, 1))


def test_csv_has_the_promised_columns_and_the_recorded_values(run: Run) -> None:
    path = tables.write_csv(run)
    lines = path.read_text().splitlines()
    assert lines[0] == HEAD
    assert len(lines) == 1 + 4 * 2
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["config"], row["seed"]) for row in rows[:3]] == [
        ("baseline", "0"),
        ("baseline", "1"),
        ("shrink1", "0"),
    ]
    ap, params, macs, ptflops, median, iqr, train_s = FIGURES["shrink1"]
    row = rows[2]
    assert (float(row["ap"]), float(row["ap_low"]), float(row["ap_high"])) == pytest.approx(
        (ap, ap - 0.021, ap + 0.023)
    )
    assert (row["params"], row["macs"], row["macs_ptflops_0_6"]) == (str(params), str(macs), str(ptflops))
    assert (float(row["latency_ms"]), float(row["latency_iqr_ms"]), row["device"]) == (
        median,
        iqr,
        "A processor <2 GHz>",
    )
    assert (row["images_seen"], float(row["train_s"]), row["ap_l"]) == ("14400", train_s, "")
    assert list(run.path.glob(".results*")) == []  # nothing half-written stays


def test_frame_keeps_whole_numbers_whole(run: Run) -> None:
    frame = tables.frame(run)
    assert ",".join(frame.columns) == HEAD
    assert str(frame["macs"].dtype) == "Int64"


@pytest.mark.parametrize(
    ("train_s", "expected"),
    [(0.0, 0.0), (5.0, 0.1), (10.0, 0.2), (15.0, 0.25), (30.0, 0.4), (30.1, 0.4)],
)
def test_ap_at_a_time_is_interpolated_from_zero(train_s: float, expected: float | None) -> None:
    curve = Curve((10.0, 30.0), (100, 300), (0.2, 0.4), (), ())
    assert curve.ap_at(train_s) == (None if expected is None else pytest.approx(expected))
    assert Curve((), (), (), (), ()).ap_at(0.0) is None


def test_equal_time_is_that_of_the_quickest_training(tmp_path: Path) -> None:
    run = _by_hand(tmp_path)
    assert tables.equal_time_s(run) == 40.0
    slow, fast = tables.rows(run)
    assert slow["ap_equal_time"] == pytest.approx(0.26)  # 40 s: from (30, 0.2) to (80, 0.5)
    assert fast["ap_equal_time"] == pytest.approx(0.3)


def test_the_last_of_repeated_records_counts(tmp_path: Path) -> None:
    run = _by_hand(tmp_path)
    at = {"config": "slow", "seed": 0, "step": 3, "steps": 8, "images_seen": 24, "loss": 1.0}
    run.record("evaluation", **at, train_s=30.0, ap=0.4)
    assert tables.rows(run)[0]["ap_equal_time"] == pytest.approx(0.42)
    again = run.records("result")[1]
    run.record(again.pop("kind"), **(again | {"ap": 0.35}))
    assert [row["ap"] for row in tables.rows(run)] == [0.5, 0.35]


def test_unknown_values_are_empty(tmp_path: Path) -> None:
    run = _by_hand(tmp_path)
    row = tables.rows(run)[0]
    assert row["params"] is None
    assert row["latency_ms"] is None
    assert row["ap_h0_up"] is None
    assert tables.write_csv(run).read_text().splitlines()[1].startswith("slow,0,0.5,0.6,0.4,,,0.55,,,,,,,64,80.0,")


def test_outcomes_take_bootstrap_or_the_spread_of_seeds(run: Run, tmp_path: Path) -> None:
    one = tables.outcomes(make_run(tmp_path / "one", names=("baseline",)))[0]
    assert (one.interval, one.low, one.high) == ("bootstrap", pytest.approx(0.26), pytest.approx(0.304))
    assert [h[:2] for h in one.heights] == [h[:2] for h in HEIGHTS]
    two = tables.outcomes(run)[0]
    half = 12.706 * np.std(two.aps, ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom, 97.5 %
    assert (two.interval, two.low, two.high) == (
        "seeds",
        pytest.approx(two.ap - half, rel=1e-3),
        pytest.approx(two.ap + half, rel=1e-3),
    )
    assert two.ap == pytest.approx(sum(two.aps) / 2)
    assert two.ap_equal_time == pytest.approx(sum(two.aps_equal_time) / 2)


def test_missing_names_what_has_no_result(tmp_path: Path) -> None:
    run = make_run(tmp_path / "part", names=("baseline", "shrink1"), seeds=(3, 4), finished=("shrink1",))
    assert tables.missing(run) == [("baseline", 3), ("baseline", 4)]
    assert list(tables.curves(run)) == [("baseline", 3), ("baseline", 4), ("shrink1", 3), ("shrink1", 4)]


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run's folder, it has no study\.yaml"):
        tables.load_study(Run(tmp_path))


def _by_hand(path: Path) -> Run:
    (path / "study.yaml").write_text("{name: x, seeds: [0], configurations: [{name: slow}, {name: fast}]}")
    run = Run(path)
    for name, points in {"slow": ((3, 30.0, 0.2), (8, 80.0, 0.5)), "fast": ((8, 40.0, 0.3),)}.items():
        for step, train_s, ap in points:
            run.record("evaluation", config=name, seed=0, ap=ap, step=step, steps=8, images_seen=8 * step,
                       train_s=train_s, loss=1.0)  # fmt: skip
        _, end_s, final = points[-1]
        by_height = [{"low_px": 0, "high_px": 1e5, "ap": None, "people": 0}]
        run.record("result", config=name, seed=0, ap=final, ap50=final + 0.1, ap75=0.4, ap_m=None, ap_l=None,
                   ar=0.55, ap_low=0.1, ap_high=0.6, by_height=by_height, images_seen=64, train_s=end_s)  # fmt: skip
    return run
