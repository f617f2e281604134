"""What a set of trained configurations shows, in words, with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archsearch.report.plots import macs_unit
from archsearch.report.tables import Outcome


def ap_label(study: Mapping[str, Any]) -> str:
    """What AP is called on axes: figures on embedded scenes always say so."""
    data = study.get("data", {})
    return "AP on embedded scenes" if data.get("kind") == "scenes" else f"AP ({data.get('name', 'custom')} val)"


def answer(outcomes: Sequence[Outcome], label: str) -> str:
    """The result in two sentences, with its uncertainty: the highest AP, and what shrinking saves."""
    best = max(outcomes, key=lambda o: o.ap)
    text = f"{best.name} has the highest {label}, {best.ap:.3f} ({interval_text(best)})"
    if len(outcomes) == 1:
        return f"{best.name} has {label} {best.ap:.3f} ({interval_text(best)}); no other configuration has finished."
    text += _standing(best, [o for o in outcomes if o is not best])
    return f"{text} {_savings(outcomes[0], outcomes[-1])}"


def _standing(best: Outcome, others: Sequence[Outcome]) -> str:
    """How the best stands to the others: by paired differences where they are on record, else by intervals."""
    if best.difference is not None:
        return f", {best.difference.value:+.3f} from {best.difference.against} ({difference_text(best)})."
    paired = [o for o in others if o.difference is not None and o.difference.against == best.name]
    if len(paired) == len(others):
        close = [o.name for o in paired if o.difference is not None and not o.difference.clear]
        return f"; not told apart from {listed(close)} by this run." if close else ", clearly above all others."
    close = [o.name for o in others if o.overlaps(best)]
    if close:
        return f", but its interval overlaps that of {listed(close)}: not told apart by this run."
    return ", and its interval lies above all others."


def interval_text(outcome: Outcome) -> str:
    """The interval of AP and what it is an interval of."""
    bounds = f"{outcome.low:.3f} to {outcome.high:.3f}"
    if outcome.interval == "bootstrap":
        return f"95 % bootstrap interval over validation images {bounds}, one training each"
    return f"95 % interval over {len(outcome.seeds)} seeds {bounds}"


def _savings(first: Outcome, last: Outcome) -> str:
    """What changes from the first configuration to the last."""
    changes = []
    if first.macs and last.macs:
        unit, scale = macs_unit(max(first.macs, last.macs))
        span = f"{first.macs / scale:.1f} to {last.macs / scale:.1f} {unit}"
        changes.append(f"MACs {_change(first.macs, last.macs, ('fall', 'rise'))} ({span})")
    if first.latency and last.latency:
        before, after = float(first.latency["median_ms"]), float(last.latency["median_ms"])
        changes.append(f"measured latency {_change(before, after, ('falls', 'rises'))}")
    difference = last.ap - first.ap
    moved = f"AP {'rises' if difference > 0 else 'falls'} by {abs(difference):.3f}"
    if last.difference is not None:
        moved += f" ({difference_text(last)})"
    elif first.overlaps(last):
        moved += ", less than this run can tell apart"
    return f"From {first.name} to {last.name}, {listed([*changes, moved])}."


def difference_text(outcome: Outcome) -> str:
    """The interval of a difference in AP, and whether it tells the two apart."""
    found = outcome.difference
    if found is None:
        return ""
    kind = "paired 95 %" if len(outcome.seeds) == 1 else f"95 % over {len(outcome.seeds)} seeds"
    verdict = "" if found.clear else ", not told apart"
    return f"{kind}: {found.low:+.3f} to {found.high:+.3f}{verdict}"


def _change(before: float, after: float, verbs: tuple[str, str]) -> str:
    percent = 100 * (after / before - 1)
    return f"{verbs[percent > 0]} by {abs(percent):.{0 if abs(percent) >= 1 else 1}f} %"


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def intervals_note(outcomes: Sequence[Outcome]) -> str:
    """What the intervals of AP contain, and what not."""
    kinds = {o.interval for o in outcomes}
    if kinds == {"bootstrap"}:
        return (
            "Intervals: 95 %, by bootstrap over the validation images of one training each; they do not contain the "
            "spread between trainings."
        )
    text = "Intervals: 95 %, Student's t around the mean"
    if len(kinds) == 1:
        return f"{text} of {len(outcomes[0].seeds)} seeds; they do not contain the choice of validation images."
    return f"{text}; 95 % by bootstrap over the validation images where there is one seed only."


def latency_note(outcomes: Sequence[Outcome]) -> str:
    """How latency was measured."""
    found = next((o.latency for o in outcomes if o.latency), None)
    if found is None:
        return "Latency was not measured."
    threads = f"{found['threads']} thread{'s' if found['threads'] != 1 else ''}"
    return (
        f"Latency: median of {found['repeats']} runs and interquartile range (IQR), batch "
        f"{found['batch']}, {threads}, {found['runtime']}, on {found['device']}."
    )
