"""Which module ran every operator of a forward: some counters count a stored module once, and a breakdown needs names.

:func:`follow` is for one forward of a network that is thrown away, :func:`named` for modules that are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from archsearch.probe import Record


def follow(net: nn.Module, record: Record) -> int:
    """Make every module of a network say on the record that it runs; back comes the number of its parameters.

    The network is good for nothing else afterwards. Calls go straight to ``forward``: hooks are not run. Weights and
    children are put among a module's own fields, where Python finds them at once; where they are kept, ``nn.Module``
    finds each by way of an exception.
    """
    params, rest = 0, [("", net)]
    kind: Any
    while rest:
        path, module = rest.pop()
        fields = module.__dict__
        if "_runs" in fields:  # it is in several places, and goes by one of them
            continue
        children, weights, buffers = fields["_modules"], fields["_parameters"], fields["_buffers"]
        if children:
            fields.update(children)
            above = f"{path}." if path else ""
            rest += [(above + name, child) for name, child in children.items() if child is not None]
        if weights:
            fields.update(weights)
            params += sum([weight.numel() for weight in weights.values() if weight is not None])
        if buffers:
            fields.update(buffers)
        fields["_runs"], kind = (record, path), type(module)
        object.__setattr__(module, "__class__", _followed(kind))  # nn.Module's own checks what is set
    return params


@functools.cache
def _followed(kind: Any) -> Any:
    """The same kind of module, whose calls are on the record."""

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        record, path = module.__dict__["_runs"]
        before, record.path = record.path, path
        try:
            return module.forward(*args, **kwargs)
        finally:
            record.path = before

    return type(kind.__name__, (kind,), {"__call__": call})


def named(record: Record, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` that says on the record that it runs."""

    def traced(*args: Any, **kwargs: Any) -> Any:
        before = record.path
        record.path = path
        try:
            return forward(*args, **kwargs)
        finally:
            record.path = before

    return traced
