"""The figure for screens: each point tells what it is when it is pointed at, without scripts.

Positions are per cent of the frame, so the figure fits any width, and letters keep their size. Series are switched on
and off by check boxes, and colours follow the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from archsearch.report import style
from archsearch.report.architecture import describe
from archsearch.report.pareto.axis import macs_in
from archsearch.report.pareto.chart import Chart, Front
from archsearch.report.pareto.plot import corners, front_color, round_numbers
from archsearch.report.pareto.words import percent
from archsearch.report.plots import macs_unit
from archsearch.report.published import unit
from archsearch.search.pareto import Floats

_DARK = {  # what each colour becomes on a dark page
    style.BLUE: "#4da6e0", style.VERMILLION: "#f08040", style.GREEN: "#2bc79a", style.PURPLE: "#e09ac0",
    style.ORANGE: "#f0b429", style.SKY: "#9ad4f5", style.BLACK: "#e8e8e8", style.MUTED: "#a9adb2",
}  # fmt: skip
_SHAPES = {  # markers of matplotlib, drawn in a box from -10 to 10
    "o": '<circle r="6.5"/>',
    "s": '<path d="M-6-6H6V6H-6Z"/>',
    "^": '<path d="M0-7.5L7.5 6H-7.5Z"/>',
    "D": '<path d="M0-8L8 0 0 8-8 0Z"/>',
    "v": '<path d="M0 7.5L7.5-6H-7.5Z"/>',
    "P": '<path d="M-2.7-7.5H2.7V-2.7H7.5V2.7H2.7V7.5H-2.7V2.7H-7.5V-2.7H-2.7Z"/>',
    "X": '<path d="M-7.5-4L-4-7.5 0-3.5 4-7.5 7.5-4 3.5 0 7.5 4 4 7.5 0 3.5-4 7.5-7.5 4-3.5 0Z"/>',
    "*": '<path d="M0-8.5L2.1-2.9 8.1-2.6 3.4 1.1 5 6.9 0 3.6-5 6.9-3.4 1.1-8.1-2.6-2.1-2.9Z"/>',
}


def figure_html(chart: Chart, linked: Sequence[int]) -> str:
    """The figure; ``linked`` are the points whose architecture is on the page, at ``#arch-INDEX``."""
    frame = _Frame(chart)
    names = chart.series
    looks = {name: style.look(i) for i, name in enumerate(names)}
    switches = "".join(
        f'<label class="c{i}"><input type="checkbox" id="show{i}" checked="checked"/>'
        f"{_marker(looks[name].marker, True)}{escape(name)}</label>"
        for i, name in enumerate(names)
    )
    crowded = chart.crowded
    drawn = "".join(_front_svg(chart, part, frame, looks, names) for part in chart.fronts)
    drawn += "".join(_bars_svg(chart, i, frame, names) for i, p in enumerate(chart.points) if p.series not in crowded)
    points = "".join(_point(chart, i, frame, looks, names, i in linked) for i in range(len(chart.points)))
    hollow = "" if chart.on_front.all() else "Hollow points are not on a front. "
    return (
        f"<style>{_CSS}{_colors(chart)}</style>\n"
        f'<div class="pareto" role="group" aria-label="{escape(chart.y_label)} against {escape(chart.x_label)}">\n'
        f'<div class="switches">{switches}</div>\n<div class="y-name">{escape(chart.y_label)}</div>\n'
        f'<div class="frame">{frame.ticks_html()}'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{frame.grid_svg()}{drawn}</svg>'
        f'{points}</div>\n<div class="x-name">{escape(chart.x_label)}</div>\n'
        f'<p class="note">{hollow}Point at one, or tap it, for its figures; '
        "click it for its architecture.</p>\n</div>\n"
    )


