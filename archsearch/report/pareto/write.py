"""What ``archsearch pareto`` writes: figure, page, tables and caption of AP against one cost, from records alone."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch.files import InputError, replacing, write_text
from archsearch.nets.zoo import arch_yaml
from archsearch.report import style
from archsearch.report.findings import ap_label
from archsearch.report.page import Picture
from archsearch.report.pareto.architectures import file_name, shown_architectures
from archsearch.report.pareto.axis import parse_axis
from archsearch.report.pareto.chart import Chart, make_chart
from archsearch.report.pareto.page import pareto_page
from archsearch.report.pareto.papers import macs_row, published_points, unprinted
from archsearch.report.pareto.plot import WIDTHS_IN, front_figure
from archsearch.report.pareto.points import AP_FIELDS
from archsearch.report.pareto.records import points_of, unrecorded
from archsearch.report.pareto.same_data import check_published, study_of
from archsearch.report.pareto.search_plots import search_figures
from archsearch.report.pareto.tables import Row, rows_of
from archsearch.report.pareto.words import alt_text, caption
from archsearch.report.published import DATASETS, published
from archsearch.runs import Run


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
    html = pareto_page(chart, text, pictures, linked, dataset=request.published, command=request.command)
    write_text(out / "pareto.html", html)
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
    left_out = unrecorded(request.runs, request.y)
    if request.published is not None:
        points += published_points(request.published, request.y, request.latencies)
        left_out += unprinted(request.published, request.y)
    return make_chart(
        points, axis, _label(request), together=request.together, percent=request.published is not None,
        left_out=left_out,
    )  # fmt: skip


def _label(request: Request) -> str:
    if request.published is not None:
        split = published(request.published)[0].split
        label = f"AP ({DATASETS[request.published]} {split})"
    else:
        label = ap_label(study_of(request.runs[0]))
    return label.replace("AP", AP_FIELDS[request.y], 1)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
