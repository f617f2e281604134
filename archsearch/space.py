"""Architectures as frozen dataclass trees, and spaces: the same trees with holes.

A YAML architecture is a YAML space without choices. In a space, ``{choice: [a, b]}`` stands where an architecture has
a value and is a *hole*; ``{repeat: item, times: [4, 6]}`` stands where it has a list and is a list of elastic length,
each item with holes of its own. A hole is named by its path, ``/stages/0/blocks/3/kernel``; the length of a list at
``/stages/0/blocks`` by ``/stages/0/blocks/times``.

This module knows the trees only, no network: which dataclasses there are is given by the caller.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np

LARGEST = 100_000  # values in one architecture; the largest published one has a thousand
Arch = TypeVar("Arch")
Pick = Callable[[str, tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Hole:
    """A place in a space where an architecture has one of ``options``."""

    path: str
    options: tuple[Any, ...]


# ---------------------------------------------------------------------------------------------- trees to plain values


def to_plain(arch: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, all the way down: what JSON and YAML can hold."""
    if dataclasses.is_dataclass(arch) and not isinstance(arch, type):
        return {f.name: to_plain(getattr(arch, f.name)) for f in dataclasses.fields(arch)}
    if isinstance(arch, tuple):
        return [to_plain(item) for item in arch]
    return arch


def fingerprint(arch: Any) -> str:
    """12 hexadecimal digits that equal architectures share, stable over processes and versions of Python."""
    return hashlib.sha256(json.dumps(to_plain(arch), sort_keys=True).encode()).hexdigest()[:12]


def from_plain(kind: Any, plain: Any, path: str = "") -> Any:
    """The value of type ``kind`` that ``plain`` describes; the inverse of :func:`to_plain`.

    ``kind`` is a dataclass, a union of dataclasses told apart by their literal field ``kind``, a tuple type, or a
    scalar. Raises ``ValueError`` with the path and the value where ``plain`` does not fit.
    """
    where = path or "/"
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _from_union(typing.get_args(kind), plain, path)
    if dataclasses.is_dataclass(kind):
        return _from_mapping(kind, plain, path)
    if origin is typing.Literal:
        if plain not in typing.get_args(kind):
            raise ValueError(f"{plain!r} is not one of {_listed(typing.get_args(kind))} at {where}")
        return plain
    if origin is tuple:
        return _from_list(typing.get_args(kind), plain, path)
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind) or (kind is int and isinstance(plain, bool)):
        raise ValueError(f"{plain!r} is not {_article(kind)} at {where}")
    return plain


