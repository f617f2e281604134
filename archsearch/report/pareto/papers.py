"""Models of papers: as points, and their MACs beside what each paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsearch.report.pareto.points import AP_FIELDS, Point, Reading, read_latencies
from archsearch.report.published import Published, published, true_cost, unit
from archsearch.space import fingerprint


def published_points(dataset: str, field: str, latencies: Sequence[Path] = ()) -> list[Point]:
    """The models with a published figure on a data set. Raises ``ValueError`` as :func:`published`."""
    measured = read_latencies(latencies)
    found = []
    for model in published(dataset):
        value = getattr(model, field)
        if value is None:
            continue
        price = true_cost(model)
        readings = [] if model.latency_ms is None else [Reading(model.device, model.latency_ms, None)]
        if model.arch is not None:
            readings += measured.get(fingerprint(model.arch), ())
        found.append(
            Point(
                name=_name(model),
                series=model.series,
                protocol=model.protocol,
                ap=value,
                low=value,
                high=value,
                interval="none",
                params=price.params if price else float(model.params_m) * 1e6 if model.params_m else None,
                macs=price.macs_by_convention if price else {model.convention: _counted(model)},
                readings=tuple(readings),
                arch=model.arch,
                published=model,
                notes=(f"{model.model}, {model.source}", *((model.note,) if model.note else ())),
            )
        )
    return found


def unprinted(dataset: str, field: str) -> list[tuple[str, str]]:
    """The models of which no such figure is printed, and why they are no points."""
    found = [model for model in published(dataset) if getattr(model, field) is None]
    return [(_name(model), f"{model.source} prints no {AP_FIELDS[field]}") for model in found]


def _name(model: Published) -> str:
    return f"{model.series} {model.label}"


def _counted(model: Published) -> float:
    """Printed MACs as ``macs_by_convention`` holds them: whole numbers, but Gi and Mi."""
    return float(model.macs) * (1 if model.convention in ("hrnet_gi", "torchstat_mi") else 1e9)


def macs_row(model: Published) -> dict[str, Any]:
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
