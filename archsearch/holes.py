"""What a plain tree with holes may hold: choices, repeats, and how options are ordered and joined.

``{choice: [a, b]}`` stands where an architecture has a value, ``{repeat: item, times: [4, 6]}`` where it has a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 100_000  # values in one architecture; the largest published one has a thousand
Pick = Callable[[str, tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Hole:
    """A place in a space where an architecture has one of ``options``."""

    path: str
    options: tuple[Any, ...]


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
    check_expansion(plain, path)
    return _resolved(plain, pick, path)


def _resolved(plain: Any, pick: Pick, path: str) -> Any:
    if is_choice(plain):
        return pick(path, checked_options(plain["choice"], path))
    if is_repeat(plain):
        options = checked_times(plain["times"], path)
        times = pick(f"{path}/times", options) if isinstance(plain["times"], list) else options[0]
        return [_resolved(plain["repeat"], pick, f"{path}/{i}") for i in range(times)]
    if isinstance(plain, Mapping):
        return {key: _resolved(value, pick, f"{path}/{key}") for key, value in plain.items()}
    if isinstance(plain, list):
        return [_resolved(value, pick, f"{path}/{i}") for i, value in enumerate(plain)]
    return plain


def check_expansion(plain: Any, path: str = "") -> None:
    """Raises ``ValueError`` where ``plain`` contains itself or could expand to more than ``LARGEST`` values."""
    _count(plain, path, {})


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


def checked_times(times: Any, path: str) -> tuple[int, ...]:
    """The lengths that a repeat at ``path`` may have; raises ``ValueError`` where one is no length."""
    options = checked_options(times, f"{path}/times") if isinstance(times, list) else (times,)
    for n in options:
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ValueError(f"times {n!r} is not a whole number from 0 at {path}")
    return options


def checked_options(options: Any, path: str) -> tuple[Any, ...]:
    """The options of a choice; raises ``ValueError`` where they are none, repeat, or are not of one form."""
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


def magnitude(option: Any) -> Any:
    """Orders options: numbers by value, lists by their items, named ones as they stand."""
    if isinstance(option, list):
        return [magnitude(item) for item in option]
    return 0 if isinstance(option, str) else option


def union(options: Sequence[Any]) -> Any:
    """The least value that holds every option."""
    if all(isinstance(option, str) for option in options):
        return "|".join(options)
    if all(isinstance(option, list) for option in options):
        return [union(items) for items in zip(*options, strict=True)]
    return max(options)


@dataclass(frozen=True)
class Pattern:
    """Holes with the same options, as one path with ranges: ``/stages/0-3/blocks/0-9/kernel`` are 40 holes."""

    path: str
    options: tuple[Any, ...]
    count: int


def patterns(holes: Iterable[Hole]) -> list[Pattern]:
    """Holes in groups, in the order of their first members; every range of a group is exact."""
    groups = [([{part} for part in hole.path.split("/")], hole.options) for hole in holes]
    for place in reversed(range(max((len(parts) for parts, _ in groups), default=0))):
        joined: dict[str, tuple[list[set[str]], tuple[Any, ...]]] = {}
        for parts, options in groups:
            if place < len(parts) and all(part.isdecimal() for part in parts[place]):
                key = repr((place, [sorted(p) for i, p in enumerate(parts) if i != place], options))
            else:
                key = repr((parts, options))
            if key in joined:
                joined[key][0][place] |= parts[place]
            else:
                joined[key] = (parts, options)
        groups = list(joined.values())
    found = []
    for parts, options in groups:
        count = 1
        for part in parts:
            count *= len(part)
        found.append(Pattern("/".join(map(_range, parts)), options, count))
    return found


def _range(part: set[str]) -> str:
    """One name, or indices as ``0-3`` and ``0,2-3``."""
    if len(part) == 1:
        return next(iter(part))
    numbers = set(map(int, part))
    starts, ends = (sorted(n for n in numbers if n + step not in numbers) for step in (-1, 1))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
