"""What runs a network when its latency is measured: torch eager, compiled, as a CUDA graph, or onnxruntime.

A runtime turns a module and the tensors it is called with into a :data:`Runner`. Time on a GPU is taken by device
events between which nothing but the forward is queued; the input's values change from turn to turn, and its cache is
overwritten before each sample.
"""

from __future__ import annotations

import importlib.util
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.environment import choose_device, cpu_name, device_name

EAGER, GRAPH, COMPILE, COMPILE_GRAPH, ONNX = (
    "torch-eager", "torch-graph", "torch-compile", "torch-compile-graph", "onnxruntime",
)  # fmt: skip
RUNTIMES = (EAGER, GRAPH, COMPILE, COMPILE_GRAPH, ONNX)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OPSET = 17  # of ONNX
INPUTS = 4  # different inputs that a GPU is given in turn
SETTLING_FLOATS = 31 * 2**18  # 31 MiB: just below the largest piece that glibc's allocator learns from

Runner = Callable[[int, int], float]  # (turn, calls) to the mean milliseconds of one call


class Shape(tuple[int, ...]):
    """Stands where a call has a tensor of this shape."""


@dataclass(frozen=True)
class Setting:
    """On what, and how, something is run. Raises ``ValueError`` with field and value where that cannot be."""

    device: str = "cpu"  # cpu or cuda
    runtime: str = EAGER
    batch: int = 1
    threads: int = 1
    dtype: str = "float32"
    channels_last: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")
        if self.runtime not in RUNTIMES:
            raise ValueError(f"runtime {self.runtime} is not one of {', '.join(RUNTIMES)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype} is not one of {', '.join(DTYPES)}")
        device = choose_device(self.device)
        if device.type == "cpu" and self.runtime in (GRAPH, COMPILE_GRAPH):
            raise ValueError(f"runtime {self.runtime} needs a CUDA GPU, the device is {self.device}")
        if self.runtime == ONNX:
            if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
                raise ValueError("onnxruntime is not installed: pip install 'archsearch[onnx]'")
            if (device.type, self.dtype) != ("cpu", "float32"):
                raise ValueError(f"runtime {ONNX} runs on cpu in float32, not on {self.device} in {self.dtype}")

    @property
    def device_name(self) -> str:
        """The processor's or the GPU's own name."""
        return cpu_name() if self.runtime == ONNX else device_name(choose_device(self.device))


class Bound(nn.Module):
    """A module with the arguments it is called with, but for the tensors: (tensors in order) to a tuple of tensors.

    ``call``: positional and named arguments, a :class:`Shape` for every tensor.
    """

    def __init__(self, module: nn.Module, call: tuple[Any, Any]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def shapes(self) -> list[Shape]:
        """Those of the tensors, in the order of ``forward``."""
        return list(_leaves(self.call, Shape))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors)
        args, kwargs = _filled(self.call, rest)
        return tuple(_leaves(self.module(*args, **kwargs), Tensor))


def _leaves(value: Any, kind: type) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item, kind)


