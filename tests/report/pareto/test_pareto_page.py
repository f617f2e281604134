"""What ``archsearch pareto`` writes: a page that stands alone, and tables."""

from __future__ import annotations

import base64
import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report.pages import Parsed, parse
from report.records import make_run
from report.searches import make_search

import archsearch
from archsearch.report.pareto.papers import macs_row
from archsearch.report.pareto.words import answer, caption, to_measure
from archsearch.report.pareto.write import Request, chart_of, write_pareto
from archsearch.report.published import published
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


def test_files_are_the_same_every_time(tmp_path: Path, shrinking: tuple[Run, Path]) -> None:
    run, out = shrinking
    write_pareto(Request((run,), x="latency:processor"), tmp_path / "again")
    for name in ("pareto.png", "pareto.svg", "pareto.csv", "pareto.html", "caption.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name
    ElementTree.parse(out / "pareto.svg")


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


def test_a_cost_is_in_the_table_once_in_a_unit_that_fits(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", latency=False)
    write_pareto(Request((run,)), tmp_path / "out")
    text = (tmp_path / "out" / "pareto.html").read_text()
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", text.partition("Points</h2>")[2].partition("</thead>")[0])
    assert [re.sub("<[^>]+>", " ", head).split()[0] for head in heads] == ["point", "AP", "MACs", "parameters", "on"]
    assert "<small>M, true</small>" in heads[2]
    assert "55.7" in text


def test_a_long_front_is_told_by_its_ends_and_folded_away(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=60)
    chart = chart_of(Request((run,)))
    on = sorted(np.flatnonzero(chart.on_front), key=lambda i: chart.x[i])
    assert len(on) > 12
    ends = [f"{chart.y[i]:.3f} at {chart.x[i]:.3g} G" for i in (on[0], on[-1])]
    assert (
        f"{len(on)} of 60 points are on the front of search_litepose, by the supernet, from {' to '.join(ends)}."
        in answer(chart)
    )
    write_pareto(Request((run,)), tmp_path / "out")
    assert "<details><summary>60 points</summary>" in (tmp_path / "out" / "pareto.html").read_text()


def test_ticks_of_an_axis_have_as_many_digits(shrinking: tuple[Run, Path]) -> None:
    ticks = re.findall(r'class="yt"[^>]*>([^<]+)<', (shrinking[1] / "pareto.html").read_text())
    assert len(ticks) > 3
    assert len({len(tick.partition(".")[2]) for tick in ticks}) == 1


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
    assert [float(row["cost"]) for row in rows] == [6.03, 7.18, 7.42, 9.81]
    assert rows[0]["unit"] == "ms"
    assert rows[0]["cost_of"] == "latency (ms), A processor <2 GHz>, torch-eager, batch 1, 1 thread"
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


def test_the_python_of_the_guide_runs() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "pareto.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    exec(compile(code, "pareto.md", "exec"), {})
