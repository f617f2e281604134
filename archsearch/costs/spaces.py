"""A space as a whole: its ends, random architectures within a budget, and whether one network holds all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from archsearch.costs.fast import CostModel
from archsearch.costs.macs import Cost
from archsearch.costs.sketch import parameters, sketch
from archsearch.files import InputError
from archsearch.holes import magnitude, union
from archsearch.nets.zoo import Arch, arch_yaml, as_arch
from archsearch.space import Space, fingerprint, from_plain, to_plain

QUIET = 5000  # random architectures in a row that are too large or known already, after which no more are expected


@dataclass(frozen=True)
class Priced:
    """An architecture and what it costs."""

    name: str
    arch: Arch
    cost: Cost


def supernet_params(space: Space[Arch]) -> int:
    """Parameters of the network that holds every architecture of the space, all alternatives included."""
    return parameters(sketch(space.largest()))


def alternatives(space: Space[Arch]) -> tuple[str, ...]:
    """What stands in named holes (block kinds), in order; "" where there are none."""
    named = [option for hole in space.holes if isinstance(hole.options[0], str) for option in hole.options]
    return tuple(dict.fromkeys(named)) or ("",)


def ends(space: Space[Arch], model: CostModel) -> list[Priced]:
    """The smallest and the largest architecture; of each alternative one where the space has alternatives.

    All holes are at their minimum or maximum; a named one has the alternative, or its first where it lacks that.
    """
    found = []
    for name, extreme in (("smallest", _least), ("largest", union)):
        for word in alternatives(space):

            def pick(_: str, options: tuple[Any, ...], word: str = word, extreme: Any = extreme) -> Any:
                if isinstance(options[0], str):
                    return word if word in options else options[0]
                return extreme(options)

            arch = space.fill(pick)
            found.append(Priced(f"{name}, {word}" if word else name, arch, model(arch)))
    return found


def _least(options: tuple[Any, ...]) -> Any:
    return min(options, key=magnitude)


def draw_priced(space: Space[Arch], count: int, seed: int, max_macs: float | None = None) -> list[Priced]:
    """``count`` distinct random architectures of at most ``max_macs``, named by their fingerprints.

    Raises ``InputError`` where there are not so many, or none turns up for long.
    """
    if count < 1:
        raise InputError(f"count {count}: a positive whole number is needed")
    if count > space.size:
        raise InputError(f"{count} architectures of {space.name}, which has {space.size}")
    model, rng = CostModel(space), np.random.default_rng(seed)
    found: dict[Arch, Priced] = {}
    quiet = 0
    while len(found) < count:
        arch = space.sample(rng)
        if arch not in found:
            cost = model(arch)
            if max_macs is None or cost.macs <= max_macs:
                found[arch] = Priced(fingerprint(arch), arch, cost)
                quiet = -1
        quiet += 1
        if quiet == QUIET:
            limit = "" if max_macs is None else f" of at most {max_macs:g} MACs"
            least = min(ends(space, model), key=lambda end: end.cost.macs)
            raise InputError(
                f"{len(found)} of {count} architectures of {space.name}{limit} found, none in {QUIET} more; "
                f"the {least.name} has {least.cost.macs:g}"
            )
    return list(found.values())


# ---------------------------------------------------------------------------------------------------- what it holds


@dataclass(frozen=True)
class Held:
    """What was checked of a space."""

    options: int  # options of holes, each of them run once on its own
    samples: int  # random architectures, mutations and crossovers that ran and went round
    lowest_macs: int
    highest_macs: int


def check_held(space: Space[Arch], samples: int = 300, seed: int = 0) -> Held:
    """Run a space's architectures on the shape-only network of its largest one, and take them through their files.

    Each end, each option of each hole on its own, and random ones, with their mutations and crossovers. Raises
    ``ValueError`` with what is wrong and with the holes that make it so.
    """
    model, rng = CostModel(space), np.random.default_rng(seed)
    macs = []
    for end in ends(space, model):
        macs.append(end.cost.macs)
        _check_round_trip(space, end.arch)
        if as_arch(yaml.safe_load(arch_yaml(end.arch))) != end.arch:
            raise ValueError(f"the {end.name} architecture of {space.name} is not what its YAML file says")
    base = {hole.path: max(hole.options) if _is_depth(hole.path) else hole.options[0] for hole in space.holes}
    alone = [{**base, hole.path: option} for hole in space.holes for option in hole.options]
    for choices in alone:
        macs.append(_macs(space, model, base, choices))
    for arch in _random(space, rng, samples):
        _check_round_trip(space, arch)
        macs.append(_macs(space, model, base, space.choices(arch)))
    return Held(len(alone), samples, min(macs), max(macs))


def _is_depth(path: str) -> bool:
    return path.endswith("/times")


def _random(space: Space[Arch], rng: np.random.Generator, count: int) -> Iterator[Arch]:
    """Samples, and after every two a mutation of the second and a crossover of both."""
    first = second = space.sample(rng)
    for i in range(count):
        if i % 4 < 2:
            first, second = second, space.sample(rng)
            yield second
        elif i % 4 == 2:
            yield space.mutate(second, rng, 0.1) if space.size > 1 else second
        else:
            yield space.crossover(first, second, rng)


def _check_round_trip(space: Space[Arch], arch: Arch) -> None:
    again = from_plain(space.kind, to_plain(arch))
    rebuilt = space.build(space.choices(arch))
    if not again == rebuilt == arch or fingerprint(again) != fingerprint(arch):
        raise ValueError(f"architecture {fingerprint(arch)} of {space.name} is not what its plain values say")


def _macs(space: Space[Arch], model: CostModel, base: Mapping[str, Any], choices: Mapping[str, Any]) -> int:
    try:
        return model(space.build(choices)).macs
    except ValueError as error:

        def fails(choices: Mapping[str, Any]) -> bool:
            try:
                model(space.build(choices))
            except ValueError:
                return True
            return False

        blame = ", ".join(f"{path} = {value}" for path, value in culprits(fails, base, choices).items())
        raise ValueError(f"{error}, with {blame or 'every hole at its first option'}") from None


def culprits(
    fails: Callable[[Mapping[str, Any]], bool], base: Mapping[str, Any], choices: Mapping[str, Any]
) -> dict[str, Any]:
    """The choices that make something fail: those that cannot be brought to ``base`` without it passing."""
    left = {**base, **choices}
    for path, usual in base.items():
        if left[path] != usual and fails({**left, path: usual}):
            left[path] = usual
    return {path: value for path, value in left.items() if value != base[path]}
