"""A tensor that is nothing but a shape: running a network on it records every operator and computes nothing.

The record is taken from the network's own ``forward``, so it cannot describe another network than the one that runs.
An operator without a rule is an error that names it.

Shapes: N batch, C channels, H and W height and width.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]
BYTES = 4  # of a float32


class Op(NamedTuple):
    """One operator call. ``macs`` are multiply-accumulates of the weights; ``elements`` those of the output.

    ``at_output`` are the MACs when a transposed convolution is (wrongly) counted at its output resolution.
    """

    kind: str  # conv, deconv, batch_norm, relu, upsample, pool, add, concat, ...
    elements: int
    inputs: int = 0  # elements of the input
    macs: int = 0
    at_output: int = 0
    bias: int = 0  # elements that a bias is added to
    variant: str = ""  # upsample: nearest or bilinear; pool: adaptive
    module: bool = False  # whether torch's own module calls it so (counters that hook modules see those only)
    params: int = 0  # elements of the parameters that it read
    form: Shape = ()  # convolutions: the shape of the weight, then the stride
    weight: int = 0  # identity of the weight, 0 where there is none
    path: str = ""  # the module that called it, "" where unknown; see Record
    torchstat: int = 0  # upsample and pool: the operations that torchstat sees in them


class Memory:
    """Bytes of activations that are alive: now, and at most since the peak was last set."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0


class Storage:
    """What a tensor's values would take. It is freed when the last tensor that shares it is, as torch does it."""

    __slots__ = ("memory", "size")

    def __init__(self, memory: Memory, size: int) -> None:
        self.memory, self.size = memory, size
        memory.live += size
        if memory.live > memory.peak:
            memory.peak = memory.live

    def __del__(self) -> None:
        self.memory.live -= self.size


class Record(list[Op]):
    """A record that also knows which module runs (``path``, kept by whoever runs it) and what memory is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self.memory = Memory()


class Probe:
    """Stands for a tensor of ``shape`` in a network's forward; every operator appends an :class:`Op` to ``ops``.

    Where ``ops`` is a :class:`Record`, each probe also holds the storage of 4 bytes an element that the tensor would
    have: views and operators that work in place share it.
    """

    __slots__ = ("__weakref__", "ops", "shape", "storage")

    def __init__(self, shape: Sequence[int], ops: list[Op], storage: Storage | None = None) -> None:
        self.shape: Shape = tuple(shape)
        self.ops = ops
        if storage is None and isinstance(ops, Record):
            storage = Storage(ops.memory, BYTES * math.prod(shape))
        self.storage = storage

    # What torch's Python code asks of a tensor before it calls an operator.
    is_cuda = False
    requires_grad = False
    dtype = torch.float32
    device = torch.device("meta")

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its length along ``dim``."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def record(
        self, shape: Sequence[int], kind: str, shared: bool = False, *, macs: int = 0, at_output: int = 0,
        bias: int = 0, variant: str = "", module: bool = False, params: int = 0, form: Shape = (), weight: int = 0,
        torchstat: int = 0,
    ) -> Probe:  # fmt: skip
        """A probe of ``shape``, with the operator that made it on the record; the rest are fields of :class:`Op`.

        ``shared``: it has the same storage as this one (a view, or an operator in place).
        """
        ops, elements = self.ops, math.prod(shape)
        path, storage = "", self.storage
        if isinstance(ops, Record):
            path = ops.path
            if not shared:
                storage = Storage(ops.memory, BYTES * elements)
        ops.append(
            Op(kind, elements, math.prod(self.shape), macs, at_output, bias, variant, module, params, form, weight,
               path, torchstat)
        )  # fmt: skip
        return Probe(shape, ops, storage)

    def __add__(self, other: Any) -> Probe:
        return _binary("add", self, other)

    __radd__ = __add__

    def __iadd__(self, other: Any) -> Probe:
        return _binary("add", self, other, in_place=True)

    def __mul__(self, other: Any) -> Probe:
        return _binary("mul", self, other)

    __rmul__ = __mul__

    def __imul__(self, other: Any) -> Probe:
        return _binary("mul", self, other, in_place=True)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(f"no rule for Tensor.{name} in the cost of a network (shape {self.shape})")

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], kinds: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = RULES.get(func)
        if rule is None:
            name = getattr(func, "__qualname__", None) or getattr(func, "__name__", str(func))
            raise NotImplementedError(f"no rule for the operator {name} in the cost of a network")
        return rule(*args, **(kwargs or {}))


def _binary(kind: str, x: Any, other: Any, in_place: bool = False) -> Probe:
    probe = x if isinstance(x, Probe) else other
    shape = probe.shape
    if isinstance(x, Probe | Tensor) and isinstance(other, Probe | Tensor) and x.shape != other.shape:
        shape = _broadcast(kind, tuple(x.shape), tuple(other.shape))
    if in_place and shape != probe.shape:
        raise ValueError(f"shapes {tuple(x.shape)} and {tuple(other.shape)} do not {kind} in place")
    return probe.record(shape, kind, in_place)


def _broadcast(kind: str, x: Shape, other: Shape) -> Shape:
    """The shape of what is computed from two tensors element by element: of two lengths one is 1, or they are equal."""
    dims = max(len(x), len(other))
    pairs = list(zip((1,) * (dims - len(x)) + x, (1,) * (dims - len(other)) + other, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ValueError(f"shapes {x} and {other} do not {kind}")
    return tuple([b if a == 1 else a for a, b in pairs])


def pair(value: Any) -> tuple[int, int]:
    """A number for height and width alike, or one for each, as torch takes sizes."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return height, width