def details_of(chart: Chart, i: int) -> list[tuple[str, str]]:
    """What is known of a point, by name, for people to read."""
    point, scale = chart.points[i], chart.y_scale
    digits = 1 if scale > 1 else 3
    ap = f"{point.ap * scale:.{digits}f}"
    if point.low < point.high:
        kind = {"bootstrap": "95 %, images", "seeds": "95 %, seeds", "none": "95 %"}[point.interval]
        ap += f" ({point.low * scale:.{digits}f} to {point.high * scale:.{digits}f}; {kind})"
    found = [] if point.published or len(chart.series) == 1 else [("of", point.series)]
    found.append(("AP", ap))
    true = macs_in(point, "true")
    if true is not None:
        found.append(("MACs", f"{macs_text(true)} (true)"))
    if chart.axis.kind == "macs" and chart.axis.what != "true":
        name, times = unit(chart.axis.what)
        value = macs_in(point, chart.axis.what) or 0.0
        found.append(("MACs", f"{macs_text(value) if times == 10**9 else f'{value:.4g} {name}'} ({chart.axis.what})"))
    if point.published is not None:
        found.append(("paper's MACs", f"{point.published.printed_macs} ({point.published.convention})"))
    if point.params is not None:
        found.append(("parameters", f"{point.params / 1e6:.3f} M"))
    for reading in point.readings:
        spread = "" if reading.iqr_ms is None else f" (IQR {reading.iqr_ms:.3g})"
        found.append(("latency", f"{reading.median_ms:.4g} ms{spread}, {reading.setting}"))
    if point.arch is not None:
        found.append(("architecture", f"{describe(point.arch)} · {point.fingerprint}"))
    where = "on the front" if chart.on_front[i] else "not on the front"
    if chart.uncertain:
        where += f"; probability {percent(chart.probability[i])} of being on it"
    return [*found, ("front", where), *(("note", note) for note in point.notes)]


def macs_text(macs: float) -> str:
    """MACs with four digits and a unit."""
    name, scale = macs_unit(macs)
    return f"{macs / scale:.4g} {name}"


class _Frame:
    """Where values are in the frame, in per cent from the left and from the top."""

    def __init__(self, chart: Chart) -> None:
        self.log = chart.logarithmic
        x0, x1 = chart.x - chart.x_spread, chart.x + chart.x_spread
        lows = np.array([p.low for p in chart.points]) * chart.y_scale
        highs = np.array([p.high for p in chart.points]) * chart.y_scale
        self.x_low, self.x_high = _padded(self._along(x0).min(), self._along(x1).max())
        self.y_low, self.y_high = _padded(float(lows.min()), float(highs.max()))

    def _along(self, x: Floats) -> Floats:
        return np.log10(x) if self.log else x

    def left(self, x: float) -> float:
        return float(100 * (self._along(np.array(x)) - self.x_low) / (self.x_high - self.x_low))

    def top(self, y: float) -> float:
        return 100 * (self.y_high - y) / (self.y_high - self.y_low)

    def x_ticks(self) -> list[float]:
        if self.log:
            return round_numbers(10**self.x_low, 10**self.x_high)
        return _ticks(self.x_low, self.x_high)

    def ticks_html(self) -> str:
        across = (f'<span class="xt" style="left:{self.left(x):.2f}%">{x:g}</span>' for x in self.x_ticks())
        ticks = _ticks(self.y_low, self.y_high)
        digits = max((len(f"{y:g}".partition(".")[2]) for y in ticks), default=0)
        upward = (f'<span class="yt" style="top:{self.top(y):.2f}%">{y:.{digits}f}</span>' for y in ticks)
        return "".join((*across, *upward))

    def grid_svg(self) -> str:
        across = "".join(f"M{self.left(x):.2f} 0V100" for x in self.x_ticks())
        upward = "".join(f"M0 {self.top(y):.2f}H100" for y in _ticks(self.y_low, self.y_high))
        return f'<path class="grid" d="{across}{upward}"/>'


def _padded(low: float, high: float) -> tuple[float, float]:
    extra = 0.07 * (high - low) or 0.1 * abs(high) or 1.0
    return low - extra, high + extra


