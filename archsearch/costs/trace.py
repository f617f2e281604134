"""The record of one forward: every operator, the module that called it, and the memory that activations take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from archsearch.costs.sketch import walk
from archsearch.probe import Record


class Trace(Record):
    """A :class:`~archsearch.probe.Record` that knows the module of every operator. A context around the forward.

    Some counters count a stored module once, however often it is called, and a breakdown needs names. Within the
    context each module is of a class that says on the record that it runs, and goes straight to its ``forward``: hooks
    are not run. All that it has lies in one dictionary, where Python finds it at once; ``nn.Module`` searches three.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.modules = walk(net)
        self._before: list[tuple[nn.Module, type[nn.Module], dict[str, Any]]] = []

    def __enter__(self) -> Trace:
        for path, module in self.modules.items():
            fields = module.__dict__
            held = {**fields, **fields["_parameters"], **fields["_buffers"], **fields["_modules"]}
            self._before.append((module, type(module), fields))
            _become(module, _traced(type(module)), {**held, "_record": self, "_path": path})
        return self

    def __exit__(self, *_: object) -> None:
        for module, kind, fields in self._before:
            _become(module, kind, fields)
        self._before.clear()


def _become(module: nn.Module, kind: type[nn.Module], fields: dict[str, Any]) -> None:
    object.__setattr__(module, "__class__", kind)  # past nn.Module's own, which looks for weights in all that is set
    object.__setattr__(module, "__dict__", fields)


@functools.cache
def _traced(kind: Any) -> Any:
    """The same kind of module, whose calls are on the record."""

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        fields = module.__dict__
        record = fields["_record"]
        before, record.path = record.path, fields["_path"]
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
