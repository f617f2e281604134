"""Measured latencies as lines of a JSONL file that every other command reads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from archsearch.costs.latency import check_rounds, measure
from archsearch.costs.machine import gpu_state, machine
from archsearch.costs.macs import checked_hw, cost
from archsearch.costs.memory import OutOfMemory
from archsearch.costs.runtimes import COMPILE, COMPILE_GRAPH, EAGER, GRAPH, ONNX, Setting
from archsearch.environment import choose_device
from archsearch.files import InputError, append_jsonl, read_text
from archsearch.nets.zoo import Arch, build, load_arch
from archsearch.space import fingerprint, to_plain

DEVICES = ("auto", "cpu", "cuda", ONNX)  # auto: a GPU if there is one; onnxruntime runs on the CPU
OnStep = Callable[[str, int, int], None]  # what is measured, how many rounds of networks are done, of how many


def settings_for(
    device: str, *, batch: int = 1, threads: int = 1, dtype: str = "float32", channels_last: bool = True,
    compiled: bool = False, graph: bool | None = None,
) -> list[Setting]:  # fmt: skip
    """The runtimes to measure in on :data:`DEVICES`.

    ``graph``: None for eager and CUDA graphs apart on a GPU, True for graphs only, False for none; ``compiled``: also
    compiled. Raises ``ValueError`` where the device is not there or cannot do it.
    """
    if device.partition(":")[0] not in DEVICES:
        raise ValueError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if device == ONNX:
        if compiled or graph:
            raise ValueError(f"device {ONNX}: --compile and --graph are torch's")
        return [Setting("cpu", ONNX, batch, threads, dtype, channels_last=False)]
    if ":" in device:
        raise ValueError(f"device {device}: the environment variable CUDA_VISIBLE_DEVICES chooses a GPU, not a number")
    base = Setting(choose_device(device).type, EAGER, batch, threads, dtype, channels_last)
    on_gpu = base.device == "cuda"
    names = [] if graph else [EAGER, *([COMPILE] if compiled else [])]
    if graph or (on_gpu and graph is None):
        names += [GRAPH, *([COMPILE_GRAPH] if compiled else [])]
    return [replace(base, runtime=name) for name in names]


def measure_and_append(
    path: Path,
    archs: Mapping[str, Arch],
    settings: Sequence[Setting],
    *,
    input_hw: tuple[int, int] | None = None,
    warmup: int = 5,
    repeats: int = 50,
    together: int = 4,
    extra: Mapping[str, Any] | None = None,
    on_step: OnStep = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Measure architectures in each setting, ``together`` of them interleaved, and append a record for each.

    A record has the name, fingerprint and plain tree of the architecture, its input and MACs, the latency, and the
    machine with its state at that time. ``should_stop`` is asked between those that are interleaved; what was measured
    until then comes back. Raises ``ValueError`` where an architecture cannot take the input, and ``OutOfMemory``, once
    all else is measured, with the networks that do not fit into memory even alone.
    """
    check_rounds(warmup, repeats)
    sizes = {name: checked_hw(arch, input_hw) for name, arch in archs.items()}
    make_ready(path)
    names, rounds = list(archs), warmup + repeats
    records: list[dict[str, Any]] = []
    too_large: list[str] = []
    for setting in settings:
        found_on = machine(setting)
        chunks = deque(names[start : start + together] for start in range(0, len(names), together))
        done = 0  # networks that are measured or do not fit
        while chunks:
            if should_stop():
                return records
            chunk = chunks.popleft()

            def on_round(
                turn: int, before: int = done * rounds, count: int = len(chunk), of: Setting = setting
            ) -> None:
                on_step(of.runtime, before + turn * count, len(names) * rounds)

            try:
                latencies = measure(
                    {name: build(archs[name]) for name in chunk}, [sizes[name] for name in chunk],
                    device=setting.device, batch=setting.batch, threads=setting.threads, runtime=setting.runtime,
                    dtype=setting.dtype, channels_last=setting.channels_last, warmup=warmup, repeats=repeats,
                    on_round=on_round,
                )  # fmt: skip
            except OutOfMemory as error:
                if len(chunk) > 1:  # together they may be too large where each alone is not
                    chunks.extendleft([name] for name in reversed(chunk))
                else:
                    too_large.append(f"{error} in {setting.runtime}" if len(settings) > 1 else str(error))
                    done += 1
                continue
            done += len(chunk)
            state = {"gpu_state": gpu_state()} if setting.device == "cuda" else {}
            for name in chunk:
                arch = archs[name]
                record = {
                    "kind": "latency", "name": name, "fingerprint": fingerprint(arch), "input_hw": list(sizes[name]),
                    "macs": cost(arch, sizes[name]).macs, "device_kind": setting.device, **asdict(latencies[name]),
                    **(extra or {}), "arch": to_plain(arch), "machine": {**found_on, **state},
                }  # fmt: skip
                append_jsonl(path, record)
                records.append(record)
        on_step(setting.runtime, len(names) * rounds, len(names) * rounds)
    if too_large:
        kept = f"; {path} has the other {len(records)} latencies" if records else ""
        raise OutOfMemory("; ".join(too_large) + kept)
    return records


def make_ready(path: Path) -> None:
    """Make the folder of a file that will be appended to. Raises ``InputError`` where the file cannot be written."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, a file is needed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: its folder cannot be made: {error.strerror}") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path}: may not be written")


def setting_text(record: Mapping[str, Any]) -> str:
    """What a latency on record was measured on and how, in words."""
    threads = int(record["threads"])
    parts = [record["device"], record["runtime"], f"batch {record['batch']}"]
    if "cuda" not in str(record.get("device_kind")):
        parts.append(f"{threads} thread{'s' if threads != 1 else ''}")
    if record.get("dtype", "float32") != "float32":
        parts.append(record["dtype"])
    if str(record["runtime"]).startswith("torch") and not record.get("channels_last", True):
        parts.append("contiguous")
    return ", ".join(map(str, parts))


def check_setting(path: Path, records: Sequence[Mapping[str, Any]], setting: Setting) -> None:
    """Raise ``InputError`` where a record of the setting's runtime was measured otherwise than in this setting."""
    now = {
        "device": setting.device_name, "threads": setting.threads, "batch": setting.batch, "dtype": setting.dtype,
        "channels_last": setting.channels_last,
    }  # fmt: skip
    for record in records:
        if record["runtime"] != setting.runtime:
            continue
        for field, value in now.items():
            there = record.get(field, value)
            if there != value:
                raise InputError(
                    f"{path}: {field}: its {setting.runtime} records are of {there}, these would be of {value}; they "
                    "need a folder of their own (--out)"
                )


def read_arch_list(path: Path) -> dict[str, Arch]:
    """Architectures of a text file, a name or a file on each line; empty lines and those after # do not count.

    Raises ``InputError`` with the line that names none.
    """
    found: dict[str, Arch] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            found[name] = load_arch(name)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    if not found:
        raise InputError(f"{path}: no architectures, one name or file a line is needed")
    return found
