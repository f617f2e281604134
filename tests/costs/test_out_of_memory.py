"""What does not fit into memory is one line that names it, and costs nothing of what does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from archsearch.costs import records as records_module
from archsearch.costs.check import compare
from archsearch.costs.latency import measure
from archsearch.costs.memory import OutOfMemory, fits
from archsearch.costs.passes import Plan, make_table
from archsearch.costs.records import measure_and_append, settings_for
from archsearch.costs.runtimes import Setting
from archsearch.files import read_jsonl
from archsearch.nets.zoo import Arch, load_arch
from archsearch.space import Space, to_plain

BEYOND = 10**12  # images: more bytes than a processor has addresses, whatever the system promises


class Hungry(nn.Module):
    """Fits in when it is prepared, and not when it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Storage size calculation overflowed"), OSError(12, "Cannot allocate memory"),
    ],
)  # fmt: skip
def test_every_allocator_is_understood(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"^net: batch 2 at 64x32 does not fit into the memory of A GPU$"),
        fits("net", (2, 3, 64, 32), "A GPU"),
    ):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory words"), KeyError("x")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, fits("net", (2, 3, 64, 32), "A GPU"):
        raise error
    assert raised.value is error


def test_a_batch_beyond_memory_is_refused_by_name() -> None:
    nets = {"a": nn.Conv2d(3, 2, 1), "b": nn.Conv2d(3, 2, 1)}
    with pytest.raises(OutOfMemory, match=f"^a: batch {BEYOND} at 8x6 does not fit into the memory of "):
        measure(nets, [(8, 6)] * 2, batch=BEYOND, warmup=0, repeats=1)
    with pytest.raises(OutOfMemory, match=r"^b: batch 1 at 8x6 "):
        measure({"a": nets["a"], "b": Hungry()}, [(8, 6)] * 2, warmup=0, repeats=1)


def test_the_rest_of_a_list_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch, large = load_arch("small-hrnet-w16"), load_arch("litepose-xs")
    build = records_module.build
    monkeypatch.setattr(records_module, "build", lambda arch: Hungry() if arch is large else build(arch))
    path = tmp_path / "l.jsonl"
    steps: list[tuple[int, int]] = []

    def on_step(what: str, done: int, of: int) -> None:
        steps.append((done, of))

    archs = {"a": arch, "b": large, "c": arch, "d": arch}
    with pytest.raises(OutOfMemory, match=r"^b: batch 1 at 64x32 .*; .*l.jsonl has the other 3 latencies$"):
        measure_and_append(
            path, archs, settings_for("cpu"), input_hw=(64, 32), warmup=0, repeats=2, together=2, on_step=on_step
        )
    assert [record["name"] for record in read_jsonl(path)] == ["a", "c", "d"]
    assert steps == [(1, 8), (2, 8), (6, 8), (8, 8), (8, 8)]  # a alone; b not; c with d


def test_what_is_too_large_together_is_measured_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch = load_arch("small-hrnet-w16")
    seen: list[list[str]] = []
    measured = records_module.measure

    def crowded(nets: dict[str, nn.Module], *args: Any, **kwargs: Any) -> Any:
        seen.append(list(nets))
        if len(nets) > 1:
            raise OutOfMemory("together")
        return measured(nets, *args, **kwargs)

    monkeypatch.setattr(records_module, "measure", crowded)
    archs = dict.fromkeys("abc", arch)
    found = measure_and_append(
        tmp_path / "l.jsonl", archs, settings_for("cpu"), input_hw=(64, 32), warmup=0, repeats=1, together=2
    )
    assert seen == [["a", "b"], ["a"], ["b"], ["c"]]
    assert [record["name"] for record in found] == ["a", "b", "c"]


def test_a_table_and_a_check_say_so_too(tmp_path: Path) -> None:
    one: Space[Arch] = Space(Arch, to_plain(load_arch("litepose-xs")), "one")
    plan = Plan(1, 0, 1, extra_passes=0, calibration=1, held_out=1)
    with pytest.raises(OutOfMemory, match=f"^the smallest network: batch {BEYOND} at 256x256 does not fit"):
        make_table(tmp_path / "t.jsonl", one, Setting(batch=BEYOND), plan)
    with pytest.raises(OutOfMemory, match=r"^mine: batch 1 at 64000000x64000000 does not fit"):
        compare(load_arch("litepose-xs"), (64_000_000, 64_000_000), name="mine")
