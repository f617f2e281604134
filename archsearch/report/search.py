"""The report of a search: its front, the models that came out, how the search went; and a card for every model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from archsearch.experiments.search.records import candidates, front_of, summary
from archsearch.experiments.search.study import SearchStudy
from archsearch.files import InputError, write_text
from archsearch.report import style, tables
from archsearch.report.card import card
from archsearch.report.findings import ap_label
from archsearch.report.page import Column, Picture, Section, page, paragraph, table
from archsearch.report.pareto.plot import front_figure
from archsearch.report.pareto.search_plots import search_figures
from archsearch.report.pareto.words import alt_text, caption
from archsearch.report.pareto.write import Request, chart_of
from archsearch.report.plots import macs_unit, seconds_text
from archsearch.report.repeat import data_text, repeat_section, title_of
from archsearch.report.style import BLUE, COLUMN_IN, MUTED, new_figure
from archsearch.runs import Run

Record = Mapping[str, Any]
NONE = "–"


def study_of(run: Run) -> SearchStudy:
    """The settings of a run, as they were resolved."""
    return SearchStudy.model_validate({k: v for k, v in tables.load_study(run).items() if k != "data"})


def write_report(run: Run) -> list[dict[str, str]]:
    """Write ``plots/``, ``report.html`` and the models' cards from the records; a row a model, or else of the front.

    Raises ``InputError`` where no trial has ended.
    """
    plain, study, records = tables.load_study(run), study_of(run), candidates(run)
    if not records:
        raise InputError(f"{run.path}: no trial has ended; go on with: archsearch search {study.name} --resume")
    label = ap_label(plain)
    best = sorted(front_of(study, records), key=lambda r: r["macs"])
    made = {p["name"]: p for p in run.records("package")}  # the last one: a longer search may have found better
    packages = [made[name] for name in study.budgets if name in made]
    folder = run.folder("plots")
    counted = next(name for name in (*study.cost_names, "macs") if name != "latency")  # known of every candidate
    chart = chart_of(Request((run,), x=counted))
    with style.style():
        style.save(front_figure(chart, "page"), folder / "front")
        further = search_figures((run,), chart)
        for name, (drawn, _) in further.items():
            style.save(drawn, folder / name)
        measured = [r for r in records if r.get("latency_predicted_ms") is not None]
        if measured:
            style.save(latency_figure(measured), folder / "latency")
    for package in packages:
        write_text(run.path / package["folder"] / "README.md", card(package, label, data_text(plain), run))
    front_picture = Picture(folder / "front", alt_text(chart), caption(chart), wide=True)
    sections = [Section("Front", _front_table(best, label), (front_picture,))]
    if packages:
        sections.insert(0, Section("Models", _package_table(packages, label, study)))
    sections.append(
        Section(
            "How the search went",
            _course(run, records, study),
            tuple(Picture(folder / name, text, text) for name, (_, text) in further.items()),
        )
    )
    if measured:
        text = (
            "Latency as the table predicted it and as it was measured, for the architectures that came to the front; "
            "bars: interquartile range of the measurement."
        )
        sections.append(Section("Latency", _latency_text(run), (Picture(folder / "latency", text, text),)))
    sections.append(repeat_section(run, "archsearch search study.yaml"))
    html = page(
        title_of(run, plain), study.question, answer(records, best, packages, label, study.budgets), sections,
        kicker=f"Search · {data_text(plain)}",
    )  # fmt: skip
    write_text(run.path / "report.html", html)
    return [_package_row(p, study) for p in packages] or [_front_row(r) for r in best]


def answer(
    records: Sequence[Record], best: Sequence[Record], packages: Sequence[Record], label: str, budgets: Collection[str]
) -> str:
    """The result in words."""
    if not best:
        return f"None of {len(records)} architectures keeps the limits."
    unit, scale = macs_unit(max(r["macs"] for r in best))
    text = (
        f"Of {len(records)} architectures {len(best)} are on the front, from {label} {best[0]['ap']:.3f} at "
        f"{best[0]['macs'] / scale:.1f} {unit} MACs to {best[-1]['ap']:.3f} at {best[-1]['macs'] / scale:.1f} {unit}."
    )
    if packages:
        made = ", ".join(
            f"{p['name'].upper()} {p['ap']:.3f} at {p['macs'] / scale:.1f} {unit}"
            for p in sorted(packages, key=lambda p: p["macs"])
        )
        how = "fine-tuned" if packages[0]["fine_tuned"] else "as the search evaluated them"
        text += f" Models, {how}: {made}."
        if packages[0]["fine_tuned"]:
            text += (
                " The front's AP was chosen among many and is too high; that of the models is of a training of its own."
            )
    unmet = [name.upper() for name in budgets if name not in {p["name"] for p in packages}]
    if unmet:
        text += f" No architecture that was evaluated keeps the budget of {', '.join(unmet)}."
    return text


def latency_figure(records: Sequence[Record]) -> Figure:
    """Measured against predicted latency."""
    figure = new_figure(COLUMN_IN, 2.9)
    ax = figure.add_subplot()
    x = np.array([r["latency_predicted_ms"] for r in records], float)
    y = np.array([r["latency_ms"] for r in records], float)
    half = np.array([r["latency_iqr_ms"] for r in records], float) / 2
    low, high = 0.9 * min(x.min(), (y - half).min()), 1.05 * max(x.max(), (y + half).max())
    ax.plot((low, high), (low, high), color=MUTED, linewidth=0.8, linestyle="--", label="equal")
    ax.errorbar(x, y, yerr=half, fmt="o", color=BLUE, markersize=4, elinewidth=0.8, label="measured")
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_xlabel("Latency predicted from the table (ms)")
    ax.set_ylabel("Latency measured (ms)")
    ax.legend(frameon=False)
    return figure


# ------------------------------------------------------------------------------------------------------------- tables


def _interval(record: Record) -> str:
    if record.get("ap_low") is None:
        return f"{record['ap']:.3f}"
    return f"{record['ap']:.3f}\n{record['ap_low']:.3f} to {record['ap_high']:.3f}"


def _latency(record: Record) -> str:
    if record.get("latency_ms") is None:
        return NONE
    return f"{record['latency_ms']:.2f}\n{record['latency_is']}"


def _front_row(record: Record) -> dict[str, str]:
    unit, scale = macs_unit(record["macs"])
    return {
        "trial": str(record["trial"]), "AP": _interval(record).replace("\n", ", "),
        "MACs": f"{record['macs'] / scale:.2f} {unit}", "params": f"{record['params'] / 1e6:.3f} M",
        "latency ms": _latency(record).replace("\n", ", "), "architecture": record["fingerprint"],
    }  # fmt: skip


def _front_table(best: Sequence[Record], label: str) -> str:
    if not best:
        return paragraph("No architecture keeps the limits.")
    unit, scale = macs_unit(max(r["macs"] for r in best))
    columns = [
        Column("Trial", numeric=False), Column(label), Column("MACs", unit), Column("Parameters", "M"),
        Column("Latency", "ms"), Column("Images"), Column("Architecture", numeric=False),
    ]  # fmt: skip
    rows = [
        [
            str(r["trial"]), _interval(r), f"{r['macs'] / scale:.2f}", f"{r['params'] / 1e6:.3f}", _latency(r),
            str(r.get("images", NONE)), r["fingerprint"],
        ]
        for r in best
    ]  # fmt: skip
    text = (
        "The front by the search's objectives and within its limits. Below AP: 95 % by bootstrap over the validation "
        "images. Latency: whether it was measured or predicted from the table stands below it."
    )
    return table(columns, rows, text)


def _package_row(package: Record, study: SearchStudy) -> dict[str, str]:
    unit, scale = macs_unit(package["macs"])
    latency = package["latency"]
    return {
        "model": package["name"], f"budget, {study.budgets_of}": f"{package['budget']:,.4g}",
        "AP": _interval(package).replace("\n", ", "), "AP in the search": f"{package['search_ap']:.3f}",
        "MACs": f"{package['macs'] / scale:.2f} {unit}", "params": f"{package['params'] / 1e6:.3f} M",
        "latency ms": NONE if latency is None else f"{latency['median_ms']:.2f}", "folder": package["folder"],
    }  # fmt: skip


def _package_table(packages: Sequence[Record], label: str, study: SearchStudy) -> str:
    unit, scale = macs_unit(max(p["macs"] for p in packages))
    budget_unit, budget_scale = {"params": ("M parameters", 1e6), "latency": ("ms", 1.0)}.get(
        study.budgets_of, (f"{unit} {study.budgets_of}", scale)
    )
    columns = [
        Column("Model", numeric=False), Column(label), Column("in the search"), Column("Budget", budget_unit),
        Column("MACs", unit), Column("LitePose's count", unit), Column("Parameters", "M"), Column("Latency", "ms"),
        Column("ONNX differs by"),
    ]  # fmt: skip
    rows = []
    for p in sorted(packages, key=lambda p: p["macs"]):
        latency = p["latency"]
        rows.append([
            p["name"].upper(), _interval(p), f"{p['search_ap']:.3f}", f"{p['budget'] / budget_scale:,.4g}",
            f"{p['macs'] / scale:.2f}", f"{p['macs_by_convention']['ptflops_0_6'] / scale:.2f}",
            f"{p['params'] / 1e6:.3f}",
            NONE if latency is None else f"{latency['median_ms']:.2f}\nIQR {latency['iqr_ms']:.2f}",
            NONE if p["onnx"] is None else f"{p['onnx']['relative_difference']:.1e}",
        ])  # fmt: skip
    how = "after fine-tuning" if packages[0]["fine_tuned"] else "as the search evaluated it"
    text = (
        f"The best architecture within each budget. {label}: {how}, 95 % by bootstrap over the validation images; in "
        "the search: as it was evaluated there, before. MACs: the true count, and as LitePose counts (ptflops 0.6). "
        "ONNX: the largest difference between onnxruntime and torch, relative to the largest value. The folders "
        f"{', '.join(p['folder'] for p in packages)} have a model card each."
    )
    return table(columns, rows, text)


def _course(run: Run, records: Sequence[Record], study: SearchStudy) -> str:
    found = summary(study, run)
    text = f"{len(records)} of {study.trials} trials ended, proposed by {study.sampler.kind}. "
    if len(records) < study.trials and run.records("exhausted"):
        text += "No other architecture within the limits was found. "
    text += (
        f"{found['rejected_by_cost']} proposals were rejected by their cost and {found['rejected_as_known']} as known, "
        "before any image was evaluated. "
    )
    if found["given_up_early"]:
        text += (
            f"{found['given_up_early']} candidates were given up on part of the validation images, another one being "
            "better for no more cost by bootstrap; their AP is what is expected on all images, and no front has them. "
        )
    text += (
        f"Evaluation took {seconds_text(found['evaluation_s'])} of the workers' time, everything else "
        f"{seconds_text(found['outside_s'])} ({100 * found['overhead']:.1f} %)."
    )
    return paragraph(text)


def _latency_text(run: Run) -> str:
    found = run.records("table")
    if not found:
        return paragraph("The latency table was given to the search.")
    judged = found[-1]
    text = f"Table of {judged['blocks']} blocks, {judged['runtime']}, {judged['threads']} thread, {judged['device']}. "
    if judged["kendall"] is not None:
        text += (
            f"On {judged['held_out_networks']} networks that it never saw: Kendall's tau {judged['kendall']:.2f}, mean "
            f"error {100 * judged['mape']:.1f} %."
        )
    return paragraph(text)
