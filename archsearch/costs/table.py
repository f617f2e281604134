"""Latency of any architecture of a space from the latencies of its blocks, each measured once.

A table is a JSONL file: a head that says of what space, on what device and in what runtime; a line for each block; a
line for each whole network that was measured to correct the sum (``calibration``) or to judge the prediction
(``held-out``). It grows line by line, so a measurement that was stopped goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.costs.agreement import Correction, fit, kendall, kendall_interval, mape, spearman
from archsearch.costs.blocks import at_resolution, distinct, runnable
from archsearch.costs.fast import CostModel, Unit
from archsearch.costs.latency import Latency, measure_bound
from archsearch.costs.machine import machine
from archsearch.costs.runtimes import Bound, Setting, Shape
from archsearch.files import InputError, append_jsonl, read_jsonl
from archsearch.nets.zoo import Arch, as_arch, build
from archsearch.space import Space, fingerprint, to_plain

CHUNK = 16  # blocks that are measured in turn with one another
OnStep = Callable[[str, int, int], None]  # what is measured, how many are done, of how many


@dataclass(frozen=True)
class Plan:
    """How a table is measured."""

    repeats: int = 20
    warmup: int = 3
    noise: float = 0.1  # what has a larger relative interquartile range is measured again; the calmest stays
    tries: int = 3
    calibration: int = 12  # whole networks that correct the sum
    held_out: int = 60  # whole networks that only judge it
    network_repeats: int = 15


class Table:
    """A table read from a file, of one space. Raises ``InputError`` where the file is no table of that space."""

    def __init__(self, path: Path, space: Space[Arch], setting: Setting | None = None) -> None:
        self.path, self.space = path, space
        records = read_jsonl(path)
        if not records or records[0].get("kind") != "latency_table":
            raise InputError(f"{path}: not a latency table; `archsearch latency table` makes one")
        self.head = records[0]
        check_head(path, self.head, space, setting)
        self.model = CostModel(space)
        self.block_ms: dict[str, float] = {}
        self.networks: list[dict[str, Any]] = []
        self._ms: list[float | None] = []
        for record in records[1:]:
            if record.get("kind") == "block":
                self.block_ms[record["key"]] = float(record["median_ms"])
            elif record.get("kind") == "network":
                self.networks.append(record)
        used = [r for r in self.networks if r["role"] == "calibration"]
        sums = [self.sum_ms(as_arch(r["arch"])) for r in used]
        self.correction: Correction = fit(sums, [r["median_ms"] for r in used])

    def sum_ms(self, arch: Arch, input_hw: tuple[int, int] | None = None) -> float:
        """The latencies of an architecture's blocks, summed. Raises ``InputError`` where one was not measured."""
        total = 0.0
        for number in self.model.units_of(arch, input_hw):
            found = self._block(number)
            if found is None:
                what = self.model.units[number].key
                raise InputError(f"{self.path}: block not measured: {what}; run `archsearch latency table` again")
            total += found
        return total

    def _block(self, number: int) -> float | None:
        while len(self._ms) <= number:
            self._ms.append(self.block_ms.get(self.model.units[len(self._ms)].key))
        return self._ms[number]


def predict(table: Table, arch: Arch, input_hw: tuple[int, int] | None = None) -> float:
    """Milliseconds of one forward of an architecture of the table's space, on the table's device and runtime.

    Raises ``InputError`` where one of its blocks was not measured, ``ValueError`` where it is not of the space.
    """
    return table.correction(table.sum_ms(arch, input_hw))


def head_of(space: Space[Arch], setting: Setting) -> dict[str, Any]:
    """What must agree between a table and whoever uses it."""
    return {
        "space": space.name,
        "space_fingerprint": fingerprint(_Plain(space.plain)),
        "device": setting.device_name,
        "runtime": setting.runtime,
        "batch": setting.batch,
        "threads": setting.threads,
        "dtype": setting.dtype,
        "channels_last": setting.channels_last,
    }


@dataclass(frozen=True)
class _Plain:
    tree: Any


