"""Plots of trained configurations: how good, at what cost, for people of which height, learnt how fast.

All functions take what :mod:`archsearch.report.tables` makes of the records and give back a figure; they are to be
called within ``style.style()``. ``looks`` gives every configuration the same colour, marker and line in all figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archsearch.report.labels import label_points
from archsearch.report.style import COLUMN_IN, INK, MUTED, Look, grid_along, legend_above, literal, new_figure
from archsearch.report.tables import Curve, Key, Outcome, height_text

Looks = Mapping[str, Look]


def ap_by_configuration(outcomes: Sequence[Outcome], looks: Looks, ap_label: str) -> Figure:
    """AP of each configuration with its interval; the seeds as small dots where there are several."""
    figure, ax = _rows_of(outcomes, 0.28)
    for y, outcome in enumerate(outcomes):
        look = looks[outcome.name]
        _bar(ax, (outcome.low, outcome.high), (y, y), look.color)
        if len(outcome.aps) > 1:
            ax.plot(outcome.aps, [y] * len(outcome.aps), "|", color=look.color, markersize=8)
        ax.plot(outcome.ap, y, look.marker, color=look.color, zorder=4)
        _value(ax, y, f"{outcome.ap:.3f}")
    kinds = {outcome.interval for outcome in outcomes}
    seeds = f"mean and range of {len(outcomes[0].seeds)} seeds"
    note = {"bootstrap": "95 % bootstrap over images", "seeds": seeds}[kinds.pop()] if len(kinds) == 1 else "intervals"
    ax.set_xlabel(f"{ap_label} ({note})")
    return figure


def equal_samples_and_time(outcomes: Sequence[Outcome], looks: Looks, ap_label: str, time_s: float) -> Figure:
    """AP after equally many training images (above, filled) and after equal training time (below, open)."""
    figure, ax = _rows_of(outcomes, 0.42)
    for y, outcome in enumerate(outcomes):
        look = looks[outcome.name]
        _bar(ax, (outcome.low, outcome.high), (y - 0.14, y - 0.14), look.color)
        ax.plot(outcome.ap, y - 0.14, look.marker, color=look.color, zorder=4)
        _value(ax, y - 0.14, f"{outcome.ap:.3f}")
        if outcome.ap_equal_time is None:
            continue
        if len(outcome.aps_equal_time) > 1:
            _bar(ax, (min(outcome.aps_equal_time), max(outcome.aps_equal_time)), (y + 0.14, y + 0.14), look.color)
        ax.plot(outcome.ap_equal_time, y + 0.14, look.marker, color=look.color, markerfacecolor="white", zorder=4)
        _value(ax, y + 0.14, f"{outcome.ap_equal_time:.3f}")
    ax.set_xlabel(ap_label)
    filled = Line2D((), (), color=INK, marker="o", linestyle="")
    hollow = Line2D((), (), color=INK, marker="o", linestyle="", markerfacecolor="white")
    legend_above(figure, (filled, hollow), ("equal samples", f"equal time ({seconds_text(time_s)})"))
    return figure


def ap_against_macs(outcomes: Sequence[Outcome], looks: Looks, ap_label: str) -> Figure:
    """AP against multiply-accumulates of one image; configurations without a recorded cost are left out."""
    known = [o for o in outcomes if o.macs is not None]
    unit, scale = macs_unit(max((o.macs or 0 for o in known), default=0))
    xs = [(o.macs or 0) / scale for o in known]
    return _ap_against(known, looks, xs, None, f"MACs per image ({unit}, true count)", ap_label)


def ap_against_latency(outcomes: Sequence[Outcome], looks: Looks, ap_label: str) -> Figure:
    """AP against median latency with its interquartile range; configurations without a measurement are left out."""
    known = [(o, o.latency) for o in outcomes if o.latency is not None]
    batch = known[0][1]["batch"] if known else 1
    return _ap_against(
        [o for o, _ in known], looks, [float(r["median_ms"]) for _, r in known],
        [float(r["iqr_ms"]) for _, r in known], f"latency (ms, batch {batch}, median and IQR)", ap_label,
    )  # fmt: skip


def ap_by_height(outcomes: Sequence[Outcome], looks: Looks, ap_label: str) -> Figure:
    """AP of people by their height in pixels, one line a configuration."""
    figure = new_figure(COLUMN_IN, 2.7)
    ax = figure.add_subplot()
    bins = outcomes[0].heights
    handles = []
    for i, outcome in enumerate(outcomes):
        look = looks[outcome.name]
        xs = np.arange(len(outcome.heights)) + 0.05 * (i - (len(outcomes) - 1) / 2)
        ys = [np.nan if ap is None else ap for _, _, ap, _ in outcome.heights]
        handles += ax.plot(xs, ys, color=look.color, marker=look.marker, linestyle=look.line)
    names = [height_text(low, high, i == len(bins) - 1) for i, (low, high, _, _) in enumerate(bins)]
    ax.set_xticks(range(len(bins)), [f"{text}\nn = {b[3]:,}" for text, b in zip(names, bins, strict=True)])
    ax.set_xlabel("person height (px), n people to find")
    ax.set_ylabel(ap_label)
    ax.set_ylim(bottom=0)
    grid_along(ax, "y")
    legend_above(figure, handles, [o.name for o in outcomes])
    return figure


def learning_curves(curves: Mapping[Key, Curve], looks: Looks, ap_label: str, time_s: float | None) -> Figure:
    """AP over training time, and the loss over the images seen where it was recorded; a line a training."""
    losses = any(curve.loss for curve in curves.values())
    figure = new_figure(COLUMN_IN, 4.2 if losses else 2.5)
    axes = figure.subplots(2 if losses else 1, squeeze=False)[:, 0]
    thin = 0.6 if len({seed for _, seed in curves}) > 1 else 1.0
    handles: dict[str, Line2D] = {}
    for (name, _), curve in curves.items():
        look = looks[name]
        line = axes[0].plot(
            (0.0, *curve.train_s), (0.0, *curve.ap), color=look.color, marker=look.marker, linestyle=look.line,
            markersize=3.5 * thin, linewidth=1.1 * thin,
        )[0]  # fmt: skip
        handles.setdefault(name, line)
        if losses:
            images = np.asarray(curve.loss_images) / 1000
            axes[1].plot(images, _smooth(curve.loss), color=look.color, linestyle=look.line, linewidth=1.1 * thin)
    if time_s is not None:
        axes[0].axvline(time_s, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
        note = f"equal time, {seconds_text(time_s)} "
        place = {"ha": "right", "va": "bottom", "transform": axes[0].get_xaxis_transform()}
        axes[0].text(time_s, 0.03, note, fontsize=6.5, color=MUTED, **place)
    axes[0].set_xlabel("training time (s)")
    axes[0].set_ylabel(ap_label)
    if losses:
        axes[1].set_xlabel("training images seen (thousands)")
        axes[1].set_ylabel("training loss (running mean)")
    for ax in axes:
        ax.set_ylim(bottom=0)
        ax.set_xlim(left=0)
    legend_above(figure, list(handles.values()), list(handles))
    return figure


# ---------------------------------------------------------------------------------------------------------- the values


def macs_unit(largest: float) -> tuple[Literal["M", "G"], float]:
    """The unit in which multiply-accumulates up to ``largest`` read best, and what it stands for."""
    return ("G", 1e9) if largest >= 1e9 else ("M", 1e6)


def seconds_text(seconds: float) -> str:
    """Seconds for people to read."""
    if seconds < 600:
        return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36000 else f"{seconds / 3600:.1f} h"


def _smooth(values: Sequence[float]) -> list[float]:
    """A centred running mean over a twentieth of the values, shorter at the ends."""
    half = max(1, len(values) // 40)
    return [float(np.mean(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


# ----------------------------------------------------------------------------------------------------------- the parts


def _rows_of(outcomes: Sequence[Outcome], pitch_in: float) -> tuple[Figure, Axes]:
    """A figure with one row a configuration, the first one on top."""
    figure = new_figure(COLUMN_IN, 0.65 + pitch_in * max(len(outcomes), 2))
    ax = figure.add_subplot()
    ax.set_yticks(range(len(outcomes)), [literal(o.name) for o in outcomes])
    ax.set_ylim(len(outcomes) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.margins(x=0.08)
    grid_along(ax, "x")
    return figure, ax


def _value(ax: Axes, y: float, text: str) -> None:
    """A number at the right edge of a row."""
    ax.text(1.02, y, text, ha="left", va="center", fontsize=7, transform=ax.get_yaxis_transform())


def _bar(ax: Axes, xs: tuple[float, float], ys: tuple[float, float], color: str) -> None:
    """An interval: a line with short ends."""
    mark = "|" if ys[0] == ys[1] else "_"
    ax.plot(xs, ys, color=color, linewidth=1.1, marker=mark, markersize=4, alpha=0.8, zorder=3)


def _ap_against(
    outcomes: Sequence[Outcome], looks: Looks, xs: Sequence[float], spreads: Sequence[float] | None, x_label: str,
    ap_label: str,
) -> Figure:  # fmt: skip
    figure = new_figure(COLUMN_IN, 2.6)
    ax = figure.add_subplot()
    bars = []
    for i, (x, outcome) in enumerate(zip(xs, outcomes, strict=True)):
        look = looks[outcome.name]
        bars.append(((x, outcome.low), (x, outcome.high)))
        _bar(ax, (x, x), (outcome.low, outcome.high), look.color)
        if spreads is not None:
            ends = (x - spreads[i] / 2, x + spreads[i] / 2)
            bars.append(((ends[0], outcome.ap), (ends[1], outcome.ap)))
            _bar(ax, ends, (outcome.ap, outcome.ap), look.color)
        ax.plot(x, outcome.ap, look.marker, color=look.color, zorder=4)
    ax.set_xlabel(x_label)
    ax.set_ylabel(ap_label)
    ax.margins(x=0.14, y=0.1)
    points = np.array([[x, o.ap] for x, o in zip(xs, outcomes, strict=True)]).reshape(-1, 2)
    label_points(ax, points, [o.name for o in outcomes], colors=[looks[o.name].color for o in outcomes], bars=bars)
    return figure
