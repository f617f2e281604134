"""Points from the records of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.records import FIGURES, make_run, share
from report.searches import make_search

from archsearch.files import InputError, append_jsonl
from archsearch.report import style
from archsearch.report.pareto.axis import parse_axis
from archsearch.report.pareto.chart import make_chart
from archsearch.report.pareto.hover import details_of
from archsearch.report.pareto.plot import front_figure
from archsearch.report.pareto.records import points_of, unrecorded
from archsearch.report.pareto.words import caption, full_name
from archsearch.report.pareto.write import Request, chart_of


def test_points_of_a_shrinking_run(tmp_path: Path) -> None:
    points = points_of([make_run(tmp_path / "run")], "ap")
    assert [p.name for p in points] == list(FIGURES)
    for point in points:
        ap, params, macs, ptflops, ms, iqr, _ = FIGURES[point.name]
        assert (point.ap, point.params, point.macs["true"], point.macs["ptflops_0_6"]) == (ap, params, macs, ptflops)
        assert (point.readings[0].median_ms, point.readings[0].iqr_ms) == (ms, iqr)
        assert point.low < point.ap < point.high
        assert point.interval == "bootstrap"
    assert points_of([make_run(tmp_path / "seeds", seeds=(0, 1, 2))], "ap")[0].interval == "seeds"
    half = points_of([make_run(tmp_path / "ap50")], "ap50")[0]
    assert half.low == half.ap == half.high == pytest.approx(FIGURES["baseline"][0] + 0.33)


def test_configurations_of_a_supernet_stand_beside_their_own_training(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    share(run)
    points = points_of([run], "ap")
    chart = make_chart(points, parse_axis("macs"), "AP")
    assert chart.series == ["gradual_shrinking", "gradual_shrinking, by the supernet"]
    assert [p.name for p in points] == 2 * list(FIGURES)
    assert [p.shared for p in points] == 4 * [False] + 4 * [True]
    for own, shared in zip(points[:4], points[4:], strict=True):
        assert (shared.ap, shared.macs["true"]) == (own.ap + 0.1, own.macs["true"] // 2)
        assert shared.notes == ("of a supernet that saw 24,000 images",)
    words = caption(chart)
    assert "By the supernet: with the weights of one shared network" in words
    assert full_name(chart, points[0]) == "baseline (gradual_shrinking)"
    with style.style():
        figure = front_figure(chart)
    (legend,) = figure.legends
    entries = {
        text.get_text(): line.get_marker() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert entries["gradual_shrinking"] != entries["gradual_shrinking, by the supernet"]
    details = dict(details_of(chart, 4))
    assert details["of"] == "gradual_shrinking, by the supernet"
    assert details["note"] == "of a supernet that saw 24,000 images"


def test_candidates_are_points_with_their_source_and_seeds(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=5)
    first = run.records("candidate")[0]
    for seed, ap in ((0, 0.4), (1, 0.44)):
        run.record(**{**first, "source": "alone", "seed": seed, "ap": ap})
    run.record(**{**first, "ap": 0.5, "ap_low": 0.4, "ap_high": 0.6})  # evaluated again: the last one counts
    points = points_of([run], "ap")
    assert len(points) == 6
    by_series = {p.series: p for p in points if p.fingerprint == first["fingerprint"]}
    assert by_series["search_litepose, by the supernet"].ap == 0.5
    alone = by_series["search_litepose"]
    assert alone.ap == pytest.approx(0.42)
    assert (alone.interval, alone.low < 0.4) == ("seeds", True)
    chart = make_chart(points, parse_axis("macs"), "AP")
    assert {part.name for part in chart.fronts} == set(by_series)


def test_latencies_are_found_by_architecture(tmp_path: Path) -> None:
    run, log = make_search(tmp_path / "run", count=3), tmp_path / "latency.jsonl"
    for record in run.records("candidate")[:2]:
        side = record["arch"]["resolution"]
        common = {
            "kind": "latency", "fingerprint": record["fingerprint"], "arch": record["arch"], "iqr_ms": 0.5,
            "device": "Some GPU", "device_kind": "cuda", "batch": 1, "threads": 1, "dtype": "float32",
        }  # fmt: skip
        for runtime, ms in (("torch-eager", 7.0), ("torch-graph", 3.0)):
            append_jsonl(log, {**common, "input_hw": [side, side], "median_ms": ms, "runtime": runtime})
        append_jsonl(log, {**common, "input_hw": [64, 64], "median_ms": 99.0, "runtime": "torch-graph"})
    points = points_of([run], "ap", [log])
    chart = make_chart(points, parse_axis("latency:gpu graph"), "AP")
    assert chart.x.tolist() == [3, 3]
    assert [reason for _, reason in chart.left_out] == ["not measured there"]
    with pytest.raises(InputError, match="fits 2 settings: Some GPU, torch-eager, batch 1; Some GPU, torch-graph"):
        make_chart(points, parse_axis("latency:gpu"), "AP")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no latencies; `archsearch latency measure"):
        points_of([run], "ap", [tmp_path / "empty.jsonl"])


def test_macs_that_are_not_on_record_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names=("baseline",))
    points = points_of([run], "ap")
    assert "fvcore" not in points[0].macs
    chart = make_chart(points, parse_axis("macs:fvcore"), "AP")
    assert chart.x[0] > points[0].macs["true"] / 1e6
    assert chart.x_unit == "M"


def test_an_empty_run_says_what_to_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "empty", finished=())
    with pytest.raises(InputError, match="run first: archsearch shrink gradual_shrinking --resume"):
        points_of([run], "ap")


def test_candidates_without_the_figure_are_left_out_with_the_reason(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=30)
    records = run.records("candidate")
    with pytest.raises(InputError, match="run: none of its 30 candidates has AP75 on record"):
        points_of([run], "ap75")
    for record in records[:2]:
        run.record(**{**record, "ap75": 0.2})
    run.record(**{**records[0], "ap75": None})  # of the evaluations the last that has it counts
    run.record(**{**records[2], "beaten_by": 0.1})
    assert [p.name for p in points_of([run], "ap75")] == ["trial 0", "trial 1"]
    missing = unrecorded([run], "ap75")
    assert missing == [(f"trial {i}", "no AP75 on record") for i in range(2, 30)]
    assert unrecorded([run], "ap") == []
    chart = chart_of(Request((run,), y="ap75"))
    assert list(chart.left_out) == missing
    assert "28 points are left out: no AP75 on record." in caption(chart)


@pytest.mark.parametrize("field", ["ap", "macs", "fingerprint", "source"])
def test_a_candidate_without_a_field_is_named(tmp_path: Path, field: str) -> None:
    run = make_search(tmp_path / "run", count=2)
    record = run.records("candidate")[0]
    run.record(**{name: value for name, value in record.items() if name != field})
    with pytest.raises(InputError, match=rf"metrics\.jsonl, candidate 3: no field {field}"):
        points_of([run], "ap")