def _ticks(low: float, high: float) -> list[float]:
    found = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(f"{value:.10g}") for value in found if low <= value <= high]


def _front_svg(chart: Chart, part: Front, frame: _Frame, looks: dict[str, style.Look], names: list[str]) -> str:
    color = front_color(chart, part, looks)
    mine = {chart.points[i].series for i in part.members}
    kind = f"s{names.index(mine.pop())}" if len(mine) == 1 else ""
    line = f'class="{kind} k{_color_index(color)}"'
    found = ""
    known = np.flatnonzero(~np.isnan(part.low))
    if (part.low[known] < part.high[known]).any():
        upper = [_step(frame, part.xs, part.high, known)]
        lower = [_step(frame, part.xs, part.low, known)]
        path = f"M{' L'.join(upper[0])} L{' L'.join(reversed(lower[0]))}Z"
        found += f'<path class="band {kind} k{_color_index(color)}" d="{path}"/>'
    steps = corners(chart, part).tolist()
    path = f"M{frame.left(steps[0][0]):.2f} {frame.top(steps[0][1]):.2f}"
    path += "".join(f"H{frame.left(x):.2f}V{frame.top(y):.2f}" for x, y in steps[1:])
    path += f"H{frame.left(float(chart.x.max())):.2f}"
    dashes = ' stroke-dasharray="5 3"' if "top-down" in part.name else ""
    return f'{found}<path {line}{dashes} fill="none" stroke-width="1.6" d="{path}"/>'


def _step(frame: _Frame, xs: Floats, ys: Floats, known: np.typing.NDArray[np.intp]) -> list[str]:
    """Corners of a line that keeps its height until the next place."""
    found = []
    for place, k in enumerate(known):
        if place:
            found.append(f"{frame.left(float(xs[k])):.2f} {frame.top(float(ys[known[place - 1]])):.2f}")
        found.append(f"{frame.left(float(xs[k])):.2f} {frame.top(float(ys[k])):.2f}")
    return found


def _bars_svg(chart: Chart, i: int, frame: _Frame, names: list[str]) -> str:
    point, path = chart.points[i], ""
    left, top = frame.left(float(chart.x[i])), frame.top(float(chart.y[i]))
    if point.low < point.high:
        path += f"M{left:.2f} {frame.top(point.low * chart.y_scale):.2f}"
        path += f"V{frame.top(point.high * chart.y_scale):.2f}"
    if chart.x_spread[i] > 0:
        ends = [frame.left(float(chart.x[i] + sign * chart.x_spread[i])) for sign in (-1, 1)]
        path += f"M{ends[0]:.2f} {top:.2f}H{ends[1]:.2f}"
    index = names.index(point.series)
    return path and f'<path class="bar s{index} c{index}" d="{path}"/>'


def _point(
    chart: Chart, i: int, frame: _Frame, looks: dict[str, style.Look], names: list[str], linked: bool
) -> str:  # fmt: skip
    point, index = chart.points[i], names.index(chart.points[i].series)
    left, top = frame.left(float(chart.x[i])), frame.top(float(chart.y[i]))
    sides = f"{'r' if left > 50 else 'l'} {'b' if top > 50 else 't'}"
    rows = "".join(f"<span><small>{escape(name)}</small> {escape(text)}</span>" for name, text in details_of(chart, i))
    tip = f'<span class="tip"><b>{escape(point.name)}</b>{rows}</span>'
    small = " small" if point.series in chart.crowded else ""
    place = f'class="pt{small} s{index} c{index} {sides}" style="left:{left:.2f}%;top:{top:.2f}%"'
    marker = _marker(looks[point.series].marker, bool(chart.on_front[i]))
    if linked:
        return f'<a {place} href="#arch-{i}">{marker}{tip}</a>'
    return f'<span {place} tabindex="0">{marker}{tip}</span>'


