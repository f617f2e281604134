"""What a front says, in words: its caption, its answer, and what to measure again."""

from __future__ import annotations

from archsearch.report.findings import listed
from archsearch.report.pareto.chart import Chart
from archsearch.report.pareto.points import Point

WORTH_IT = 0.05  # the part of the doubt from which on a single measurement is recommended
NAMED = 8  # members of a front that are named one by one
NAMED_LEFT_OUT = 20  # points left out for one reason that are named one by one


def caption(chart: Chart, *, together: bool = False) -> str:
    """What the figure shows, in what convention, what was left out and why: ready for a paper."""
    names = listed(chart.series)
    parts = [f"{chart.y_label.removesuffix(', %')} against {chart.x_label} of {names}."]
    if chart.axis.kind == "macs":
        parts.append(_convention_text(chart))
    parts.append(_fronts_text(chart, together))
    if chart.uncertain:
        parts.append(_uncertainty_text(chart))
    elif any(p.published for p in chart.points):
        parts.append("The papers give no intervals, so none are drawn.")
    if any(p.protocol == "top-down" for p in chart.points):
        parts.append(
            "Top-down models are dashed and apart: their costs are those of one person's box, without the detector."
        )
    if any(p.shared for p in chart.points):
        parts.append("By the supernet: with the weights of one shared network, recalibrated and not trained further.")
    parts += _left_out_texts(chart)
    doubtful = [p.published for p in chart.points if p.published and p.published.note and chart.axis.kind != "latency"]
    parts += [f"{m.series} {m.label}: {m.note}." for m in doubtful]
    return " ".join(parts)


def _left_out_texts(chart: Chart) -> list[str]:
    """One sentence a reason."""
    names: dict[str, list[str]] = {}
    for name, reason in chart.left_out:
        names.setdefault(reason, []).append(name)
    return [
        f"{listed(mine) if len(mine) <= NAMED_LEFT_OUT else f'{len(mine)} points'} "
        f"{'is' if len(mine) == 1 else 'are'} left out: {reason}."
        for reason, mine in names.items()
    ]


def _convention_text(chart: Chart) -> str:
    what = chart.axis.what
    kind = "the true count" if what == "true" else f"the convention {what}"
    text = f"All MACs are in one convention, {kind}"
    models = [p.published for p in chart.points if p.published]
    if not models:
        return f"{text}."
    own = sorted({m.convention for m in models} - {what})
    text += ", counted from each network at its own input size"
    if own:
        text += f"; the papers print {listed(own)}, and their figures stand beside these in the table"
    return f"{text}."


def _fronts_text(chart: Chart, together: bool) -> str:
    if together:
        which = "of all points"
    elif len(chart.fronts) > 1:
        which = "of each run" if not any(p.published for p in chart.points) else "of each group"
    else:
        which = "of these points"
    hollow = "" if chart.on_front.all() else ", hollow ones are not"
    return f"The line is the front {which}: the highest value that a cost buys. Filled points are on it{hollow}."


def _uncertainty_text(chart: Chart) -> str:
    kinds = {p.interval for p in chart.points if p.low < p.high and p.series not in chart.crowded}
    bars = {
        "bootstrap": "95 % by bootstrap over the validation images of one training",
        "seeds": "95 % by Student's t over seeds",
        "none": "95 %",
    }
    text = ""
    if kinds:
        text = f"Bars: {listed([bars[kind] for kind in sorted(kinds)])}."
    if (chart.x_spread > 0).any():
        text += " Latency: median and interquartile range of single runs."
    return f"{text} The shade holds the front in 95 % of the samples of what these values could be.".strip()


def answer(chart: Chart) -> str:
    """Who is on the front, how surely, and what would settle it."""
    parts = []
    for part in chart.fronts:
        on = sorted((i for i in part.members if chart.on_front[i]), key=lambda i: chart.x[i])
        if len(on) > NAMED:
            digits, unit = (1, " %") if chart.y_scale > 1 else (3, "")
            ends = [f"{chart.y[i]:.{digits}f}{unit} at {chart.x[i]:.3g} {chart.x_unit}" for i in (on[0], on[-1])]
            count = f"{len(on)} of {len(part.members)} points are on the front of {part.name}"
            parts.append(f"{count}, from {' to '.join(ends)}.")
        else:
            names = listed([_sure_name(chart, i) for i in on])
            parts.append(f"On the front of {part.name}: {names}.")
    doubt = to_measure(chart)
    if doubt and doubt[0][0] >= WORTH_IT:
        share, name = doubt[0]
        parts.append(f"To measure again first: {name}, which would end up to {percent(share)} of the doubt.")
    return " ".join(parts)


def _sure_name(chart: Chart, i: int) -> str:
    name = chart.points[i].name
    return f"{name} ({percent(chart.probability[i])})" if chart.uncertain else name


def percent(part: float) -> str:
    """A part of 1 for people to read."""
    return f"{100 * part:.0f} %"


def to_measure(chart: Chart, most: int = 8) -> list[tuple[float, str]]:
    """What to measure again: the share of doubt that it ends, the largest first, and its name."""
    found = []
    for i, point in enumerate(chart.points):
        for column, what in enumerate(("latency", "AP")):
            if chart.settles[i, column] >= 0.01:
                found.append((float(chart.settles[i, column]), f"{what} of {full_name(chart, point)}"))
    return sorted(found, reverse=True)[:most]


def full_name(chart: Chart, point: Point) -> str:
    """A point's name, with its series where points of several series have that name."""
    series = {p.series for p in chart.points if p.name == point.name}
    return point.name if len(series) == 1 else f"{point.name} ({point.series})"


def alt_text(chart: Chart) -> str:
    """What the figure shows, for those who do not see it."""
    on = [
        f"{full_name(chart, p)} {x:.4g} {y:.4g}"
        for p, x, y, f in zip(chart.points, chart.x, chart.y, chart.on_front, strict=True)
        if f
    ]
    shown = on if len(on) <= 20 else on[:20]
    return f"{chart.y_label} against {chart.x_label}. On the front: {'; '.join(shown)}."
