"""The figure of a front: points of several series, their intervals, the front of each and its band.

To be called within ``style.style()``. Series differ in colour and marker; filled points are on the front of the values
as they are, hollow ones are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from archsearch.report.labels import label_points
from archsearch.report.pareto.chart import Chart, Front
from archsearch.report.style import COLUMN_IN, INK, MUTED, PAGE_IN, Look, legend_above, literal, look, new_figure
from archsearch.search.pareto import Floats, attainment

WIDTHS_IN = {"column": COLUMN_IN, "page": PAGE_IN}
NEAR_PT = 30  # points closer than this are in each other's way


def front_figure(chart: Chart, width: str = "column") -> Figure:
    """AP against the cost, as wide as a ``column`` or a ``page``."""
    looks = {name: look(i) for i, name in enumerate(chart.series)}
    wide = width == "page"
    figure = new_figure(WIDTHS_IN[width], (4.1 if wide else 3.1) + 0.13 * (len(looks) // (5 if wide else 2)))
    ax = figure.add_subplot()
    bars = [bar for part in chart.fronts for bar in _draw_front(ax, chart, part, looks)]
    crowded = chart.crowded
    for i, point in enumerate(chart.points):
        bars += _draw_point(ax, chart, i, looks[point.series], point.series in crowded)
    _axes(ax, chart)
    legend_above(figure, *_legend(chart, looks))
    named = [i for i, p in enumerate(chart.points) if p.series not in crowded]
    _names(ax, chart, named, looks, bars)
    return figure


def corners(chart: Chart, part: Front) -> Floats:
    """(K, 2) the points of one front in the axes' units, the cheapest first; of equal ones one."""
    values = np.column_stack((chart.x, chart.y))[list(part.members)]
    return attainment([values], 1, ("min", "max"))


def front_color(chart: Chart, part: Front, looks: dict[str, Look]) -> str:
    """A front has the colour of its points where they are of one series."""
    names = {chart.points[i].series for i in part.members}
    return looks[names.pop()].color if len(names) == 1 else MUTED


Bars = list[tuple[tuple[float, float], tuple[float, float]]]


def _draw_front(ax: Axes, chart: Chart, part: Front, looks: dict[str, Look]) -> Bars:
    """Steps through the points of a front: what an AP costs at least. Gives back its segments."""
    color = front_color(chart, part, looks)
    known = ~np.isnan(part.low)
    if (part.low[known] < part.high[known]).any():
        ax.fill_between(
            part.xs[known], part.low[known], part.high[known], step="post", color=color, alpha=0.14, linewidth=0
        )
    steps = corners(chart, part)
    ends = np.append(steps[:, 0], chart.x.max())
    ax.step(ends, np.append(steps[:, 1], steps[-1, 1]), where="post", color=color, linewidth=0.9, zorder=2,
            linestyle="-" if "top-down" not in part.name else (0, (4, 1.5)))  # fmt: skip
    found: Bars = []
    for (x, y), following, rises in zip(steps.tolist(), ends[1:].tolist(), [*steps[1:, 1].tolist(), None], strict=True):
        found.append(((x, y), (following, y)))
        if rises is not None:
            found.append(((following, y), (following, rises)))
    return found


def _draw_point(ax: Axes, chart: Chart, i: int, drawn: Look, small: bool) -> Bars:
    point, x, y = chart.points[i], float(chart.x[i]), float(chart.y[i])
    on = bool(chart.on_front[i])
    bars: Bars = []
    if not small and point.low < point.high:
        bars.append(((x, point.low * chart.y_scale), (x, point.high * chart.y_scale)))
    if not small and chart.x_spread[i] > 0:
        bars.append(((x - chart.x_spread[i], y), (x + chart.x_spread[i], y)))
    for (x0, y0), (x1, y1) in bars:
        mark = "|" if y0 == y1 else "_"
        ax.plot((x0, x1), (y0, y1), color=drawn.color, linewidth=0.8, marker=mark, markersize=3, alpha=0.7, zorder=3)
    size = 2.6 if small and not on else 3.4 if small else 4.8
    ax.plot(
        x, y, drawn.marker, color=drawn.color, markersize=size, markeredgewidth=0.9, zorder=5 if on else 4,
        markerfacecolor=drawn.color if on else "white", alpha=0.6 if small and not on else 1,
    )  # fmt: skip
    return bars


def _axes(ax: Axes, chart: Chart) -> None:
    ax.set_ylabel(literal(chart.y_label))
    label = chart.x_label
    if len(label) > 17 * ax.figure.get_figwidth():  # type: ignore[union-attr]
        label = label.replace(", ", ",\n", 1)
    ax.set_xlabel(literal(label))
    ax.margins(x=0.09, y=0.09)
    if chart.logarithmic:
        logarithmic(ax, "x")


def logarithmic(ax: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with round numbers at its ticks."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log"})
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    ticks = round_numbers(low, high)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    ax.set(**{f"{which}lim": (low, high)})


def round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within the limits; only 1 (and 3) where these would be more than nine."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= 9:
            return found
    return found


def _legend(chart: Chart, looks: dict[str, Look]) -> tuple[list[Line2D], list[str]]:
    handles: list[Line2D] = []
    for drawn in looks.values():
        handles.append(Line2D((), (), color=drawn.color, marker=drawn.marker, linestyle=""))
    names = list(looks)
    if not chart.on_front.all():
        handles.append(Line2D((), (), color=INK, marker="o", linestyle="", markerfacecolor="white"))
        names.append("not on a front")
    return handles, names


