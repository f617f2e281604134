"""The page of ``archsearch pareto``: figure, points, conventions, what to measure again, architectures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archsearch.report.page import Column, Picture, Section, code, details, page, paragraph, table
from archsearch.report.pareto.architectures import LINKED, architectures_html
from archsearch.report.pareto.axis import macs_in
from archsearch.report.pareto.chart import Chart
from archsearch.report.pareto.hover import figure_html
from archsearch.report.pareto.papers import macs_row
from archsearch.report.pareto.plot import short_name
from archsearch.report.pareto.words import answer, percent, to_measure
from archsearch.report.plots import macs_unit
from archsearch.report.published import published

FOLDED = 30  # rows beyond which the table of points is folded away


def pareto_page(
    chart: Chart, text: str, pictures: Sequence[Picture], linked: Sequence[int], *, dataset: str | None, command: str
) -> str:
    """The page; ``linked`` are the points whose architecture is on it, ``dataset`` that of the published models.

    The first picture is the chart's own, with its caption ``text``; the others are those of a search.
    """
    name, cost_name = chart.y_label.removesuffix(", %"), {"macs": "MACs", "params": "parameters"}.get(chart.axis.kind)
    title, question = f"{name} against {cost_name or 'latency'}", f"How much {name} does a cost buy?"
    sections = [
        Section("Front", figure_html(chart, linked) + paragraph(text)),
        Section("Points", _points_html(chart)),
    ]
    if dataset is not None:
        sections.append(Section("MACs in one convention", _macs_html(dataset)))
    if chart.uncertain:
        sections.append(Section("What to measure again", _measure_html(chart)))
    sections.append(Section("For print", pictures=tuple(pictures[:1])))
    if pictures[1:]:
        sections.append(Section("The search", pictures=tuple(pictures[1:])))
    if linked:
        sections.append(Section("Architectures", architectures_html(chart, linked)))
    if command:
        sections.append(Section("How to repeat this", code(command)))
    return page(title, question, answer(chart), sections, kicker=" · ".join(chart.series))


def _points_html(chart: Chart) -> str:
    order = np.argsort(chart.x, kind="stable").tolist()
    if len(order) > LINKED:
        order = [i for i in order if chart.on_front[i]]
    unsure = chart.uncertain
    digits = 1 if chart.y_scale > 1 else 3
    plain = chart.axis.kind == "macs" and chart.axis.what == "true"
    unit, scale = macs_unit(max((macs_in(p, "true") or 0.0 for p in chart.points), default=0.0))
    columns = [Column("point", "series", numeric=False), Column(*_ap_name(chart))]
    columns += [] if plain else [Column(_cost_name(chart), chart.x_unit)]
    columns += [Column("MACs", f"{unit}, true"), Column("parameters", "M")]
    columns += [Column("on the front", "probability" if unsure else "", numeric=False)]
    rows = []
    for i in order:
        point = chart.points[i]
        low, high = point.low * chart.y_scale, point.high * chart.y_scale
        interval = f"\n{low:.{digits}f} to {high:.{digits}f}" if point.low < point.high else ""
        spread = f"\nIQR {2 * chart.x_spread[i]:.3g}" if chart.x_spread[i] > 0 else ""
        true = macs_in(point, "true")
        rows.append(
            (
                f"{short_name(chart, i)}\n{point.series}",
                f"{chart.y[i]:.{digits}f}{interval}",
                *(() if plain else (f"{chart.x[i]:.4g}{spread}",)),
                "–" if true is None else f"{true / scale:.4g}",
                "–" if point.params is None else f"{point.params / 1e6:.3f}",
                ("yes" if chart.on_front[i] else "no") + (f"\n{percent(chart.probability[i])}" if unsure else ""),
            )
        )
    note = "The cheapest first. "
    if len(order) < len(chart.points):
        note += f"Of {len(chart.points)} points those on a front; pareto.csv has all. "
    if unsure:
        note += "Probability: how often a point is on its front when all values are drawn from their intervals."
    html = table(columns, rows, note.strip())
    return html if len(rows) <= FOLDED else details(f"{len(rows)} points", html)


def _ap_name(chart: Chart) -> tuple[str, str]:
    name, _, where = chart.y_label.partition(" ")
    return name, where.strip("()").replace("),", ",")


def _cost_name(chart: Chart) -> str:
    return {"macs": f"MACs, {chart.axis.what}", "params": "parameters", "latency": "latency"}[chart.axis.kind]


def _macs_html(dataset: str) -> str:
    columns = [Column("model", "source", numeric=False), Column("input"), Column("AP"), Column("MACs", "true count"),
               Column("paper's MACs", "convention"), Column("counted so", "by archsearch"),
               Column("parameters", "paper's")]  # fmt: skip
    rows = []
    for row in map(macs_row, published(dataset)):
        true = row["true_gmacs"]
        rows.append(
            (
                f"{row['model']}\n{row['source']}",
                row["input"],
                f"{row['ap']:.1f}",
                "–" if true is None else f"{true:.3f} G",
                f"{row['paper_macs']}\n{row['paper_convention']}",
                row["counted_in_that_convention"] or "–",
                ("–" if row["params_m"] is None else f"{row['params_m']:.3f} M") + f"\n{row['paper_params_m'] or '–'}",
            )
        )
    notes = " ".join(f"{m.model}: {m.note}." for m in published(dataset) if m.note)
    return table(
        columns, rows,
        "True count: weight elements times output positions, of transposed convolutions times input positions. Papers "
        f"count in conventions of their own; the column beside says what archsearch counts in the same one. {notes}",
    )  # fmt: skip


def _measure_html(chart: Chart) -> str:
    found = to_measure(chart)
    if not found:
        return paragraph(
            "No single measurement would change much: the front is clear, or everything is in doubt alike."
        )
    text = paragraph(
        "Who is on the front is in doubt where intervals overlap. Each line is a measurement and the share of that "
        "doubt that would end if its value were known exactly."
    )
    return text + table(
        [Column("measure again", numeric=False), Column("ends doubt", "at most")],
        [(name, percent(share)) for share, name in found],
        "First-order sensitivity of the points' places on the front, from the samples that the shade is made of.",
    )
