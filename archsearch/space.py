"""Architectures as frozen dataclass trees, and spaces: the same trees with holes.

A YAML architecture is a YAML space without choices. In a space, ``{choice: [a, b]}`` stands where an architecture has
a value and is a *hole*; ``{repeat: item, times: [4, 6]}`` stands where it has a list and is a list of elastic length,
each item with holes of its own. A hole is named by its path, ``/stages/0/blocks/3/kernel``; the length of a list at
``/stages/0/blocks`` by ``/stages/0/blocks/times``.

An architecture is the canonical form of what is chosen: choices that differ only in holes that are not reached (the
kernel of a block beyond the chosen depth) build equal architectures, with one fingerprint.

This module knows the trees only, no network: which dataclasses there are is given by the caller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

import numpy as np

from archsearch.holes import (
    LARGEST,
    Hole,
    Pick,
    check_expansion,
    is_choice,
    is_repeat,
    magnitude,
    resolve,
    union,
)
from archsearch.nodes import Outside, compiled
from archsearch.trees import check_literals, fingerprint, from_plain, to_plain

__all__ = [
    "LARGEST", "Hole", "Pick", "Space", "check_literals", "fingerprint", "from_plain", "is_choice", "is_repeat",
    "resolve", "to_plain",
]  # fmt: skip
Arch = TypeVar("Arch")


class Space(Generic[Arch]):
    """All architectures that a tree with holes stands for.

    ``kind`` is the dataclass (or the union of dataclasses) of the architectures, ``plain`` the tree, ``holes`` are all
    that any of them reaches. Raises ``ValueError`` where the smallest or the largest of them, or one with any of the
    options, is not an architecture.
    """

    def __init__(self, kind: Any, plain: Any, name: str = "space") -> None:
        self.kind, self.plain, self.name = kind, plain, name
        check_expansion(plain)
        self._root, self.holes = compiled(kind, plain)
        self._options = {hole.path: hole.options for hole in self.holes}
        self._smallest = self.fill(lambda _, options: min(options, key=magnitude))
        self._largest = self.fill(lambda _, options: union(options))
        self._check_options()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.plain, self.name)

    def _check_options(self) -> None:
        """Build architectures that together have every option, in every hole in turn, at full and at every depth."""
        for turn in range(max(map(len, self._options.values()), default=0)):
            for deepest in (True, False):

                def pick(path: str, options: tuple[Any, ...], turn: int = turn, deepest: bool = deepest) -> Any:
                    return max(options) if deepest and path.endswith("/times") else options[turn % len(options)]

                self.fill(pick)

    def fill(self, pick: Pick) -> Arch:
        """The architecture with ``pick(path, options)`` in every hole that is reached, asked for in order.

        Raises ``ValueError`` where this makes no architecture.
        """
        return cast(Arch, self._root.fill(pick))

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

        return self.fill(pick)

    def choices(self, arch: Arch) -> dict[str, Any]:
        """What ``arch`` has in the holes that it reaches; the inverse of :meth:`build`.

        Raises ``ValueError`` where ``arch`` is not in this space.
        """
        found: dict[str, Any] = {}
        try:
            self._root.read(arch, found)
        except Outside as error:
            name = f"architecture {fingerprint(arch)}" if dataclasses.is_dataclass(arch) else repr(arch)
            raise ValueError(f"{name} differs from {self.name} outside of the holes: {error}") from None
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
        return self._largest

    def smallest(self) -> Arch:
        """The architecture with the minimum in each hole, and the first alternative of a named one."""
        return self._smallest

    def every(self) -> Iterator[Arch]:
        """All architectures, each once, the last holes changing first. There can be very many: look at the size."""
        seen: set[Arch] = set()
        chosen: list[int] = []  # the number of the option in each hole that is reached, in order
        while True:
            counts: list[int] = []

            def pick(_: str, options: tuple[Any, ...], counts: list[int] = counts) -> Any:
                if len(counts) == len(chosen):
                    chosen.append(0)
                counts.append(len(options))
                return options[chosen[len(counts) - 1]]

            arch = self.fill(pick)
            if arch not in seen:
                seen.add(arch)
                yield arch
            while chosen and chosen[-1] == counts[len(chosen) - 1] - 1:
                chosen.pop()
            if not chosen:
                return
            chosen[-1] += 1

    def sample(self, rng: np.random.Generator) -> Arch:
        """A random architecture: each hole that is reached drawn uniformly from its options."""
        integers = rng.integers
        return self.fill(lambda _, options: options[integers(len(options))])

    def mutate(self, arch: Arch, rng: np.random.Generator, rate: float) -> Arch:
        """Another architecture near ``arch``: each hole that it reaches has, with probability ``rate``, another option.

        At least one hole has. Holes that only the new architecture reaches are drawn as :meth:`sample` draws them.
        Raises ``ValueError`` where ``arch`` is not in this space or the only one, or ``rate`` is not from 0 to 1.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"mutation rate {rate} is not from 0 to 1")
        chosen = self.choices(arch)
        paths = [path for path in chosen if len(self._options[path]) > 1]
        if not paths:
            raise ValueError(f"{self.name} has one architecture only: nothing can be mutated")
        changed = rng.random(len(paths)) < rate
        if not changed.any():
            changed[rng.integers(len(paths))] = True
        for path, changes in zip(paths, changed.tolist(), strict=True):
            if changes:
                others = [option for option in self._options[path] if option is not chosen[path]]
                chosen[path] = others[rng.integers(len(others))]

        def pick(path: str, options: tuple[Any, ...]) -> Any:
            return chosen[path] if path in chosen else options[rng.integers(len(options))]

        return self.fill(pick)

    def crossover(self, a: Arch, b: Arch, rng: np.random.Generator) -> Arch:
        """An architecture with what ``a`` or ``b`` has in each hole, either with probability one half.

        A hole that only one of them reaches is taken from that one. Raises ``ValueError`` where one is not in this
        space.
        """
        ours, theirs = self.choices(a), self.choices(b)
        common = [path for path in ours if path in theirs]
        mixed = {**theirs, **ours}
        for path, other in zip(common, (rng.random(len(common)) < 0.5).tolist(), strict=True):
            if other:
                mixed[path] = theirs[path]
        return self.fill(lambda path, _: mixed[path])

    @property
    def size(self) -> int:
        """The number of distinct architectures, exactly."""
        return self._root.size
