"""The plot of MACs against measured latency: networks above, blocks below, one column a runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archsearch.costs.agreement import kendall
from archsearch.report.style import PAGE_IN, Look, literal, look, new_figure

Records = Sequence[Mapping[str, Any]]


def latency_map(networks: Records, blocks: Records) -> Figure:
    """MACs against median latency, both logarithmic, with Kendall's tau of each panel; to be called within ``style``.

    ``networks`` have ``runtime``, ``group``, ``macs``, ``median_ms``; ``blocks`` the same with ``module`` for
    ``group``. On a line that rises by one decade a decade all do equally many MACs in a second.
    """
    runtimes = list(dict.fromkeys(str(r["runtime"]) for r in networks))
    rows = 2 if blocks else 1
    figure = new_figure(PAGE_IN, 0.3 + 2.7 * rows)
    axes = figure.subplots(rows, len(runtimes), squeeze=False, sharey="row")
    for column, runtime in enumerate(runtimes):
        _panel(axes[0][column], [r for r in networks if r["runtime"] == runtime], "group", f"networks, {runtime}")
        if blocks:
            _panel(axes[1][column], [b for b in blocks if b["runtime"] == runtime], "module", f"blocks, {runtime}")
    for row in axes:
        row[0].set_ylabel("latency (ms, median)")
    return figure


def _panel(ax: Axes, records: Records, by: str, title: str) -> None:
    groups = sorted({str(r[by]) for r in records})
    handles = []
    for i, group in enumerate(groups):
        members = [r for r in records if r[by] == group]
        drawn: Look = look(i)
        xs, ys = [r["macs"] / 1e6 for r in members], [r["median_ms"] for r in members]
        ax.plot(xs, ys, drawn.marker, color=drawn.color, markersize=3.2, alpha=0.75, markeredgewidth=0)
        handles.append(Line2D((), (), color=drawn.color, marker=drawn.marker, linestyle="", markersize=3.5))
    tau = kendall([r["macs"] for r in records], [r["median_ms"] for r in records])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("MACs (M, true count)")
    ax.set_title(f"{title}: Kendall's tau {tau:.2f}")
    ax.legend(
        handles, [literal(group) for group in groups], loc="upper left", fontsize=6, ncols=2 if len(groups) > 6 else 1
    )
