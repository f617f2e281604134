"""Trees of frozen dataclasses, and the plain values (dicts, lists, scalars) that JSON and YAML hold of them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any


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
        member = union_member(typing.get_args(kind), plain, path)
        return None if member is None else from_plain(member, plain, path)
    if dataclasses.is_dataclass(kind):
        hints = checked_fields(kind, plain, path)
        return make(
            kind, {name: from_plain(hints[name], value, f"{path}/{name}") for name, value in plain.items()}, path
        )
    if origin is typing.Literal:
        if plain not in typing.get_args(kind):
            raise ValueError(f"{plain!r} is not one of {_listed(typing.get_args(kind))} at {where}")
        return plain
    if origin is tuple:
        if not isinstance(plain, list | tuple):
            raise ValueError(f"{plain!r} is not a list at {where}")
        kinds = item_types(kind, len(plain), path)
        pairs = zip(kinds, plain, strict=True)
        return tuple([from_plain(item, value, f"{path}/{i}") for i, (item, value) in enumerate(pairs)])
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind) or (kind is int and isinstance(plain, bool)):
        raise ValueError(f"{plain!r} is not {_article(kind)} at {where}")
    return plain


def make(kind: Any, values: Mapping[str, Any], path: str) -> Any:
    """The dataclass with these fields. What it raises of them is raised with the path."""
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{error} at {path or '/'}") from None


def checked_fields(kind: Any, plain: Any, path: str) -> dict[str, Any]:
    """The types of a dataclass's fields; raises ``ValueError`` where ``plain`` has others or lacks one."""
    if not isinstance(plain, Mapping):
        raise ValueError(f"{plain!r} is not a mapping of the fields of {kind.__name__} at {path or '/'}")
    hints = _hints(kind)
    unknown = [key for key in plain if key not in hints]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a field of {kind.__name__} ({', '.join(hints)}) at {path or '/'}")
    for field in dataclasses.fields(kind):
        if field.name not in plain and field.default is dataclasses.MISSING:
            raise ValueError(f"{field.name} of {kind.__name__} is missing at {path or '/'}")
    return hints


def union_member(members: tuple[Any, ...], plain: Any, path: str) -> Any:
    """The type among ``members`` that ``plain`` is of; None where it is None and may be."""
    if plain is None and type(None) in members:
        return None
    members = tuple(m for m in members if m is not type(None))
    if len(members) == 1:
        return members[0]
    by_kind = {typing.get_args(_hints(member)["kind"])[0]: member for member in members}
    found = plain.get("kind") if isinstance(plain, Mapping) else None
    if not isinstance(found, str) or found not in by_kind:
        raise ValueError(f"kind {found!r} is not one of {_listed(by_kind)} at {path or '/'}")
    return by_kind[found]


def item_types(kind: Any, count: int, path: str) -> tuple[Any, ...]:
    """The types of ``count`` items of a tuple type; raises ``ValueError`` where it has another number of them."""
    items = typing.get_args(kind)
    if len(items) == 2 and items[1] is Ellipsis:
        return (items[0],) * count
    if len(items) != count:
        raise ValueError(f"{len(items)} values needed, {count} given at {path or '/'}")
    return items


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


def _listed(options: Any) -> str:
    return ", ".join(map(str, options))


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(kind, kind.__name__)
