"""Lines of tables and latency records that are not what a reader needs: one clear line with file, number and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archsearch.costs.lines import read_latency_lines, read_table
from archsearch.costs.runtimes import Setting
from archsearch.costs.visits import head_of
from archsearch.files import InputError
from archsearch.nets.zoo import Arch, load_arch, load_space
from archsearch.space import Space, to_plain

SPACE: Space[Arch] = load_space("litepose")
HEAD = head_of(SPACE, Setting())
BLOCK = {"kind": "block", "id": "b", "key": "k", "module": "Output", "macs": 0}
NETWORK = {"kind": "network", "id": "n", "role": "held-out", "macs": 5, "arch": to_plain(load_arch("litepose-xs"))}
VISIT = {"kind": "visit", "id": "b", "pass": 0, "ms": [1.0, 2], "anchor_ms": [1.0]}
LATENCY = {
    "kind": "latency", "fingerprint": "f", "device": "D", "runtime": "torch-eager", "batch": 1, "threads": 1,
    "median_ms": 2.5, "iqr_ms": 0.0,
}  # fmt: skip
BLOCK_LATENCY = {**LATENCY, "kind": "block_latency", "name": "n", "id": "b", "module": "Output", "macs": 7}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


def test_right_lines_are_read_and_what_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    table = write(tmp_path / "t.jsonl", HEAD, BLOCK, NETWORK, VISIT)
    table.write_text(table.read_text() + '{"kind": "visit", "id": "b", "pa')
    assert read_table(table) == [HEAD, BLOCK, NETWORK, VISIT]
    log = write(tmp_path / "l.jsonl", LATENCY, BLOCK_LATENCY, {**LATENCY, "group": "zoo", "macs": 3})
    log.write_text('{"cut\n\n' + log.read_text() + "{")
    assert [r["kind"] for r in read_latency_lines(log)] == ["latency", "block_latency", "latency"]
    assert [r["kind"] for r in read_latency_lines(log, mapped=True)] == ["block_latency", "latency"]
    (tmp_path / "empty.jsonl").write_text("")
    assert read_table(tmp_path / "empty.jsonl") == read_latency_lines(tmp_path / "empty.jsonl") == []


def test_what_was_written_twice_counts_once(tmp_path: Path) -> None:
    later = {**VISIT, "ms": [9.0]}
    records = read_table(write(tmp_path / "t.jsonl", HEAD, BLOCK, NETWORK, VISIT, BLOCK, later, {**VISIT, "pass": 1}))
    assert records == [HEAD, BLOCK, NETWORK, VISIT, {**VISIT, "pass": 1}]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": 1}, "kind: is missing"),
        ({"kind": ["visit"]}, "kind: ['visit'] is not one of latency_table, block, network, visit"),
        ({"kind": "latency"}, "kind: 'latency' is not one of"),
        ({"kind": "visit"}, "id: is missing, a text is needed"),
        ([1], "[1] is not a record"),
        (HEAD, "kind: a second head"),
        ({**VISIT, "ms": ["fast"]}, "ms: ['fast'] is not a list of numbers above 0"),
        ({**VISIT, "ms": [1, 0]}, "ms: [1, 0] is not"),
        ({**VISIT, "ms": [True]}, "ms: [True] is not"),
        ({**VISIT, "ms": [10**400]}, "ms: [1000"),
        ({**VISIT, "anchor_ms": []}, "anchor_ms: [] is not a list of numbers above 0"),
        ({**VISIT, "anchor_ms": [float("nan")]}, "anchor_ms: [nan] is not"),
        ({**VISIT, "anchor_ms": [float("inf")]}, "anchor_ms: [inf] is not"),
        ({**VISIT, "pass": -1}, "pass: -1 is not a whole number from 0"),
        (without(VISIT, "pass"), "pass: is missing"),
        (without(BLOCK, "key"), "key: is missing"),
        ({**NETWORK, "role": "judge"}, "role: 'judge' is not calibration or held-out"),
        ({**NETWORK, "macs": 0}, "macs: 0 is not a whole number above 0"),
        ({**NETWORK, "arch": {"kind": "litepose"}}, "arch: {'kind': 'litepose'} is not an architecture"),
        ({**NETWORK, "arch": "litepose-xs"}, "arch: 'litepose-xs' is not an architecture"),
    ],
)
def test_a_wrong_line_of_a_table(tmp_path: Path, record: Any, message: str) -> None:
    path = write(tmp_path / "t.jsonl", HEAD, BLOCK, record, VISIT)
    with pytest.raises(InputError) as raised:
        read_table(path)
    assert str(raised.value).startswith(f"{path}, line 3: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": 1}, "kind: is missing"),
        ({"kind": "visit"}, "kind: 'visit' is not one of latency, block_latency"),
        ({"kind": "latency", "fingerprint": "x"}, "median_ms: is missing"),
        (without(LATENCY, "threads"), "threads: is missing, a whole number above 0 is needed"),
        ({**LATENCY, "median_ms": "1.5"}, "median_ms: '1.5' is not a number above 0"),
        ({**LATENCY, "iqr_ms": -1}, "iqr_ms: -1 is not a number from 0"),
        ({**LATENCY, "fingerprint": {}}, "fingerprint: {} is not a text"),
        ({**LATENCY, "dtype": None}, "dtype: None is not a text"),
        ({**LATENCY, "arch": NETWORK["arch"]}, "input_hw: is missing"),
        ({**LATENCY, "arch": NETWORK["arch"], "input_hw": [8]}, "input_hw: [8] is not height and width"),
        ({**BLOCK_LATENCY, "id": 3}, "id: 3 is not a text"),
    ],
)
def test_a_wrong_line_of_latencies(tmp_path: Path, record: Any, message: str) -> None:
    path = write(tmp_path / "l.jsonl", LATENCY, record)
    with pytest.raises(InputError) as raised:
        read_latency_lines(path)
    assert str(raised.value).startswith(f"{path}, line 2: ")
    assert message in str(raised.value)


@pytest.mark.parametrize("change", [{"macs": None}, {"group": 3}])
def test_a_wrong_line_of_a_map(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "l.jsonl", {**LATENCY, "group": "zoo", "macs": 3, **change})
    with pytest.raises(InputError, match=f"line 1: {next(iter(change))}: "):
        read_latency_lines(path, mapped=True)


@pytest.mark.parametrize("read", [read_table, read_latency_lines])
def test_files_that_cannot_be_read(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(InputError, match=r"absent.jsonl: no such file"):
        read(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
    for text in ("9" * 5000, "[" * 100_000):
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(InputError, match=r"x.jsonl, line 1: not JSON that can be read"):
            read(tmp_path / "x.jsonl")
