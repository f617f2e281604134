"""Architectures as trees, and spaces: on a small tree of every kind of field."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(spaces)
def test_size_is_the_number_of_architectures(space: Space[Large]) -> None:
    archs = [from_plain(Tree, plain) for plain in every(space.plain)]
    assert space.size == len(archs) == len(set(archs))
    assert len({fingerprint(arch) for arch in archs}) == len(archs)
    assert all(arch in space for arch in archs)


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
    ],
)
def test_spaces_that_are_none(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Space(Tree, value)


def test_a_space_of_one_kind() -> None:
    space: Space[Small] = Space(Small, {"kind": "small", "width": {"choice": [1, 2]}})
    assert space.sample(np.random.default_rng(0)).width in (1, 2)
    assert from_plain(Small, {"kind": "small", "width": 3}) == Small("small", 3)


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
