"""The lines of latency tables and of latency records, checked as they are read.

Both are JSONL files that grow and travel between machines. A line that a kill cut short is no JSON and does not count;
a line that is JSON must be one of these, with every figure that a reader may use.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from archsearch.files import InputError, read_text
from archsearch.nets.zoo import as_arch

VERSION = 2  # of a table: 1 had no visits

Record = dict[str, Any]
Rule = tuple[Callable[[Any], bool], str]  # whether a value is right, and in words what it must be


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _figure(value: Any, least: float = 0.0) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value) and value >= least
    except OverflowError:  # a whole number beyond all floats
        return False


def _above_zero(value: Any) -> bool:
    return _figure(value) and value > 0


def _figures(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_above_zero, value))


def _size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_whole(n, 1) for n in value)


def _architecture(value: Any) -> bool:
    try:
        return isinstance(value, dict) and bool(as_arch(value))
    except ValueError:
        return False


TEXT: Rule = (lambda value: isinstance(value, str) and value != "", "a text")
COUNT: Rule = (lambda value: _whole(value, 1), "a whole number above 0")
TURN: Rule = (lambda value: _whole(value, 0), "a whole number from 0")
FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
MS: Rule = (_above_zero, "a number above 0")
SPREAD: Rule = (_figure, "a number from 0")
LIST_MS: Rule = (_figures, "a list of numbers above 0")
SIZE: Rule = (_size, "height and width in pixels")
ARCH: Rule = (_architecture, "an architecture")
ROLE: Rule = (lambda value: value in ("calibration", "held-out"), "calibration or held-out")

SETTING = {"device": TEXT, "runtime": TEXT, "batch": COUNT, "threads": COUNT}
SETTING_NOW = {**SETTING, "dtype": TEXT, "channels_last": FLAG}
TABLE: Mapping[str, Mapping[str, Rule]] = {
    "latency_table": {"version": COUNT, "space": TEXT, "space_fingerprint": TEXT, **SETTING_NOW},
    "block": {"id": TEXT, "key": TEXT, "module": TEXT, "macs": TURN},
    "network": {"id": TEXT, "role": ROLE, "macs": COUNT, "arch": ARCH},
    "visit": {"id": TEXT, "pass": TURN, "ms": LIST_MS, "anchor_ms": LIST_MS},
}
LATENCY = {"fingerprint": TEXT, "median_ms": MS, "iqr_ms": SPREAD, **SETTING}
BLOCK = {name: rule for name, rule in LATENCY.items() if name != "fingerprint"}
LATENCIES: Mapping[str, Mapping[str, Rule]] = {
    "latency": LATENCY,
    "block_latency": {**BLOCK, "name": TEXT, "module": TEXT, "macs": COUNT},
}
MAPPED = {"group": TEXT, "macs": COUNT}  # of a latency in a map's folder
# What older records lack, or who wrote them left out; right where it is there.
OPTIONAL: Mapping[str, Rule] = {
    "dtype": TEXT, "channels_last": FLAG, "arch": ARCH, "name": TEXT, "macs": COUNT, "fingerprint": TEXT, "id": TEXT
}  # fmt: skip


def read_table(path: Path) -> list[Record]:
    """The records of a latency table, its head first; of two blocks or networks with one id, the first.

    Empty where the file has no record. Raises ``InputError`` with file, line and field where one is wrong, where the
    file is missing, or is no table of this version.
    """
    found: list[Record] = []
    seen: set[tuple[Any, ...]] = set()
    for number, record in _numbered(path):
        if not found:
            _check_first(path, record)
        elif record.get("kind") == "latency_table":
            raise InputError(f"{path}, line {number}: kind: a second head, a table has one; measure it anew")
        _check(path, number, record, TABLE)
        name = (record["kind"] == "visit", record.get("id"), record.get("pass"))
        if name not in seen:
            seen.add(name)
            found.append(record)
    return found


def read_latency_lines(path: Path, *, mapped: bool = False, networks: bool = False) -> list[Record]:
    """The latencies of a file, of networks and of blocks, as ``latency measure`` and ``latency map`` write them.

    ``mapped``: without networks that are in no group of a map. ``networks``: those with a fingerprint only, whatever
    else is in the file. Raises ``InputError`` with file, line and field where a
    record is wrong, or where the file is missing.
    """
    found = []
    for number, record in _numbered(path):
        if networks and (record.get("kind") != "latency" or "fingerprint" not in record):
            continue
        if mapped and record.get("kind") == "latency":
            if "group" not in record:
                continue
            _fields(path, number, record, MAPPED)
        _check(path, number, record, LATENCIES)
        _fields(path, number, record, {name: rule for name, rule in OPTIONAL.items() if name in record})
        if record["kind"] == "latency" and "arch" in record:
            _fields(path, number, record, {"input_hw": SIZE})
        found.append(record)
    return found


def _numbered(path: Path) -> list[tuple[int, Record]]:
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # empty, or cut short by a kill
            continue
        except (ValueError, RecursionError) as error:  # a number with too many digits, lists without end
            raise InputError(f"{path}, line {number}: not JSON that can be read: {error}") from None
        if not isinstance(record, dict):
            raise InputError(f'{path}, line {number}: {_short(record)} is not a record, as {{"kind": ...}}')
        found.append((number, record))
    return found


def _check_first(path: Path, record: Record) -> None:
    if record.get("kind") != "latency_table":
        raise InputError(f"{path}: not a latency table; `archsearch latency table` makes one")
    if record.get("version", 1) != VERSION:
        raise InputError(
            f"{path}: a latency table of version {_short(record.get('version', 1))}, this is version {VERSION}; "
            "measure it anew"
        )


def _check(path: Path, number: int, record: Record, kinds: Mapping[str, Mapping[str, Rule]]) -> None:
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        what = "is missing" if kind is None else f"{_short(kind)} is not one of {', '.join(kinds)}"
        raise InputError(f"{path}, line {number}: kind: {what}")
    _fields(path, number, record, kinds[kind])


def _fields(path: Path, number: int, record: Record, rules: Mapping[str, Rule]) -> None:
    for name, (is_right, words) in rules.items():
        if name not in record:
            raise InputError(f"{path}, line {number}: {name}: is missing, {words} is needed")
        if not is_right(record[name]):
            raise InputError(f"{path}, line {number}: {name}: {_short(record[name])} is not {words}")


def _short(value: Any) -> str:
    return reprlib.repr(value)
