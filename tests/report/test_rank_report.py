"""The pages of ranking and conflict, from made-up records."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml
from report import pages
from train import tiny

from archsearch.experiments.conflict import Cell
from archsearch.experiments.rank import pairs
from archsearch.experiments.ranking import figures
from archsearch.files import InputError, write_text
from archsearch.report import style
from archsearch.report.conflict import conflict_figure
from archsearch.report.rank import answer, rank_figure, write_report
from archsearch.runs import Run
from archsearch.space import to_plain

DATA = {"kind": "scenes", "skeleton": "coco17", "level": "easy", "size_px": 96, "train": 100, "val": 20, "seed": 0}
APS = [(0.11, (0.20, 0.22)), (0.19, (0.18, 0.20)), (0.22, (0.28, 0.30)), (0.31, (0.33, 0.29)), (0.30, (0.41, 0.37))]


def made(folder: Path, aps: list[tuple[float, tuple[float, ...]]] = APS) -> Run:
    path = folder / "rank"
    study = {"kind": "rank", "name": "does_it_rank", "question": "Is it <so>?", "macs_bins": 2,
             "supernet": "/no/longer/there", "data": DATA, "seeds": [0, 1]}  # fmt: skip
    write_text(path / "study.yaml", yaml.safe_dump(study))
    run = Run(path)
    for k, (shared, alone) in enumerate(aps):
        arch = {**to_plain(tiny.space().smallest()), "resolution": 32 if k < 2 else 48}
        run.record("candidate", fingerprint=f"arch{k}", arch=arch, choices={"/stem": k}, ap=shared,
                   ap_low=shared - 0.03, ap_high=shared + 0.04, macs=(k + 1) * 3_000_000, params=20_000 + k,
                   supernet="/no/longer/there")  # fmt: skip
        for seed, ap in enumerate(alone):
            run.record("result", config=f"arch{k}", seed=seed, ap=ap)
    return run


def test_the_page_has_the_figures_and_the_benchmark_has_the_architectures(tmp_path: Path) -> None:
    run = made(tmp_path)
    rows = {row["figure"]: row["value"] for row in write_report(run)}
    found = figures(pairs(run), 2)
    assert rows["Kendall's tau"].startswith(f"{found.kendall.value:.2f} (")
    assert rows["regret of the supernet's pick"] == "0.080 AP"  # 0.39 against 0.31
    assert rows["regret of the most MACs"] == "0.000 AP"
    assert "tau within 3.0 to 9.0 M MACs (3)" in rows
    assert rows["difference of the two taus"].startswith(f"{found.difference.value:+.2f} (")
    assert rows["tau within one input size (4 pairs)"].startswith(f"{found.sized.value:.2f} (")  # 2 at 32, 3 at 48 px
    text = (run.path / "report.html").read_text()
    page = pages.parse(text)
    page.check()
    assert page.text("h1") == "Does it rank"
    assert "Is it &lt;so&gt;?" in text
    for value in (*rows.values(), "arch3", "embedded scenes, easy, 96 px", "0.310"):
        assert value in text.replace("&#x27;", "'"), value
    lines = [json.loads(line) for line in (run.path / "benchmark.jsonl").read_text().splitlines()]
    assert [line["fingerprint"] for line in lines] == [f"arch{k}" for k in range(5)]
    assert lines[3]["alone_ap"] == pytest.approx(0.31)
    assert {p.suffix for p in (run.path / "plots").iterdir()} == {".png", ".svg"}


def test_the_answer_says_who_ranks_better_and_whether_that_can_be_told(tmp_path: Path) -> None:
    found = figures(pairs(made(tmp_path / "a")), 2)
    text = answer(found, "AP on embedded scenes")
    assert "Over 5 architectures" in text
    assert "this many architectures do not tell the two apart" in text
    assert "Among architectures of one input size (4 pairs)" in text
    assert "0.080 below the best of them" in text
    assert text.endswith("MACs alone rank no worse here.") == (found.kendall.value <= found.macs_kendall.value)
    assert "nan" not in answer(figures(pairs(made(tmp_path / "b", [(0.0, (0.0,))] * 4)), 1), "AP")


def test_equal_figures_make_a_page_without_nan(tmp_path: Path) -> None:
    run = made(tmp_path, [(0.0, (0.0, 0.0))] * 4)
    rows = write_report(run)
    assert rows[0] == {"figure": "Kendall's tau", "value": "not defined"}
    text = (run.path / "report.html").read_text()
    pages.parse(text).check()
    assert not any("nan" in value for _, value in pages.parse(text).texts)


def test_fewer_than_three_are_refused(tmp_path: Path) -> None:
    run = made(tmp_path, APS[:2])
    with pytest.raises(InputError, match="2 architectures have both figures on record, three are needed; go on with"):
        write_report(run)
    assert not (run.path / "report.html").exists()
    assert not (run.path / "benchmark.jsonl").exists()


def test_every_architecture_is_a_point(tmp_path: Path) -> None:
    rows = pairs(made(tmp_path))
    with style.style():
        figure = rank_figure(rows, figures(rows, 2), "AP")
    looks = {}
    for ax, xs in zip(figure.axes, ([r.supernet_ap for r in rows], [3.0, 6.0, 9.0, 12.0, 15.0]), strict=True):
        points = [line for line in ax.lines if line.get_marker() != "None"]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [
            (x, r.alone_ap) for x, r in zip(xs, rows, strict=True)
        ]
        for line, r in zip(points, rows, strict=True):
            looks.setdefault(r.input_hw, set()).add((line.get_marker(), line.get_color()))
    assert {len(look) for look in looks.values()} == {1}
    assert len(set.union(*looks.values())) == len(looks) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["32 px", "48 px"]
    assert "MACs per image (M" in figure.axes[1].get_xlabel()
    plt.close(figure)


def test_a_heat_map_has_every_cell_in_its_place() -> None:
    found = [
        Cell("kernel", "stage 1", "3", "5", 0.9, 0.8, 4),
        Cell("kernel", "stage 2", "3", "5", -0.25, -0.5, 4),
        Cell("kernel", "stage 2", "3", "7", 0.1, 0.0, 4),
        Cell("depth", "stage 1", "1", "2", 0.33, 0.3, 4),
    ]
    with style.style():
        figure = conflict_figure(found)
    panels = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert set(panels) == {"kernel", "depth"}
    ax = panels["kernel"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["stage 1", "stage 2"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["3 / 5", "3 / 7"]
    texts = {(t.get_position(), t.get_text()) for t in ax.texts}
    assert texts == {((0, 0), "0.90"), ((0, 1), "-0.25"), ((1, 0), "–"), ((1, 1), "0.10")}
    plt.close(figure)
