"""The cost model against `cost` of every architecture anew: equal in every field, memory included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import archsearch
from archsearch.costs import fast
from archsearch.costs.fast import CostModel
from archsearch.nets.zoo import Arch, load_arch
from archsearch.space import Space, to_plain


def choice(*options: Any) -> dict[str, list[Any]]:
    return {"choice": list(options)}


def blocks(*kernels: int, times: list[int]) -> dict[str, Any]:
    return {"repeat": {"kernel": choice(*kernels)}, "times": times}


def hrnet(kind: Any = "basic", **fields: Any) -> dict[str, Any]:
    stage = {"modules": choice(1, 2), "kind": kind}
    return {
        "kind": "hrnet",
        "input_hw": choice([64, 64], [64, 32], [96, 64]),
        "widths": [choice(4, 8, 12), choice(8, 16), choice(12, 32)],
        "stem": {"width": choice(8, 16), "planes": choice(4, 8), "blocks": blocks(1, 3, times=[1, 2])},
        "stages": [
            {**stage, "branches": [blocks(3, 5, times=[1, 2]), blocks(3, times=[1, 3])]},
            {**stage, "branches": [blocks(3, 5, times=[1, 2]), blocks(3, times=[1, 2]), blocks(3, 7, times=[2])]},
        ],
        "head": {"kind": "bottom_up", "deconvs": [{"width": choice(8, 16), "blocks": blocks(3, times=[0, 2])}]},
        **fields,
    }


def litepose() -> dict[str, Any]:
    """Depths, kernels and expansions too: blocks are seldom the same ones."""
    block = {"kernel": choice(3, 5, 7), "expand": choice(3, 6)}
    stages = [
        {"width": choice(8, 16), "stride": 2 - i // 3, "blocks": {"repeat": block, "times": [1, 2, 3]}}
        for i in range(4)
    ]
    head = {"filters": [choice(8, 16)] * 3, "kernel": choice(3, 5)}
    return {"kind": "litepose", "resolution": choice(64, 128), "stem": choice(8, 16), "stages": stages, "head": head}


def efficient() -> dict[str, Any]:
    plain = to_plain(load_arch("efficienthrnet-h4"))
    plain["input_hw"] = choice([64, 64], [128, 64])
    plain["rows"] = [
        {**row, "width": choice(row["width"] - 8, row["width"]), "blocks": {
            "repeat": {"kernel": choice(3, 5), "expand": row["blocks"][0]["expand"]}, "times": [1, 2]}}
        for row in plain["rows"]
    ]  # fmt: skip
    return plain  # type: ignore[no-any-return]


LITE_STEM = {"kind": "lite", "width": choice(8, 16), "planes": choice(8, 16), "blocks": []}
TOP_DOWN = {"kind": "top_down", "features": "iterative"}
SPACES: dict[str, Any] = {
    "litepose": litepose(),
    "basic": hrnet(),
    "no blocks": hrnet(stages=[{"modules": 1, "branches": [blocks(3, times=[0, 1]), blocks(3, times=[0, 2])]}],
                       widths=[choice(4, 8), 8]),
    "alternatives": hrnet(choice("basic", "shuffle")),
    "weighting": hrnet("weighting", stem=LITE_STEM, head=TOP_DOWN, links="separable", fusion="authors"),
    "shuffle": hrnet("shuffle", stem=LITE_STEM, head=TOP_DOWN, links="separable"),
    "concatenated": hrnet(head={"kind": "top_down", "features": "concat", "pyramid": [choice(8, 16), 16]}),
    "efficient": efficient(),
}  # fmt: skip


@pytest.mark.parametrize("name", SPACES)
def test_equals_the_cost_of_each_architecture_anew(name: str) -> None:
    space: Space[Arch] = Space(Arch, SPACES[name], name)
    model, rng = CostModel(space), np.random.default_rng(0)
    archs = [space.smallest(), *(space.sample(rng) for _ in range(15))]
    if "alternatives" not in name:
        archs.append(space.largest())
    for arch in archs:
        assert model(arch) == archsearch.cost(arch)
    assert [model(arch) for arch in archs] == [model(arch) for arch in archs]


def test_the_published_space() -> None:
    space = archsearch.load_space("litepose")
    assert space.size == 5 * 3 * 4**7
    assert load_arch("litepose-prune-l") == space.largest()
    assert all(load_arch(f"litepose-{name}") in space for name in ("xs", "s", "prune-s"))
    model, rng = CostModel(space), np.random.default_rng(0)
    for arch in (space.largest(), space.smallest(), *(space.sample(rng) for _ in range(30))):
        assert model(arch) == archsearch.cost(arch)


def test_other_inputs_and_joints() -> None:
    arch = load_arch("litepose-xs")
    model = CostModel(arch, joints=5)
    assert model(arch, (128, 64)) == archsearch.cost(arch, (128, 64), 5)
    with pytest.raises(ValueError, match="input 100x64 is not a multiple of 16"):
        model(arch, (100, 64))
    with pytest.raises(ValueError, match="17 joints: this cost model is of a network of 14"):
        model(load_arch("hrnet-w32"))


def test_what_the_largest_does_not_hold_is_refused_and_leaves_no_trace() -> None:
    small, large = load_arch("litepose-xs"), load_arch("litepose-prune-l")
    model = CostModel(small)
    before = model(small)
    with pytest.raises(ValueError, match="do not fit"):
        model(large)
    assert model(small) == before
    assert model._record.memory.live == 0


def test_forgetting_bounds_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "LIMIT", 50)
    space: Space[Arch] = Space(Arch, SPACES["litepose"])
    model, rng = CostModel(space), np.random.default_rng(0)
    for _ in range(20):
        arch = space.sample(rng)
        assert model(arch) == archsearch.cost(arch)
        assert sum(map(len, model._caches)) <= 50 + 30


def test_units_are_blocks_and_hold_all_multiplications() -> None:
    for name in ("litepose-s", "hrnet-w32", "litehrnet-18", "efficienthrnet-h4"):
        arch = load_arch(name)
        model = CostModel(arch)
        numbers = model.units_of(arch)
        assert sum(model.units[number].macs for number in numbers) == model(arch).macs
        assert len({unit.key for unit in model.units}) == len(model.units)
    litepose = CostModel(load_arch("litepose-s"))
    kinds = [litepose.units[n].module for n in litepose.units_of(litepose.largest)]
    assert kinds == ["StemNet", *["Inverted"] * 34, "Doubling", "Doubling", "Output", "Doubling", "Output"]