def check_head(path: Path, head: dict[str, Any], space: Space[Arch], setting: Setting | None) -> None:
    """Raises ``InputError`` naming what a table is of and what it is wanted for, where the two differ."""
    wanted = head_of(space, Setting() if setting is None else setting)
    names = ["space", "space_fingerprint"] if setting is None else list(wanted)
    for name in names:
        if head.get(name) != wanted[name]:
            raise InputError(f"{path}: a table of {name} {head.get(name)}, not of {name} {wanted[name]}")


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
    is a table of something else.
    """
    parts = [at_resolution(space, r) for r in resolutions] or [space]
    records = read_jsonl(path)
    if records:
        check_head(path, records[0], space, setting)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        append_jsonl(path, {"kind": "latency_table", **head_of(space, setting), "machine": machine(setting)})
    model = CostModel(space)
    units: dict[str, Unit] = {}
    for part in parts:
        units.update({unit.key: unit for unit in distinct(part, model)})
    done = {r["key"] for r in records if r.get("kind") == "block"}
    missing = [unit for key, unit in units.items() if key not in done]
    for i, chunk in enumerate(_chunks(missing)):
        if should_stop():
            return False
        for record in _measured(chunk, setting, plan):
            append_jsonl(path, record)
        on_step("blocks", len(units) - len(missing) + min((i + 1) * CHUNK, len(missing)), len(units))
    return _measure_networks(path, parts, records, setting, plan, on_step, should_stop)


def _chunks(units: list[Unit]) -> Iterator[list[Unit]]:
    for start in range(0, len(units), CHUNK):
        yield units[start : start + CHUNK]


def _measured(units: list[Unit], setting: Setting, plan: Plan) -> list[dict[str, Any]]:
    """A record for each block; the noisy ones are measured again, and the least noisy measurement stays."""
    by_key = {unit.key: unit for unit in units}
    best = _calmest(
        list(by_key), lambda key: runnable(by_key[key], setting.batch), setting, plan, plan.warmup, plan.repeats
    )
    return [
        {
            "kind": "block", "key": unit.key, "module": unit.module, "inputs": [list(s) for s in unit.inputs],
            "macs": unit.macs, "median_ms": best[unit.key][0].median_ms, "iqr_ms": best[unit.key][0].iqr_ms,
            "try": best[unit.key][1],
        }
        for unit in units
    ]  # fmt: skip


def _calmest(
    keys: list[str], make: Callable[[str], Bound], setting: Setting, plan: Plan, warmup: int, repeats: int
) -> dict[str, tuple[Latency, int]]:
    """The least noisy of at most ``plan.tries`` measurements of each, and which one it was."""
    best: dict[str, tuple[Latency, int]] = {}
    left = keys
    for attempt in range(1, plan.tries + 1):
        bound = {key: make(key) for key in left}
        for key, found in measure_bound(bound, setting, warmup=warmup, repeats=repeats).items():
            if key not in best or found.relative_iqr < best[key][0].relative_iqr:
                best[key] = (found, attempt)
        left = [key for key in keys if best[key][0].relative_iqr > plan.noise]
        if not left:
            break
    return best


def _made(archs: dict[str, Arch], batch: int, key: str) -> Bound:
    return Bound(build(archs[key]), ((Shape((batch, 3, *archs[key].input_hw)),), {}))


def _measure_networks(
    path: Path, parts: list[Space[Arch]], records: list[dict[str, Any]], setting: Setting, plan: Plan,
    on_step: OnStep, should_stop: Callable[[], bool],
) -> bool:  # fmt: skip
    done = {r["fingerprint"] for r in records if r.get("kind") == "network"}
    roles = ["calibration"] * plan.calibration + ["held-out"] * plan.held_out
    archs = draw(parts, len(roles))
    todo = [(a, role) for a, role in zip(archs, roles, strict=True) if fingerprint(a) not in done]
    for i in range(0, len(todo), 4):
        if should_stop():
            return False
        chunk = todo[i : i + 4]
        by_key = {fingerprint(arch): arch for arch, _ in chunk}
        make = functools.partial(_made, by_key, setting.batch)
        found = _calmest(list(by_key), make, setting, plan, 2, plan.network_repeats)
        for arch, role in chunk:
            latency, attempt = found[fingerprint(arch)]
            append_jsonl(path, {"kind": "network", "role": role, "fingerprint": fingerprint(arch), "try": attempt,
                                **asdict(latency), "arch": to_plain(arch)})  # fmt: skip
        on_step("networks", len(archs) - len(todo) + min(i + 4, len(todo)), len(archs))
    return True


def draw(parts: Sequence[Space[Arch]], count: int) -> list[Arch]:
    """Distinct random architectures, the parts in turn; the same ones at every call."""
    rng = np.random.default_rng(1)
    found: dict[str, Arch] = {}
    for i in range(100 * count):
        if len(found) == min(count, sum(part.size for part in parts)):
            break
        arch = parts[i % len(parts)].sample(rng)
        found[fingerprint(arch)] = arch
    return list(found.values())


def judge(table: Table) -> dict[str, Any]:
    """How well the table predicts the networks that it was not corrected with; MACs beside it, corrected alike.

    ``additivity_gap``: by what fraction a network takes longer than the sum of its blocks, the median over them.
    """
    roles = {role: [r for r in table.networks if r["role"] == role] for role in ("calibration", "held-out")}
    held, used = roles["held-out"], roles["calibration"]
    if not held:
        raise InputError(f"{table.path}: no held-out networks to judge it by")
    measured = [float(r["median_ms"]) for r in held]
    archs = [as_arch(r["arch"]) for r in held]
    sums = [table.sum_ms(arch) for arch in archs]
    predicted = [table.correction(s) for s in sums]
    macs = [float(table.model(arch).macs) for arch in archs]
    by_macs = fit([float(table.model(as_arch(r["arch"])).macs) for r in used], [float(r["median_ms"]) for r in used])
    return {
        "table": str(table.path),
        **{name: table.head[name] for name in ("space", "device", "runtime", "batch", "threads", "dtype")},
        "blocks": len(table.block_ms),
        "calibration_networks": len(used),
        "held_out_networks": len(held),
        "measured_ms": [min(measured), max(measured)],
        "kendall": kendall(predicted, measured),
        "kendall_95": list(kendall_interval(predicted, measured)),
        "spearman": spearman(predicted, measured),
        "mape": mape(predicted, measured),
        "additivity_gap": float(np.median([m / s - 1 for m, s in zip(measured, sums, strict=True)])),
        "mape_of_plain_sum": mape(sums, measured),
        "scale": table.correction.scale,
        "offset_ms": table.correction.offset_ms,
        "macs_kendall": kendall(macs, measured),
        "macs_mape": mape([by_macs(m) for m in macs], measured),
        "median_relative_iqr": float(np.median([r["iqr_ms"] / r["median_ms"] for r in held])),
    }
