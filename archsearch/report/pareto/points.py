"""A point of a chart: an architecture with its AP, an interval of it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from archsearch.costs.lines import read_latency_lines
from archsearch.costs.records import setting_text
from archsearch.files import InputError
from archsearch.nets.zoo import Arch, as_arch
from archsearch.report.published import Published
from archsearch.report.tables import Difference
from archsearch.space import fingerprint

AP_FIELDS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}  # and what each is called


@dataclass(frozen=True)
class Reading:
    """A latency of one image on one device."""

    setting: str  # the device, and the runtime, batch, threads and type where they are on record
    median_ms: float
    iqr_ms: float | None  # None: not on record


@dataclass(frozen=True)
class Point:
    """One architecture with its AP and costs. None: not on record."""

    name: str
    series: str  # what it is drawn with
    protocol: str  # bottom-up or top-down
    ap: float  # 0 to 1; AP50 or AP75 where that was asked for
    low: float  # 95 %; equal to ap where no interval is on record
    high: float
    interval: Literal["bootstrap", "seeds", "none"]
    params: float | None
    macs: Mapping[str, float]  # by convention, in that convention's own unit
    readings: tuple[Reading, ...]
    arch: Arch | None
    published: Published | None = None
    difference: Difference | None = None  # of AP from the point of that name in the same series, on the same images
    shared: bool = False  # its weights are those of a supernet, it was not trained by itself
    ap_draws: tuple[float, ...] = ()  # AP in samples of the images, the same samples for all points of the series
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """That of the architecture; empty where it is not known."""
        return "" if self.arch is None else fingerprint(self.arch)


def read_latencies(paths: Sequence[Path]) -> dict[str, tuple[Reading, ...]]:
    """Latencies at an architecture's own input by its fingerprint; of the same setting the last one counts.

    Raises ``InputError`` where a file is missing or holds no latency, or with the line that is wrong.
    """
    found: dict[str, dict[str, Reading]] = {}
    for path in paths:
        records = read_latency_lines(path, networks=True)
        if not records:
            raise InputError(f"{path}: no latencies; `archsearch latency measure ARCH --out {path}` records them")
        for record in records:
            if "arch" in record and tuple(record["input_hw"]) != as_arch(record["arch"]).input_hw:
                continue
            reading = reading_of(record)
            found.setdefault(record["fingerprint"], {})[reading.setting] = reading
    return {key: tuple(by_setting.values()) for key, by_setting in found.items()}


def reading_of(record: Mapping[str, Any]) -> Reading:
    """What a record of kind ``latency`` says."""
    return Reading(setting_text(record), float(record["median_ms"]), float(record["iqr_ms"]))
