"""A space made ready to run: its tree as nodes that build architectures and read them.

What of the tree has no holes is built once. What has few values keeps those that were built: architectures are frozen,
so equal parts of them may be one object. Sampling is several times as fast as from plain values
(``benchmarks/bm_space.py``).
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NoReturn

from archsearch.holes import Hole, Pick, checked_options, checked_times, is_choice, is_repeat, resolve, union
from archsearch.trees import checked_fields, from_plain, item_types, make, to_plain, union_member

KEPT = 4096  # parts of a space with at most so many distinct values keep them


class Outside(Exception):
    """Something of a value is not what the space has there, and no hole is at that place."""


class Node(ABC):
    """A part of a space at ``path``; ``size`` is how many distinct values it stands for."""

    path: str
    size: int

    @abstractmethod
    def fill(self, pick: Pick) -> Any:
        """The value with ``pick(path, options)`` in every hole that is reached."""

    @abstractmethod
    def read(self, value: Any, found: dict[str, Any]) -> None:
        """Put what ``value`` has in the holes into ``found``, as the options themselves.

        Raises ``ValueError`` where it has something else in a hole, ``Outside`` where it differs elsewhere.
        """


class Leaf(Node):
    """A value without parts."""

    size = 1

    def __init__(self, value: Any, path: str) -> None:
        self.value, self.path = value, path

    def fill(self, pick: Pick) -> Any:
        return self.value

    def read(self, value: Any, found: dict[str, Any]) -> None:
        if value != self.value:
            raise Outside(f"{to_plain(value)!r} is not {to_plain(self.value)!r} at {self.path or '/'}")


class Fixed(Leaf):
    """A part without holes. ``source`` is what it was built from, and finds what differs in another value."""

    def __init__(self, source: Node) -> None:
        super().__init__(source.fill(_no_pick), source.path)
        self.source = source

    def read(self, value: Any, found: dict[str, Any]) -> None:
        if value != self.value:
            self.source.read(value, found)


class Choice(Node):
    """A hole. Its options as values of ``kind`` are ``values``."""

    def __init__(self, kind: Any, options: tuple[Any, ...], values: tuple[Any, ...], path: str) -> None:
        self.kind, self.options, self.values, self.path = kind, options, values, path
        self.size = len(options)
        # By identity: a pick is nearly always one of the options itself, and True must not pass for 1.
        self._by_id = {id(option): value for option, value in zip(options, values, strict=True)}

    def fill(self, pick: Pick) -> Any:
        picked = pick(self.path, self.options)
        value = self._by_id.get(id(picked))
        return self._other(picked) if value is None else value

    def _other(self, picked: Any) -> Any:
        value = from_plain(self.kind, picked, self.path)
        return next((own for own in self.values if own == value), value)

    def read(self, value: Any, found: dict[str, Any]) -> None:
        for own, option in zip(self.values, self.options, strict=True):
            if own == value:
                found[self.path] = option
                return
        raise ValueError(f"{to_plain(value)!r} is not one of {self.options} at {self.path}")


class Composite(Node):
    """A part that is made of parts. ``kept`` holds its values by the identities of what they are made of."""

    kept: dict[tuple[int, ...], tuple[Any, list[Any]]]

    @abstractmethod
    def parts(self, pick: Pick) -> list[Any]:
        """What the value is made of."""

    @abstractmethod
    def made(self, parts: list[Any]) -> Any:
        """The value that is made of these parts."""

    def fill(self, pick: Pick) -> Any:
        parts = self.parts(pick)
        if self.size > KEPT:
            return self.made(parts)
        key = tuple(map(id, parts))
        known = self.kept.get(key)
        if known is not None:
            return known[0]
        value = self.made(parts)
        if len(self.kept) < self.size:  # fills that are no options (the largest) are not counted in the size
            self.kept[key] = value, parts  # the parts live as long as their identities are in use
        return value


class Items(Composite):
    """A tuple; ``times`` are the lengths that it may have, ``hole`` chooses among them where there are several."""

    def __init__(self, items: list[Node], times: tuple[int, ...], hole: Choice | None, path: str) -> None:
        self.items, self.times, self.hole, self.path = items, times, hole, path
        self.size = sum(math.prod(item.size for item in items[:n]) for n in times)
        self._rows = {n: items[:n] for n in times}

    def parts(self, pick: Pick) -> list[Any]:
        times = self.times[0] if self.hole is None else self.hole.fill(pick)
        if times not in self._rows:
            raise ValueError(f"{times} items are not one of {self.times} at {self.path}")
        return [item.fill(pick) for item in self._rows[times]]

    def made(self, parts: list[Any]) -> Any:
        return tuple(parts)

    def read(self, value: Any, found: dict[str, Any]) -> None:
        if not isinstance(value, tuple):
            raise ValueError(f"{value!r} is not a tuple at {self.path}")
        if len(value) not in self._rows:
            raise ValueError(f"{len(value)} items are not one of {self.times} at {self.path}")
        if self.hole is not None:
            self.hole.read(len(value), found)
        for item, one in zip(self.items, value, strict=False):
            item.read(one, found)


class Record(Composite):
    """A dataclass; ``fields`` are those that the space says anything about, the others have their defaults."""

    def __init__(self, kind: Any, fields: dict[str, Node], path: str) -> None:
        self.kind, self.path = kind, path
        self.size = math.prod(node.size for node in fields.values())
        self._names, self._nodes = list(fields), list(fields.values())
        self._rest = [(f.name, f.default) for f in dataclasses.fields(kind) if f.name not in fields]

    def parts(self, pick: Pick) -> list[Any]:
        return [node.fill(pick) for node in self._nodes]

    def made(self, parts: list[Any]) -> Any:
        return make(self.kind, dict(zip(self._names, parts, strict=True)), self.path)

    def read(self, value: Any, found: dict[str, Any]) -> None:
        if type(value) is not self.kind:
            raise Outside(f"{type(value).__name__} is not {self.kind.__name__} at {self.path or '/'}")
        for name, node in zip(self._names, self._nodes, strict=True):
            node.read(getattr(value, name), found)
        for name, default in self._rest:
            if getattr(value, name) != default:
                raise Outside(f"{to_plain(getattr(value, name))!r} is not {default!r} at {self.path}/{name}")


def _no_pick(path: str, options: tuple[Any, ...]) -> NoReturn:
    raise AssertionError(f"a hole at {path} in a part without holes")


def compiled(kind: Any, plain: Any) -> tuple[Node, tuple[Hole, ...]]:
    """The node of a tree with holes, and its holes in order; ``kind`` as :func:`archsearch.trees.from_plain` takes it.

    Raises ``ValueError`` with the path and the value where the tree does not fit.
    """
    compiler = _Compiler()
    return compiler.node(kind, plain, ""), tuple(compiler.holes)


class _Compiler:
    """What nodes share while they are made: a tree that stands in several places keeps its values once."""

    def __init__(self) -> None:
        self.holes: list[Hole] = []
        self._values: dict[tuple[int, Any], tuple[Any, ...]] = {}
        self._kept: dict[tuple[int, Any], dict[Any, Any]] = {}

    def node(self, kind: Any, plain: Any, path: str) -> Node:
        if is_choice(plain):
            return self._choice(kind, plain["choice"], checked_options(plain["choice"], path), path)
        origin = typing.get_origin(kind)
        if origin in (typing.Union, types.UnionType):
            member = union_member(typing.get_args(kind), _with_kind(plain, path), path)
            return Leaf(None, path) if member is None else self.node(member, plain, path)
        if dataclasses.is_dataclass(kind) and not is_repeat(plain):
            hints = checked_fields(kind, plain, path)
            fields = {name: self.node(hints[name], value, f"{path}/{name}") for name, value in plain.items()}
            return self._composite(Record(kind, fields, path), list(fields.values()), kind, plain)
        if origin is tuple and (is_repeat(plain) or isinstance(plain, list)):
            return self._items(kind, plain, path)
        return Leaf(from_plain(kind, resolve(plain, lambda _, options: union(options), path), path), path)

    def _choice(self, kind: Any, source: Any, options: tuple[Any, ...], path: str) -> Choice:
        self.holes.append(Hole(path, options))
        values = self._values.get((id(source), kind))
        if values is None:
            values = self._values[id(source), kind] = tuple(from_plain(kind, option, path) for option in options)
        return Choice(kind, options, values, path)

    def _items(self, kind: Any, plain: Any, path: str) -> Node:
        hole: Choice | None = None
        row, times = plain, checked_times(plain["times"], path) if is_repeat(plain) else (len(plain),)
        if is_repeat(plain):
            row = [plain["repeat"]] * max(times)
            if isinstance(plain["times"], list):
                hole = self._choice(int, plain["times"], times, f"{path}/times")
        kinds = max((item_types(kind, n, path) for n in times), key=len)
        pairs = enumerate(zip(kinds, row, strict=True))
        items = [self.node(item, value, f"{path}/{i}") for i, (item, value) in pairs]
        return self._composite(Items(items, times, hole, path), [*items, *([hole] if hole else [])], kind, plain)

    def _composite(self, node: Record | Items, parts: list[Node], kind: Any, plain: Any) -> Node:
        node.kept = self._kept.setdefault((id(plain), kind), {})
        return Fixed(node) if all(isinstance(part, Leaf) for part in parts) else node


def _with_kind(plain: Any, path: str) -> Any:
    """``plain`` with its field ``kind`` as a value: a choice of kinds joined, which is no kind unless it has one."""
    if not isinstance(plain, Mapping) or not is_choice(plain.get("kind")):
        return plain
    return {**plain, "kind": union(checked_options(plain["kind"]["choice"], f"{path}/kind"))}
