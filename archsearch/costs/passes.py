"""How a latency table is measured: in passes over everything, minutes apart, so that a drifting machine hits all alike.

A shared machine changes speed within seconds and drifts over minutes. What is measured block after block is then
compared across different machines, so to speak. So every block and every whole network stands in one list; a pass goes
through all of it in an order of its own and stays with each for a short burst. An anchor, the smallest network of the
space, runs before and after every few bursts: a burst is recorded with what the anchor took beside it.

The file is a JSONL: a head; a line for every block and every network (``calibration``: they correct the sums of
blocks; ``held-out``: they only judge them); a line for every visit. It grows visit by visit, so a measurement that was
stopped goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.costs.blocks import at_resolution, distinct, draw, runnable, whole
from archsearch.costs.fast import CostModel
from archsearch.costs.latency import burst, fitting, threads
from archsearch.costs.lines import read_table
from archsearch.costs.machine import machine
from archsearch.costs.records import make_ready
from archsearch.costs.runtimes import Bound, Runner, Setting
from archsearch.costs.visits import Visits, check_head, head_of, runs_it
from archsearch.files import InputError, append_jsonl, locked
from archsearch.nets.zoo import Arch
from archsearch.space import Space, fingerprint, to_plain

TOGETHER = 4  # bursts between two of the anchor
OnStep = Callable[[str, int, int], None]  # what is measured, how many are done, of how many


@dataclass(frozen=True)
class Plan:
    """How a table is measured. Raises ``ValueError`` where a number is too small."""

    passes: int = 9
    warmup: int = 2
    repeats: int = 4
    noise: float = 0.05  # what is less certain than this fraction is visited again
    extra_passes: int = 3  # at most, of what is noisy
    calibration: int = 20  # whole networks that correct the sum
    held_out: int = 60  # whole networks that only judge it

    def __post_init__(self) -> None:
        least = {"passes": 1, "warmup": 0, "repeats": 1, "extra_passes": 0, "calibration": 1, "held_out": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} {getattr(self, name)} is less than {low}")
        if not self.noise > 0:
            raise ValueError(f"noise {self.noise} is not above 0")


@dataclass(frozen=True)
class Item:
    """A block or a whole network of a table."""

    record: dict[str, Any]  # its line in the file, with its ``id``
    make: Callable[[], Bound]

    @property
    def label(self) -> str:
        """What it is called in a message."""
        return f"{self.record.get('module', 'network')} {self.record['id']}"


def make_table(
    path: Path,
    space: Space[Arch],
    setting: Setting,
    plan: Plan,
    resolutions: Sequence[int] = (),
    on_step: OnStep = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Measure what is missing in a table; False where it was stopped before the end.

    ``resolutions``: the part of the space that is measured; none for all of it. Raises ``InputError`` where the file
    is a table of something else or another process measures it, ``OutOfMemory`` where a block or network does not fit.
    """
    parts = [at_resolution(space, r) for r in resolutions] or [space]
    make_ready(path)
    with locked(path, f"{path}: another process measures this table"):
        return _measured(path, space, setting, plan, parts, on_step, should_stop)


def _measured(
    path: Path, space: Space[Arch], setting: Setting, plan: Plan, parts: Sequence[Space[Arch]], on_step: OnStep,
    should_stop: Callable[[], bool],
) -> bool:  # fmt: skip
    records = read_table(path)
    if records:
        check_head(path, records[0], space, setting)
    elif path.stat().st_size:
        raise InputError(f"{path}: is not empty and holds no latency table; name another file")
    items = {item.record["id"]: item for item in _items(space, parts, setting.batch, plan)}
    if not records:
        append_jsonl(path, {**head_of(space, setting), **runs_it(setting), "machine": machine(setting)})
    known = {record.get("id") for record in records if record["kind"] in ("block", "network")}
    for name, item in items.items():
        if name not in known:
            append_jsonl(path, item.record)
    visits = Visits(records)
    with threads(setting.threads):
        anchor: Runner | None = None
        beside: list[float] = []
        for turn in range(plan.passes + plan.extra_passes):
            wanted: Iterable[str] = items
            if turn >= plan.passes:
                wanted = [name for name in items if visits.uncertainty(name, before=turn) > plan.noise]
            todo = [name for name in _order(wanted, turn) if not visits.has(name, turn)]
            label = f"pass {turn + 1}" if turn < plan.passes else f"noisy ones, again {turn + 1 - plan.passes}"
            for start in range(0, len(todo), TOGETHER):
                on_step(label, start, len(todo))
                if should_stop():
                    return False
                if anchor is None:
                    anchor = fitting("the smallest network", whole(space.smallest(), setting.batch), setting)
                    beside = burst(anchor, plan.warmup, plan.repeats)
                found = {
                    name: burst(fitting(items[name].label, items[name].make(), setting), plan.warmup, plan.repeats)
                    for name in todo[start : start + TOGETHER]
                }
                before, beside = beside, burst(anchor, 1, plan.repeats)
                for name, values in found.items():
                    record = {"kind": "visit", "pass": turn, "id": name, "ms": _rounded(values),
                              "anchor_ms": _rounded(before + beside)}  # fmt: skip
                    append_jsonl(path, record)
                    visits.add(record)
            on_step(label, len(todo), len(todo))
    return True


def _items(space: Space[Arch], parts: Sequence[Space[Arch]], batch: int, plan: Plan) -> list[Item]:
    """Every distinct block, and the random networks: the first ones calibrate, the others judge."""
    model = CostModel(space)
    units = {unit.key: unit for part in parts for unit in distinct(part, model)}
    items = [
        Item({"kind": "block", "id": fingerprint(key), "module": unit.module, "macs": unit.macs, "key": key},
             functools.partial(runnable, unit, batch))
        for key, unit in units.items()
    ]  # fmt: skip
    archs = draw(parts, plan.calibration + plan.held_out)
    for i, arch in enumerate(archs):
        role = "calibration" if i < plan.calibration else "held-out"
        record = {"kind": "network", "id": fingerprint(arch), "role": role, "macs": model(arch).macs,
                  "arch": to_plain(arch)}  # fmt: skip
        items.append(Item(record, functools.partial(whole, arch, batch)))
    return items


def _order(names: Iterable[str], turn: int) -> list[str]:
    """The order of one pass: a random one, the same at every call."""
    listed = list(names)
    np.random.default_rng(turn).shuffle(listed)
    return listed


def _rounded(values: list[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
