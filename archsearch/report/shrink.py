"""The report of a gradual-shrinking study: ``results.csv``, ``plots/`` and ``report.html``, from its records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from archsearch.files import InputError, write_text
from archsearch.nets.hrnet import HRNet
from archsearch.report import plots, style, tables
from archsearch.report.architecture import architectures_figure, depths_text, describe
from archsearch.report.findings import answer, ap_label, intervals_note, latency_note, listed
from archsearch.report.page import Column, Picture, Section, details, page, paragraph, table
from archsearch.report.plots import macs_unit, seconds_text
from archsearch.report.repeat import data_text, repeat_section, title_of
from archsearch.report.shrink_shared import Shared, shared, shared_answer, shared_row, shared_section
from archsearch.report.tables import Outcome
from archsearch.runs import Run

NONE = "–"  # a cell without a value


def write_report(run: Run) -> list[dict[str, str]]:
    """Write everything; one short row a configuration, as the command line prints them.

    Records are read, nothing is trained or measured; configurations that are not finished are named and left out.
    Raises ``InputError`` where no training has finished and nothing was taken from a supernet.
    """
    study = tables.load_study(run)
    outcomes = tables.outcomes(run)
    estimates = shared(run, outcomes)
    if estimates and not outcomes:
        return _write_shared(run, study, estimates)
    if not outcomes:
        study_name = study.get("name", "STUDY")
        raise InputError(f"{run.path}: no finished training on record; run: archsearch shrink {study_name} --resume")
    tables.write_csv(run)
    label = ap_label(study)
    sections = _sections(run, study, outcomes, write_plots(run, outcomes, label))
    told = answer(outcomes, label)
    by_name = {row.name: f"{row.ap:.3f}" for row in estimates}
    if estimates:
        sections.insert(1, shared_section(run, estimates, label))
        told += f" {shared_answer(estimates, label)}"
    _write_page(run, study, told, sections)
    return [
        {**_row(outcome), **({"AP supernet": by_name.get(outcome.name, NONE)} if estimates else {})}
        for outcome in outcomes
    ]


def _write_shared(run: Run, study: Mapping[str, Any], estimates: Sequence[Shared]) -> list[dict[str, str]]:
    """The report of a run that trained nothing."""
    label = ap_label(study)
    sections = [shared_section(run, estimates, label), _repeat(run)]
    _write_page(run, study, shared_answer(estimates, label), sections)
    return [shared_row(row) for row in estimates]


def _write_page(run: Run, study: Mapping[str, Any], told: str, sections: Sequence[Section]) -> None:
    kicker = f"Shrinking study · {data_text(study)}"
    write_text(
        run.path / "report.html",
        page(title_of(run, study), str(study.get("question", "")), told, sections, kicker=kicker),
    )


def _repeat(run: Run) -> Section:
    """How to repeat the run, with the supernet and without training where it was so."""
    words = ["archsearch shrink study.yaml"]
    used = run.records("shared")
    if used:
        words.append(f"--supernet {used[-1]['supernet']}")
        words += [] if run.records("result") else ["--no-train"]
    return repeat_section(run, " ".join(words))


# ----------------------------------------------------------------------------------------------------------- the plots


def write_plots(run: Run, outcomes: Sequence[Outcome], label: str) -> dict[str, Path]:
    """Write every figure that the records allow; the paths without suffix, by name."""
    looks = {name: style.look(i) for i, name in enumerate(tables.config_names(run))}
    time_s = tables.equal_time_s(run)
    assert time_s is not None, "there is an outcome, so there is a time"
    curves = {key: curve for key, curve in tables.curves(run).items() if curve.ap}
    archs = {o.name: o.arch for o in outcomes if o.arch is not None}
    figures: dict[str, Callable[[], Figure]] = {
        "ap_by_configuration": lambda: plots.ap_by_configuration(outcomes, looks, label),
        "equal_samples_and_time": lambda: plots.equal_samples_and_time(outcomes, looks, label, time_s),
    }
    if any(o.macs is not None for o in outcomes):
        figures["ap_against_macs"] = lambda: plots.ap_against_macs(outcomes, looks, label)
    if any(o.latency is not None for o in outcomes):
        figures["ap_against_latency"] = lambda: plots.ap_against_latency(outcomes, looks, label)
    if outcomes[0].heights:
        figures["ap_by_height"] = lambda: plots.ap_by_height(outcomes, looks, label)
    if curves:
        figures["learning_curves"] = lambda: plots.learning_curves(curves, looks, label, time_s)
    if archs:
        figures["architectures"] = lambda: architectures_figure(archs)
    folder = run.folder("plots")
    with style.style():
        for name, draw in figures.items():
            style.save(draw(), folder / name)
    return {name: folder / name for name in figures}


# ------------------------------------------------------------------------------------------------------------ the page


def _sections(
    run: Run, study: Mapping[str, Any], outcomes: Sequence[Outcome], stems: Mapping[str, Path]
) -> list[Section]:
    texts = _captions(outcomes, ap_label(study), tables.equal_time_s(run) or 0.0)

    def pictures(*names: str) -> tuple[Picture, ...]:
        return tuple(Picture(stems[n], *texts[n], wide=n == "architectures") for n in names if n in stems)

    sections = [
        Section("Results", _results_html(run, outcomes, ap_label(study))),
        Section(
            "Accuracy",
            pictures=pictures("ap_by_configuration", "equal_samples_and_time", "ap_by_height", "learning_curves"),
        ),
        Section("Cost", pictures=pictures("ap_against_macs", "ap_against_latency")),
        Section("Architectures", pictures=pictures("architectures")),
        _repeat(run),
    ]
    return [section for section in sections if section.html or section.pictures]


def _captions(outcomes: Sequence[Outcome], label: str, time_s: float) -> dict[str, tuple[str, str]]:
    """What each figure shows, for those who do not see it, and its caption."""
    names = listed([o.name for o in outcomes])
    values = ", ".join(f"{o.name} {o.ap:.3f}" for o in outcomes)
    drawn = "; ".join(f"{o.name}: {describe(o.arch)}" for o in outcomes if o.arch)
    intervals = intervals_note(outcomes)
    return {
        "ap_by_configuration": (
            f"{label} of each configuration: {values}.",
            f"{label} of each configuration. {intervals}",
        ),
        "equal_samples_and_time": (
            f"{label} of each configuration at equal training images and at equal training time.",
            f"The same runs compared twice: after equally many training images (filled), and after the "
            f"{seconds_text(time_s)} that the quickest training took in all (open). The second is read off the "
            "learning curves by linear interpolation, that is from schedules that were not finished then: a schedule "
            "made for that time usually does better.",
        ),
        "ap_by_height": (
            f"{label} by height of people, one line for each of {names}.",
            f"{label} of people by the height of their box in pixels; n is how many of them there are to find. The "
            "bins have no intervals of their own: few people make a bin uncertain.",
        ),
        "learning_curves": (
            f"Learning curves of {names}.",
            f"{label} at each evaluation along the way, and the training loss. The dotted line is the time at which "
            "all are compared.",
        ),
        "ap_against_macs": (
            f"{label} against MACs of {names}.",
            f"{label} against multiply-accumulates of one image, counted as they are (true count). {intervals}",
        ),
        "ap_against_latency": (
            f"{label} against measured latency of {names}.",
            f"{label} against measured latency, with its interquartile range. {intervals}",
        ),
        "architectures": (
            f"The architectures. {drawn}.",
            "The architectures, from the image on the left to heatmaps on the right. Rows are resolutions with their "
            f"channels; outlines are the blocks that {outcomes[0].name} has in addition. Numbers above boxes are "
            "channels where they are not their row's.",
        ),
    }


def _results_html(run: Run, outcomes: Sequence[Outcome], label: str) -> str:
    unit, scale = macs_unit(max((o.macs or 0 for o in outcomes), default=0))
    columns = (
        Column("configuration", "A and width", numeric=False), Column("AP", "interval"),
        Column("difference", "from the first"), Column("AP", "equal time"),
        Column("AP50", "AP75"), Column("AR"), Column("MACs", f"{unit}, true"),
        Column("MACs", f"{unit}, ptflops 0.6"), Column("parameters", "M"), Column("latency", "ms, median"),
        Column("training", "s"),
    )  # fmt: skip
    lines = [
        (
            f"{o.name}\n{_depths(o)}, {_width(o)}",
            f"{o.ap:.3f}\n{o.low:.3f} to {o.high:.3f}",
            _shift(o),
            _number(o.ap_equal_time, ".3f"),
            f"{o.ap50:.3f}\n{o.ap75:.3f}",
            f"{o.ar:.3f}",
            _number(o.macs, ".2f", scale),
            _number(o.macs_ptflops_0_6, ".2f", scale),
            _number(o.params, ".3f", 1e6),
            _latency(o).replace(" (", "\n").rstrip(")"),
            f"{o.train_s:.0f}",
        )
        for o in outcomes
    ]
    caption = (
        f"All figures of AP are {label}, 0 to 1. {intervals_note(outcomes)} MACs are those of one image; the second "
        "column counts them as the LitePose paper does (ptflops 0.6), transposed convolutions at their output "
        f"resolution. {latency_note(outcomes)}"
    )
    if any(o.difference for o in outcomes):
        caption += (
            " Differences are in AP on the same images: with one seed the interval is a paired 95 % bootstrap, with "
            "several Student's t over the seeds."
        )
    top = tables.ceiling(run)
    if top is not None:
        caption += f" Perfect heatmaps and tags put through the same decoding and evaluation have AP {top:.3f}."
    html = table(columns, lines, caption)
    unfinished = [f"{name} (seed {seed})" for name, seed in tables.missing(run)]
    if unfinished:
        text = f"This run is not finished: {listed(unfinished)} had no result when the page was made."
        html = paragraph(text) + html
    rows = tables.rows(run)
    heads = [Column(name, numeric=name not in ("config", "device")) for name in rows[0]]
    every = table(heads, [[_cell(v) for v in row.values()] for row in rows], "The rows of results.csv.")
    return html + details(f"Every training ({len(rows)})", every)


# ----------------------------------------------------------------------------------------------------------- the cells


def _row(outcome: Outcome) -> dict[str, str]:
    unit, scale = macs_unit(outcome.macs or 0)
    macs = _number(outcome.macs, ".2f", scale)
    return {
        "config": outcome.name,
        "A": _depths(outcome),
        "width": _width(outcome),
        "AP": f"{outcome.ap:.3f} [{outcome.low:.3f}, {outcome.high:.3f}]",
        "AP equal time": _number(outcome.ap_equal_time, ".3f"),
        "MACs": macs if outcome.macs is None else f"{macs} {unit}",
        "params": NONE if outcome.params is None else f"{outcome.params / 1e6:.3f} M",
        "latency ms": _latency(outcome),
        "train s": f"{outcome.train_s:.0f}",
    }


def _shift(outcome: Outcome) -> str:
    found = outcome.difference
    return NONE if found is None else f"{found.value:+.3f}\n{found.low:+.3f} to {found.high:+.3f}"


def _depths(outcome: Outcome) -> str:
    return depths_text(outcome.arch) if isinstance(outcome.arch, HRNet) else NONE


def _width(outcome: Outcome) -> str:
    return str(outcome.arch.widths[0]) if isinstance(outcome.arch, HRNet) else NONE


def _latency(outcome: Outcome) -> str:
    if outcome.latency is None:
        return NONE
    return f"{outcome.latency['median_ms']:.2f} (IQR {outcome.latency['iqr_ms']:.2f})"


def _number(value: float | None, form: str, scale: float = 1) -> str:
    return NONE if value is None else f"{value / scale:{form}}"


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
