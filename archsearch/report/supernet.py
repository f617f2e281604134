"""The report of a supernet: its sub-nets' AP, recalibrated, beside the same architectures trained alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archsearch.experiments.conflict import cells
from archsearch.experiments.supernet import SUPERNET
from archsearch.files import InputError, write_text
from archsearch.report import style, tables
from archsearch.report.conflict import conflict_figure, conflict_text
from archsearch.report.findings import ap_label
from archsearch.report.labels import label_points
from archsearch.report.page import Column, Picture, Section, page, table
from archsearch.report.plots import macs_unit, seconds_text
from archsearch.report.repeat import data_text, repeat_section, title_of
from archsearch.report.style import BLUE, COLUMN_IN, VERMILLION, legend_above, new_figure
from archsearch.runs import Run

NAMED = ("smallest", "median", "largest")


@dataclass(frozen=True)
class Subnet:
    """One evaluated sub-net; ``alone`` is the result of the same architecture trained alone, where there is one."""

    name: str
    ap: float
    low: float
    high: float
    macs: int
    params: int
    alone: dict[str, Any] | None


def subnets(run: Run) -> list[Subnet]:
    """The evaluated sub-nets by rising MACs. Raises ``InputError`` where none is on record."""
    found = {record["fingerprint"]: record for record in run.records("candidate")}
    alone = {record["config"]: record for record in run.records("result")}
    rows = [
        Subnet(mark["name"], r["ap"], r["ap_low"], r["ap_high"], r["macs"], r["params"], alone.get(mark["name"]))
        for mark in run.records("landmark")
        if (r := found.get(mark["fingerprint"])) is not None
    ]
    if not rows:
        raise InputError(f"{run.path}: no evaluated sub-net on record; go on with: archsearch supernet --resume")
    return sorted(rows, key=lambda row: (row.macs, row.name))


def write_report(run: Run) -> list[dict[str, str]]:
    """Write ``plots/`` and ``report.html`` from the records; one short row a sub-net, as the command line prints them.

    Raises ``InputError`` where no sub-net was evaluated.
    """
    study, rows = tables.load_study(run), subnets(run)
    label = ap_label(study)
    folder = run.folder("plots")
    pictures = [Picture(folder / "subnets", _alt(rows, label), _caption(rows, label))]
    fights = cells(run)
    with style.style():
        style.save(subnets_figure(rows, label), folder / "subnets")
        style.save(training_figure(run, label), folder / "training")
        if fights:
            style.save(conflict_figure(fights), folder / "conflict")
    pictures.append(
        Picture(
            folder / "training",
            f"{label} of the smallest and the largest sub-net during training.",
            f"{label} of the smallest and the largest sub-net along the way, each extracted and recalibrated, and the "
            "training loss, a mean over the sub-nets of a step.",
        )
    )
    sections = [Section("Sub-nets", _table(run, rows, label), tuple(pictures))]
    if fights:
        picture = Picture(folder / "conflict", "Heat map of gradient cosines.", conflict_text(run, fights), wide=True)
        sections.append(Section("Where gradients fight", pictures=(picture,)))
    sections.append(repeat_section(run, "archsearch supernet study.yaml"))
    text = page(
        title_of(run, study), str(study.get("question", "")), answer(rows, label), sections,
        kicker=f"Supernet · {data_text(study)}",
    )  # fmt: skip
    write_text(run.path / "report.html", text)
    return [_row(row) for row in rows]


def answer(rows: Sequence[Subnet], label: str) -> str:
    """The result in words."""
    by_name = {row.name: row for row in rows}
    known = [by_name[name] for name in NAMED if name in by_name]
    parts = []
    for row in known:
        beside = "" if row.alone is None else f" (alone {row.alone['ap']:.3f})"
        parts.append(f"{row.name} {row.ap:.3f}{beside}")
    text = f"{label} of sub-nets of one shared network, recalibrated: {', '.join(parts)}."
    gaps = [row.ap - row.alone["ap"] for row in known if row.alone is not None]
    if gaps:
        verb = "below" if np.mean(gaps) < 0 else "above"
        text += (
            f" On average {abs(float(np.mean(gaps))):.3f} {verb} the same architectures trained alone on as many "
            "images each."
        )
    return text


def subnets_figure(rows: Sequence[Subnet], label: str) -> Figure:
    """AP against MACs of sub-nets (filled, with intervals) and of the same ones trained alone (open)."""
    figure = new_figure(COLUMN_IN, 2.8)
    ax = figure.add_subplot()
    unit, scale = macs_unit(max(row.macs for row in rows))
    bars, points, names = [], [], []
    for row in rows:
        x = row.macs / scale
        ax.plot((x, x), (row.low, row.high), color=BLUE, linewidth=1, alpha=0.7)
        ax.plot(x, row.ap, "o", color=BLUE, zorder=4)
        bars.append(((x, row.low), (x, row.high)))
        if row.alone is not None:
            ends = (row.alone["ap_low"], row.alone["ap_high"])
            ax.plot((x, x), ends, color=VERMILLION, linewidth=1, alpha=0.7)
            ax.plot(x, row.alone["ap"], "s", color=VERMILLION, markerfacecolor="white", zorder=4)
            bars.append(((x, ends[0]), (x, ends[1])))
        if row.name in NAMED:
            points.append((x, row.ap))
            names.append(row.name)
    ax.set_xlabel(f"MACs per image ({unit}, true count)")
    ax.set_ylabel(label)
    ax.margins(x=0.12, y=0.12)
    handles = [Line2D((), (), color=BLUE, marker="o", linestyle="")]
    texts = ["from the supernet"]
    if any(row.alone for row in rows):
        handles.append(Line2D((), (), color=VERMILLION, marker="s", linestyle="", markerfacecolor="white"))
        texts.append("trained alone")
    legend_above(figure, handles, texts)
    if points:
        label_points(ax, np.array(points), names, colors=[BLUE] * len(names), bars=bars)
    return figure


def training_figure(run: Run, label: str) -> Figure:
    """AP of the smallest and the largest sub-net, and the loss, over the training images seen."""
    figure = new_figure(COLUMN_IN, 4.0)
    above, below = figure.subplots(2, sharex=True)
    handles, names = [], []
    evaluations = [r for r in run.records("evaluation") if r["config"] == SUPERNET]
    for i, name in enumerate(("largest", "smallest")):
        points = {r["images_seen"]: r["ap"] for r in evaluations if r["subnet"] == name}
        if not points:
            continue
        look = style.look(i)
        xs = [images / 1000 for images in sorted(points)]
        ys = [points[images] for images in sorted(points)]
        handles += above.plot(xs, ys, color=look.color, marker=look.marker, linestyle=look.line, clip_on=False)
        names.append(name)
    losses = {r["images_seen"]: r["loss"] for r in run.records("step") if r["config"] == SUPERNET and r["loss"]}
    below.plot(
        [images / 1000 for images in sorted(losses)],
        [losses[images] for images in sorted(losses)],
        color=style.MUTED,
        linewidth=0.9,
    )
    above.set_ylabel(label)
    below.set_ylabel("training loss")
    below.set_xlabel("training images seen (thousands)")
    for ax in (above, below):
        ax.set_ylim(bottom=0)
        ax.set_xlim(left=0)
    legend_above(figure, handles, names)
    return figure


def _table(run: Run, rows: Sequence[Subnet], label: str) -> str:
    unit, scale = macs_unit(max(row.macs for row in rows))
    columns = (
        Column("sub-net", numeric=False), Column("AP", "interval"), Column("AP alone", "interval"),
        Column("difference"), Column("MACs", f"{unit}, true"), Column("parameters", "M"),
    )  # fmt: skip
    lines = [
        (
            row.name,
            f"{row.ap:.3f}\n{row.low:.3f} to {row.high:.3f}",
            "–"
            if row.alone is None
            else f"{row.alone['ap']:.3f}\n{row.alone['ap_low']:.3f} to {row.alone['ap_high']:.3f}",
            "–" if row.alone is None else f"{row.ap - row.alone['ap']:+.3f}",
            f"{row.macs / scale:.2f}",
            f"{row.params / 1e6:.3f}",
        )
        for row in rows
    ]
    caption = (
        f"All figures of AP are {label}, 0 to 1. A sub-net is extracted, its batch-normalisation statistics are reset "
        "and averaged anew over training images, then it is evaluated. Intervals: 95 %, by bootstrap over the "
        "validation images; they do not contain the spread between trainings."
    )
    trained = run.records("trained")
    if trained:
        last = trained[-1]
        caption += (
            f" The supernet saw {last['images_seen']:,} images in {seconds_text(last['train_s'])} of training, "
            f"{last['processes']} process{'es' if last['processes'] != 1 else ''} on {last['device']}."
        )
    return table(columns, lines, caption)


def _alt(rows: Sequence[Subnet], label: str) -> str:
    return f"{label} against MACs of {len(rows)} sub-nets, and of those that were trained alone too."


def _caption(rows: Sequence[Subnet], label: str) -> str:
    alone = (
        " Open squares: the same architecture trained alone, on as many images." if any(r.alone for r in rows) else ""
    )
    return f"{label} of sub-nets against multiply-accumulates; bars are 95 % bootstrap intervals over images.{alone}"


def _row(row: Subnet) -> dict[str, str]:
    unit, scale = macs_unit(row.macs)
    return {
        "sub-net": row.name,
        "AP": f"{row.ap:.3f} [{row.low:.3f}, {row.high:.3f}]",
        "AP alone": "–" if row.alone is None else f"{row.alone['ap']:.3f}",
        "MACs": f"{row.macs / scale:.2f} {unit}",
        "params": f"{row.params / 1e6:.3f} M",
    }
