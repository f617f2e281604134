"""The figures of a search: how its front grew, what repeated searches attain, which choices matter.

To be called within ``style.style()``; each gives back a figure and what it shows, in words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from archsearch.report.pareto.chart import SENSES, Chart, wide_range
from archsearch.report.pareto.plot import logarithmic
from archsearch.report.pareto.same_data import series_names
from archsearch.report.pareto.search import Evaluations, importance, read_evaluations
from archsearch.report.pareto.traits import trait_kind, trait_name, trait_path, traits
from archsearch.report.style import (
    BLUE,
    COLUMN_IN,
    INK,
    MUTED,
    PAGE_IN,
    VERMILLION,
    grid_along,
    legend_above,
    literal,
    look,
    new_figure,
)
from archsearch.runs import Run
from archsearch.search.pareto import Floats, attainment, hypervolume_over

MOST_TICKS = 7  # options of a choice that each have a tick
MOST_ROWS = 16  # bars of importance, and axes of parallel coordinates


def search_figures(runs: Sequence[Run], chart: Chart) -> dict[str, tuple[Figure, str]]:
    """Every figure that the records allow, by file name, each with what it shows."""
    tables = [read_evaluations(run, name, chart) for run, name in zip(runs, series_names(runs), strict=True)]
    found = [table for table in tables if table is not None]
    if not found:
        return {}
    label = chart.y_label.removesuffix(", %")
    figures: dict[str, tuple[Figure, str]] = {"hypervolume": hypervolume_figure(found, label)}
    for study in dict.fromkeys(table.study for table in found):
        same = [table for table in found if table.study == study]
        if len(same) > 1:
            figures[f"attainment_{study}"] = attainment_figure(same, label)
    for k, table in enumerate(found):
        suffix = "" if len(found) == 1 else f"_{k + 1}"
        drawn = importance_figure(table, label)
        if drawn is not None:
            figures[f"importance{suffix}"] = drawn
        if table.on_front.sum() > 1:
            figures[f"parallel{suffix}"] = parallel_figure(table, label)
            figures[f"along_front{suffix}"] = along_figure(table, label)
    return figures


# --------------------------------------------------------------------------------------------------------- the search


def hypervolume_figure(tables: Sequence[Evaluations], label: str) -> tuple[Figure, str]:
    """How the front grew over evaluations and, where times are on record, over time.

    The reference is the largest cost of all and AP 0; divided by that cost, hypervolume is the AP that a cost drawn at
    random up to there buys.
    """
    largest = max(float(table.cost.max()) for table in tables)
    timed = all(table.time_s is not None for table in tables)
    figure = new_figure(COLUMN_IN, 4.2 if timed else 2.5)
    axes = figure.subplots(1 + timed, squeeze=False)[:, 0]
    handles = []
    for k, table in enumerate(tables):
        drawn = look(k)
        points = np.column_stack((table.cost, table.ap))
        volume = hypervolume_over(points, (largest, 0.0), SENSES) / largest
        counts = np.arange(1, len(volume) + 1)
        handles += axes[0].step(counts, volume, where="post", color=drawn.color, linestyle=drawn.line)
        if table.time_s is not None and timed:
            order = np.argsort(table.time_s, kind="stable")
            volume = hypervolume_over(points[order], (largest, 0.0), SENSES) / largest
            axes[1].step(table.time_s[order], volume, where="post", color=drawn.color, linestyle=drawn.line)
    axes[0].set_xlabel("evaluations")
    if timed:
        axes[1].set_xlabel("time (s)")
    for ax in axes:
        ax.set_ylabel("hypervolume (mean best AP)")
        ax.set_xlim(left=0)
    if len(tables) > 1:
        legend_above(figure, handles, [table.name for table in tables])
    first = tables[0]
    ends = f"AP 0 and {largest:.4g} {first.unit}{'' if first.unit == 'ms' else ' ' + first.cost_name}"
    return figure, (
        f"Hypervolume of the front of {label} and {first.cost_name}, as it grew. Reference: {ends}; divided by that "
        "cost, it is the mean of the best AP that every cost up to there buys."
    )


def attainment_figure(tables: Sequence[Evaluations], label: str) -> tuple[Figure, str]:
    """What one, half and all of repeated searches attain."""
    runs = [np.column_stack((table.cost, table.ap)) for table in tables]
    count = len(runs)
    levels = sorted({1, (count + 1) // 2, count})
    figure = new_figure(COLUMN_IN, 2.7)
    ax = figure.add_subplot()
    largest = max(float(table.cost.max()) for table in tables)
    handles, names = [], []
    for k, level in enumerate(levels):
        corners = attainment(runs, level, SENSES)
        if not len(corners):
            continue
        drawn = look(k)
        xs, ys = np.append(corners[:, 0], largest), np.append(corners[:, 1], corners[-1, 1])
        handles += ax.step(xs, ys, where="post", color=drawn.color, linestyle=drawn.line)
        names.append({1: "best", count: "all"}.get(level, f"{level} of {count}"))
    for table in tables:
        ax.plot(table.cost, table.ap, ".", color=MUTED, markersize=2, alpha=0.35, zorder=1)
    ax.set_xlabel(_cost_label(tables[0]))
    ax.set_ylabel(literal(label))
    if wide_range(np.concatenate([table.cost for table in tables])):
        logarithmic(ax, "x")
    legend_above(figure, handles, names)
    return figure, (
        f"Attainment surfaces in {label} of {count} searches of {tables[0].study}: what the best of them, half of "
        "them and all of them reach. Dots: all evaluations."
    )


def _cost_label(table: Evaluations) -> str:
    return f"{table.cost_name} ({table.unit})"


def importance_figure(table: Evaluations, label: str) -> tuple[Figure, str] | None:
    """Which holes matter for AP, and which for the cost; None where all evaluations made the same choices."""
    shares = importance(table)
    order = sorted(shares, key=lambda path: -max(shares[path]))[:MOST_ROWS]
    if not order:
        return None
    figure = new_figure(COLUMN_IN, 0.8 + 0.24 * len(order))
    ax = figure.add_subplot()
    places = np.arange(len(order))
    handles = []
    for k, (color, hatch) in enumerate(((BLUE, ""), (VERMILLION, "////"))):
        face = "white" if hatch else color
        values = [shares[path][k] for path in order]
        ax.barh(places + (k - 0.5) * 0.36, values, 0.34, color=face, edgecolor=color, hatch=hatch, linewidth=0.7)
        handles.append(Patch(facecolor=face, edgecolor=color, hatch=hatch, linewidth=0.7))
    ax.set_yticks(places, [literal(trait_name(path)) for path in order])
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.set_xlabel("share of importance")
    grid_along(ax, "x")
    figure.legend(handles, ["for high AP", f"for low {table.cost_name}"], loc="outside upper center", ncols=2)
    more = f" The {len(order)} most important of {len(shares)} are shown." if len(shares) > len(order) else ""
    return figure, (
        f"Which choices decide {label}, and which decide {table.cost_name}: PED-ANOVA over {len(table.ap)} "
        f"evaluations, for the best tenth against all. Each colour sums to 1 over all choices.{more}"
    )


def parallel_figure(table: Evaluations, label: str) -> tuple[Figure, str]:
    """Parallel coordinates of the architectures on the front: a line each, from its traits to its cost and AP."""
    on = np.flatnonzero(table.on_front)
    on = on[np.argsort(table.cost[on], kind="stable")]
    rows = [traits(table.choices[i]) for i in on]
    paths = [p for p in dict.fromkeys(path for row in rows for path in row) if len({row.get(p) for row in rows}) > 1]
    shares = importance(table)
    weight: dict[str, float] = defaultdict(float)
    for path, pair in shares.items():
        weight[trait_path(path)] += max(pair)
    kept = set(sorted(paths, key=lambda p: -weight[p])[: MOST_ROWS - 2])
    shown = [p for p in paths if p in kept]
    columns = [[row.get(path) for row in rows] for path in shown]
    columns += [table.cost[on].tolist(), table.ap[on].tolist()]
    names = [*(trait_name(path) for path in shown), _cost_label(table), "AP"]
    figure = new_figure(PAGE_IN, 3.3)
    ax = figure.add_subplot()
    heights = np.column_stack([_heights(ax, k, column) for k, column in enumerate(columns)])
    shade = Normalize(table.ap[on].min(), table.ap[on].max())
    colors = colormaps["viridis"](0.88 * shade(table.ap[on]))  # told apart by all kinds of colour vision
    for line, color in zip(heights, colors, strict=True):
        ax.plot(range(len(columns)), line, color=color, linewidth=1.1, marker="o", markersize=2.5, alpha=0.85)
    ax.set_xticks(range(len(columns)), [literal(_folded(name)) for name in names], rotation=35, ha="right")
    ax.set_yticks([])
    ax.set_ylim(-0.09, 1.09)
    ax.set_xlim(-0.35, len(columns) - 0.4)
    ax.spines["left"].set_visible(False)
    grid_along(ax, "x")
    return figure, (
        f"The {len(on)} architectures on the front, a line each: what they choose, what they cost, their {label}; the "
        "lighter the line, the higher its AP. Choices that all of them share are not shown."
    )


def _heights(ax: Any, k: int, column: Sequence[Any]) -> Floats:
    """Values of one axis from 0 to 1, with its ends written beside it; NaN: not reached."""
    known = [value for value in column if value is not None]
    if any(isinstance(value, str) for value in known):
        options = sorted({str(value) for value in known})
        places = {option: i / max(len(options) - 1, 1) for i, option in enumerate(options)}
        ends = {places[option]: option for option in options}
        heights = [np.nan if value is None else places[str(value)] for value in column]
    else:
        low, high = min(known), max(known)
        ends = {0.0: f"{low:.4g}", 1.0: f"{high:.4g}"} if high > low else {0.5: f"{low:.4g}"}
        span = (high - low) or 1.0
        heights = [np.nan if value is None else (value - low) / span if high > low else 0.5 for value in column]
    for height, text in ends.items():
        away = 0.035 if height > 0.5 else -0.035
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
        ax.text(k, height + away, literal(text), fontsize=6, ha="center", va="bottom" if height > 0.5 else "top",
                color=INK, zorder=7, bbox=box)  # fmt: skip
    return np.array(heights, dtype=float)


def _folded(name: str) -> str:
    """A long name on two lines."""
    words = name.split(" ")
    half = (len(words) + 1) // 2
    return name if len(name) <= 14 else f"{' '.join(words[:half])}\n{' '.join(words[half:])}"


def along_figure(table: Evaluations, label: str) -> tuple[Figure, str]:
    """How traits change along the front: a panel for each kind of trait, a line for each place that has it."""
    on = np.flatnonzero(table.on_front)
    on = on[np.argsort(table.cost[on], kind="stable")]
    rows = [traits(table.choices[i]) for i in on]
    panels: dict[str, list[str]] = {}
    for path in dict.fromkeys(path for row in rows for path in row):
        if not any(isinstance(row.get(path), str) for row in rows):
            panels.setdefault(trait_kind(path), []).append(path)
    across = 3
    down = -(-(len(panels) + 1) // across)
    figure = new_figure(PAGE_IN, 0.25 + 1.75 * down)
    axes = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for ax, (kind, paths) in zip(axes, panels.items(), strict=False):
        for k, path in enumerate(paths):
            drawn = look(k)
            values = [row.get(path, np.nan) for row in rows]
            ax.plot(table.cost[on], values, color=drawn.color, linestyle=drawn.line, linewidth=0.7, alpha=0.45)
            ax.plot(table.cost[on], values, drawn.marker, color=drawn.color, markersize=3.2, label=literal(_at(path)))
        ax.set_ylabel(literal(kind))
        _at_options(ax, np.array([row[path] for row in rows for path in paths if path in row], dtype=float))
        if len(paths) > 1:
            ax.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), fontsize=6, ncols=4, handlelength=1.0,
                      handletextpad=0.3, columnspacing=0.7, borderpad=0.1)  # fmt: skip
    last = axes[len(panels)]
    last.plot(table.cost[on], table.ap[on], color=INK, marker="o", markersize=3, linewidth=0.9)
    last.set_ylabel(literal(label))
    if wide_range(table.cost[on]):
        logarithmic(last, "x")  # and the others, which share it
    for ax in axes[len(panels) + 1 :]:
        ax.set_axis_off()
    for k, ax in enumerate(axes[: len(panels) + 1]):
        if k + across > len(panels):
            ax.set_xlabel(_cost_label(table))
            ax.tick_params(labelbottom=True)
    return figure, (
        f"What the architectures on the front choose, from the cheapest to the dearest ({len(on)} of {len(table.ap)} "
        f"evaluations), and their {label}."
    )


def _at_options(ax: Axes, values: Floats) -> None:
    """Ticks at the values themselves where these are few, and a logarithmic axis where they differ widely."""
    options = np.unique(values)
    if len(options) <= MOST_TICKS and np.diff(options).min(initial=np.inf) >= 0.1 * (options[-1] - options[0]):
        ax.set_yticks(options)
    elif wide_range(options):
        logarithmic(ax, "y")


def _at(path: str) -> str:
    """Where a trait stands, without what it is."""
    name, kind = trait_name(path), trait_kind(path)
    short = name.removesuffix(kind).removesuffix(kind.removesuffix("s")).strip()
    return short or name