def _conv2d(
    x: Probe, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Probe:  # fmt: skip
    outputs, inputs, kh, kw = weight.shape
    n, c, h, w = x.shape
    if inputs * groups != c:
        raise ValueError(f"a convolution of {inputs * groups} channels is given {c}")
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    oh = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    ow = (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if oh < 1 or ow < 1:
        raise ValueError(f"a {kh}x{kw} convolution of stride {sh} leaves nothing of a {h}x{w} map")
    weights = outputs * inputs * kh * kw
    macs = n * weights * oh * ow
    return x.record(
        (n, outputs, oh, ow), "conv", macs=macs, at_output=macs, bias=0 if bias is None else n * outputs * oh * ow,
        params=weights + (0 if bias is None else outputs), form=(outputs, inputs, kh, kw, sh, sw), weight=id(weight),
    )  # fmt: skip


def _conv_transpose2d(
    x: Probe, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Probe:  # fmt: skip
    inputs, outputs, kh, kw = weight.shape
    n, c, h, w = x.shape
    if inputs != c:
        raise ValueError(f"a transposed convolution of {inputs} channels is given {c}")
    (sh, sw), (ph, pw), (oph, opw) = pair(stride), pair(padding), pair(output_padding)
    oh, ow = (h - 1) * sh - 2 * ph + kh + oph, (w - 1) * sw - 2 * pw + kw + opw
    elements = n * outputs * groups * oh * ow
    weights = inputs * outputs * kh * kw
    return x.record(
        (n, outputs * groups, oh, ow), "deconv", macs=n * weights * h * w, at_output=n * weights * oh * ow,
        bias=0 if bias is None else elements, params=weights + (0 if bias is None else outputs * groups),
        form=(inputs, outputs, kh, kw, sh, sw), weight=id(weight),
    )  # fmt: skip


def _same(kind: str) -> Callable[..., Probe]:
    def rule(x: Probe, *_: Any, inplace: bool = False, **__: Any) -> Probe:
        return x.record(x.shape, kind, inplace)

    return rule


def _batch_norm(x: Probe, mean: Any, var: Any, weight: Tensor | None = None, *_: Any, **__: Any) -> Probe:
    if weight is None:
        return x.record(x.shape, "batch_norm")
    return x.record(x.shape, "batch_norm", params=2 * x.shape[1], weight=id(weight))


def _cat(tensors: Sequence[Probe], dim: int = 0) -> Probe:
    shape = list(tensors[0].shape)
    for other in tensors[1:]:
        if len(other.shape) != len(shape) or any(a != b for i, (a, b) in enumerate(zip(shape, other.shape, strict=True))
                                                 if i != dim % len(shape)):  # fmt: skip
            raise ValueError(f"shapes {tensors[0].shape} and {other.shape} do not concatenate along {dim}")
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return tensors[0].record(shape, "concat")


def _interpolate(
    x: Probe, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *_: Any, **__: Any
) -> Probe:
    n, c, h, w = x.shape
    if scale_factor is not None:
        fh, fw = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor, scale_factor)
        oh, ow = math.floor(h * fh), math.floor(w * fw)
    else:
        oh, ow = pair(size)
    # torch.nn.Upsample, which counters of modules see, scales by a factor; these networks call the function by size.
    return x.record((n, c, oh, ow), "upsample", variant=mode, module=scale_factor is not None, torchstat=n * oh * ow)


def _adaptive_avg_pool2d(x: Probe, output_size: Any) -> Probe:
    (n, c, h, w), (oh, ow) = x.shape, pair(output_size)
    # torch.nn.AdaptiveAvgPool2d(1), which counters of modules see; these networks call the function with two sizes.
    is_module, seen = output_size == 1, n * c * (h + 1) * (w + 1)
    return x.record((n, c, oh, ow), "pool", variant="adaptive", module=is_module, torchstat=seen)


def _avg_pool2d(x: Probe, kernel_size: Any) -> Probe:
    (n, c, h, w), (kh, kw) = x.shape, pair(kernel_size)
    return x.record((n, c, h // kh, w // kw), "average")


def _pad(x: Probe, pad: Sequence[int], *_: Any, **__: Any) -> Probe:
    shape = list(x.shape)
    for i in range(len(pad) // 2):  # pairs from the last dimension on
        shape[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return x.record(shape, "pad")


def _split(x: Probe, sizes: int | Sequence[int], dim: int = 0) -> tuple[Probe, ...]:
    whole = x.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - start) for start in range(0, whole, sizes)]
    if sum(sizes) != whole:
        raise ValueError(f"sizes {tuple(sizes)} do not split {whole} channels")
    at = dim % len(x.shape)
    return tuple(x.record((*x.shape[:at], n, *x.shape[at + 1 :]), "split", True) for n in sizes)


def _chunk(x: Probe, chunks: int, dim: int = 0) -> tuple[Probe, ...]:
    return _split(x, -(-x.shape[dim] // chunks), dim)


RULES: dict[Any, Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    F.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
    F.conv_transpose2d: _conv_transpose2d,
    F.batch_norm: _batch_norm,
    F.relu: _same("relu"),
    F.relu6: _same("relu"),
    F.hardtanh: _same("relu"),
    torch.relu: _same("relu"),
    torch.sigmoid: _same("sigmoid"),
    F.silu: _same("silu"),
    torch.channel_shuffle: _same("shuffle"),
    F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    F.avg_pool2d: _avg_pool2d,
    F.pad: _pad,
    torch.split: _split,
    torch.chunk: _chunk,
    torch.cat: _cat,
    F.interpolate: _interpolate,
}

_lock = threading.RLock()
_functional: Any = F


@contextmanager
def direct_rules() -> Iterator[None]:
    """Within the block what ``torch.nn.functional`` is asked of a probe goes straight to its rule.

    Else torch first looks for arguments that override its functions, and which of them comes first, for longer than
    the rule takes. One thread at a time; what other threads compute meanwhile goes torch's own way.
    """
    with _lock:
        real = _functional.handle_torch_function  # what its functions call when an argument overrides them

        def handle(func: Callable[..., Any], relevant: Any, *args: Any, **kwargs: Any) -> Any:
            if args and type(args[0]) is Probe and func in RULES:
                return RULES[func](*args, **kwargs)
            return real(func, relevant, *args, **kwargs)

        _functional.handle_torch_function = handle
        try:
            yield
        finally:
            _functional.handle_torch_function = real
