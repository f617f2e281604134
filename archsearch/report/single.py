"""The report of one training: ``results.csv``, ``plots/`` and ``report.html``, from its records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from archsearch.files import InputError, write_text
from archsearch.report import plots, style, tables
from archsearch.report.architecture import architectures_figure, describe
from archsearch.report.findings import ap_label
from archsearch.report.page import Column, Picture, Section, page, paragraph, table
from archsearch.report.plots import macs_unit, seconds_text
from archsearch.report.repeat import data_text, repeat_section, title_of
from archsearch.report.tables import Outcome
from archsearch.runs import Run

NONE = "–"  # a cell without a value


def write_report(run: Run) -> list[dict[str, str]]:
    """Write everything; one short row, as the command line prints it. Records are read, nothing is trained.

    Raises ``InputError`` where the training has not finished.
    """
    study = tables.load_study(run)
    found = tables.outcomes(run)
    if not found:
        study_name = study.get("name", "STUDY")
        raise InputError(f"{run.path}: no finished training on record; run: archsearch train {study_name} --resume")
    (outcome,) = found
    result = run.records("result")[-1]
    label = ap_label(study)
    tables.write_csv(run)
    stems = write_plots(run, outcome, label)
    texts = _captions(outcome, label)

    def pictures(*names: str) -> tuple[Picture, ...]:
        return tuple(Picture(stems[n], *texts[n], wide=n == "architectures") for n in names if n in stems)

    results = _results_html(outcome, result, label) + paragraph(_how(run, study, result))
    sections = [
        Section("Results", results, pictures("ap_by_height", "learning_curves")),
        Section("Architecture", pictures=pictures("architectures")),
        repeat_section(run, "archsearch train study.yaml"),
    ]
    text = page(
        title_of(run, study), str(study.get("question", "")), answer(outcome, result, label),
        [section for section in sections if section.html or section.pictures], kicker=f"Training · {data_text(study)}",
    )  # fmt: skip
    write_text(run.path / "report.html", text)
    return [_row(outcome)]


def answer(outcome: Outcome, result: Mapping[str, Any], label: str) -> str:
    """What the network reaches, with its uncertainty, and what it costs."""
    text = (
        f"{outcome.name} has {label} {outcome.ap:.3f} (95 % bootstrap interval over validation images "
        f"{outcome.low:.3f} to {outcome.high:.3f})"
    )
    if result.get("pckh"):
        text += f" and PCKh@0.5 {result['pckh']['mean']:.3f}"
    text += f" after {int(result['images_seen']):,} training images and {seconds_text(outcome.train_s)}."
    if outcome.macs is None or outcome.params is None:
        return text
    return f"{text} It has {outcome.params / 1e6:.3f} M parameters and takes {_macs(outcome.macs)} MACs an image."


def write_plots(run: Run, outcome: Outcome, label: str) -> dict[str, Path]:
    """Write every figure that the records allow; the paths without suffix, by name."""
    looks = {outcome.name: style.look(0)}
    curves = {key: curve for key, curve in tables.curves(run).items() if curve.ap}
    arch = outcome.arch
    figures: dict[str, Callable[[], Figure]] = {}
    if outcome.heights:
        figures["ap_by_height"] = lambda: plots.ap_by_height([outcome], looks, label)
    if curves:
        figures["learning_curves"] = lambda: plots.learning_curves(curves, looks, label, None)
    if arch is not None:
        figures["architectures"] = lambda: architectures_figure({outcome.name: arch})
    folder = run.folder("plots")
    with style.style():
        for name, draw in figures.items():
            style.save(draw(), folder / name)
    return {name: folder / name for name in figures}


def _captions(outcome: Outcome, label: str) -> dict[str, tuple[str, str]]:
    """What each figure shows, for those who do not see it, and its caption."""
    return {
        "ap_by_height": (
            f"{label} by height of people.",
            f"{label} of people by the height of their box in pixels; n is how many of them there are to find. The "
            "bins have no intervals of their own: few people make a bin uncertain.",
        ),
        "learning_curves": (
            "The learning curve.",
            f"{label} at each evaluation along the way, and the training loss.",
        ),
        "architectures": (
            f"The architecture: {'' if outcome.arch is None else describe(outcome.arch)}.",
            "The architecture, from the image on the left to heatmaps on the right. Rows are resolutions with their "
            "channels. Numbers above boxes are channels where they are not their row's.",
        ),
    }


def _results_html(outcome: Outcome, result: Mapping[str, Any], label: str) -> str:
    unit, scale = macs_unit(outcome.macs or 0)
    score = result.get("pckh")
    cells = {
        Column("network", numeric=False): outcome.name,
        Column("AP", "interval"): f"{outcome.ap:.3f}\n{outcome.low:.3f} to {outcome.high:.3f}",
        Column("AP50", "AP75"): f"{outcome.ap50:.3f}\n{outcome.ap75:.3f}",
        Column("AP medium", "AP large"): f"{_number(result.get('ap_m'))}\n{_number(result.get('ap_l'))}",
        Column("AR"): f"{outcome.ar:.3f}",
        **({Column("PCKh@0.5", "PCKh@0.1"): f"{score['mean']:.3f}\n{score['mean_01']:.3f}"} if score else {}),
        Column("MACs", f"{unit}, true"): _number(outcome.macs, ".2f", scale),
        Column("MACs", f"{unit}, ptflops 0.6"): _number(outcome.macs_ptflops_0_6, ".2f", scale),
        Column("parameters", "M"): _number(outcome.params, ".3f", 1e6),
        Column("images seen"): f"{int(result['images_seen']):,}",
        Column("training", "s"): f"{outcome.train_s:.0f}",
    }
    caption = (
        f"All figures of AP are {label}, 0 to 1. The interval: 95 %, by bootstrap over the validation images; it does "
        "not contain the spread between trainings. MACs are those of one image; the second column counts them as the "
        "LitePose paper does (ptflops 0.6), transposed convolutions at their output resolution."
    )
    return table(list(cells), [list(cells.values())], caption)


def _how(run: Run, study: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """What AP is of, and what the training began from."""
    text = "Bottom-up: all people of an image at once."
    if study.get("protocol") == "top_down":
        boxes = study.get("detections")
        text = f"Top-down: one person in each box, evaluated in {f'boxes of {boxes}' if boxes else 'annotated boxes'}."
    began = run.records("weights")
    if began:
        text += f" It began from {began[-1]['source']}: {began[-1]['taken']} of {began[-1]['tensors']} tensors taken."
    else:
        text += " It began from random weights."
    return f"{text} Trained on {result.get('train_device', 'an unknown device')}, seed {result['seed']}."


def _row(outcome: Outcome) -> dict[str, str]:
    return {
        "network": outcome.name,
        "AP": f"{outcome.ap:.3f} [{outcome.low:.3f}, {outcome.high:.3f}]",
        "MACs": NONE if outcome.macs is None else _macs(outcome.macs),
        "params": _number(outcome.params, ".3f", 1e6) + ("" if outcome.params is None else " M"),
        "train s": f"{outcome.train_s:.0f}",
    }


def _macs(macs: int) -> str:
    unit, scale = macs_unit(macs)
    return f"{macs / scale:.2f} {unit}"


def _number(value: float | None, form: str = ".3f", scale: float = 1) -> str:
    return NONE if value is None else f"{value / scale:{form}}"
