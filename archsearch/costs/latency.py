"""Latency, measured: warm-up, many repeats, medians and spreads, networks interleaved so that noise hits all alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from archsearch.costs.memory import fits
from archsearch.costs.runtimes import COMPILE, COMPILE_GRAPH, EAGER, Bound, Runner, Setting, Shape, prepare

SAMPLE_MS = 0.5  # what is shorter is run several times for one sample, so that the clock's grain does not matter


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward, and on what they were measured."""

    median_ms: float
    iqr_ms: float  # interquartile range
    p95_ms: float
    repeats: int
    device: str  # the processor's or the GPU's name
    runtime: str  # torch-eager, torch-graph, torch-compile, onnxruntime: see runtimes
    batch: int
    threads: int
    dtype: str = "float32"
    channels_last: bool = True

    @property
    def relative_iqr(self) -> float:
        """The interquartile range as a fraction of the median."""
        return self.iqr_ms / self.median_ms


def measure(
    nets: Mapping[str, nn.Module],
    input_hw: Sequence[tuple[int, int]],
    *,
    device: torch.device | str = "cpu",
    batch: int = 1,
    threads: int = 1,
    warmup: int = 5,
    repeats: int = 50,
    runtime: str = EAGER,
    dtype: str = "float32",
    channels_last: bool = True,
    on_round: Callable[[int], None] = lambda _: None,
) -> dict[str, Latency]:
    """Latency of each network in evaluation mode at its own input size, by default in float32 and channels_last.

    All networks run once a round, ``repeats`` rounds, after ``warmup`` rounds that do not count, so that a busy moment
    of the machine touches every one of them. On a GPU time is taken by device events, the input changes from round to
    round and the cache is overwritten before, so that it does not flatter. Raises ``ValueError`` where numbers are not
    positive or the device cannot do what is asked for, ``OutOfMemory`` with the name of a network that does not fit.
    """
    setting = Setting(str(device), runtime, batch, threads, dtype, channels_last)
    bound = {
        name: Bound(net, ((Shape((batch, 3, *hw)),), {}))
        for (name, net), hw in zip(nets.items(), input_hw, strict=True)
    }
    return measure_bound(bound, setting, warmup=warmup, repeats=repeats, on_round=on_round)


def measure_bound(
    modules: Mapping[str, Bound],
    setting: Setting,
    *,
    warmup: int,
    repeats: int,
    on_round: Callable[[int], None] = lambda _: None,
) -> dict[str, Latency]:
    """As :func:`measure`, for modules that come with what they are called with."""
    check_rounds(warmup, repeats)
    if setting.runtime in (COMPILE, COMPILE_GRAPH):
        torch.compiler.reset()  # else torch gives up compiling after the eighth network, and runs them eager
    with threads(setting.threads):
        runners = {name: fitting(name, module, setting) for name, module in modules.items()}
        times = _rounds(runners, warmup, repeats, on_round)
    return {name: _summary(values, setting) for name, values in times.items()}


def check_rounds(warmup: int, repeats: int) -> None:
    """Raises ``ValueError`` with the number that is too small."""
    for name, value, least in (("warmup", warmup, 0), ("repeats", repeats, 1)):
        if value < least:
            raise ValueError(f"{name} {value} is less than {least}")


def fitting(name: str, bound: Bound, setting: Setting) -> Runner:
    """As :func:`prepare`; the runner, too, raises ``OutOfMemory`` with this name where it does not fit."""
    shape, device_name = bound.shapes()[0], setting.device_name
    with fits(name, shape, device_name):
        runner = prepare(bound, setting)

    def run(turn: int, calls: int) -> float:
        with fits(name, shape, device_name):
            return runner(turn, calls)

    return run


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block torch computes with that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def burst(runner: Runner, warmup: int, repeats: int) -> list[float]:
    """Milliseconds of one forward, ``repeats`` times right after one another; ``warmup`` runs before do not count."""
    calls = 1
    for turn in range(warmup):
        calls = _calls(runner(turn, calls))
    return [runner(warmup + turn, calls) for turn in range(repeats)]


def _rounds(
    runners: Mapping[str, Runner], warmup: int, repeats: int, on_round: Callable[[int], None]
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runners}
    inner = dict.fromkeys(runners, 1)
    for turn in range(warmup + repeats):
        for name, runner in runners.items():
            taken = runner(turn, inner[name])
            if turn >= warmup:
                times[name].append(taken)
            else:
                inner[name] = _calls(taken)
        on_round(turn + 1)
    return times


def _calls(taken_ms: float) -> int:
    return max(1, math.ceil(SAMPLE_MS / max(taken_ms, 1e-3)))


def _summary(values: list[float], setting: Setting) -> Latency:
    low, median, high, p95 = np.percentile(values, [25, 50, 75, 95])
    return Latency(
        float(median), float(high - low), float(p95), len(values), setting.device_name, setting.runtime,
        setting.batch, setting.threads, setting.dtype, setting.channels_last,
    )  # fmt: skip
