"""Points from records and papers, the axes, and who is on a front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from report.records import FIGURES, make_run
from report.searches import make_search

from archsearch.files import InputError, append_jsonl, write_text
from archsearch.report.pareto_chart import CONVENTIONS, SENSES, draw_ap, make_chart, parse_axis
from archsearch.report.pareto_points import check_published, points_of, published_points
from archsearch.report.published import DATASETS, published, true_cost, unit
from archsearch.report.tables import Difference
from archsearch.runs import Run
from archsearch.search.pareto import front
from archsearch.space import fingerprint

CROWDPOSE = {
    "kind": "coco", "name": "crowdpose", "skeleton": "crowdpose14", "root": "data",
    "train_annotations": "json/crowdpose_trainval.json", "train_images": "images",
    "val_annotations": "json/crowdpose_test.json", "val_images": "images",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the papers


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_every_network_counts_what_its_paper_prints(dataset: str) -> None:
    """In the paper's own convention, to the printed digit or 1 %; the one that no counter reproduces says so."""
    known = 0
    for model in published(dataset):
        price = true_cost(model)
        if price is None:
            assert "does not have" in model.note
            continue
        known += 1
        name, times = unit(model.convention)
        counted = price.macs_by_convention[model.convention] / (times if name == "G" else 1)
        half_digit = 0.5 * 10.0 ** -len(model.macs.partition(".")[2])
        near = abs(counted - float(model.macs)) <= max(1.001 * half_digit, 0.01 * float(model.macs))
        assert near or "no counter" in model.note, (model.model, counted, model.macs)
        if model.params_m:
            assert price.params / 1e6 == pytest.approx(float(model.params_m), abs=0.1), model.model
        assert model.source
    assert known >= 16


def test_the_shrinking_study_is_there_in_the_true_convention() -> None:
    chart = make_chart(published_points("crowdpose", "ap"), parse_axis("macs"), "AP", percent=True)
    found = {
        p.published.label: (round(x, 3), round(y, 1), p.published.printed_macs)
        for p, x, y in zip(chart.points, chart.x, chart.y, strict=True)
        if p.published is not None and p.series == "Gradual shrinking"
    }
    assert found == {
        "baseline": (11.219, 50.4, "12.50 G"),
        "Shrink1": (8.878, 51.0, "10.12 G"),
        "Shrink2": (8.735, 51.8, "10.02 G"),
        "Shrink3": (7.875, 53.0, "9.15 G"),
    }
    assert chart.left_out == ()
    assert chart.logarithmic


def test_what_cannot_be_converted_is_left_out_with_the_reason() -> None:
    points = published_points("coco", "ap")
    true = make_chart(points, parse_axis("macs"), "AP", percent=True)
    ((name, reason),) = true.left_out
    assert name == "OpenPose Lightweight"
    assert "prints 9.0 G in ptflops_0_6 only" in reason
    own = make_chart(points, parse_axis("macs:ptflops_0_6"), "AP", percent=True)
    assert own.left_out == ()
    assert own.x[[p.series == "OpenPose" for p in own.points]] == pytest.approx([9.0])
    assert [part.name for part in own.fronts] == ["published models, top-down", "published models, bottom-up"]
    assert {p.protocol for p in own.points if p.series in ("HRNet", "Lite-HRNet")} == {"top-down"}


def test_published_latency_is_of_one_device() -> None:
    points = published_points("crowdpose", "ap")
    chart = make_chart(points, parse_axis("latency:jetson"), "AP", percent=True)
    assert sorted(chart.x) == [22, 97, 144, 283, 330]
    assert ("LitePose L", "not measured there") in chart.left_out
    with pytest.raises(InputError, match=r"--x latency:H100: is none of: Jetson Nano"):
        make_chart(points, parse_axis("latency:H100"), "AP", percent=True)


# ------------------------------------------------------------------------------------------------------------ the runs


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


# ------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"level": "hard"}, "data.level is hard, there it is easy"),
        ({"skeleton": "crowdpose14"}, "data.skeleton is crowdpose14, there it is coco17"),
        ({"seed": 7}, "data.seed is 7, there it is 0"),
    ],
)
def test_other_images_or_joints_cannot_share_an_axis(tmp_path: Path, change: dict[str, object], fault: str) -> None:
    scenes = {"kind": "scenes", "skeleton": "coco17", "level": "easy", "size_px": 96, "train": 9, "val": 300, "seed": 0}
    runs = [make_run(tmp_path / "a", names=("baseline",)), make_run(tmp_path / "b", data={**scenes, **change})]
    with pytest.raises(InputError, match=f"b: cannot share an AP axis with .*a: {fault}"):
        points_of(runs, "ap")
    same = make_run(tmp_path / "c", names=("baseline",), data=scenes)  # other training images are no other AP
    assert len(points_of([runs[0], same], "ap")) == 2


