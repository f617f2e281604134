"""The record of one forward: every operator, the module that called it, and the memory that activations take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from archsearch.costs.sketch import walk
from archsearch.probe import Record


class Trace(Record):
    """A :class:`~archsearch.probe.Record` that knows the module of every operator. A context around the forward.

    Some counters count a stored module once, however often it is called, and a breakdown needs names.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._modules = walk(net)

    def __enter__(self) -> Trace:
        for path, module in self._modules.items():
            module.__dict__["forward"] = named(self, path, module.forward)
        return self

    def __exit__(self, *_: object) -> None:
        for module in self._modules.values():
            del module.__dict__["forward"]


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
