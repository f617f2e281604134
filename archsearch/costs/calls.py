"""Calls of modules as something that can be looked up, and what they returned as something that can be made again."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from archsearch.costs.runtimes import Shape
from archsearch.probe import Probe, Record, Storage


class Out(NamedTuple):
    """A probe that a module returned: its shape, and whose storage it has."""

    shape: tuple[int, ...]
    given: int  # the number of the input whose storage it shares, or -1
    new: int  # else the number of the new storage
    size: int  # bytes of it


def shapes_of(value: Any) -> Any:
    """A tree of arguments with a shape for every probe."""
    if isinstance(value, Probe):
        return Shape(value.shape)
    if type(value) in (list, tuple):
        return type(value)(map(shapes_of, value))
    if isinstance(value, dict):
        return {key: shapes_of(item) for key, item in value.items()}
    return value


def key_of(value: Any) -> Any:
    """Arguments as something that can be looked up: tensors by their shapes.

    Dataclasses hash and compare field by field in Python; as tuples of their fields they do in C.
    """
    kind: Any = type(value)
    if kind is Probe:
        return value.shape
    if kind is int or value is None:
        return value
    if kind is tuple or kind is list:
        first: Any = type(value[0]) if value else None
        if first and (fields := _fields(first)) and len(set(map(type, value))) == 1:
            return (first, tuple(map(fields, value)))
        return tuple([item.shape if type(item) is Probe else key_of(item) for item in value])
    if kind is dict:
        return tuple([(name, key_of(item)) for name, item in value.items()])
    if fields := _fields(kind):
        return (kind, *[item if type(item) is int else key_of(item) for item in fields(value)])
    return value


@functools.cache
def _fields(kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
    """What gives the fields of a dataclass of this kind; None where it is no dataclass of two fields or more."""
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    return operator.attrgetter(*names) if len(names) > 1 else None


def probes_in(value: Any) -> list[Probe]:
    """All probes in a tree, in order."""
    if isinstance(value, Probe):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [probe for item in value for probe in probes_in(item)] if type(value) in (list, tuple) else []


def remember(value: Any, inputs: list[Probe]) -> tuple[Any, bool]:
    """A tree of probes as a tree of Out, and whether any shares the storage of an input."""
    given: dict[int, int] = {id(probe.storage): i for i, probe in enumerate(inputs)}
    new: dict[int, int] = {}

    def one(value: Any) -> Any:
        if isinstance(value, Probe):
            storage = value.storage
            assert storage is not None
            place = given.get(id(storage), -1)
            number = new.setdefault(id(storage), len(new)) if place < 0 else -1
            return Out(value.shape, place, number, storage.size)
        if isinstance(value, dict):
            return {key: one(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(one(item) for item in value)
        return value

    outputs = one(value)
    return outputs, any(_probe_places(outputs))


def _probe_places(value: Any) -> list[bool]:
    if type(value) is Out:
        return [value.given >= 0]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [found for item in value for found in _probe_places(item)] if type(value) in (list, tuple) else []


def revive(value: Any, inputs: list[Probe], new: dict[int, Storage], record: Record) -> Any:
    """New probes for what :func:`remember` made of the old ones; ``new`` collects their storages."""
    if type(value) is Out:
        if value.given >= 0:
            return Probe(value.shape, record, inputs[value.given].storage)
        if value.new not in new:
            new[value.new] = Storage(record.memory, value.size)
        return Probe(value.shape, record, new[value.new])
    if isinstance(value, dict):
        return {key: revive(item, inputs, new, record) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)([revive(item, inputs, new, record) for item in value])
    return value
