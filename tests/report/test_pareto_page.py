"""What ``archsearch pareto`` writes: figures that nothing covers, a page that stands alone, tables, and refusals."""

from __future__ import annotations

import base64
import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Annotation, Text
from report.pages import Parsed, parse
from report.records import make_run
from report.searches import make_search
from typer.testing import CliRunner

import archsearch
from archsearch.cli import app
from archsearch.files import InputError
from archsearch.report import style
from archsearch.report.pareto import Request, chart_of, macs_row, write_pareto
from archsearch.report.pareto_plot import WIDTHS_IN, front_figure
from archsearch.report.pareto_words import caption, to_measure
from archsearch.report.published import DATASETS, published
from archsearch.runs import Run
from archsearch.space import fingerprint


@pytest.fixture(scope="module")
def crowdpose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures") / "crowdpose"
    write_pareto(Request((), published="crowdpose", command="archsearch pareto --published crowdpose"), out)
    return out


@pytest.fixture(scope="module")
def shrinking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("shrinking")
    run = make_run(folder / "run")
    write_pareto(Request((run,), x="latency:processor"), folder / "out")
    return run, folder / "out"


def page_of(out: Path) -> Parsed:
    return parse((out / "pareto.html").read_text())


# ---------------------------------------------------------------------------------------------------------- the figure


@pytest.mark.parametrize("width", list(WIDTHS_IN))
@pytest.mark.parametrize("dataset", list(DATASETS))
def test_every_published_point_has_its_name_and_no_name_covers_another(dataset: str, width: str) -> None:
    chart = chart_of(Request((), published=dataset))
    with style.style():
        figure = front_figure(chart, width)
        figure.draw_without_rendering()
        (ax,) = figure.axes
        texts = [child for child in ax.get_children() if isinstance(child, Annotation)]
        boxes = [Text.get_window_extent(text) for text in texts]
        pixels = ax.transData.transform(np.column_stack((chart.x, chart.y)))
        outer, page = figure.get_tightbbox(), figure.bbox_inches
    assert figure.get_figwidth() == WIDTHS_IN[width]
    assert sorted(text.get_text() for text in texts) == sorted(p.published.label for p in chart.points if p.published)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i]), texts[i].get_text()
        assert not any(box.contains(*pixel) for pixel in pixels), texts[i].get_text()
        assert ax.get_window_extent().contains(box.x0, box.y0)
        assert ax.get_window_extent().contains(box.x1, box.y1)
    assert min(outer.x0, outer.y0, page.x1 - outer.x1, page.y1 - outer.y1) > -0.01
    assert min(text.get_fontsize() for text in texts) >= 6


def test_series_differ_without_colour_and_the_front_is_filled() -> None:
    chart = chart_of(Request((), published="crowdpose"))
    with style.style():
        (ax,) = front_figure(chart).axes
    dots = [line for line in ax.lines if line.get_marker() in "os^DvPX*" and len(line.get_xdata()) == 1]
    assert len(dots) == len(chart.points)
    filled = [line.get_markerfacecolor() != "white" for line in dots]
    assert filled == chart.on_front.tolist()
    markers = {p.series: line.get_marker() for p, line in zip(chart.points, dots, strict=True)}
    assert len(set(markers.values())) == len(chart.series)
    assert ax.get_xscale() == "log"


def test_files_are_the_same_every_time(tmp_path: Path, shrinking: tuple[Run, Path]) -> None:
    run, out = shrinking
    write_pareto(Request((run,), x="latency:processor"), tmp_path / "again")
    for name in ("pareto.png", "pareto.svg", "pareto.csv", "pareto.html", "caption.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name
    ElementTree.parse(out / "pareto.svg")


# ------------------------------------------------------------------------------------------------------------ the page


def test_the_page_stands_alone_and_every_point_leads_to_its_architecture(crowdpose: Path) -> None:
    text = (crowdpose / "pareto.html").read_text()
    assert len(text.encode()) < 500_000
    parsed = page_of(crowdpose)
    parsed.check()
    models = published("crowdpose")
    points = [a for tag, a in parsed.elements if tag == "a" and str(a.get("class", "")).startswith("pt")]
    assert len(points) == len(models)
    links = [a for tag, a in parsed.elements if tag == "a" and "download" in a]
    assert len(links) == len(models)
    for model, link in zip(models, links, strict=True):
        name, address = str(link["download"]), str(link["href"])
        written = crowdpose / "archs" / name
        assert base64.b64decode(address.partition("base64,")[2]).decode() == written.read_text()
        assert archsearch.load_arch(written) == model.arch
        assert fingerprint(model.arch) in name
    words = " ".join(found for _, found in parsed.texts)
    assert "12.50 G (ptflops_0_6)" in words
    assert "11.22 G (true)" in words


def test_nothing_of_a_name_becomes_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names=("baseline", "shrink1"), latency=False)
    odd = "_<b>&$x_1$ 50 %"
    for name in ("metrics.jsonl", "study.yaml"):
        path = run.path / name
        path.write_text(path.read_text().replace("shrink1", odd))
    write_pareto(Request((run,)), tmp_path / "out")
    parsed = page_of(tmp_path / "out")
    parsed.check()
    assert odd in [text for tag, text in parsed.texts if tag == "b"]
    assert {dict(a).get("class") for tag, a in parsed.elements if tag == "b"} == {None}


