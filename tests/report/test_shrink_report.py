"""The report of a shrinking study: complete and partial runs, what the page says, what the figures show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from report.pages import parse
from report.records import make_run

from archsearch.files import InputError
from archsearch.report import plots, style, tables
from archsearch.report.findings import answer, ap_label
from archsearch.report.labels import label_points
from archsearch.report.shrink import write_report
from archsearch.runs import Run

FIGURES = {
    "ap_by_configuration", "equal_samples_and_time", "ap_against_macs", "ap_against_latency", "ap_by_height",
    "learning_curves", "architectures",
}  # fmt: skip
SCENES = "AP on embedded scenes"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, str]]]:
    before = dict(matplotlib.rcParams)
    run = make_run(tmp_path_factory.mktemp("runs") / "full")
    rows = write_report(run)
    assert dict(matplotlib.rcParams) == before  # no global state
    return run, rows


def test_rows_are_short_and_ready_to_print(full: tuple[Run, list[dict[str, str]]]) -> None:
    rows = full[1]
    assert [row["config"] for row in rows] == ["baseline", "shrink1", "shrink2", "shrink3"]
    assert rows[1] == {
        "config": "shrink1", "A": "<1|1,2|1,1,2|0,1,1,2>", "width": "16", "AP": "0.296 [0.275, 0.319]",
        "AP equal time": "0.293", "MACs": "55.70 M", "params": "1.079 M", "latency ms": "7.42 (IQR 0.31)",
        "train s": "176",
    }  # fmt: skip


def test_everything_is_written(full: tuple[Run, list[dict[str, str]]]) -> None:
    run = full[0]
    files = {path.name for path in (run.path / "plots").iterdir()}
    assert files == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    for path in (run.path / "plots").glob("*.svg"):
        ElementTree.parse(path)
        assert "<dc:date>" not in path.read_text()
    assert (run.path / "results.csv").exists()


def test_the_page_stands_alone(full: tuple[Run, list[dict[str, str]]]) -> None:
    page = (full[0].path / "report.html").read_text()
    assert len(page.encode()) < 2_000_000
    parsed = parse(page)
    parsed.check()
    assert parsed.tags.count("img") == len(FIGURES)
    text = " ".join(text for _, text in parsed.texts)
    assert "Do the blocks of high-resolution branches earn their cost?" in text
    assert "shrink1 has the highest AP on embedded scenes, 0.296" in text
    assert "schedules that were not finished then" in text
    assert "archsearch shrink study.yaml" in text
    assert "A processor <2 GHz>" in text
    assert "kind: scenes" in text


def test_figures_are_the_same_every_time(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names=("baseline",))
    looks = {"baseline": style.look(0)}
    saved = []
    for name in ("a", "b"):
        with style.style():
            figure = plots.ap_by_height(tables.outcomes(run), looks, SCENES)
        png, svg = style.save(figure, tmp_path / name)
        saved.append((png.read_bytes(), svg.read_bytes()))
    assert saved[0] == saved[1]


def test_a_partial_run_tells_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "part", seeds=(0, 1), finished=("baseline", "shrink2"), latency=False)
    rows = write_report(run)
    assert [row["config"] for row in rows] == ["baseline", "shrink2"]
    assert {row["latency ms"] for row in rows} == {"–"}
    text = " ".join(text for _, text in parse((run.path / "report.html").read_text()).texts)
    assert "not finished: shrink1 (seed 0), shrink1 (seed 1), shrink3 (seed 0) and shrink3 (seed 1)" in text
    assert "Student's t around the mean of 2 seeds" in text
    assert "Latency was not measured" in text
    assert not (run.path / "plots" / "ap_against_latency.png").exists()


def test_an_empty_run_says_what_to_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "empty", finished=())
    with pytest.raises(InputError, match="no finished training on record; run: archsearch shrink gradual_shrinking"):
        write_report(run)
    assert not (run.path / "report.html").exists()


def test_names_are_shown_letter_by_letter(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names=("baseline", "shrink1"), finished=("shrink1",), latency=False)
    odd = "_<b>&$x_1$ 50 %"
    for name in ("metrics.jsonl", "study.yaml"):
        path = run.path / name
        path.write_text(path.read_text().replace("shrink1", odd))
    assert write_report(run)[0]["config"] == odd
    parsed = parse((run.path / "report.html").read_text())
    parsed.check()
    assert "b" not in parsed.tags
    assert odd in [text for tag, text in parsed.texts if tag == "th"]


def test_the_answer_carries_its_uncertainty(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    outcomes = tables.outcomes(run)
    assert answer(outcomes, SCENES) == (
        "shrink1 has the highest AP on embedded scenes, 0.296 (95 % bootstrap interval over validation images 0.275 "
        "to 0.319, one training each), but its interval overlaps that of baseline, shrink2 and shrink3: not told apart "
        "by this run. From baseline to shrink3, MACs fall by 20 % (73.0 to 58.2 M), measured latency falls by 39 % and "
        "AP falls by 0.019, less than this run can tell apart."
    )
    baseline, shrink1 = outcomes[:2]
    clear = [
        dataclasses.replace(baseline, low=0.28, high=0.282, latency=None),
        dataclasses.replace(shrink1, low=0.29, high=0.3, macs=100_000_000, interval="seeds", seeds=(0, 1)),
    ]
    assert answer(clear, SCENES) == (
        "shrink1 has the highest AP on embedded scenes, 0.296 (95 % interval over 2 seeds 0.290 to 0.300), and its "
        "interval lies above all others. From baseline to shrink1, MACs rise by 37 % (73.0 to 100.0 M) and AP rises by "
        "0.015."
    )
    assert answer(outcomes[:1], SCENES).endswith("no other configuration has finished.")


def test_ap_is_named_after_its_data() -> None:
    assert ap_label({"data": {"kind": "scenes"}}) == SCENES
    assert ap_label({"data": {"kind": "coco", "name": "crowdpose"}}) == "AP (crowdpose val)"


DRAW: dict[str, Callable[..., Figure]] = {
    "ap_by_configuration": lambda o, _, looks: plots.ap_by_configuration(o, looks, SCENES),
    "equal": lambda o, _, looks: plots.equal_samples_and_time(o, looks, SCENES, 100.0),
    "macs": lambda o, _, looks: plots.ap_against_macs(o, looks, SCENES),
    "latency": lambda o, _, looks: plots.ap_against_latency(o, looks, SCENES),
    "height": lambda o, _, looks: plots.ap_by_height(o, looks, SCENES),
    "curves": lambda _, curves, looks: plots.learning_curves(curves, looks, SCENES, 100.0),
}


@pytest.fixture(scope="module", params=[(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs") / "run", seeds=request.param)


@pytest.mark.parametrize("name", list(DRAW))
def test_every_axis_is_labelled_and_nothing_is_cut(name: str, run: Run) -> None:
    looks = {config: style.look(i) for i, config in enumerate(tables.config_names(run))}
    with style.style():
        figure = DRAW[name](tables.outcomes(run), tables.curves(run), looks)
        figure.draw_without_rendering()
        assert figure.get_figwidth() == style.COLUMN_IN
        labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
        assert any(SCENES in text for pair in labels for text in pair)
        for ax, (x_label, y_label) in zip(figure.axes, labels, strict=True):
            assert x_label
            assert y_label or "baseline" in [text.get_text() for text in ax.get_yticklabels()]
        outer, page = figure.get_tightbbox(), figure.bbox_inches
        assert outer.x0 > -0.01
        assert outer.y0 > -0.01
        assert outer.x1 < page.x1 + 0.01
        assert outer.y1 < page.y1 + 0.01


@pytest.mark.parametrize("seed", range(4))
def test_labels_cover_neither_each_other_nor_points(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(size=(9, 2))
    with style.style():
        figure = style.new_figure(3.5, 2.6)
        ax = figure.add_subplot()
        ax.plot(*points.T, "o")
        ax.margins(0.2)
        texts = label_points(ax, points, [f"shrink{i}" for i in range(9)], colors=["black"] * 9)
        boxes = [text.get_window_extent() for text in texts]
        pixels = ax.transData.transform(points)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.contains(*pixel) for pixel in pixels)


def test_looks_do_not_repeat_soon() -> None:
    seen = {(style.look(i).color, style.look(i).marker) for i in range(56)}
    assert len(seen) == 56


def test_paired_differences_decide_where_they_are_on_record(tmp_path: Path) -> None:
    outcomes = tables.outcomes(make_run(tmp_path / "run"))
    best = max(outcomes, key=lambda o: o.ap)
    assert best.name == "shrink1"
    apart = dataclasses.replace(best, difference=tables.Difference("baseline", 0.015, 0.004, 0.026))
    text = answer([outcomes[0], apart], SCENES)
    assert "+0.015 from baseline (paired 95 %: +0.004 to +0.026)." in text
    close = dataclasses.replace(best, difference=tables.Difference("baseline", 0.015, -0.004, 0.026))
    assert "(paired 95 %: -0.004 to +0.026, not told apart)" in answer([outcomes[0], close], SCENES)
    worse = [
        dataclasses.replace(o, difference=tables.Difference("shrink1", -0.1, -0.2, high))
        for o, high in ((outcomes[2], -0.05), (outcomes[3], 0.01))
    ]
    assert "; not told apart from shrink3 by this run." in answer([best, *worse], SCENES)
    assert ", clearly above all others." in answer([best, worse[0]], SCENES)


def test_comparisons_and_the_ceiling_come_from_records(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.record("comparison", config="shrink1", against="baseline", seed=0, difference=0.02, low=0.01, high=0.03)
    run.record("ceiling", ap=0.9876)
    write_report(run)
    text = " ".join(text for _, text in parse((run.path / "report.html").read_text()).texts)
    assert "+0.020" in text
    assert "+0.010 to +0.030" in text
    assert "have AP 0.988" in text