def _filled(value: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(value, Shape):
        return next(tensors)
    if isinstance(value, dict):
        return {key: _filled(item, tensors) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_filled(item, tensors) for item in value)
    return value


def prepare(bound: Bound, setting: Setting) -> Runner:
    """A runner of a module in evaluation mode. Raises ``ValueError`` where the device is not there."""
    device = choose_device(setting.device)
    form = torch.channels_last if setting.channels_last else torch.contiguous_format
    dtype = DTYPES[setting.dtype]
    bound = bound.eval().to(device=device, dtype=dtype, memory_format=form)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    count = INPUTS if device.type == "cuda" else 1
    inputs = [
        tuple(
            torch.randn(shape, generator=generator).to(device=device, dtype=dtype, memory_format=form)
            for shape in bound.shapes()
        )
        for _ in range(count)
    ]
    if setting.runtime == ONNX:
        return _onnx(bound, inputs[0], setting.threads)
    function: Callable[..., Any] = bound
    if setting.runtime in (COMPILE, COMPILE_GRAPH):
        function = torch.compile(bound, dynamic=False)
    if setting.runtime in (GRAPH, COMPILE_GRAPH):
        return _graph(function, inputs, device)
    return _on_gpu(function, inputs, device) if device.type == "cuda" else _on_cpu(function, inputs[0])


def _on_cpu(function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Runner:
    # glibc gives memory back to the system after every forward, thousands of page faults each, until it has seen a
    # larger piece freed: the same network takes 0 to 20 % longer by what ran before. This settles it for the process.
    torch.empty(SETTLING_FLOATS)

    def run(_: int, calls: int) -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            for _ in range(calls):
                function(*inputs)
            return (time.perf_counter() - start) * 1e3 / calls

    return run


def _on_gpu(function: Callable[..., Any], inputs: list[tuple[Tensor, ...]], device: torch.device) -> Runner:
    def call(number: int) -> None:
        with torch.inference_mode():
            function(*inputs[number])

    return _timed(call, len(inputs), device)


def _graph(function: Callable[..., Any], inputs: list[tuple[Tensor, ...]], device: torch.device) -> Runner:
    """A CUDA graph for each input: what the device takes when no time is lost between its kernels."""
    graphs: list[torch.cuda.CUDAGraph] = []
    with torch.inference_mode():
        # Capture needs libraries that are warm, on a stream that is not the default one.
        side: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(3):
                function(*inputs[0])
        torch.cuda.current_stream(device).wait_stream(side)
        torch.cuda.synchronize(device)
        for tensors in inputs:
            graph = torch.cuda.CUDAGraph()
            # They run one at a time and nobody reads their outputs, so all may use the same memory.
            with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                function(*tensors)
            graphs.append(graph)
    return _timed(lambda number: graphs[number].replay(), len(graphs), device)


def _timed(call: Callable[[int], None], count: int, device: torch.device) -> Runner:
    """Device events around calls of inputs 0 to ``count`` - 1 in turn.

    What the last turn left in the second-level cache is overwritten before: a few inputs and the weights of a small
    network would stay in it, and with a CUDA graph every further input costs a graph.
    """
    cache_bytes = torch.cuda.get_device_properties(device).L2_cache_size
    overwritten = overwritten_bytes(cache_bytes, torch.cuda.mem_get_info(device)[0])

    def run(turn: int, calls: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.zeros(overwritten, dtype=torch.uint8, device=device)
        torch.cuda.synchronize(device)
        begin.record()
        for i in range(calls):
            call((turn + i) % count)
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / calls

    return run


def overwritten_bytes(cache_bytes: int, free_bytes: int) -> int:
    """How much is written so that nothing else stays in a cache: twice its size, of free memory a quarter at most."""
    return min(2 * cache_bytes, free_bytes // 4)


def _onnx(bound: Bound, inputs: tuple[Tensor, ...], threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_bytes(bound, inputs), options, providers=["CPUExecutionProvider"])
    plain = [tensor.contiguous().numpy() for tensor in inputs]
    feed = {given.name: array for given, array in zip(session.get_inputs(), plain, strict=True)}

    def run(_: int, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            session.run(None, feed)
        return (time.perf_counter() - start) * 1e3 / calls

    return run


def onnx_bytes(bound: Bound, inputs: tuple[Tensor, ...]) -> bytes:
    """A module as an ONNX model for these input shapes."""
    buffer = io.BytesIO()
    names = [f"x{i}" for i in range(len(inputs))]
    onnx: Any = torch.onnx  # its annotations leave out what registers operators, and that export takes buffers
    onnx.register_custom_op_symbolic("aten::channel_shuffle", _shuffle, OPSET)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # the tracing exporter is older, and ten times as fast as the other one
            onnx.export(bound, inputs, buffer, input_names=names, opset_version=OPSET, dynamo=False)
    finally:
        onnx.unregister_custom_op_symbolic("aten::channel_shuffle", OPSET)
    return buffer.getvalue()


def _shuffle(graph: Any, x: Any, groups: Any) -> Any:
    """``channel_shuffle`` in ONNX, which has none: channels as groups times rest, the two changed over."""
    n, channels, height, width = x.type().sizes()
    count = int(groups.node().t("value"))
    apart = graph.op("Constant", value_t=torch.tensor([n, count, channels // count, height, width]))
    whole = graph.op("Constant", value_t=torch.tensor([n, channels, height, width]))
    turned = graph.op("Transpose", graph.op("Reshape", x, apart), perm_i=[0, 2, 1, 3, 4])
    return graph.op("Reshape", turned, whole)
