"""Latency, measured: warm-up, many repeats, medians and spreads, networks interleaved so that noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archsearch.environment import device_name


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward, and on what they were measured."""

    median_ms: float
    iqr_ms: float  # interquartile range
    p95_ms: float
    repeats: int
    device: str  # the processor's or the GPU's name
    runtime: str  # torch-eager
    batch: int
    threads: int


def measure(
    nets: Mapping[str, nn.Module],
    input_hw: Sequence[tuple[int, int]],
    *,
    device: torch.device | str = "cpu",
    batch: int = 1,
    threads: int = 1,
    warmup: int = 5,
    repeats: int = 50,
    on_round: Callable[[int], None] = lambda _: None,
) -> dict[str, Latency]:
    """Latency of each network in evaluation mode, float32 and channels_last, at its own input size.

    All networks run once a round, ``repeats`` rounds, after ``warmup`` rounds that do not count, so that a busy moment
    of the machine touches every one of them. On a GPU time is taken by device events and the input changes from round
    to round, so that no cache flatters. Raises ``ValueError`` where numbers are not positive.
    """
    if min(batch, threads, repeats) < 1 or warmup < 0:
        raise ValueError(f"batch {batch}, threads {threads}, repeats {repeats} must be positive")
    device = torch.device(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ready = {name: _prepared(net, device) for name, net in nets.items()}
        inputs = {name: _inputs(hw, batch, device) for name, hw in zip(nets, input_hw, strict=True)}
        times: dict[str, list[float]] = {name: [] for name in nets}
        with torch.inference_mode():
            for turn in range(warmup + repeats):
                for name, net in ready.items():
                    taken = _time_ms(net, inputs[name][turn % len(inputs[name])], device)
                    if turn >= warmup:
                        times[name].append(taken)
                on_round(turn + 1)
    finally:
        torch.set_num_threads(before)
    return {name: _summary(values, device, batch, threads) for name, values in times.items()}


def _prepared(net: nn.Module, device: torch.device) -> nn.Module:
    return net.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _inputs(hw: tuple[int, int], batch: int, device: torch.device) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, *hw)
    count = 4 if device.type == "cuda" else 1
    return [
        torch.randn(shape, generator=generator).to(device=device, memory_format=torch.channels_last)
        for _ in range(count)
    ]


def _time_ms(net: nn.Module, x: Tensor, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        net(x)
        return (time.perf_counter() - start) * 1e3
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    begin.record()
    net(x)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def _summary(values: list[float], device: torch.device, batch: int, threads: int) -> Latency:
    low, median, high, p95 = np.percentile(values, [25, 50, 75, 95])
    return Latency(
        float(median), float(high - low), float(p95), len(values), device_name(device), "torch-eager", batch, threads
    )
