"""The figure: every name is there, and nothing covers it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from archsearch.report import style
from archsearch.report.pareto.plot import WIDTHS_IN, front_figure
from archsearch.report.pareto.write import Request, chart_of
from archsearch.report.published import DATASETS


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
        assert not any(_strikes(line, box) for line in _fronts(ax)), f"{texts[i].get_text()} is struck through"
        assert ax.get_window_extent().contains(box.x0, box.y0)
        assert ax.get_window_extent().contains(box.x1, box.y1)
    assert min(outer.x0, outer.y0, page.x1 - outer.x1, page.y1 - outer.y1) > -0.01
    assert min(text.get_fontsize() for text in texts) >= 6


def _fronts(ax: Axes) -> list[np.ndarray]:
    """The lines with more than two places, in pixels."""
    lines = [ax.transData.transform(np.column_stack((line.get_xdata(), line.get_ydata()))) for line in ax.lines]
    return [line for line in lines if len(line) > 2]


def _strikes(line: np.ndarray, box: Bbox) -> bool:
    """Whether a line of steps passes through a box: at each place across and then up."""
    turns = np.insert(line[1:], np.arange(len(line) - 1), np.column_stack((line[1:, 0], line[:-1, 1])), axis=0)
    path = np.vstack((line[:1], turns))
    dense = np.concatenate([np.linspace(a, b, 200) for a, b in itertools.pairwise(path)])
    return any(box.contains(x, y) for x, y in dense)


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
