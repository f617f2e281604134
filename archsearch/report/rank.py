"""The report of a ranking: stand-alone AP against the supernet's estimate, and what the ranks have in common."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archsearch.experiments.rank import benchmark_rows, pairs
from archsearch.experiments.ranking import Agreement, Pair, Ranking, figures
from archsearch.files import InputError, write_jsonl, write_text
from archsearch.report import style, tables
from archsearch.report.findings import ap_label
from archsearch.report.page import Column, Picture, Section, page, table
from archsearch.report.plots import macs_unit
from archsearch.report.repeat import data_text, repeat_section, title_of
from archsearch.report.style import MUTED, PAGE_IN, legend_above, look, new_figure
from archsearch.runs import Run


def write_report(run: Run) -> list[dict[str, str]]:
    """Write ``benchmark.jsonl``, ``plots/`` and ``report.html`` from the records; the figures as rows to print.

    Raises ``InputError`` where fewer than three architectures have both figures.
    """
    study, rows = tables.load_study(run), pairs(run)
    if len(rows) < 3:
        raise InputError(
            f"{run.path}: {len(rows)} architectures have both figures on record, three are needed; "
            "go on with: archsearch rank --resume"
        )
    found = figures(rows, int(study.get("macs_bins", 1)))
    label = ap_label(study)
    write_jsonl(run.path / "benchmark.jsonl", benchmark_rows(rows))
    stem = run.folder("plots") / "rank"
    with style.style():
        style.save(rank_figure(rows, found, label), stem)
    picture = Picture(
        stem,
        f"Stand-alone {label} against the supernet's estimate for {found.architectures} architectures.",
        f"Stand-alone {label} ({_seeds(found)}) against the estimate from the supernet, recalibrated, and against "
        "MACs. Marker and colour: the input size. Horizontal bars: 95 % bootstrap over validation images; vertical "
        "ones: the range of the seeds.",
        wide=True,
    )
    sections = [
        Section("Ranking", _figures_table(found), (picture,)),
        Section("Architectures", _architectures(rows, label)),
        repeat_section(run, "archsearch rank study.yaml"),
    ]
    text = page(
        title_of(run, study), str(study.get("question", "")), answer(found, label), sections,
        kicker=f"Supernet ranking · {data_text(study)}",
    )  # fmt: skip
    write_text(run.path / "report.html", text)
    return [{"figure": name, "value": value} for name, value in _lines(found)]


def answer(found: Ranking, label: str) -> str:
    """The result in words."""
    if any(value != value for value in (found.kendall.value, found.macs_kendall.value)):
        return f"All of these {found.architectures} architectures have one {label}: there are no ranks to compare."
    better = found.kendall.value > found.macs_kendall.value
    text = (
        f"Over {found.architectures} architectures the supernet's ranking has Kendall's tau {_text(found.kendall)} "
        f"with the stand-alone ranking by {label}; ranking by MACs alone has {_text(found.macs_kendall)}. "
    )
    apart = found.difference.low > 0 or found.difference.high < 0
    text += f"The difference is {_text(found.difference, signed=True)}, by a paired bootstrap over architectures"
    text += ". " if apart else ": this many architectures do not tell the two apart. "
    if found.sized.value == found.sized.value:
        text += (
            f"Among architectures of one input size ({found.sized_pairs} pairs) the supernet's tau is "
            f"{_text(found.sized)}, that of MACs {_text(found.macs_sized)}. "
        )
    text += (
        f"The supernet's pick is {found.regret:.3f} below the best of them, the one with the most MACs "
        f"{found.macs_regret:.3f}."
    )
    if found.between_seeds is not None:
        text += f" Two seeds of stand-alone training agree to a tau of {found.between_seeds:.2f}."
    return text if better or apart else f"{text} MACs alone rank no worse here."


def rank_figure(rows: Sequence[Pair], found: Ranking, label: str) -> Figure:
    """Stand-alone AP against the supernet's estimate, left, and against MACs; marker and colour are the input size."""
    figure = new_figure(PAGE_IN, 3.1)
    left, right = figure.subplots(1, 2, sharey=True)
    unit, scale = macs_unit(max(row.macs for row in rows))
    sizes = sorted({row.input_hw for row in rows})
    looks = {size: look(k) for k, size in enumerate(sizes)}
    for row in rows:
        y, ends = row.alone_ap, (min(row.alone_aps), max(row.alone_aps))
        color, marker = looks[row.input_hw].color, looks[row.input_hw].marker
        left.plot((row.supernet_low, row.supernet_high), (y, y), color=MUTED, linewidth=0.7, alpha=0.5, zorder=2)
        for ax, x in ((left, row.supernet_ap), (right, row.macs / scale)):
            ax.plot((x, x), ends, color=MUTED, linewidth=0.7, alpha=0.8, zorder=2)
            ax.plot(x, y, marker, color=color, markeredgecolor="white", markeredgewidth=0.4, zorder=4)
    left.set_xlabel(f"{label},\nestimated from the supernet")
    left.set_ylabel(f"{label},\ntrained alone ({_seeds(found)})")
    left.set_title(f"Kendall's tau {_text(found.kendall)}")
    right.set_xlabel(f"MACs per image ({unit}, true count)")
    right.set_title(f"Kendall's tau {_text(found.macs_kendall)}")
    handles = [Line2D((), (), linestyle="", color=looks[size].color, marker=looks[size].marker) for size in sizes]
    legend_above(figure, handles, [_size(size) for size in sizes])
    return figure


