"""Networks without weights, made quickly: what a cost is counted on.

Most of the time that it takes to make a network on the meta device goes into what nobody will read: parameters, hooks,
checks of everything that is assigned. Within :func:`sketching`, modules have no hooks and take what they are given
unchecked; torch's 2d convolutions and batch normalisations get the fields that a ``forward`` reads and empty
meta tensors for weights, nothing else. The constructors of the network, and every ``forward``, are its own.
"""

from __future__ import annotations

import functools
import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archsearch.nets.zoo import Arch, build
from archsearch.probe import pair

_lock = threading.RLock()


def sketch(arch: Arch, joints: int | None = None) -> nn.Module:
    """The network of an architecture in evaluation mode, to be run on probes only.

    Raises ``ValueError`` as :func:`archsearch.build` does.
    """
    net = bare(arch, joints)
    for module in walk(net).values():
        module.__dict__.update({name: kind() for name, kind in _HOOKS.items()})
    return net


def bare(arch: Arch, joints: int | None = None) -> nn.Module:
    """A :func:`sketch` whose modules have no place for hooks, so that torch cannot call them: to be followed.

    See :func:`archsearch.costs.trace.follow`. Dictionaries of hooks take more time and memory than all the rest.
    Raises as :func:`sketch` does.
    """
    with sketching():
        return build(arch, joints=joints)


@contextmanager
def sketching() -> Iterator[None]:
    """Within the block, modules that this thread makes are sketches; other threads' are as ever."""
    with _lock:
        owner, real = threading.get_ident(), [vars(kind)[name] for kind, name, _ in _SKETCHED]
        try:
            for (kind, name, sketched), method in zip(_SKETCHED, real, strict=True):
                setattr(kind, name, sketched(owner, method))
            yield
        finally:
            for (kind, name, _), method in zip(_SKETCHED, real, strict=True):
                setattr(kind, name, method)


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block Python does not look for garbage: the thousands of objects of a network hold none.

    Each search goes through all of torch's objects and takes longer than a small network's whole cost. Best around a
    whole function, ``@uncollected()``: what it made is gone when Python counts again, and no search follows either.
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
                if child._modules:
                    rest.append((below, child))
    return found


# ------------------------------------------------------------------------------------ what stands for torch's own code

Method = Callable[..., None]

# What torch's constructor gives a module besides dictionaries of what it holds.
_HOOKS = {name: type(value) for name, value in vars(nn.Module()).items() if type(value) is OrderedDict}


def _instead(sketched: Method) -> Callable[[int, Method], Method]:
    """What makes the method that is ``sketched`` for one thread and ``real`` for all others."""

    def replacing(owner: int, real: Method) -> Method:
        @functools.wraps(real)
        def method(self: nn.Module, *args: Any, **kwargs: Any) -> None:
            (sketched if threading.get_ident() == owner else real)(self, *args, **kwargs)

        return method

    return replacing


def _setattr(owner: int, real: Method) -> Method:
    """As :func:`_instead`, without the steps between: it is called more often than all others together."""

    def method(self: nn.Module, name: str, value: Any) -> None:
        fields = self.__dict__
        if threading.get_ident() != owner or isinstance(value, Tensor):
            real(self, name, value)
        elif isinstance(value, nn.Module):
            fields.pop(name, None)
            fields["_modules"][name] = value
        elif "_modules" in fields and (
            name in fields["_modules"] or name in fields["_parameters"] or name in fields["_buffers"]
        ):
            real(self, name, value)
        else:
            object.__setattr__(self, name, value)

    return method


def _init(self: nn.Module) -> None:
    fields = self.__dict__
    fields["training"], fields["_is_full_backward_hook"] = False, None
    fields["_parameters"], fields["_buffers"], fields["_modules"] = {}, {}, {}
    fields["_non_persistent_buffers_set"] = set()


def _add_module(self: nn.Module, name: str, module: nn.Module | None) -> None:
    self._modules[name] = module


def _conv(
    self: Any, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", *_: Any, **__: Any,
) -> None:  # fmt: skip
    _init(self)
    kernel = pair(kernel_size)
    weight = _empty((out_channels, in_channels // groups, *kernel))
    self._parameters.update(weight=weight, bias=_empty((out_channels,)) if bias else None)
    self.__dict__.update(
        in_channels=in_channels, out_channels=out_channels, kernel_size=kernel, stride=pair(stride),
        padding=pair(padding), dilation=pair(dilation), transposed=False, output_padding=(0, 0), groups=groups,
        padding_mode=padding_mode,
    )  # fmt: skip


def _transposed(
    self: Any, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
    *_: Any, **__: Any,
) -> None:  # fmt: skip
    _conv(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
    self._parameters["weight"] = _empty((in_channels, out_channels // groups, *self.kernel_size))
    self.__dict__.update(transposed=True, output_padding=pair(output_padding))


def _norm(
    self: Any, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
    track_running_stats: bool = True, *_: Any, **__: Any,
) -> None:  # fmt: skip
    _init(self)
    row = _empty((num_features,))
    learned, counted = row if affine else None, row if track_running_stats else None
    self._parameters.update(weight=learned, bias=learned)
    self._buffers.update(running_mean=counted, running_var=counted)
    self.__dict__.update(
        num_features=num_features, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats
    )


@functools.lru_cache(maxsize=4096)
def _empty(shape: tuple[int, ...]) -> Tensor:
    """One for all weights of that shape: they are never written to."""
    return torch.empty(shape, device="meta")


_SKETCHED: tuple[tuple[Any, str, Callable[[int, Method], Method]], ...] = (
    (nn.Module, "__init__", _instead(_init)),
    (nn.Module, "__setattr__", _setattr),
    (nn.Module, "add_module", _instead(_add_module)),
    (nn.Conv2d, "__init__", _instead(_conv)),
    (nn.ConvTranspose2d, "__init__", _instead(_transposed)),
    (_BatchNorm, "__init__", _instead(_norm)),
)
