"""What a search shows: importance that finds what was put in, and figures with every axis labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from report.searches import make_search

from archsearch.report import style
from archsearch.report.pareto.chart import Chart
from archsearch.report.pareto.search import importance, read_evaluations
from archsearch.report.pareto.search_plots import along_figure, hypervolume_figure, search_figures
from archsearch.report.pareto.write import Request, chart_of
from archsearch.runs import Run
from archsearch.search.pareto import hypervolume

LABEL = "AP on embedded scenes"


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Run], Chart]:
    folder = tmp_path_factory.mktemp("searches")
    runs = [make_search(folder / f"s{seed}", count=200 if seed == 0 else 30, seed=seed) for seed in range(3)]
    return runs, chart_of(Request(tuple(runs)))


def test_importance_finds_what_was_put_in(searches: tuple[list[Run], Chart]) -> None:
    runs, chart = searches
    table = read_evaluations(runs[0], "s0", chart)
    assert table is not None
    shares = importance(table)
    for column in (0, 1):
        assert sum(pair[column] for pair in shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda path: shares[path][1]) == "/resolution"  # MACs grow with its square
    first_width = shares["/stages/0/width"]
    assert first_width[0] > 2 * first_width[1]  # made to matter for AP, hardly for MACs
    assert first_width[0] > 2 * shares["/head/filters/2"][0]


def test_few_evaluations_are_no_search(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=19)
    chart = chart_of(Request((run,)))
    assert read_evaluations(run, "run", chart) is None
    assert search_figures([run], chart) == {}


def test_hypervolume_ends_at_that_of_all_evaluations(searches: tuple[list[Run], Chart]) -> None:
    runs, chart = searches
    tables = [read_evaluations(run, f"s{k}", chart) for k, run in enumerate(runs)]
    found = [table for table in tables if table is not None]
    largest = max(float(table.cost.max()) for table in found)
    with style.style():
        figure, text = hypervolume_figure(found, LABEL)
    over_evaluations, over_time = figure.axes
    for table, line, timed in zip(found, over_evaluations.lines, over_time.lines, strict=True):
        points = np.column_stack((table.cost, table.ap))
        expected = hypervolume(points, (largest, 0), ("min", "max")) / largest
        heights = np.asarray(line.get_ydata(), dtype=float)
        assert heights[-1] == pytest.approx(expected)
        assert (np.diff(heights) >= 0).all()
        assert np.asarray(timed.get_ydata(), dtype=float)[-1] == pytest.approx(expected)
    assert "AP 0 and" in text


def test_every_figure_is_drawn_labelled_and_whole(searches: tuple[list[Run], Chart]) -> None:
    runs, chart = searches
    with style.style():
        found = search_figures(runs, chart)
        for figure, _ in found.values():
            figure.draw_without_rendering()
    assert set(found) == {
        "hypervolume", "attainment_search_litepose",
        *(f"{name}_{k}" for name in ("importance", "parallel", "along_front") for k in (1, 2, 3)),
    }  # fmt: skip
    for name, (figure, text) in found.items():
        assert text.endswith(".")
        _is_whole(name, figure)
    assert LABEL in found["attainment_search_litepose"][1]


def _is_whole(name: str, figure: Figure) -> None:
    for ax in figure.axes:
        if not ax.axison:
            continue
        assert ax.get_xlabel() or ax.get_ylabel() or len(ax.get_xticklabels()) > 3, name
    outer, page = figure.get_tightbbox(), figure.bbox_inches
    assert min(outer.x0, outer.y0, page.x1 - outer.x1, page.y1 - outer.y1) > -0.02, name


def test_costs_that_differ_widely_have_a_logarithmic_axis_and_few_options_their_own_ticks(
    searches: tuple[list[Run], Chart],
) -> None:
    runs, chart = searches
    table = read_evaluations(runs[0], "s0", chart)
    assert table is not None
    with style.style():
        figure, _ = along_figure(table, LABEL)
        figure.draw_without_rendering()
    drawn = [ax for ax in figure.axes if ax.axison]
    assert {ax.get_xscale() for ax in drawn} == {"log"}
    options = {choices["/resolution"] for choices, on in zip(table.choices, table.on_front, strict=True) if on}
    (resolution,) = [ax for ax in drawn if ax.get_ylabel() == "resolution"]
    assert set(resolution.get_yticks()) == options


def test_latency_and_parameters_are_costs_of_a_search_too(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=25, device="Some GPU")
    for x, name in (("latency:gpu", "latency"), ("params", "parameters")):
        chart = chart_of(Request((run,), x=x))
        table = read_evaluations(run, "run", chart)
        assert table is not None
        assert table.cost_name == name
        assert sorted(table.cost) == pytest.approx(sorted(chart.x))
