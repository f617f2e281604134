"""Networks without weights, made quickly: what a cost is counted on.

Most of the time that it takes to make a network on the meta device goes into parameters that nobody will read. Within
:func:`sketching`, torch's convolutions and batch normalisations get the fields that their ``forward`` reads and empty
meta tensors for weights, nothing else. The modules around them, and every ``forward``, are the network's own.
"""

from __future__ import annotations

import functools
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from archsearch.nets.zoo import Arch, build

_lock = threading.RLock()


def sketch(arch: Arch, joints: int | None = None) -> nn.Module:
    """The network of an architecture in evaluation mode, to be run on probes only.

    Raises ``ValueError`` as :func:`archsearch.build` does.
    """
    with sketching():
        return build(arch, joints=joints)


@contextmanager
def sketching() -> Iterator[None]:
    """Within the block, layers that this thread makes have no weights; other threads' are as ever."""
    with _lock:
        owner, conv, norm = threading.get_ident(), _ConvNd.__init__, _NormBase.__init__
        _ConvNd.__init__ = _only_in(owner, _init_conv, conv)  # type: ignore[method-assign]
        _NormBase.__init__ = _only_in(owner, _init_norm, norm)  # type: ignore[method-assign]
        try:
            yield
        finally:
            _ConvNd.__init__, _NormBase.__init__ = conv, norm  # type: ignore[method-assign]


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block Python does not look for garbage: the thousands of objects of a network hold none.

    Each search goes through all of torch's objects and takes longer than a small network's whole cost.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parameters(net: nn.Module) -> int:
    """The number of parameters: the sum of their elements."""
    return sum(p.numel() for module in walk(net).values() for p in module._parameters.values() if p is not None)


def walk(net: nn.Module) -> dict[str, nn.Module]:
    """Every module below ``net`` by its path, and ``net`` itself by "": ``named_modules``, only faster."""
    found, rest = {"": net}, [("", net)]
    while rest:
        path, module = rest.pop()
        for name, child in module._modules.items():
            if child is not None:
                below = f"{path}.{name}" if path else name
                found[below] = child
                rest.append((below, child))
    return found


def _only_in(owner: int, sketched: Callable[..., None], real: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(real)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        (sketched if threading.get_ident() == owner else real)(self, *args, **kwargs)

    return init


def _init_conv(
    self: Any, inputs: int, outputs: int, kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, bias: bool, padding_mode: str, *_: Any, **__: Any,
) -> None:  # fmt: skip
    nn.Module.__init__(self)
    a, b = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    self._parameters.update(weight=_empty((a, b, *kernel)), bias=_empty((outputs,)) if bias else None)
    self.__dict__.update(
        training=False, in_channels=inputs, out_channels=outputs, kernel_size=kernel, stride=stride, padding=padding,
        dilation=dilation, transposed=transposed, output_padding=output_padding, groups=groups,
        padding_mode=padding_mode,
    )  # fmt: skip


def _init_norm(self: Any, features: int, eps: float = 1e-5, momentum: float = 0.1, *_: Any, **__: Any) -> None:
    nn.Module.__init__(self)
    self._parameters.update(weight=_empty((features,)), bias=_empty((features,)))
    self._buffers.update(running_mean=_statistics(features), running_var=_statistics(features))
    self.__dict__.update(
        training=False, num_features=features, eps=eps, momentum=momentum, affine=True, track_running_stats=True
    )


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, device="meta")


@functools.lru_cache(maxsize=1024)
def _statistics(features: int) -> Tensor:
    """One for all layers of that width: they are never written to."""
    return _empty((features,))
