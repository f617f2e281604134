"""Architectures as trees, and spaces: on a small tree of every kind of field."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.holes import Pattern, patterns
from archsearch.nodes import Composite
from archsearch.space import (
    LARGEST,
    Hole,
    Space,
    check_literals,
    fingerprint,
    from_plain,
    is_choice,
    is_repeat,
    resolve,
    to_plain,
)


@dataclass(frozen=True)
class Block:
    kernel: int
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is even")


@dataclass(frozen=True)
class Small:
    kind: Literal["small"]
    width: int


@dataclass(frozen=True)
class Large:
    kind: Literal["large"]
    input_hw: tuple[int, int]
    blocks: tuple[Block, ...]
    act: str = "relu"
    skip: bool = False
    inner: Small | None = None


Tree = Small | Large

BLOCK = {"kernel": {"choice": [3, 5]}, "ratio": {"choice": [1, 0.5]}}
PLAIN: dict[str, Any] = {
    "kind": "large",
    "input_hw": {"choice": [[64, 48], [96, 32]]},
    "blocks": {"repeat": BLOCK, "times": [0, 2]},
    "act": {"choice": ["relu", "silu"]},
    "skip": {"choice": [True, False]},
    "inner": {"kind": "small", "width": {"choice": [8, 4]}},
}
SPACE: Space[Large] = Space(Tree, PLAIN, "example")

# ------------------------------------------------------------------------------------------- hypothesis: any space

kernels = st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, max_size=3, unique=True)
ratios = st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=2, unique=True)


def or_fixed(options: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[Any]:
    """A choice of the options, or the first of them."""
    return st.one_of(options.map(lambda o: {"choice": o}), options.map(lambda o: o[0]))


blocks = st.fixed_dictionaries({"kernel": or_fixed(kernels)}, optional={"ratio": or_fixed(ratios)})
sizes = st.lists(st.sampled_from([[64, 48], [32, 96], [8, 8]]), min_size=1, max_size=2, unique_by=str)
times = st.one_of(st.integers(0, 2), st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True))
rows = st.one_of(
    st.lists(blocks, max_size=2),
    st.builds(lambda item, times: {"repeat": item, "times": times}, blocks, times),
)
spaces = st.fixed_dictionaries(
    {
        "kind": st.just("large"),
        "input_hw": or_fixed(sizes),
        "blocks": rows,
    },
    optional={"skip": or_fixed(st.just([True, False])), "inner": st.none()},
).map(lambda plain: Space[Large](Tree, plain))


def every(plain: Any) -> list[Any]:
    """All plain values without holes that a tree stands for, by brute force."""
    if is_choice(plain):
        return list(plain["choice"])
    if is_repeat(plain):
        depths = plain["times"] if isinstance(plain["times"], list) else [plain["times"]]
        items = every(plain["repeat"])
        return [list(row) for n in depths for row in itertools.product(items, repeat=n)]
    if isinstance(plain, dict):
        return [dict(zip(plain, values, strict=True)) for values in itertools.product(*map(every, plain.values()))]
    if isinstance(plain, list):
        return [list(values) for values in itertools.product(*map(every, plain))]
    return [plain]


@settings(deadline=None)
@given(spaces)
def test_size_is_the_number_of_architectures(space: Space[Large]) -> None:
    archs = [from_plain(Tree, plain) for plain in every(space.plain)]
    assert space.size == len(archs) == len(set(archs))
    assert len({fingerprint(arch) for arch in archs}) == len(archs)
    assert all(arch in space for arch in archs)


@settings(deadline=None)
@given(spaces, st.integers(0, 2**32))
def test_round_trips(space: Space[Large], seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert arch == space.sample(np.random.default_rng(seed))
    assert from_plain(Tree, to_plain(arch)) == arch
    choices = space.choices(arch)
    assert space.build(choices) == arch
    assert space.build({hole.path: hole.options[0] for hole in space.holes} | choices) == arch
    assert set(choices) <= {hole.path for hole in space.holes}
    assert all(choices[hole.path] in hole.options for hole in space.holes if hole.path in choices)


@settings(deadline=None)
@given(spaces, st.integers(0, 2**32))
def test_largest_and_smallest_bound_every_architecture(space: Space[Large], seed: int) -> None:
    arch, low, high = space.sample(np.random.default_rng(seed)), space.smallest(), space.largest()
    assert low in space
    assert len(low.blocks) <= len(arch.blocks) <= len(high.blocks)
    for a, b in zip(arch.blocks, high.blocks, strict=False):
        assert a.kernel <= b.kernel
        assert a.ratio <= b.ratio
    for a, b in zip(low.blocks, arch.blocks, strict=False):
        assert a.kernel <= b.kernel
    assert all(n <= m for n, m in zip(arch.input_hw, high.input_hw, strict=True))


@settings(deadline=None)
@given(spaces, st.integers(0, 2**32))
def test_canonical_form(space: Space[Large], seed: int) -> None:
    """Choices that differ in holes that are not reached build the same architecture, with the same fingerprint."""
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    canonical = space.choices(arch)
    rest = {hole.path: hole.options[rng.integers(len(hole.options))] for hole in space.holes}
    again = space.build({**rest, **canonical})
    assert again == arch
    assert fingerprint(again) == fingerprint(arch)
    assert space.choices(again) == canonical


@settings(deadline=None)
@given(spaces, st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 1.0]))
def test_mutation(space: Space[Large], seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    if space.size == 1:
        with pytest.raises(ValueError, match="space has one architecture only: nothing can be mutated"):
            space.mutate(arch, rng, rate)
        return
    found = space.mutate(arch, np.random.default_rng(seed), rate)
    assert found == space.mutate(arch, np.random.default_rng(seed), rate)
    before, after = space.choices(arch), space.choices(found)
    changed = {path for path in before if path in after and after[path] != before[path]}
    assert changed
    several = {hole.path for hole in space.holes if len(hole.options) > 1}
    if rate == 0:
        assert len(changed) == 1
        assert after.keys() == before.keys() or changed == {"/blocks/times"}
    if rate == 1:
        assert changed == several & before.keys() & after.keys()


@settings(deadline=None)
@given(spaces, st.integers(0, 2**32))
def test_crossover(space: Space[Large], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    found = space.choices(space.crossover(a, b, rng))
    ours, theirs = space.choices(a), space.choices(b)
    for path, value in found.items():
        assert value in [parent[path] for parent in (ours, theirs) if path in parent]
    assert space.crossover(a, a, rng) == a


@settings(deadline=None)
@given(spaces)
def test_filling_asks_for_the_holes_that_are_reached_in_order(space: Space[Large]) -> None:
    asked: list[Hole] = []

    def last(path: str, options: tuple[Any, ...]) -> Any:
        asked.append(Hole(path, options))
        return options[-1]

    arch = space.fill(last)
    choices = space.choices(arch)
    assert asked == [hole for hole in space.holes if hole.path in choices]
    assert choices == {hole.path: hole.options[-1] for hole in asked}
    assert from_plain(Tree, resolve(space.plain, lambda _, options: options[-1])) == arch


@settings(deadline=None)
@given(spaces, st.integers(0, 2**32))
def test_copies_and_other_processes(space: Space[Large], seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    for other in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert other.sample(np.random.default_rng(seed)) == arch
        assert (other.name, other.holes, other.size) == (space.name, space.holes, space.size)


# ------------------------------------------------------------------------------------------------ one space by hand


def test_holes_and_their_paths() -> None:
    assert [hole.path for hole in SPACE.holes] == [
        "/input_hw",
        "/blocks/times",
        "/blocks/0/kernel",
        "/blocks/0/ratio",
        "/blocks/1/kernel",
        "/blocks/1/ratio",
        "/act",
        "/skip",
        "/inner/width",
    ]
    assert SPACE.holes[1] == Hole("/blocks/times", (0, 2))
    assert SPACE.size == 2 * (1 + 4**2) * 2 * 2 * 2


def test_largest_and_smallest() -> None:
    inner = Small("small", 8)
    assert SPACE.largest() == Large("large", (96, 48), (Block(5, 1.0),) * 2, "relu|silu", True, inner)
    assert SPACE.smallest() == Large("large", (64, 48), (), "relu", False, Small("small", 4))


def test_only_holes_that_are_reached_are_chosen() -> None:
    arch = SPACE.smallest()
    assert SPACE.choices(arch) == {
        "/input_hw": [64, 48], "/blocks/times": 0, "/act": "relu", "/skip": False, "/inner/width": 4
    }  # fmt: skip


def test_samples_are_uniform_over_the_options_of_a_hole() -> None:
    rng = np.random.default_rng(0)
    samples = [SPACE.sample(rng) for _ in range(400)]
    assert 160 < sum(len(arch.blocks) == 2 for arch in samples) < 240
    assert 160 < sum(arch.skip for arch in samples) < 240


def test_what_is_not_in_a_space() -> None:
    arch = SPACE.largest()
    assert arch not in SPACE  # it joins the alternatives
    for change in ({"act": "gelu"}, {"input_hw": (64, 32)}, {"inner": None}, {"blocks": (Block(3),)}):
        assert dataclasses.replace(SPACE.smallest(), **change) not in SPACE
    assert "large" not in SPACE
    assert None not in SPACE
    with pytest.raises(ValueError, match=re.escape("1 items are not one of (0, 2) at /blocks")):
        SPACE.choices(dataclasses.replace(SPACE.smallest(), blocks=(Block(3),)))
    fixed: Space[Small] = Space(Tree, {"kind": "small", "width": 4})
    with pytest.raises(ValueError, match="differs from space outside of the holes"):
        fixed.choices(Small("small", 5))


def test_building_needs_a_value_for_every_hole() -> None:
    choices = SPACE.choices(SPACE.smallest())
    with pytest.raises(ValueError, match="no value for /blocks/times"):
        SPACE.build({name: value for name, value in choices.items() if name != "/blocks/times"})
    with pytest.raises(ValueError, match=re.escape("'gelu' is not one of ('relu', 'silu') at /act")):
        SPACE.build({**choices, "/act": "gelu"})
    assert SPACE.build({**choices, "/blocks/0/kernel": "never looked at"}) == SPACE.smallest()


def test_fingerprints_tell_architectures_apart() -> None:
    """Stable over processes: the figure is written down."""
    assert fingerprint(Small("small", 4)) == "6adc5a9a8677"
    assert fingerprint(Small("small", 5)) != fingerprint(Small("small", 4))


def test_what_differs_is_named() -> None:
    arch: Any = dataclasses.replace(SPACE.smallest(), inner=None)
    outside = (
        f"architecture {fingerprint(arch)} differs from example outside of the holes: NoneType is not Small at /inner"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(outside)}$"):
        SPACE.choices(arch)
    with pytest.raises(ValueError, match=re.escape("'gelu' is not one of ('relu', 'silu') at /act")):
        SPACE.choices(dataclasses.replace(SPACE.smallest(), act="gelu"))
    with pytest.raises(ValueError, match=re.escape("[64, 32] is not one of ([64, 48], [96, 32]) at /input_hw")):
        SPACE.choices(dataclasses.replace(SPACE.smallest(), input_hw=(64, 32)))
    with pytest.raises(ValueError, match="is not a tuple at /blocks"):
        SPACE.choices(dataclasses.replace(SPACE.smallest(), blocks=[]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="7 differs from example outside of the holes: int is not Large at /"):
        SPACE.choices(7)  # type: ignore[arg-type]
    fixed: Space[Large] = Space(Tree, {"kind": "large", "input_hw": [8, 8], "blocks": [{"kernel": 3}, {"kernel": 5}]})
    arch = fixed.smallest()
    for change, words in (
        ({"blocks": (Block(3), Block(7))}, "outside of the holes: 7 is not 5 at /blocks/1/kernel"),
        ({"blocks": (Block(3), Block(5, 2.0))}, "outside of the holes: 2.0 is not 1.0 at /blocks/1/ratio"),
        ({"blocks": (Block(3),)}, "1 items are not one of (2,) at /blocks"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            fixed.choices(dataclasses.replace(arch, **change))


def test_mutation_needs_a_rate_and_a_member() -> None:
    rng = np.random.default_rng(0)
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"mutation rate {rate} is not from 0 to 1"):
            SPACE.mutate(SPACE.smallest(), rng, rate)
    for operation in (
        lambda: SPACE.mutate(SPACE.largest(), rng, 0.5),
        lambda: SPACE.crossover(SPACE.smallest(), SPACE.largest(), rng),
    ):
        with pytest.raises(ValueError, match=re.escape("[96, 48] is not one of ([64, 48], [96, 32]) at /input_hw")):
            operation()


def test_mutations_are_as_frequent_as_asked_and_uniform() -> None:
    space: Space[Large] = Space(Tree, {**PLAIN, "blocks": {"repeat": {"kernel": {"choice": [1, 3, 5]}}, "times": 50}})
    rng, arch = np.random.default_rng(0), space.smallest()
    found = [space.mutate(arch, rng, 0.2) for _ in range(100)]
    kernels = [block.kernel for one in found for block in one.blocks]  # 5000 of them, all 1 before
    assert 900 < sum(kernel != 1 for kernel in kernels) < 1100
    assert 400 < kernels.count(3) < 600


def test_equal_parts_of_architectures_are_one_object() -> None:
    rng = np.random.default_rng(0)
    archs = [SPACE.sample(rng) for _ in range(200)]
    assert len({id(block) for arch in archs for block in arch.blocks}) == 2 * 2
    assert len({id(arch.inner) for arch in archs}) == 2
    fixed: Space[Small] = Space(Tree, {"kind": "small", "width": 4})
    assert fixed.sample(rng) is fixed.sample(rng)


def test_what_is_kept_does_not_grow_with_the_choices_that_are_built() -> None:
    """Equal options that are other objects, as those of a file, build the same parts; joined ones are not kept."""
    root: Any = SPACE._root
    before = SPACE.choices(SPACE.fill(lambda _, options: options[-1]))
    for _ in range(50):
        again = SPACE.build({**before, "/input_hw": list(before["/input_hw"])})
        assert again is SPACE.build(before)
        SPACE.fill(lambda path, options: "|".join(options) if path == "/act" else options[0])
    assert isinstance(root, Composite)
    assert len(root.kept) <= root.size


def test_a_pick_that_is_no_option() -> None:
    """As the joined alternatives of the largest: taken where the architecture takes it, refused with the path else."""
    assert SPACE.fill(lambda path, options: "relu|silu" if path == "/act" else options[0]).act == "relu|silu"
    for path, value, message in (
        ("/blocks/0/kernel", True, "True is not a whole number at /blocks/0/kernel"),
        ("/blocks/0/kernel", 4, "kernel 4 is even at /blocks/0"),
        ("/blocks/times", 1, "1 items are not one of (0, 2) at /blocks"),
        ("/input_hw", [1], "2 values needed, 1 given at /input_hw"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            SPACE.fill(lambda at, options, path=path, value=value: value if at == path else options[-1])


@dataclass(frozen=True)
class Grid:
    rows: tuple[tuple[Block, ...], ...]
    ends: tuple[int, float] = (1, 2.0)


ROW = {"repeat": {"kernel": {"choice": [1, 3]}}, "times": [0, 1, 2]}
GRID: Space[Grid] = Space(Grid, {"rows": {"repeat": ROW, "times": [1, 3]}}, "grid")


def test_lists_within_lists() -> None:
    archs = [from_plain(Grid, value) for value in every(GRID.plain)]
    assert GRID.size == (1 + 2 + 4) + (1 + 2 + 4) ** 3 == len(set(archs))
    assert all(GRID.build(GRID.choices(arch)) == arch for arch in archs)
    rng = np.random.default_rng(0)
    seen = set()
    for a, b in itertools.pairwise([GRID.sample(rng) for _ in range(300)]):
        seen |= {a, GRID.mutate(a, rng, 0.3), GRID.crossover(a, b, rng)}
    assert len(seen) > 200
    assert all(arch in GRID for arch in seen)
    assert [hole.path for hole in GRID.holes[:5]] == [
        "/rows/times", "/rows/0/times", "/rows/0/0/kernel", "/rows/0/1/kernel", "/rows/1/times"
    ]  # fmt: skip


def test_tuples_of_a_length() -> None:
    space: Space[Grid] = Space(Grid, {"rows": [], "ends": [{"choice": [1, 2]}, {"choice": [1, 0.5]}]})
    assert space.size == 4
    assert {space.build({"/ends/0": a, "/ends/1": b}).ends for a in (1, 2) for b in (1, 0.5)} == {
        (1, 1.0), (1, 0.5), (2, 1.0), (2, 0.5)
    }  # fmt: skip
    for ends, count in (([1], 1), ({"repeat": 1, "times": [2, 3]}, 3), ({"repeat": 1, "times": 1}, 1)):
        with pytest.raises(ValueError, match=f"2 values needed, {count} given at /ends"):
            Space(Grid, {"rows": [], "ends": ends})


def test_patterns_of_holes() -> None:
    holes = [
        *(Hole(f"/stages/{s}/blocks/{b}/kernel", (3, 5)) for s in (0, 1, 3) for b in range(3)),
        Hole("/stages/2/blocks/0/kernel", (3, 5)),
        Hole("/stages/2/blocks/1/kernel", (3, 7)),
        Hole("/widths/0", (3, 5)),
        Hole("/widths/1", (3, 5)),
        Hole("/act", ("a", "b")),
        Hole("/sizes", ([1, 2], [3, 4])),
    ]
    assert patterns(holes) == [
        Pattern("/stages/0-1,3/blocks/0-2/kernel", (3, 5), 9),
        Pattern("/stages/2/blocks/0/kernel", (3, 5), 1),
        Pattern("/stages/2/blocks/1/kernel", (3, 7), 1),
        Pattern("/widths/0-1", (3, 5), 2),
        Pattern("/act", ("a", "b"), 1),
        Pattern("/sizes", ([1, 2], [3, 4]), 1),
    ]
    assert patterns([]) == []
    assert sum(pattern.count for pattern in patterns(GRID.holes)) == len(GRID.holes)


# ------------------------------------------------------------------------------------------------------- errors


def plain(**change: Any) -> dict[str, Any]:
    return {"kind": "large", "input_hw": [64, 48], "blocks": [{"kernel": 3}], **change}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (plain(kind="huge"), "kind 'huge' is not one of small, large at /"),
        (plain(kind=["small"]), "kind ['small'] is not one of small, large at /"),
        (3, "kind None is not one of small, large at /"),
        (None, "kind None is not one of small, large at /"),
        (plain(width=3), "'width' is not a field of Large (kind, input_hw, blocks, act, skip, inner) at /"),
        ({"kind": "large", "blocks": []}, "input_hw of Large is missing at /"),
        (plain(input_hw=[64]), "2 values needed, 1 given at /input_hw"),
        (plain(input_hw=64), "64 is not a list at /input_hw"),
        (plain(input_hw=[64, "48"]), "'48' is not a whole number at /input_hw/1"),
        (plain(input_hw=[64, True]), "True is not a whole number at /input_hw/1"),
        (plain(blocks=[{"kernel": 3}, {"kernel": 3.0}]), "3.0 is not a whole number at /blocks/1/kernel"),
        (plain(blocks=[{"kernel": 4}]), "kernel 4 is even at /blocks/0"),
        (plain(blocks=[7]), "7 is not a mapping of the fields of Block at /blocks/0"),
        (plain(blocks=[{"kernel": 3, "ratio": "1"}]), "'1' is not a number at /blocks/0/ratio"),
        (plain(blocks=[{"kernel": 3, "ratio": True}]), "True is not a number at /blocks/0/ratio"),
        (plain(blocks="ab"), "'ab' is not a list at /blocks"),
        (plain(act=3), "3 is not a text at /act"),
        (plain(skip=1), "1 is not true or false at /skip"),
        (plain(inner={"kind": "large", "width": 3}), "'large' is not one of small at /inner/kind"),
    ],
)
def test_values_that_do_not_fit(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        from_plain(Tree, value)


FORM = "is not of numbers, of texts or of lists of one form"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (plain(act={"choice": []}), "choice [] is not a list of options at /act"),
        (plain(act={"choice": "relu"}), "choice 'relu' is not a list of options at /act"),
        (plain(act={"choice": ["relu", "silu", "relu"]}), "has an option twice at /act"),
        (plain(act={"choice": ["relu", 3]}), f"choice ['relu', 3] {FORM} at /act"),
        (plain(act={"choice": [None, "relu"]}), f"{FORM} at /act"),
        (plain(inner={"choice": [{"kind": "small", "width": 3}, {"kind": "small", "width": 4}]}), f"{FORM} at /inner"),
        (plain(input_hw={"choice": [[64, 48], [64]]}), f"{FORM} at /input_hw"),
        (plain(input_hw={"choice": [[64, 48], [64, "a"]]}), f"{FORM} at /input_hw"),
        (plain(blocks={"repeat": BLOCK, "times": -1}), "times -1 is not a whole number from 0 at /blocks"),
        (plain(blocks={"repeat": BLOCK, "times": True}), "times True is not a whole number from 0 at /blocks"),
        (plain(blocks={"repeat": BLOCK, "times": [1, "a"]}), f"{FORM} at /blocks/times"),
        (plain(blocks={"repeat": BLOCK, "times": ["a"]}), "times 'a' is not a whole number from 0 at /blocks"),
        (plain(blocks=[{"kernel": {"choice": [3, 4]}}]), "kernel 4 is even at /blocks/0"),
        (plain(blocks=[{"kernel": {"choice": [3, 0.5]}}]), "0.5 is not a whole number at /blocks/0/kernel"),
        (plain(blocks=[{"kernel": {"choice": [3, 4, 5]}}]), "kernel 4 is even at /blocks/0"),
        (plain(blocks=[{"kernel": {"choice": [3, 4.0, 5]}}]), "4.0 is not a whole number at /blocks/0/kernel"),
        (plain(kind={"choice": ["small", "large"]}), "kind 'small|large' is not one of small, large at /"),
        (plain(blocks={"repeat": 3, "times": [0, 2]}), "3 is not a mapping of the fields of Block at /blocks/0"),
        (plain(act={"repeat": "relu", "times": 2}), "['relu', 'relu'] is not a text at /act"),
        (plain(inner={"repeat": 1, "times": 2}), "[1, 1] is not a mapping of the fields of Small at /inner"),
        (plain(width={"choice": [1]}), "'width' is not a field of Large"),
    ],
)
def test_spaces_that_are_none(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Space(Tree, value)


def test_a_space_of_one_kind() -> None:
    space: Space[Small] = Space(Small, {"kind": "small", "width": {"choice": [1, 2]}})
    assert space.sample(np.random.default_rng(0)).width in (1, 2)
    assert from_plain(Small, {"kind": "small", "width": 3}) == Small("small", 3)


def test_a_choice_of_one_kind() -> None:
    space: Space[Small] = Space(Tree, {"kind": {"choice": ["small"]}, "width": 3})
    assert space.sample(np.random.default_rng(0)) == Small("small", 3)
    assert space.choices(Small("small", 3)) == {"/kind": "small"}


def test_resolve_keeps_what_is_no_hole() -> None:
    value = {"a": [1, {"choice": [1], "more": 2}], "b": {"repeat": 1}}
    assert resolve(value, lambda path, options: options[0]) == value


# ---------------------------------------------------------------------------------------------- what must not be let in


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"repeat": 1, "times": 10**9}, "times 1000000000 makes 1000000001 values at /"),
        ({"a": {"repeat": 1, "times": [2, 10**9]}}, "times 1000000000 makes 1000000001 values at /a"),
        ([{"repeat": {"repeat": 1, "times": 1000}, "times": 1000}], "times 1000 makes 1001001 values at /0"),
        ([{"repeat": 1, "times": LARGEST - 2}] * 2, f"this makes {2 * LARGEST - 1} values at /"),
    ],
)
def test_trees_that_would_grow_without_limit(plain: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}, an architecture has at most {LARGEST}$"):
        resolve(plain, lambda *_: pytest.fail("nothing is expanded"))


def test_aliases_of_yaml() -> None:
    """Nested aliases double at every level and cost nothing until they are expanded; one may contain itself."""
    bomb: Any = [1]
    for _ in range(60):
        bomb = [bomb, bomb]
    with pytest.raises(ValueError, match="an architecture has at most"):
        resolve(bomb, lambda *_: None)
    itself: Any = {"a": 1}
    itself["b"] = itself
    with pytest.raises(ValueError, match="a value that contains itself at /b"):
        resolve(itself, lambda *_: None)


@pytest.mark.parametrize("times", [True, -1, "9", 1.5, None, {"choice": [1]}])
def test_times_that_are_no_numbers(times: Any) -> None:
    with pytest.raises(ValueError, match="is not a whole number from 0"):
        resolve({"repeat": 1, "times": times}, lambda *_: None)


@dataclass(frozen=True)
class Named:
    kind: Literal["named"]
    mode: Literal["a", "b"] = "a"
    count: int = 1

    def __post_init__(self) -> None:
        check_literals(self)


def test_literal_fields_hold_literals() -> None:
    assert Named("named", "b").mode == "b"
    with pytest.raises(ValueError, match=r"^kind \(1, 2\) of Named is not one of named$"):
        Named((1, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^mode 'c' of Named is not one of a, b$"):
        Named("named", "c")  # type: ignore[arg-type]