def _names(ax: Axes, chart: Chart, chosen: Sequence[int], looks: dict[str, Look], bars: Bars) -> None:
    """Write the names of points, the most crowded first; with a line to it where there is no room beside it.

    The points that have no name compete for the room, too.
    """
    if not chosen:
        return
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides where points are
    pixels = ax.transData.transform(np.column_stack((chart.x, chart.y)))
    near_px = NEAR_PT * ax.figure.dpi / 72
    neighbours = (np.hypot(*(pixels[:, None] - pixels[None]).transpose(2, 0, 1)) < near_px).sum(axis=1)
    chosen = sorted(chosen, key=lambda i: -neighbours[i])
    others = [i for i in range(len(chart.points)) if i not in set(chosen)]
    dots: Bars = [((x, y), (x, y)) for x, y in zip(chart.x[others], chart.y[others], strict=True)]
    texts = label_points(
        ax, np.column_stack((chart.x, chart.y))[list(chosen)], [short_name(chart, i) for i in chosen],
        colors=[looks[chart.points[i].series].color for i in chosen], bars=[*bars, *dots], size_pt=6.5,
    )  # fmt: skip
    frame, kept = ax.get_window_extent(), list[Bbox]()
    lines = [ax.transData.transform(np.asarray(bar)) for bar in bars]
    misplaced: list[int] = []
    struck: list[tuple[int, Annotation]] = []  # through by a line: better than no name
    for i, text in zip(chosen, texts, strict=True):
        box = text.get_window_extent()
        if _clashes(box, kept, pixels, frame) or _nearest(box, pixels) != i:
            misplaced.append(i)
            text.remove()
        else:
            kept.append(box)
            if any(_crosses(box, line) for line in lines):
                struck.append((i, text))
    leaders: list[Floats] = []
    for i in misplaced:
        _name_with_leader(ax, chart, i, looks[chart.points[i].series].color, kept, pixels, lines, leaders)
    for i, text in struck:
        if _name_with_leader(ax, chart, i, looks[chart.points[i].series].color, kept, pixels, lines, leaders):
            text.remove()


def _name_with_leader(
    ax: Axes, chart: Chart, i: int, color: str, kept: list[Bbox], pixels: Floats, lines: Sequence[Floats],
    leaders: list[Floats],
) -> bool:  # fmt: skip
    """Write a name where there is room farther away, with a line to its point; False where there is none."""
    frame = ax.get_window_extent()
    text = ax.annotate(
        literal(short_name(chart, i)), (float(chart.x[i]), float(chart.y[i])), (0, 0), textcoords="offset points",
        ha="center", va="center", fontsize=6.5, color=color, zorder=6,
        arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
    )  # fmt: skip
    text.set_in_layout(False)
    reach = 2.5 * ax.figure.dpi / 72
    for distance_pt in (13, 17, 22, 28, 36, 46):
        for angle in np.arange(0, 2 * np.pi, np.pi / 12):
            text.set_position((1.3 * distance_pt * np.cos(angle), distance_pt * np.sin(angle)))
            text.get_window_extent()  # moves it
            box = Text.get_window_extent(text)  # without its line
            leader = np.array([pixels[i], np.clip(pixels[i], box.min, box.max)])
            others = [Bbox([pixel - reach, pixel + reach]) for k, pixel in enumerate(pixels) if k != i]
            in_its_way = any(_crosses(other, leader) for other in [*kept, *others])
            crossed = any(_crosses(box, line) for line in lines) or any(_meet(leader, other) for other in leaders)
            if not in_its_way and not crossed and not _clashes(box.padded(2), kept, pixels, frame):
                kept.append(box)
                leaders.append(leader)
                return True
    text.remove()
    return False


def _crosses(box: Bbox, line: Floats) -> bool:
    """Whether a straight line passes through a box."""
    start, step = line[0], line[1] - line[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.array([(box.min - start) / step, (box.max - start) / step]), axis=0)
    still = step == 0
    if (still & ((start < box.min) | (start > box.max))).any():
        return False
    return bool(ends[0, ~still].max(initial=0.0) <= ends[1, ~still].min(initial=1.0))


def _meet(first: Floats, second: Floats) -> bool:
    """Whether two straight lines between points cross."""

    def sides(line: Floats, points: Floats) -> Floats:
        (dx, dy), away = line[1] - line[0], points - line[0]
        return np.asarray(dx * away[:, 1] - dy * away[:, 0])

    return bool(sides(first, second).prod() < 0 and sides(second, first).prod() < 0)


def _nearest(box: Bbox, pixels: Floats) -> int:
    """The point that a name seems to belong to."""
    return int(np.hypot(*(np.clip(pixels, box.min, box.max) - pixels).T).argmin())


def _clashes(box: Bbox, kept: Sequence[Bbox], pixels: Floats, frame: Bbox) -> bool:
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    return not inside or any(box.overlaps(other) for other in kept) or any(box.contains(x, y) for x, y in pixels)


def short_name(chart: Chart, i: int) -> str:
    """A point's name beside the legend: without its series."""
    point = chart.points[i]
    return point.published.label if point.published else point.name