def _size(input_hw: tuple[int, int]) -> str:
    height, width = input_hw
    return f"{height} px" if height == width else f"{height}x{width} px"


def _seeds(found: Ranking) -> str:
    return "one seed" if found.seeds == 1 else f"mean of {found.seeds} seeds"


def _text(found: Agreement, signed: bool = False) -> str:
    if found.value != found.value:
        return "not defined"
    sign = "+" if signed else ""
    return f"{found.value:{sign}.2f} ({found.low:{sign}.2f} to {found.high:{sign}.2f})"


def _lines(found: Ranking) -> list[tuple[str, str]]:
    lines = [
        ("Kendall's tau", _text(found.kendall)),
        ("Spearman's rho", _text(found.spearman)),
        ("Kendall's tau of MACs alone", _text(found.macs_kendall)),
        ("difference of the two taus", _text(found.difference, signed=True)),
    ]
    if found.sized_pairs:
        lines += [
            (f"tau within one input size ({found.sized_pairs} pairs)", _text(found.sized)),
            ("the same of MACs alone", _text(found.macs_sized)),
            ("difference of these two", _text(found.sized_difference, signed=True)),
        ]
    for (low, high, count, tau), macs_tau in zip(found.bins, found.macs_bins, strict=True):
        unit, scale = macs_unit(high)
        values = "–" if tau is None else f"{tau:.2f}"
        by_macs = "–" if macs_tau is None else f"{macs_tau:.2f}"
        name = f"tau within {low / scale:.1f} to {high / scale:.1f} {unit} MACs ({count})"
        lines.append((name, f"{values}; MACs alone {by_macs}"))
    lines.append(("regret of the supernet's pick", f"{found.regret:.3f} AP"))
    lines.append(("regret of the most MACs", f"{found.macs_regret:.3f} AP"))
    if found.between_seeds is not None:
        lines.append(("tau between seeds, stand-alone", f"{found.between_seeds:.2f}"))
    return lines


def _figures_table(found: Ranking) -> str:
    caption = (
        "Rank correlations with stand-alone AP; intervals: 95 %, by bootstrap over architectures, of differences with "
        "the same samples for both. Within one input size: over pairs of architectures that share it. Regret: how far "
        "the stand-alone AP of what is picked lies below the best of these architectures."
    )
    return table((Column("figure", numeric=False), Column("value", "95 %")), _lines(found), caption)


def _architectures(rows: Sequence[Pair], label: str) -> str:
    unit, scale = macs_unit(max(row.macs for row in rows))
    columns = (
        Column("architecture", numeric=False), Column("input"), Column("AP", "supernet"), Column("AP", "alone"),
        Column("MACs", f"{unit}, true"), Column("parameters", "M"),
    )  # fmt: skip
    lines = [
        (
            row.fingerprint,
            _size(row.input_hw),
            f"{row.supernet_ap:.3f}\n{row.supernet_low:.3f} to {row.supernet_high:.3f}",
            f"{row.alone_ap:.3f}\n{', '.join(f'{ap:.3f}' for ap in row.alone_aps)}",
            f"{row.macs / scale:.2f}",
            f"{row.params / 1e6:.3f}",
        )
        for row in rows
    ]
    return table(columns, lines, f"All figures of AP are {label}. benchmark.jsonl has the choices of each.")
