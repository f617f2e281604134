"""The commands that measure, called in this process: what they refuse at once, what Ctrl-C keeps, what is known."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from archsearch.costs import mapping
from archsearch.costs import records as records_module
from archsearch.files import append_jsonl, locked, read_jsonl, write_jsonl
from archsearch.nets.heads import Block, BottomUp, Deconv
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.zoo import arch_yaml

ONE = (Block(),)
LOG = Path("out/latency.jsonl")


def write_arch(name: str, width: int = 4) -> None:
    head = BottomUp(deconvs=(Deconv(4, ONE),))
    arch = HRNet("hrnet", (64, 64), (width, 8), Stem(4, 2, ONE), (Stage(1, (ONE, ONE)),), head)
    Path(name).write_text(arch_yaml(arch))


@pytest.fixture
def cli(run: Any) -> Any:
    """Runs a command beside six architectures, a.yaml to f.yaml."""
    for i, name in enumerate("abcdef"):
        write_arch(f"{name}.yaml", 4 + 2 * i)
    return run


def refused(cli: Any, *args: object) -> str:
    code, _, err = cli(*args)
    assert code == 2, err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return str(line)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("table litepose --batch 0", "batch 0 is less than 1"),
        ("table litepose --batch -1", "batch -1 is less than 1"),
        ("table litepose --threads 0", "threads 0 is less than 1"),
        ("measure a.yaml --warmup -1", "warmup -1 is less than 0"),
        ("measure a.yaml --repeats 0", "repeats 0 is less than 1"),
        ("measure a.yaml --out .", "is a folder, a file is needed"),
        ("measure a.yaml --out a.yaml/m.jsonl", "a.yaml/m.jsonl: its folder cannot be made"),
        ("map --zoo a.yaml --samples -3 --out out", "--samples -3: is less than 1"),
        ("map --zoo a.yaml --repeats 0 --out out", "repeats 0 is less than 1"),
        ("predict absent.jsonl litepose litepose-xs", "absent.jsonl: no such file"),
        (f"measure a.yaml b.yaml --batch {10**12} --repeats 1", f"a.yaml: batch {10**12} at 64x64 does not fit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(cli: Any, args: str, words: str) -> None:
    before = sorted(path.name for path in Path().iterdir())
    assert words in refused(cli, "latency", *args.split())
    assert sorted(path.name for path in Path().iterdir()) == before


def test_a_check_beyond_memory_is_refused(cli: Any) -> None:
    line = refused(cli, "profile", "a.yaml", "--input", "64000000x64000000", "--check")
    assert line.startswith("error: a.yaml: batch 1 at 64000000x64000000 does not fit into the memory of ")


def test_records_go_into_a_folder_that_is_made(cli: Any) -> None:
    code, out, err = cli("latency", "measure", "a.yaml", "--repeats", 1, "--out", "new/folder/m.jsonl")
    assert code == 0, err
    assert "float32" in out
    assert "channels last" in out
    assert len(read_jsonl("new/folder/m.jsonl")) == 1


def press(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, times: int = 1) -> None:
    """Ctrl-C when the function is called."""
    function = getattr(module, name)

    def pressed(*args: Any, **kwargs: Any) -> Any:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, pressed)


@pytest.mark.parametrize(("presses", "kept"), [(1, 4), (2, 0)])
def test_ctrl_c_keeps_what_is_finished(cli: Any, monkeypatch: pytest.MonkeyPatch, presses: int, kept: int) -> None:
    """Once: the networks that are measured together are finished and kept. Twice: it stops at once."""
    press(monkeypatch, records_module, "measure", presses)
    files = [f"{name}.yaml" for name in "abcdef"]
    code, out, err = cli("latency", "measure", *files, "--repeats", 1, "--out", "m.jsonl", "--json")
    assert (code, out) == (130, "")
    assert [record["name"] for record in read_jsonl("m.jsonl")] == files[:kept]
    last = err.splitlines()[-1]
    words = "stopped; m.jsonl has 4 of 6 latencies" if kept else "stopped at once; m.jsonl has what was finished before"
    assert last == words


# -------------------------------------------------------------------------------------------------------------- the map


@pytest.fixture
def mapped(cli: Any) -> Any:
    """``archsearch latency map`` of a small network with its blocks: the blocks' records after it."""

    def call(*args: object) -> list[dict[str, Any]]:
        words = ("--zoo", "b.yaml", "--blocks-of", "a.yaml", "--repeats", 1, "--out", "out")
        code, _, err = cli("latency", "map", *words, *args)
        assert code == 0, err
        return [record for record in read_jsonl(LOG) if record["kind"] == "block_latency"]

    return call


