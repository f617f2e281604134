"""LitePose against the figures of the authors' networks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets.fingerprint import assert_fingerprint, load
from nets.parity import assert_extracts, randomise

import archsearch
from archsearch.files import InputError
from archsearch.nets.litepose import Block, Head, LitePose, LitePoseNet, Stage
from archsearch.nets.litepose_json import from_litepose_json
from archsearch.nets.zoo import arch_yaml
from archsearch.space import Space

FIGURES = {name: entry for name, entry in load("fingerprints").items() if name.startswith("litepose/")}
SLICES = {name: entry for name, entry in load("fingerprints").items() if name.startswith("super-litepose/")}
ZOO = [f"litepose-{size}" for size in ("xs", "s", "m", "l", "prune-s", "prune-m", "prune-l")]


def uniform(widths: list[int], depths: list[int], block: Block) -> tuple[Stage, ...]:
    strides = [2] * (len(widths) - 1) + [1]
    return tuple(Stage(w, s, (block,) * d) for w, s, d in zip(widths, strides, depths, strict=True))


def with_kernel(arch: LitePose, kernel: int) -> LitePose:
    return replace(
        arch, stages=tuple(replace(s, blocks=tuple(replace(b, kernel=kernel) for b in s.blocks)) for s in arch.stages)
    )


def arch_of(model: str) -> LitePose:
    """The architecture that a model in the figures has."""
    name = model.split("/")[1]
    if name.startswith("kernel-ablation"):
        return with_kernel(archsearch.load_arch("litepose-prune-s"), int(name[-1]))
    return archsearch.load_arch(f"litepose-{name.removeprefix('search-').lower()}")


# The largest network of the published space. Depths of 6, 8, 10 and 10; its sampler never reaches the last blocks.
LARGEST = LitePose(
    "litepose", 512, 24, uniform([32, 64, 96, 160], [6, 8, 10, 10], Block(7, 6)), Head((64, 48, 32)), joints=14
)

SPACE = {
    "kind": "litepose",
    "resolution": {"choice": [32, 64]},
    "stem": {"choice": [4, 8]},
    "stages": [
        {
            "width": {"choice": [4, 6, 8]},
            "stride": stride,
            "blocks": {
                "repeat": {"kernel": {"choice": [3, 5, 7, 9]}, "expand": {"choice": [1, 2, 3]}},
                "times": [1, 2, 3],
            },
        }
        for stride in (2, 2, 2, 1)
    ],
    "head": {"filters": [{"choice": [4, 8]}] * 3, "fusion": {"choice": [True, False]}, "kernel": {"choice": [3, 5]}},
    "joints": 5,
}


@pytest.mark.parametrize("model", FIGURES)
def test_the_authors_network(model: str) -> None:
    figures = FIGURES[model]
    with torch.device("meta"):  # without initial weights
        net = archsearch.build(arch_of(model), joints=figures["joints"])
    assert sum(p.numel() for p in net.parameters()) == figures["params"]
    assert_fingerprint(net.to_empty(device="cpu"), figures)


@pytest.mark.parametrize("model", SLICES)
def test_slices_of_the_authors_supernet(model: str) -> None:
    figures = SLICES[model]
    assert_fingerprint(archsearch.build(LARGEST), figures, arch=from_litepose_json(figures["arch"]))


@pytest.mark.parametrize("model", FIGURES)
def test_costs(model: str) -> None:
    expected = load("complexity")[model]
    found = archsearch.cost(arch_of(model), tuple(expected["input_hw"]), expected["joints"])
    assert found.params == expected["params"]
    assert {name: found.macs_by_convention[name] for name in expected["macs"]} == expected["macs"]


@pytest.mark.parametrize(
    ("kernel", "printed_g"), [(3, 3.769), (5, 4.135), (7, 4.685), (9, 5.418)], ids=lambda v: str(v)
)
def test_kernel_ablation(kernel: int, printed_g: float) -> None:
    """Figure 7 of the paper; for kernel 9 it prints 5.33 G, which no network gives."""
    arch = with_kernel(archsearch.load_arch("litepose-prune-s"), kernel)
    assert round(archsearch.cost(arch).macs_by_convention["ptflops_0_6"] / 1e9, 3) == printed_g


def test_head_ablation() -> None:
    arch = archsearch.load_arch("litepose-prune-s")
    plain = replace(arch, head=replace(arch.head, fusion=False))
    assert round(archsearch.cost(plain).macs_by_convention["ptflops_0_6"] / 1e9, 3) == 4.056


@pytest.mark.parametrize("name", ZOO)
def test_zoo_files_say_what_they_are(name: str) -> None:
    arch = archsearch.load_arch(name)
    text = (Path(__file__).parents[2] / "search_spaces" / "zoo" / f"{name}.yaml").read_text()
    assert text.startswith("# LitePose")
    assert text.partition("\n")[2] == arch_yaml(arch)
    assert arch.input_hw == (arch.resolution, arch.resolution)
    assert arch.blocks == 34


def test_extraction() -> None:
    space: Space[LitePose] = Space(LitePose, SPACE)
    net = randomise(LitePoseNet(space.largest()))
    rng = np.random.default_rng(0)
    archs = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(7))]
    assert len({arch.head.fusion for arch in archs}) == 2
    for arch in archs:
        x = torch.randn(2, 3, *arch.input_hw, generator=torch.Generator().manual_seed(1))
        maps = net(x, arch)
        assert [tuple(m.shape) for m in maps] == [
            (2, 10, arch.resolution // 4, arch.resolution // 4),
            (2, 5, arch.resolution // 2, arch.resolution // 2),
        ]
        assert_extracts(net, arch, x)


def test_residuals_follow_the_place_of_a_block() -> None:
    """The first block of the last stage has stride 1, and here also the width that comes in: still no residual."""
    arch = LitePose("litepose", 32, 8, uniform([8, 8, 8, 8], [1, 1, 1, 2], Block(3, 1)), Head((8, 8, 8)))
    net = LitePoseNet(arch).eval()
    first, second = net.stages[3].blocks
    with torch.no_grad():
        for block in (first, second):
            block.project.bn.weight.zero_()
        x = torch.randn(1, 8, 4, 4)
        assert torch.equal(first(x, 8, Block(3, 1)), torch.zeros_like(x))
        assert torch.equal(second(x, 8, Block(3, 1)), x)


def test_what_does_not_fit_is_refused() -> None:
    small = LitePose("litepose", 32, 4, uniform([4, 4, 4, 4], [1, 1, 1, 1], Block(3, 1)), Head((4, 4, 4), False))
    net, x = LitePoseNet(small), torch.zeros(1, 3, 32, 32)
    deeper = replace(small, stages=uniform([4, 4, 4, 4], [1, 1, 1, 2], Block(3, 1)))
    with pytest.raises(ValueError, match="2 blocks do not fit into a stage of 1"):
        net(x, deeper)
    with pytest.raises(ValueError, match="with fusion does not fit"):
        net(x, replace(small, head=Head((4, 4, 4), True)))
    with pytest.raises(ValueError, match=re.escape("channels (8,) do not fit into a layer with (4,)")):
        net(x, replace(small, stem=8))
    with pytest.raises(ValueError, match="kernel 5"):
        net(x, with_kernel(small, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 100}, "resolution 100 is not a multiple of 16"),
        ({"resolution": 0}, "resolution 0 is not"),
        ({"stem": 0}, "stem 0 and joints 5 must be positive"),
        ({"head": Head((8, 8))}, "strides [2, 2, 2, 1] of the stages: with 2 filters"),
    ],
)
def test_architectures_that_are_none(change: dict[str, Any], message: str) -> None:
    arch: LitePose = Space[LitePose](LitePose, SPACE).smallest()
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(arch, **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Block(4), "kernel 4 is not an odd number"),
        (lambda: Block(3, 0), "expand 0"),
        (lambda: Stage(0, 1, (Block(),)), "width 0"),
        (lambda: Stage(8, 1, ()), "a stage without blocks"),
        (lambda: Head((8,)), "are not two or more"),
        (lambda: Head((8, 8, 8), True, 4), "kernel 4"),
    ],
)
def test_parts_that_are_none(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ----------------------------------------------------------------------------------------- the authors' files


def authors_file(tmp_path: Path, **change: Any) -> Path:
    path = tmp_path / "search-S.json"
    path.write_text(json.dumps({**SLICES["super-litepose/search-S"]["arch"], **change}))
    return path


def test_the_authors_json(tmp_path: Path) -> None:
    assert archsearch.load_arch(authors_file(tmp_path)) == archsearch.load_arch("litepose-s")


def test_our_own_architectures_as_json(tmp_path: Path) -> None:
    arch = archsearch.load_arch("litepose-xs")
    path = tmp_path / "xs.json"
    path.write_text(json.dumps(archsearch.space.to_plain(arch)))
    assert archsearch.load_arch(path) == arch


STAGE = {"num_blocks": 1, "stride": 2, "channel": 16, "block_setting": [[6, 7]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_size": "448"}, "'448' is not a whole number at /img_size"),
        ({"img_size": 450}, "resolution 450 is not a multiple of 16"),
        ({"input_channel": None}, "None is not a whole number at /input_channel"),
        ({"input_channel": -1}, "input_channel -1"),
        ({"deconv_setting": [32, 24]}, "deconv_setting [32, 24] with 4 items"),
        ({"deconv_setting": 3}, "3 is not a list at /deconv_setting"),
        ({"extra": 1}, "'extra' is not a field"),
        ({"backbone_setting": {}}, "{} is not a list at /backbone_setting"),
        ({"backbone_setting": [{}]}, "num_blocks of _Stage is missing at /backbone_setting/0"),
        ({"backbone_setting": [{**STAGE, "num_blocks": 2}]}, "num_blocks 2 with 1 items in block_setting at"),
        ({"backbone_setting": [{**STAGE, "channel": 0}]}, "channel 0 must be positive at /backbone_setting/0"),
        ({"backbone_setting": [{**STAGE, "channel": 1.5}]}, "1.5 is not a whole number at /backbone_setting/0/channel"),
        ({"backbone_setting": [{**STAGE, "block_setting": [[6, 4]]}]}, "[6, 4] is not a positive expansion"),
        ({"backbone_setting": [{**STAGE, "block_setting": [[6]]}]}, "/backbone_setting/0/block_setting/0"),
        ({"backbone_setting": [STAGE] * 4}, "strides [2, 2, 2, 2]"),
    ],
)
def test_bad_files_of_the_authors_format(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = authors_file(tmp_path, **change)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        archsearch.load_arch(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '{"backbone_setting": 1}', "\x00"])
def test_files_that_are_no_architecture(tmp_path: Path, text: str) -> None:
    path = tmp_path / "arch.json"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))):
        archsearch.load_arch(path)
