"""Exact costs of thousands of architectures a second: the network's own forward, each block run once.

The largest architecture of a space is sketched once; any smaller one is run on it as the supernet would be. A module's
call is remembered by what it was given (shapes, and the arguments that say which slice of it to use), so a block that
was run before is looked up: its outputs' shapes, what it costs, and what memory it needs above what was taken. Nothing
of a network is described a second time.

A *unit* is the smallest thing that is remembered, and that a latency table measures: a module that holds no list of
modules (``nn.ModuleList``, ``nn.ModuleDict``) below a container that does, such as an inverted residual or a head's
doubling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from archsearch.costs.calls import Out, key_of, probes_in, remember, revive, shapes_of
from archsearch.costs.macs import Cost, Sums, added, as_cost, checked_hw, op_sums, stored
from archsearch.costs.sketch import sketch, walk
from archsearch.costs.trace import named
from archsearch.nets.zoo import Arch
from archsearch.probe import Op, Probe, Record, Storage
from archsearch.space import Space

LIMIT = 200_000  # remembered calls; all are forgotten when there are more, to bound the memory of a long search
TRIAL = 300  # new calls of a container, after which it is remembered only if most of its calls were known


class Known(NamedTuple):
    """What one call of a module costs and makes."""

    sums: Sums
    params: int
    torchstat: int
    extra: int  # bytes that its activations take at most above those that were alive before
    units: tuple[int, ...]  # the units that ran within it, by number
    outputs: Any  # a tree of Out, as its outputs are
    shares: bool  # whether an output shares the storage of an input


@dataclass(frozen=True)
class Unit:
    """A module call that a latency table measures once: by what it computes, wherever it stands.

    ``module`` is the class; ``inputs`` the shapes that go in; ``ops`` each operator's kind, elements and, for a
    convolution, the weight's shape and stride. ``arch``, ``path`` and ``call`` (arguments with shapes for tensors) are
    one place where it is found.
    """

    module: str
    inputs: tuple[tuple[int, ...], ...]
    ops: tuple[tuple[Any, ...], ...]
    macs: int
    arch: Arch
    path: str
    call: tuple[tuple[Any, ...], dict[str, Any]]

    @property
    def key(self) -> str:
        """One text that equal units share."""
        shapes = " ".join("x".join(map(str, shape)) for shape in self.inputs)
        ops = " ".join("-".join(str(v) for v in op) for op in self.ops)
        return f"{self.module} {shapes}: {ops}"


def _without_hooks(kind: Any) -> Any:
    """The same kind of module whose call goes straight to ``forward``: looking for hooks took a tenth of the time."""

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return module.__dict__["forward"](*args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": call})


class CostModel:
    """Costs of the architectures that the largest one holds, for batch 1.

    ``largest``: a space, or the architecture that holds all that will be asked for. ``joints``: None for its own.
    """

    def __init__(self, largest: Space[Arch] | Arch, joints: int | None = None) -> None:
        self.largest = largest.largest() if isinstance(largest, Space) else largest
        self.joints = self.largest.joints if joints is None else joints
        self.units: list[Unit] = []  # every distinct unit met so far
        self._unit_by_key: dict[str, int] = {}
        self._net = sketch(self.largest, self.joints)
        self._record = Record()
        self._calls: list[tuple[int, Known]] = []
        self._caches: list[dict[Any, Known]] = []
        self._size = 0
        self._arch = self.largest
        self._wrap()

    def __call__(self, arch: Arch, input_hw: tuple[int, int] | None = None) -> Cost:
        """What :func:`archsearch.cost` gives, exactly. Raises ``ValueError`` where the largest does not hold it."""
        total, peak = self._run(arch, input_hw)
        return as_cost(total.sums, total.params, total.torchstat, peak)

    def units_of(self, arch: Arch, input_hw: tuple[int, int] | None = None) -> tuple[int, ...]:
        """Indices into :attr:`units`, one for every call in one forward. Raises ``ValueError`` as a call does."""
        return self._run(arch, input_hw)[0].units

    def _run(self, arch: Arch, input_hw: tuple[int, int] | None) -> tuple[Known, int]:
        if arch.joints != self.largest.joints:
            raise ValueError(f"{arch.joints} joints: this cost model is of a network of {self.largest.joints}")
        height, width = checked_hw(arch, input_hw)
        self._arch = arch
        record, calls = self._record, self._calls
        record.memory.peak = record.memory.live
        try:
            self._net(Probe((1, 3, height, width), record), arch)
            return self._summed(record, calls, 0, None), record.memory.peak
        finally:
            record.clear()
            calls.clear()
            if self._size > LIMIT:
                self.forget()

    def forget(self) -> None:
        """Drop all remembered calls."""
        for cache in self._caches:
            cache.clear()
        self._size = 0

    def _wrap(self) -> None:
        modules = walk(self._net)
        lists = {path for path, module in modules.items() if isinstance(module, nn.ModuleList | nn.ModuleDict)}
        above = {path[:i] for path in lists for i in range(len(path)) if path[i] == "."} | {""}
        kinds: dict[Any, Any] = {}
        for path, module in modules.items():
            if path == "" or path in lists:
                continue
            parent, _, _ = path.rpartition(".")
            if parent and parent not in above and parent not in lists:  # inside of a unit
                module.__dict__["forward"] = named(self._record, path, module.forward)
                continue
            is_unit = path not in above
            named_forward = named(self._record, path, module.forward) if is_unit else module.forward
            module.__dict__["forward"] = self._remembering(path, module, named_forward, is_unit)
            kind = type(module)
            module.__class__ = kinds[kind] if kind in kinds else kinds.setdefault(kind, _without_hooks(kind))

    def _remembering(self, path: str, module: nn.Module, forward: Callable[..., Any], is_unit: bool) -> Any:
        number = len(self._caches)
        cache: dict[Any, Any] = {}
        self._caches.append(cache)
        record, memory, name = self._record, self._record.memory, type(module).__name__

        misses = hits = 0

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal misses, hits
            if misses > TRIAL and misses > hits and not is_unit:
                return forward(*args, **kwargs)
            key: Any = tuple([a.shape if type(a) is Probe else a if type(a) is int else key_of(a) for a in args])
            if kwargs:
                key = (key, *[(name, key_of(item)) for name, item in kwargs.items()])
            known = cache.get(key)
            calls = self._calls
            if known is not None:
                hits += 1
                calls.append((number, known))
                if memory.live + known.extra > memory.peak:
                    memory.peak = memory.live + known.extra
                outputs = known.outputs
                if type(outputs) is Out and outputs.given < 0:
                    return Probe(outputs.shape, record, Storage(memory, outputs.size))
                return revive(outputs, probes_in((args, kwargs)) if known.shares else [], {}, record)
            misses += 1
            start, live, peak = len(record), memory.live, memory.peak
            self._calls, memory.peak = [], live
            try:
                outputs = forward(*args, **kwargs)
                unit = self._unit(path, name, args, kwargs, record[start:]) if is_unit else None
                known = self._summed(record, self._calls, start, unit)
            finally:
                self._calls, extra = calls, memory.peak - live
                memory.peak = max(peak, memory.peak)
                del record[start:]
            tree, shares = remember(outputs, probes_in((args, kwargs)))
            known = known._replace(extra=extra, outputs=tree, shares=shares)
            cache[key] = known
            self._size += 1
            calls.append((number, known))
            return outputs

        return call

    def _summed(self, record: Record, calls: list[tuple[int, Known]], start: int, unit: int | None) -> Known:
        """The operators of one call itself and the calls within it; a module called twice is stored once."""
        own = record[start:]
        last = calls
        if len({number for number, _ in calls}) < len(calls):
            last = list(dict(calls).items())
        params, torchstat = stored(own) if own else (0, 0)
        for _, known in last:
            params += known.params
            torchstat += known.torchstat
        rows = [known.sums for _, known in calls]
        if own:
            rows += map(op_sums, own)
        units: tuple[int, ...] = (unit,) if unit is not None else ()
        for _, known in calls:
            units += known.units
        return Known(added(rows), params, torchstat, 0, units, None, False)

    def _unit(self, path: str, name: str, args: Any, kwargs: dict[str, Any], ops: list[Op]) -> int:
        inputs = tuple(probe.shape for probe in probes_in((args, kwargs)))
        short = tuple((op.kind, op.elements, *op.form) for op in ops)
        call = (shapes_of(args), shapes_of(kwargs))
        unit = Unit(name, inputs, short, sum(op.macs for op in ops), self._arch, path, call)
        if unit.key not in self._unit_by_key:
            self._unit_by_key[unit.key] = len(self.units)
            self.units.append(unit)
        return self._unit_by_key[unit.key]
