"""Shrinking by sharing: what one supernet says of each configuration, beside its own training from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archsearch.costs.agreement import kendall
from archsearch.report import style
from archsearch.report.page import Column, Picture, Section, table
from archsearch.report.plots import macs_unit
from archsearch.report.style import BLUE, COLUMN_IN, VERMILLION, grid_along, legend_above, literal, new_figure
from archsearch.report.tables import Outcome
from archsearch.runs import Run

NONE = "–"


@dataclass(frozen=True)
class Shared:
    """A configuration taken from a supernet; ``scratch``: its own training, where there is one."""

    name: str
    record: dict[str, Any]
    scratch: Outcome | None

    @property
    def ap(self) -> float:
        """From the supernet."""
        return float(self.record["ap"])


def shared(run: Run, outcomes: Sequence[Outcome]) -> list[Shared]:
    """The configurations with an estimate on record, in its order."""
    own = {outcome.name: outcome for outcome in outcomes}
    found = {record["config"]: record for record in run.records("shared")}
    return [Shared(name, record, own.get(name)) for name, record in found.items()]


def shared_section(run: Run, rows: Sequence[Shared], label: str) -> Section:
    """Table and figure; writes ``plots/shared``."""
    stem = run.folder("plots") / "shared"
    with style.style():
        style.save(shared_figure(rows, label), stem)
    unit, scale = macs_unit(max(row.record["macs"] for row in rows))
    columns = (
        Column("configuration", numeric=False), Column("AP", "from the supernet"), Column("AP", "from scratch"),
        Column("difference"), Column("MACs", f"{unit}, true"),
    )  # fmt: skip
    lines = [
        (
            row.name,
            f"{row.ap:.3f}\n{row.record['ap_low']:.3f} to {row.record['ap_high']:.3f}",
            NONE if row.scratch is None else f"{row.scratch.ap:.3f}\n{row.scratch.low:.3f} to {row.scratch.high:.3f}",
            NONE if row.scratch is None else f"{row.ap - row.scratch.ap:+.3f}",
            f"{row.record['macs'] / scale:.2f}",
        )
        for row in rows
    ]
    caption = (
        f"All figures of AP are {label}, 0 to 1. From the supernet: extracted, normalisation recalibrated, nothing "
        f"trained; the supernet itself saw {rows[0].record['supernet_images']:,} images. From scratch: trained alone "
        "with this study's own budget, which may be another. Intervals: 95 %."
    )
    picture = Picture(
        stem,
        f"{label} of each configuration, from the supernet and from scratch.",
        f"{label} of each configuration: taken from the supernet (filled) and trained from scratch (open).",
    )
    return Section("From one supernet", table(columns, lines, caption), (picture,))


def shared_answer(rows: Sequence[Shared], label: str) -> str:
    """The result in words."""
    best = max(rows, key=lambda row: row.ap)
    text = f"Of one supernet's sub-nets {best.name} has the highest {label}, {best.ap:.3f}."
    both = [(row.ap, row.scratch.ap) for row in rows if row.scratch is not None]
    if len(both) > 1:
        tau = kendall([a for a, _ in both], [b for _, b in both])
        text += f" Kendall's tau of its {len(both)} configurations with training each from scratch: {tau:.2f}."
    return text


def shared_figure(rows: Sequence[Shared], label: str) -> Figure:
    """One row a configuration, the first one on top."""
    figure = new_figure(COLUMN_IN, 0.95 + 0.36 * max(len(rows), 2))
    ax = figure.add_subplot()
    for y, row in enumerate(rows):
        ax.plot((row.record["ap_low"], row.record["ap_high"]), (y - 0.14,) * 2, color=BLUE, linewidth=1, alpha=0.7)
        ax.plot(row.ap, y - 0.14, "o", color=BLUE, zorder=4)
        if row.scratch is not None:
            ax.plot((row.scratch.low, row.scratch.high), (y + 0.14,) * 2, color=VERMILLION, linewidth=1, alpha=0.7)
            ax.plot(row.scratch.ap, y + 0.14, "s", color=VERMILLION, markerfacecolor="white", zorder=4)
    ax.set_yticks(range(len(rows)), [literal(row.name) for row in rows])
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.margins(x=0.08)
    grid_along(ax, "x")
    ax.set_xlabel(f"{label} (95 % intervals)")
    handles = [Line2D((), (), color=BLUE, marker="o", linestyle="")]
    names = ["from the supernet"]
    if any(row.scratch is not None for row in rows):
        handles.append(Line2D((), (), color=VERMILLION, marker="s", linestyle="", markerfacecolor="white"))
        names.append("from scratch")
    legend_above(figure, handles, names)
    return figure


def shared_row(row: Shared) -> dict[str, str]:
    """As the command line prints it."""
    unit, scale = macs_unit(row.record["macs"])
    return {
        "config": row.name,
        "AP from the supernet": f"{row.ap:.3f} [{row.record['ap_low']:.3f}, {row.record['ap_high']:.3f}]",
        "AP from scratch": NONE if row.scratch is None else f"{row.scratch.ap:.3f}",
        "MACs": f"{row.record['macs'] / scale:.2f} {unit}",
    }