def _marker(shape: str, filled: bool) -> str:
    kind = "m" if filled else "m hollow"
    return f'<svg class="{kind}" viewBox="-10 -10 20 20" aria-hidden="true">{_SHAPES[shape]}</svg>'


def _color_index(color: str) -> int:
    return list(_DARK).index(color)


def _colors(chart: Chart) -> str:
    """The colour of each series, for light and dark, and what its check box hides."""
    found = "".join(f".k{k}{{--c:{light}}}" for k, light in enumerate(_DARK))
    dark = "".join(f".k{k}{{--c:{color}}}" for k, color in enumerate(_DARK.values()))
    for i in range(len(chart.series)):
        color = style.look(i).color
        found += f".c{i}{{--c:{color}}}.pareto:has(#show{i}:not(:checked)) .s{i}{{display:none}}"
        dark += f".c{i}{{--c:{_DARK[color]}}}"
    return f"{found}@media (prefers-color-scheme: dark){{{dark}}}"


_CSS = """
.pareto { max-width: 60rem; }
.pareto .switches { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin-bottom: 0.6rem; font-size: 0.85rem; }
.pareto label { display: inline-flex; align-items: center; gap: 0.3rem; cursor: pointer; }
.pareto .m { width: 16px; height: 16px; fill: var(--c); stroke: var(--c); stroke-width: 1.8; overflow: visible; }
.pareto .m.hollow { fill: var(--paper); }
.pareto .y-name, .pareto .x-name { font-size: 0.85rem; color: var(--soft); }
.pareto .y-name { margin: 0 0 0.3rem 0.2rem; }
.pareto .x-name { margin: 1.8rem 0 0; text-align: center; }
.pareto .frame { position: relative; height: min(30rem, 75vw); min-height: 17rem; margin-left: 2.9rem;
  border-left: 1px solid var(--soft); border-bottom: 1px solid var(--soft); font-size: 0.78rem; }
.pareto .frame > svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.pareto .frame > svg path { stroke: var(--c); vector-effect: non-scaling-stroke; }
.pareto .frame > svg .grid { --c: var(--line); fill: none; }
.pareto .frame > svg .band { fill: var(--c); stroke: none; opacity: 0.15; }
.pareto .frame > svg .bar { fill: none; opacity: 0.7; }
.pareto .xt, .pareto .yt { position: absolute; color: var(--soft); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.pareto .xt { top: 100%; margin-top: 0.3rem; transform: translateX(-50%); }
.pareto .yt { right: 100%; margin-right: 0.4rem; height: 1.2rem; margin-top: -0.6rem; line-height: 1.2rem; }
.pareto .pt { position: absolute; width: 24px; height: 24px; margin: -12px 0 0 -12px; padding: 4px; color: inherit;
  text-decoration: none; border-radius: 50%; }
.pareto .pt .m { display: block; }
.pareto .small { width: 17px; height: 17px; margin: -8.5px 0 0 -8.5px; }
.pareto .small .m { width: 9px; height: 9px; }
.pareto .pt:hover, .pareto .pt:focus { z-index: 5; outline: 2px solid var(--c); }
.pareto .tip { display: none; position: absolute; width: max-content; max-width: 21rem; padding: 0.5rem 0.7rem;
  background: var(--paper); border: 1px solid var(--soft); border-radius: 6px; line-height: 1.4; text-align: left;
  box-shadow: 0 4px 14px rgb(0 0 0 / 0.25); pointer-events: none; }
.pareto .tip span { display: block; }
.pareto .pt:hover .tip, .pareto .pt:focus .tip { display: block; }
.pareto .l .tip { left: 26px; } .pareto .r .tip { right: 26px; }
.pareto .t .tip { top: 0; } .pareto .b .tip { bottom: 0; }
@media (max-width: 40rem) {
  .pareto .pt .tip { position: fixed; left: 0.5rem; right: 0.5rem; top: auto; bottom: 0.5rem; width: auto;
    max-width: none; }
}
@media print { .pareto .switches input { display: none; } }
"""