def test_a_network_that_is_half_recorded_goes_on(mapped: Any) -> None:
    whole = mapped()
    assert len({record["id"] for record in whole}) == len(whole) > 3
    assert mapped() == whole
    write_jsonl(LOG, [record for record in read_jsonl(LOG) if record not in whole[2:]])
    again = mapped()
    assert again[:2] == whole[:2]
    assert [record["id"] for record in again] == [record["id"] for record in whole]


def test_an_edited_architecture_of_the_same_name_is_measured(mapped: Any) -> None:
    first = mapped()
    write_arch("a.yaml", 12)
    both = mapped()
    assert both[: len(first)] == first
    assert {record["name"] for record in both} == {"a.yaml"}
    assert len({record["fingerprint"] for record in both}) == 2
    assert len(both) == 2 * len(first)


def test_blocks_are_kept_as_they_are_measured(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop within the second chunk of blocks costs that chunk only."""
    measured, points, seen = mapping.measure_bound, mapping.block_points, [0]

    def crashing(*args: Any, **kwargs: Any) -> Any:
        seen[0] += 1
        if seen[0] == 2:
            raise KeyboardInterrupt
        return measured(*args, **kwargs)

    monkeypatch.setattr(mapping, "measure_bound", crashing)
    monkeypatch.setattr(mapping, "block_points", lambda *args: points(*args, together=2))
    words = ("--zoo", "b.yaml", "--blocks-of", "a.yaml", "--repeats", 1, "--out", "out")
    assert cli("latency", "map", *words)[0] == 130
    assert len([record for record in read_jsonl(LOG) if record["kind"] == "block_latency"]) == 2


@pytest.mark.parametrize(("module", "name"), [(records_module, "measure"), (mapping, "measure_bound")])
def test_ctrl_c_in_a_map_keeps_what_is_finished(
    cli: Any, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """Once: of six networks the four that are measured together; or the first blocks of the first of two networks."""
    words = [f"--zoo={name}.yaml" for name in "abcdef"] + ["--blocks-of=a.yaml", "--blocks-of=b.yaml"]
    press(monkeypatch, module, name)
    code, out, err = cli("latency", "map", *words, "--repeats", 1, "--out", "out")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "stopped; the same command goes on"
    records = read_jsonl(LOG)
    networks = [record["name"] for record in records if record["kind"] == "latency"]
    blocks = {record["name"] for record in records if record["kind"] == "block_latency"}
    expected = (4, set()) if module is records_module else (6, {"a.yaml"})
    assert (len(networks), blocks) == expected


def test_a_map_that_is_measured_already_is_left_alone(cli: Any) -> None:
    LOG.parent.mkdir()
    with locked(LOG, "mine"):
        assert "out: another process measures this map" in refused(
            cli, "latency", "map", "--zoo", "a.yaml", "--repeats", 1, "--out", "out"
        )


def test_a_foreign_line_in_the_folder_is_named(cli: Any) -> None:
    LOG.parent.mkdir()
    append_jsonl(LOG, {"kind": "block_latency", "name": "a.yaml", "module": "Output", "macs": 1})
    line = refused(cli, "latency", "map", "--zoo", "a.yaml", "--repeats", 1, "--out", "out")
    assert line.startswith(f"error: {LOG}, line 1: median_ms: is missing")
    assert json.loads(LOG.read_text())["name"] == "a.yaml"