def test_light_and_dark_have_a_colour_for_every_series(crowdpose: Path) -> None:
    css = "".join(text for tag, text in page_of(crowdpose).texts if tag == "style")
    light, dark = css.split(".pareto:has(#show0")[0], css.rpartition("prefers-color-scheme: dark")[2]
    for i in range(5):
        assert f".c{i}{{--c:" in dark
    assert light.count(".k") >= 8
    assert "max-width: 40rem" in css  # details lie at the bottom of small screens


def test_embedded_ap_is_called_that_everywhere(shrinking: tuple[Run, Path]) -> None:
    _, out = shrinking
    parsed = page_of(out)
    parsed.check()
    assert parsed.text("h1") == "AP on embedded scenes against latency"
    words = (out / "caption.txt").read_text()
    assert words.startswith("AP on embedded scenes against latency (ms), A processor <2 GHz>, torch-eager")
    assert "interquartile range" in words
    assert "95 % by bootstrap over the validation images" in words


def test_the_page_says_what_to_measure_again(shrinking: tuple[Run, Path]) -> None:
    run, out = shrinking
    chart = chart_of(Request((run,), x="latency:processor"))
    shares = to_measure(chart)
    assert shares == sorted(shares, reverse=True)
    assert shares[0][1] in " ".join(text for _, text in page_of(out).texts)


def test_the_caption_states_the_convention(crowdpose: Path) -> None:
    words = (crowdpose / "caption.txt").read_text()
    assert "All MACs are in one convention, the true count, counted from each network at its own input size" in words
    assert "the papers print hrnet_summary and ptflops_0_6" in words
    coco = caption(chart_of(Request((), published="coco")))
    assert "OpenPose Lightweight is left out: LitePose README (CVPR 2022) prints 9.0 G in ptflops_0_6 only" in coco
    assert "one person's box, without the detector" in coco
    same = caption(chart_of(Request((), x="macs:ptflops_0_6", published="crowdpose")))
    assert "the convention ptflops_0_6" in same


def test_macs_stand_beside_the_papers(crowdpose: Path) -> None:
    with open(crowdpose / "macs.csv", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    row = rows["LitePose-Auto-S"]
    assert (row["paper_macs"], row["counted_in_that_convention"], row["true_gmacs"]) == ("5.0 G", "4.981 G", "3.6141")
    assert len(rows) == len(published("crowdpose"))
    assert macs_row(published("coco")[4])["counted_in_that_convention"] == "194.8 Mi"


def test_rows_hold_every_point_the_cheapest_first(shrinking: tuple[Run, Path]) -> None:
    with open(shrinking[1] / "pareto.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["shrink3", "shrink2", "shrink1", "baseline"]
    assert [row["on_front"] for row in rows] == ["True", "True", "True", "False"]
    assert [float(row["latency"]) for row in rows] == [6.03, 7.18, 7.42, 9.81]
    assert rows[0]["unit"] == "ms"
    assert 0 < float(rows[3]["probability"]) < 0.5


def test_very_many_points_leave_the_hopeless_ones_off_the_page(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=105)
    rows = write_pareto(Request((run,)), tmp_path / "out")
    kept = [row for row in rows if row["arch"]]
    assert len(rows) == 105
    assert len(kept) < 100
    assert all(row["arch"] for row in rows if row["on_front"])
    assert {path.name for path in (tmp_path / "out" / "archs").iterdir()} == {Path(r["arch"]).name for r in kept}
    assert len((tmp_path / "out" / "pareto.html").read_bytes()) < 1_500_000
    page_of(tmp_path / "out").check()


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_the_front_and_its_caption(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    done = CliRunner().invoke(app, ["pareto", str(run.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "on the front, 1 of 4" in done.output
    assert "AP on embedded scenes against MACs" in done.output
    machine = CliRunner().invoke(app, ["pareto", str(run.path), "--json", "--out", str(tmp_path / "json")])
    assert [row["name"] for row in json.loads(machine.output)] == ["shrink1", "shrink3", "shrink2", "baseline"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "nothing to draw: name the folder of a run"),
        (["--published", "mpii"], "--published mpii: one of crowdpose, coco"),
        (["RUN", "--published", "coco"], "AP on embedded scenes cannot share an axis with AP published on coco"),
        (["RUN", "--x", "speed"], "--x speed: one of"),
        (["RUN", "--y", "pck"], "--y pck: one of ap, ap50, ap75"),
        (["RUN", "--width", "wall"], "--width wall: one of column, page"),
        (["RUN", "--x", "latency:tpu"], "--x latency:tpu: is none of: A processor"),
        (["nowhere"], "nowhere: no such folder"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(tmp_path: Path, words: list[str], fault: str) -> None:
    run = make_run(tmp_path / "run", names=("baseline",))
    given = [str(run.path) if word == "RUN" else word for word in words]
    done = CliRunner().invoke(app, ["pareto", *given, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert fault in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_the_python_of_the_guide_runs() -> None:
    guide = (Path(__file__).parent.parent.parent / "docs" / "pareto.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    exec(compile(code, "pareto.md", "exec"), {})