def _from_mapping(kind: Any, plain: Any, path: str) -> Any:
    if not isinstance(plain, Mapping):
        raise ValueError(f"{plain!r} is not a mapping of the fields of {kind.__name__} at {path or '/'}")
    hints = _hints(kind)
    unknown = [key for key in plain if key not in hints]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a field of {kind.__name__} ({', '.join(hints)}) at {path or '/'}")
    for field in dataclasses.fields(kind):
        if field.name not in plain and field.default is dataclasses.MISSING:
            raise ValueError(f"{field.name} of {kind.__name__} is missing at {path or '/'}")
    values = {name: from_plain(hints[name], value, f"{path}/{name}") for name, value in plain.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{error} at {path or '/'}") from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def check_literals(arch: Any) -> None:
    """For ``__post_init__``: raises ``ValueError`` where a field of literal type holds none of its values.

    Members of a union are told apart by a literal ``kind``, so a value put in its place by position must not pass.
    """
    kind: Any = type(arch)
    for name, options in _literals(kind):
        if (value := getattr(arch, name)) not in options:
            raise ValueError(f"{name} {value!r} of {type(arch).__name__} is not one of {_listed(options)}")


@functools.cache
def _literals(kind: Any) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    hints = _hints(kind).items()
    return tuple((name, typing.get_args(h)) for name, h in hints if typing.get_origin(h) is typing.Literal)


def _from_union(members: tuple[Any, ...], plain: Any, path: str) -> Any:
    if plain is None and type(None) in members:
        return None
    members = tuple(m for m in members if m is not type(None))
    if len(members) == 1:
        return from_plain(members[0], plain, path)
    by_kind = {typing.get_args(_hints(member)["kind"])[0]: member for member in members}
    found = plain.get("kind") if isinstance(plain, Mapping) else None
    if not isinstance(found, str) or found not in by_kind:
        raise ValueError(f"kind {found!r} is not one of {_listed(by_kind)} at {path or '/'}")
    return _from_mapping(by_kind[found], plain, path)


def _from_list(items: tuple[Any, ...], plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, list | tuple):
        raise ValueError(f"{plain!r} is not a list at {path or '/'}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(from_plain(items[0], value, f"{path}/{i}") for i, value in enumerate(plain))
    if len(items) != len(plain):
        raise ValueError(f"{len(items)} values needed, {len(plain)} given at {path or '/'}")
    pairs = zip(items, plain, strict=True)
    return tuple(from_plain(kind, value, f"{path}/{i}") for i, (kind, value) in enumerate(pairs))


def _listed(options: Any) -> str:
    return ", ".join(map(str, options))


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(kind, kind.__name__)


# -------------------------------------------------------------------------------------------------------------- spaces


def is_choice(plain: Any) -> bool:
    """Whether a plain value is ``{choice: [...]}``."""
    return isinstance(plain, Mapping) and set(plain) == {"choice"}


def is_repeat(plain: Any) -> bool:
    """Whether a plain value is ``{repeat: item, times: n or [n, ...]}``."""
    return isinstance(plain, Mapping) and set(plain) == {"repeat", "times"}


def resolve(plain: Any, pick: Pick, path: str = "") -> Any:
    """``plain`` with every hole filled by ``pick(path, options)``; only the holes that are reached are asked for.

    Raises ``ValueError`` where a choice or a repeat is not well formed, and, before anything is expanded, where more
    than ``LARGEST`` values could come out.
    """
    _count(plain, path, {})
    return _resolved(plain, pick, path)


def _count(plain: Any, path: str, known: dict[int, int | None]) -> int:
    """How many values ``plain`` expands to at most; ``known`` are those of containers, which aliases share."""
    is_container = isinstance(plain, Mapping | list)
    if not is_container:
        return 1
    if id(plain) in known:
        found = known[id(plain)]
        if found is None:
            raise ValueError(f"a value that contains itself at {path or '/'}")
        return found
    known[id(plain)] = None
    if is_repeat(plain):
        given = plain["times"] if isinstance(plain["times"], list) else [plain["times"]]
        times = max((n for n in given if isinstance(n, int)), default=0)
        count = 1 + max(times, 0) * _count(plain["repeat"], f"{path}/0", known)
        blame = f"times {times} makes"
    else:
        items = plain.items() if isinstance(plain, Mapping) else enumerate(plain)
        count = 1 + sum(_count(value, f"{path}/{key}", known) for key, value in items)
        blame = "this makes"
    if count > LARGEST:
        raise ValueError(f"{blame} {count} values at {path or '/'}, an architecture has at most {LARGEST}")
    known[id(plain)] = count
    return count


def _resolved(plain: Any, pick: Pick, path: str) -> Any:
    if is_choice(plain):
        return pick(path, _options(plain["choice"], path))
    if is_repeat(plain):
        times = plain["times"]
        if isinstance(times, list):
            times = pick(f"{path}/times", _options(times, f"{path}/times"))
        if not isinstance(times, int) or isinstance(times, bool) or times < 0:
            raise ValueError(f"times {times!r} is not a whole number from 0 at {path}")
        return [_resolved(plain["repeat"], pick, f"{path}/{i}") for i in range(times)]
    if isinstance(plain, Mapping):
        return {key: _resolved(value, pick, f"{path}/{key}") for key, value in plain.items()}
    if isinstance(plain, list):
        return [_resolved(value, pick, f"{path}/{i}") for i, value in enumerate(plain)]
    return plain


def _options(options: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(options, list) or not options:
        raise ValueError(f"choice {options!r} is not a list of options at {path}")
    if any(options[i] == options[j] for i in range(len(options)) for j in range(i)):
        raise ValueError(f"choice {options} has an option twice at {path}")
    if None in (forms := {_form(option) for option in options}) or len(forms) > 1:
        raise ValueError(f"choice {options} is not of numbers, of texts or of lists of one form at {path}")
    return tuple(options)


def _form(option: Any) -> Any:
    """What must be alike for options to be ordered and joined; None where they cannot be."""
    if isinstance(option, list):
        items = tuple(_form(item) for item in option)
        return None if None in items else items
    return "number" if isinstance(option, int | float) else "text" if isinstance(option, str) else None


class Space(Generic[Arch]):
    """All architectures that a tree with holes stands for.

    ``kind`` is the dataclass (or the union of dataclasses) of the architectures, ``plain`` the tree. Raises
    ``ValueError`` where the smallest or the largest of them is not an architecture.
    """

    def __init__(self, kind: Any, plain: Any, name: str = "space") -> None:
        self.kind, self.plain, self.name = kind, plain, name
        self.holes: tuple[Hole, ...] = self._find_holes()
        self.smallest()
        self.largest()

    def _find_holes(self) -> tuple[Hole, ...]:
        holes: list[Hole] = []

        def pick(path: str, options: tuple[Any, ...]) -> Any:
            holes.append(Hole(path, options))
            return max(options) if path.endswith("/times") else options[0]

        resolve(self.plain, pick)
        return tuple(holes)

    def build(self, choices: Mapping[str, Any]) -> Arch:
        """The architecture with these values in the holes; values of holes that are not reached are not looked at.

        Raises ``ValueError`` where a hole has no value or one that is not among its options.
        """

        def pick(path: str, options: tuple[Any, ...]) -> Any:
            if path not in choices:
                raise ValueError(f"no value for {path}")
            if choices[path] not in options:
                raise ValueError(f"{choices[path]!r} is not one of {options} at {path}")
            return choices[path]

        return cast(Arch, from_plain(self.kind, resolve(self.plain, pick)))

    def choices(self, arch: Arch) -> dict[str, Any]:
        """What ``arch`` has in the holes that it reaches; the inverse of :meth:`build`.

        Raises ``ValueError`` where ``arch`` is not in this space.
        """
        found: dict[str, Any] = {}
        _match(self.plain, to_plain(arch), "", found)
        if self.build(found) != arch:
            raise ValueError(f"architecture {fingerprint(arch)} differs from {self.name} outside of the holes")
        return found

    def __contains__(self, arch: object) -> bool:
        try:
            self.choices(cast(Arch, arch))
        except ValueError:
            return False
        return True

    def largest(self) -> Arch:
        """The architecture that holds every other: the maximum of each hole, and all alternatives of a named one.

        Alternatives (block kinds) are joined as ``"basic|shuffle"``; a list takes the maximum of each position.
        """
        return cast(Arch, from_plain(self.kind, resolve(self.plain, lambda _, options: _union(options))))

    def smallest(self) -> Arch:
        """The architecture with the minimum in each hole, and the first alternative of a named one."""
        return cast(Arch, from_plain(self.kind, resolve(self.plain, lambda _, options: min(options, key=_magnitude))))

    def sample(self, rng: np.random.Generator) -> Arch:
        """A random architecture: each hole that is reached drawn uniformly from its options."""

        def pick(_: str, options: tuple[Any, ...]) -> Any:
            return options[int(rng.integers(len(options)))]

        return cast(Arch, from_plain(self.kind, resolve(self.plain, pick)))

    @property
    def size(self) -> int:
        """The number of distinct architectures, exactly."""
        return _size(self.plain)


def _size(plain: Any) -> int:
    if is_choice(plain):
        return len(plain["choice"])
    if is_repeat(plain):
        times = plain["times"] if isinstance(plain["times"], list) else [plain["times"]]
        item = _size(plain["repeat"])
        return sum(int(item**n) for n in times)
    values = plain.values() if isinstance(plain, Mapping) else plain if isinstance(plain, list) else ()
    return functools.reduce(lambda product, value: product * _size(value), values, 1)


def _match(plain: Any, value: Any, path: str, found: dict[str, Any]) -> None:
    if is_choice(plain):
        if value not in plain["choice"]:
            raise ValueError(f"{value!r} is not one of {tuple(plain['choice'])} at {path}")
        found[path] = value
    elif is_repeat(plain):
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list at {path}")
        times = plain["times"] if isinstance(plain["times"], list) else [plain["times"]]
        if len(value) not in times:
            raise ValueError(f"{len(value)} items are not one of {tuple(times)} at {path}")
        if isinstance(plain["times"], list):
            found[f"{path}/times"] = len(value)
        for i, item in enumerate(value):
            _match(plain["repeat"], item, f"{path}/{i}", found)
    elif isinstance(plain, Mapping) and isinstance(value, Mapping):
        for key in plain:
            if key in value:
                _match(plain[key], value[key], f"{path}/{key}", found)
    elif isinstance(plain, list) and isinstance(value, list):
        for i, (a, b) in enumerate(zip(plain, value, strict=False)):
            _match(a, b, f"{path}/{i}", found)


def _magnitude(option: Any) -> Any:
    """Orders options: numbers by value, lists by their items, named ones as they stand."""
    if isinstance(option, list):
        return [_magnitude(item) for item in option]
    return 0 if isinstance(option, str) else option


def _union(options: tuple[Any, ...]) -> Any:
    """The least value that holds every option."""
    if all(isinstance(option, str) for option in options):
        return "|".join(options)
    if all(isinstance(option, list) for option in options):
        return [_union(items) for items in zip(*options, strict=True)]
    return max(options)
