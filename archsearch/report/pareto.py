"""What ``archsearch pareto`` writes: figure, page, tables and caption of AP against one cost, from records alone."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.files import InputError, replacing, write_text
from archsearch.nets.zoo import arch_yaml
from archsearch.report import style
from archsearch.report.findings import ap_label
from archsearch.report.page import Column, Picture, Section, code, page, paragraph, table
from archsearch.report.pareto_chart import Chart, macs_in, make_chart, parse_axis
from archsearch.report.pareto_page import architectures_html, figure_html, file_name
from archsearch.report.pareto_plot import WIDTHS_IN, front_figure, short_name
from archsearch.report.pareto_points import AP_FIELDS, check_published, points_of, published_points, study_of
from archsearch.report.pareto_search_plots import search_figures
from archsearch.report.pareto_words import alt_text, answer, caption, to_measure
from archsearch.report.published import DATASETS, Published, published, true_cost, unit
from archsearch.runs import Run

LINKED = 100  # points up to which every architecture is on the page; beyond, those that may be on the front
LIKELY = 0.1  # probability of being on the front from which on a point counts as one that may be
FIELD_NAMES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    runs: tuple[Run, ...]
    x: str = "macs"  # macs, macs:CONVENTION, params, latency:DEVICE
    y: str = "ap"
    published: str | None = None  # crowdpose or coco
    latencies: tuple[Path, ...] = ()  # files of `archsearch latency measure`
    together: bool = False  # one front for all
    width: str = "column"
    command: str = ""  # that repeats this


def write_pareto(request: Request, out: Path) -> list[Row]:
    """Write everything into ``out``; a row a point, as ``pareto.csv`` holds them.

    Raises ``InputError`` with one line where there is nothing to draw, or what there is cannot share an axis; nothing
    is written then.
    """
    chart = chart_of(request)
    text = caption(chart, together=request.together)
    with style.style():
        figure = front_figure(chart, request.width)
        further = search_figures(request.runs, chart)
    out.mkdir(parents=True, exist_ok=True)
    style.save(figure, out / "pareto")
    pictures = [Picture(out / "pareto", alt_text(chart), text)]
    for name, (drawn, explained) in further.items():
        style.save(drawn, out / name)
        pictures.append(Picture(out / name, explained, explained))
    linked = shown_architectures(chart)
    for i in linked:
        arch = chart.points[i].arch
        assert arch is not None
        write_text(out / "archs" / file_name(chart, i), arch_yaml(arch))
    rows = rows_of(chart, linked)
    _write_csv(out / "pareto.csv", rows)
    if request.published:
        _write_csv(out / "macs.csv", [macs_row(model) for model in published(request.published)])
    write_text(out / "caption.txt", text + "\n")
    write_text(out / "pareto.html", _page(chart, request, text, pictures, linked))
    return rows


def chart_of(request: Request) -> Chart:
    """The points and the front that a request asks for. Raises ``InputError`` as :func:`write_pareto`."""
    if request.y not in AP_FIELDS:
        raise InputError(f"--y {request.y}: one of {', '.join(AP_FIELDS)} is needed")
    if request.width not in WIDTHS_IN:
        raise InputError(f"--width {request.width}: one of {', '.join(WIDTHS_IN)} is needed")
    if request.published is not None and request.published not in DATASETS:
        raise InputError(f"--published {request.published}: one of {', '.join(DATASETS)} is needed")
    if not request.runs and request.published is None:
        raise InputError(
            "nothing to draw: name the folder of a run (archsearch shrink gradual_shrinking makes one), or give "
            "--published crowdpose or --published coco"
        )
    axis = parse_axis(request.x)
    if request.published is not None:
        check_published(request.runs, request.published)
    points = points_of(request.runs, request.y, request.latencies)
    if request.published is not None:
        points += published_points(request.published, request.y, request.latencies)
    return make_chart(
        points, axis, _label(request), together=request.together, percent=request.published is not None
    )  # fmt: skip


def _label(request: Request) -> str:
    if request.published is not None:
        split = published(request.published)[0].split
        label = f"AP ({DATASETS[request.published]} {split})"
    else:
        label = ap_label(study_of(request.runs[0]))
    return label.replace("AP", FIELD_NAMES[request.y], 1)


def shown_architectures(chart: Chart) -> list[int]:
    """The points whose architecture is written out: all, or of very many those that may be on a front."""
    known = [i for i, p in enumerate(chart.points) if p.arch is not None]
    if len(known) <= LINKED:
        return known
    return [i for i in known if chart.on_front[i] or chart.probability[i] >= LIKELY]


# ---------------------------------------------------------------------------------------------------------- the tables


def rows_of(chart: Chart, linked: Sequence[int] = ()) -> list[Row]:
    """A row a point, the cheapest first; None: not known."""
    rows = []
    for i in np.argsort(chart.x, kind="stable").tolist():
        point = chart.points[i]
        own = point.low < point.high
        rows.append(
            {
                "name": point.name,
                "series": point.series,
                "ap": round(point.ap, 6),
                "ap_low": point.low if own else None,
                "ap_high": point.high if own else None,
                chart.axis.kind: float(f"{chart.x[i]:.10g}"),
                "unit": chart.x_unit,
                "spread": float(2 * chart.x_spread[i]) or None,
                "on_front": bool(chart.on_front[i]),
                "probability": round(float(chart.probability[i]), 4),
                "settles_ap": round(float(chart.settles[i, 1]), 4),
                "settles_cost": round(float(chart.settles[i, 0]), 4),
                "macs_true": macs_in(point, "true"),
                "params": point.params,
                "fingerprint": point.fingerprint or None,
                "arch": f"archs/{file_name(chart, i)}" if i in linked else None,
                "source": point.published.source if point.published else None,
            }
        )
    return rows


def macs_row(model: Published) -> Row:
    """What the paper prints of a model, and what its network costs; None: not known."""
    price = true_cost(model)
    height, width = model.input_hw
    name, times = unit(model.convention)
    counted = None
    if price is not None:
        counted = price.macs_by_convention[model.convention] / (times if name == "G" else 1)
    return {
        "model": model.model,
        "dataset": model.dataset,
        "input": f"{height}x{width}",
        "ap": round(100 * model.ap, 1),
        "paper_macs": model.printed_macs,
        "paper_convention": model.convention,
        "counted_in_that_convention": None if counted is None else f"{counted:.4g} {name}",
        "true_gmacs": None if price is None else round(price.macs / 1e9, 4),
        "paper_params_m": model.params_m or None,
        "params_m": None if price is None else round(price.params / 1e6, 3),
        "source": model.source,
        "note": model.note or None,
    }


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# ------------------------------------------------------------------------------------------------------------ the page


def _page(chart: Chart, request: Request, text: str, pictures: Sequence[Picture], linked: Sequence[int]) -> str:
    name, cost_name = chart.y_label.removesuffix(", %"), {"macs": "MACs", "params": "parameters"}.get(chart.axis.kind)
    title, question = f"{name} against {cost_name or 'latency'}", f"How much {name} does a cost buy?"
    sections = [
        Section("Front", figure_html(chart, linked) + paragraph(text)),
        Section("Points", _points_html(chart)),
    ]
    if request.published:
        sections.append(Section("MACs in one convention", _macs_html(request.published)))
    if chart.uncertain:
        sections.append(Section("What to measure again", _measure_html(chart)))
    sections.append(Section("For print", pictures=tuple(pictures[:1])))
    if pictures[1:]:
        sections.append(Section("The search", pictures=tuple(pictures[1:])))
    if linked:
        sections.append(Section("Architectures", architectures_html(chart, linked)))
    if request.command:
        sections.append(Section("How to repeat this", code(request.command)))
    return page(title, question, answer(chart), sections, kicker=" · ".join(chart.series))


def _points_html(chart: Chart) -> str:
    order = np.argsort(chart.x, kind="stable").tolist()
    if len(order) > LINKED:
        order = [i for i in order if chart.on_front[i]]
    unsure = chart.uncertain
    digits = 1 if chart.y_scale > 1 else 3
    plain = chart.axis.kind == "macs" and chart.axis.what == "true" and chart.x_unit == "G"
    columns = [Column("point", "series", numeric=False), Column(*_ap_name(chart))]
    columns += [] if plain else [Column(_cost_name(chart), chart.x_unit)]
    columns += [Column("MACs", "G, true"), Column("parameters", "M")]
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
                "–" if true is None else f"{true / 1e9:.4g}",
                "–" if point.params is None else f"{point.params / 1e6:.3f}",
                ("yes" if chart.on_front[i] else "no") + (f"\n{chart.probability[i]:.0%}" if unsure else ""),
            )
        )
    note = "The cheapest first. "
    if len(order) < len(chart.points):
        note += f"Of {len(chart.points)} points those on a front; pareto.csv has all. "
    if unsure:
        note += "Probability: how often a point is on its front when all values are drawn from their intervals."
    return table(columns, rows, note.strip())


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
        [(name, f"{share:.0%}") for share, name in found],
        "First-order sensitivity of the points' places on the front, from the samples that the shade is made of.",
    )