def test_embedded_ap_is_not_published_ap(tmp_path: Path) -> None:
    scenes = make_run(tmp_path / "scenes", names=("baseline",))
    with pytest.raises(InputError, match="AP on embedded scenes cannot share an axis with AP published on crowdpose"):
        check_published([scenes], "crowdpose")
    real = make_run(tmp_path / "real", names=("baseline",), data=CROWDPOSE)
    check_published([real], "crowdpose")
    with pytest.raises(InputError, match="its AP is on crowdpose, that of the published models on coco"):
        check_published([real], "coco")


def test_an_empty_run_says_what_to_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "empty", finished=())
    with pytest.raises(InputError, match="run first: archsearch shrink gradual_shrinking --resume"):
        points_of([run], "ap")


def test_a_ranking_has_the_data_of_its_supernet(tmp_path: Path) -> None:
    search = make_search(tmp_path / "supernet_run", count=3)
    folder = tmp_path / "rank"
    folder.mkdir()
    study = {"kind": "rank", "name": "rank", "supernet": str(search.path / "supernet")}
    write_text(folder / "study.yaml", yaml.safe_dump(study))
    rank = Run(folder)
    for record in search.records("candidate"):
        rank.record(**record)
    assert len(points_of([rank, search], "ap")) == 6
    (search.path / "study.yaml").unlink()
    with pytest.raises(InputError, match="its data are those of the supernet's run"):
        points_of([rank], "ap")


@pytest.mark.parametrize("field", ["ap", "macs", "fingerprint", "source"])
def test_a_candidate_without_a_field_is_named(tmp_path: Path, field: str) -> None:
    run = make_search(tmp_path / "run", count=2)
    record = run.records("candidate")[0]
    run.record(**{name: value for name, value in record.items() if name != field})
    with pytest.raises(InputError, match=rf"metrics\.jsonl, candidate 3: no field {field}"):
        points_of([run], "ap")


@pytest.mark.parametrize("text", ["macs:flops", "macs:", "latency", "latency:", "speed", "params:x"])
def test_axes_that_are_not_there(text: str) -> None:
    with pytest.raises(InputError, match=f"--x {text}: .*one of"):
        parse_axis(text)


def test_every_convention_is_an_axis() -> None:
    points = published_points("crowdpose", "ap")
    assert set(points[0].macs) == set(CONVENTIONS)
    for convention in CONVENTIONS:
        assert convention.split("_")[0] in make_chart(points, parse_axis(f"macs:{convention}"), "AP").x_label


# --------------------------------------------------------------------------------------------------------- the chart


def test_fronts_are_those_of_their_groups(tmp_path: Path) -> None:
    runs = [make_search(tmp_path / name, count=30, seed=seed) for seed, name in enumerate("ab")]
    points = points_of(runs, "ap")
    values = np.array([[p.macs["true"], p.ap] for p in points])
    apart = make_chart(points, parse_axis("macs"), "AP")
    expected = np.concatenate([front(values[:30], SENSES), front(values[30:], SENSES)])
    assert np.array_equal(apart.on_front, expected)
    together = make_chart(points, parse_axis("macs"), "AP", together=True)
    assert np.array_equal(together.on_front, front(values, SENSES))
    assert apart.probability.min() >= 0
    assert (apart.probability[apart.on_front] > 0).all()
    for part in apart.fronts:
        known = ~np.isnan(part.low)
        assert (part.low[known] <= part.middle[known]).all()
        assert (np.diff(part.middle[known]) >= -1e-12).all()


def test_paired_differences_move_points_together(tmp_path: Path) -> None:
    """Two nets that differ by 0.010 +- 0.002 on the same images are told apart, though their intervals overlap."""
    run = make_run(tmp_path / "run", names=("baseline", "shrink1"))
    alone, _ = draw_ap(points_of([run], "ap"), 4000, np.random.default_rng(0))
    assert (alone[:, 1] < alone[:, 0]).mean() > 0.1
    run.record("comparison", config="shrink1", against="baseline", seed=0, difference=0.015, low=0.011, high=0.019)
    points = points_of([run], "ap")
    assert points[1].difference == Difference("baseline", 0.015, 0.011, 0.019)
    paired, own = draw_ap(points, 4000, np.random.default_rng(0))
    moved = paired[:, 1] - paired[:, 0]
    assert moved.mean() == pytest.approx(points[1].ap - points[0].ap, abs=1e-3)
    assert np.quantile(moved, [0.025, 0.975]) == pytest.approx([0.011, 0.019], abs=5e-4)
    assert own[:, 1].std() < 0.4 * own[:, 0].std()


def test_samples_of_shared_images_are_taken_together(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=2)
    common = np.random.default_rng(0).normal(0, 0.02, 500)
    for k, record in enumerate(run.records("candidate")):
        run.record(**{**record, "ap": 0.4 + k / 100, "ap_draws": (0.4 + k / 100 + common).tolist()})
    drawn, _ = draw_ap(points_of([run], "ap"), 300, np.random.default_rng(0))
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(0.01)
    assert drawn[:, 0].std() == pytest.approx(0.02, rel=0.2)


def test_fingerprints_of_points_are_those_of_their_architectures() -> None:
    for point in published_points("crowdpose", "ap"):
        assert point.arch is not None
        assert point.fingerprint == fingerprint(point.arch)
        assert point.arch.joints == 14
