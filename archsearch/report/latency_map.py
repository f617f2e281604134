"""The plot of MACs against measured latency: networks above, blocks by kind below, one column a runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from archsearch.costs.agreement import kendall
from archsearch.report.style import FAINT, MUTED, PAGE_IN, Look, literal, look, new_figure

Records = Sequence[Mapping[str, Any]]


def latency_map(networks: Records, blocks: Records) -> Figure:
    """MACs against median latency, both logarithmic, with Kendall's tau of each panel; to be called within ``style``.

    ``networks`` have ``runtime``, ``group``, ``macs``, ``median_ms``; ``blocks`` the same with ``module`` for
    ``group``. Along a dotted line all do equally many MACs in a second: what lies above another one is slower than its
    MACs say. The legend gives each group's median speed, the slowest last.
    """
    runtimes = list(dict.fromkeys(str(r["runtime"]) for r in networks))
    rows = [(networks, "group", "networks"), *([(blocks, "module", "blocks")] if blocks else [])]
    figure = new_figure(PAGE_IN, 0.3 + 3.6 * len(rows))
    axes = figure.subplots(len(rows), len(runtimes), squeeze=False, sharex="row", sharey="row")
    for row, (records, by, what) in zip(axes, rows, strict=True):
        names = sorted({str(r[by]) for r in records})  # a group looks the same in every column
        looks = {name: look(i) for i, name in enumerate(names)}
        for ax, runtime in zip(row, runtimes, strict=True):
            _panel(ax, [r for r in records if r["runtime"] == runtime], by, f"{what}, {runtime}", looks)
        for ax in row:  # once all is drawn: they share their limits
            _plain_ticks(ax)
            _equal_speeds(ax)
        row[0].set_ylabel("latency (ms, median)")
    return figure


def _panel(ax: Axes, records: Records, by: str, title: str, looks: Mapping[str, Look]) -> None:
    speeds = {}
    for name, drawn in looks.items():
        members = [r for r in records if r[by] == name]
        if not members:
            continue
        speeds[name] = float(np.median([r["macs"] / r["median_ms"] / 1e6 for r in members]))
        xs, ys = [r["macs"] / 1e6 for r in members], [r["median_ms"] for r in members]
        ax.plot(xs, ys, drawn.marker, color=drawn.color, markersize=3.2, alpha=0.75, markeredgewidth=0)
    tau = kendall([r["macs"] for r in records], [r["median_ms"] for r in records])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("MACs (M, true count)")
    ax.set_title(f"{title}: Kendall's tau {tau:.2f}")
    ax.tick_params(labelleft=True)
    order = sorted(speeds, key=lambda name: -speeds[name])
    handles = [
        Line2D((), (), color=looks[name].color, marker=looks[name].marker, linestyle="", markersize=3.5)
        for name in order
    ]
    names = [f"{literal(name)}: {speeds[name]:{'.0f' if speeds[name] >= 100 else '.3g'}} GMACs/s" for name in order]
    ax.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=6, ncols=2)


def _plain_ticks(ax: Axes) -> None:
    """Ticks as plain numbers, in steps of 1, 2, 5 where an axis spans less than two decades."""
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _equal_speeds(ax: Axes) -> None:
    """Dotted lines of equal GMACs a second, each with its name where it leaves the panel."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    apart = 2 if right > 1e5 * left else 1  # decades between lines, so that their names do not touch
    for exponent in range(-4, 5, apart):
        speed = 10.0**exponent  # GMACs a second: as many million MACs a millisecond
        ax.plot([left, right], [left / speed, right / speed], ":", color=FAINT, linewidth=0.8, zorder=0.5)
        if low < right / speed < high:
            end, shift, sides = (right, right / speed), (2, 0), ("left", "center")
        elif left < high * speed < right:
            end, shift, sides = (high * speed, high), (-3, -1), ("right", "top")
        else:
            continue
        ax.annotate(f"{speed:g} G/s", end, xytext=shift, textcoords="offset points", ha=sides[0], va=sides[1],
                    fontsize=5.5, color=MUTED, annotation_clip=False)  # fmt: skip
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
