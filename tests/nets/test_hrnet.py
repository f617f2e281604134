"""HRNet, HigherHRNet and the variants of the gradual shrinking against the figures of the authors' networks."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets.fingerprint import assert_outputs, load, run
from nets.parity import assert_extracts, randomise
from torch import Tensor, nn

import archsearch
from archsearch.elastic import Parts, leading
from archsearch.nets.heads import Block, BottomUp, Deconv, DeconvRow, TopDown
from archsearch.nets.hrnet import HRNet, HRNetNet, Stage, Stem
from archsearch.space import Space

FAMILIES = ("higherhrnet/", "higherhrnet-official/", "hrnet/")
FIGURES = {name: entry for name, entry in load("fingerprints").items() if name.startswith(FAMILIES)}
FOUR = (Block(),) * 4


def higher(width: int, planes: int, deconv: int = 32, blocks: int = 4, depths: int = 4) -> HRNet:
    """HigherHRNet of a width; ``blocks`` residual blocks in the head, ``depths`` in every branch."""
    branch = (Block(),) * depths
    return HRNet(
        kind="hrnet",
        input_hw=(512, 512),
        widths=(width, 2 * width, 4 * width, 8 * width),
        stem=Stem(64, planes, FOUR),
        stages=tuple(Stage(n, (branch,) * b) for n, b in ((1, 2), (4, 3), (3, 4))),
        head=BottomUp(deconvs=(Deconv(deconv, (Block(),) * blocks),)),
        joints=14,
    )


@functools.cache
def archs() -> dict[str, HRNet]:
    """The architecture of every model in the figures, from the zoo or built here."""
    zoo = archsearch.load_arch
    return {
        "higherhrnet/baseline-w16/crowd_pose": zoo("higherhrnet-w16-baseline"),
        "higherhrnet/shrink1-w16/crowd_pose": zoo("higherhrnet-w16-shrink1"),
        "higherhrnet/shrink3-w18/crowd_pose": zoo("higherhrnet-w18-shrink3"),
        "higherhrnet/w16-yaml-as-shipped/crowd_pose": zoo("higherhrnet-w18-shrink3"),
        "higherhrnet/w16-stem64-bb4/crowd_pose": zoo("higherhrnet-w16"),
        "higherhrnet/w18-stem64-bb4/crowd_pose": higher(18, 64),
        "higherhrnet/w24-stem64-bb4/crowd_pose": zoo("higherhrnet-w24"),
        "higherhrnet/w32-stem64-bb4/crowd_pose": zoo("higherhrnet-w32"),
        "higherhrnet/w24-stem48-bb4/crowd_pose": higher(24, 48),
        "higherhrnet/w24-stem64-bb4-dc24/crowd_pose": higher(24, 64, deconv=24),
        "higherhrnet/w18-stem36-bb0/crowd_pose": higher(18, 36, blocks=0),
        "higherhrnet-official/w32-512/coco": zoo("higherhrnet-w32"),
        "higherhrnet-official/w32-512/crowd_pose": zoo("higherhrnet-w32"),
        "higherhrnet-official/w32-640/coco": zoo("higherhrnet-w32"),
        "higherhrnet-official/w32-640/crowd_pose": zoo("higherhrnet-w32"),
        "hrnet/w32-256x192": zoo("hrnet-w32"),
        "hrnet/w32-384x288": zoo("hrnet-w32"),
    }


cost = functools.cache(archsearch.cost)  # several models of the figures are the same one


@functools.cache
def outputs(arch: HRNet, joints: int) -> tuple[int, dict[str, list[Tensor]]]:
    """Parameters, and outputs at every gain."""
    with torch.device("meta"):  # without initial weights, which take longer than the run
        net = archsearch.build(arch, joints=joints)
    model = next(name for name in FIGURES if archs()[name] == arch)
    return sum(p.numel() for p in net.parameters()), run(net.to_empty(device="cpu"), FIGURES[model])


@pytest.mark.parametrize("model", FIGURES)
def test_the_authors_network(model: str) -> None:
    figures = FIGURES[model]
    params, maps = outputs(archs()[model], figures["joints"])
    assert params == figures["params"]
    for gain, expected in figures["outputs"].items():
        assert_outputs(maps[gain], expected)


@pytest.mark.parametrize("model", FIGURES)
def test_costs(model: str) -> None:
    expected = load("complexity")[model]
    found = cost(archs()[model], tuple(expected["input_hw"]), expected["joints"])
    assert found.params == expected["params"]
    assert {name: found.macs_by_convention[name] for name in expected["macs"]} == expected["macs"]
    assert found.macs_by_convention["hrnet_gi"] == expected["macs"]["hrnet_summary"] / 2**30


@pytest.mark.parametrize(
    ("name", "printed_g", "true_g", "params"),
    [
        ("w16-baseline", 12.499, 11.219, 7_205_194),
        ("w16-shrink1", 10.121, 8.878, 6_713_546),
        ("w18-shrink2", 10.018, 8.735, 7_621_334),
        ("w18-shrink3", 9.148, 7.875, 7_375_166),
    ],
)
def test_gradual_shrinking(name: str, printed_g: float, true_g: float, params: int) -> None:
    """The four steps as the slides of LitePose print them (page 10)."""
    found = cost(archsearch.load_arch(f"higherhrnet-{name}"))
    assert round(found.macs_by_convention["ptflops_0_6"] / 1e9, 3) == printed_g
    assert round(found.macs / 1e9, 3) == true_g
    assert found.params == params


def test_blocks_of_the_shrinking_steps() -> None:
    names = ("w16-baseline", "w16-shrink1", "w18-shrink2", "w18-shrink3")
    steps = [archsearch.load_arch(f"higherhrnet-{name}") for name in names]
    assert [arch.blocks for arch in steps] == [108, 77, 54, 36]
    assert steps[1].depths == ((4,), (3, 4), (2, 3, 4), (1, 2, 3, 4))
    assert steps[0].stride == 32


def test_small_hrnet() -> None:
    """The one that gives what Lite-HRNet's table 2 prints: 1.3 M parameters, 0.54 Gi."""
    branch = (Block(),) * 2
    for model, hw in (("small-hrnet/w16-256x192", (256, 192)), ("small-hrnet/w16-384x288", (384, 288))):
        arch = HRNet(
            "hrnet", hw, (16, 32, 64, 128), Stem(64, 32, (Block(),)),
            tuple(Stage(1, (branch,) * b) for b in (2, 3, 4)), TopDown(),
        )  # fmt: skip
        found, expected = cost(arch), load("complexity")[model]["matching_variant"]
        assert (found.params, found.macs) == (expected["params"], expected["conv_macs"])


# --------------------------------------------------------------------------------------------- as a supernet

KERNEL = {"kernel": {"choice": [3, 5]}}


def _stage(branches: int, modules: list[int]) -> dict[str, Any]:
    branch = {"repeat": KERNEL, "times": [0, 1, 2]}
    return {"modules": {"choice": modules}, "branches": [branch] * branches, "kind": "basic"}


SPACE = {
    "kind": "hrnet",
    "input_hw": [64, 32],
    "widths": [{"choice": [2, 4]}, {"choice": [3, 6]}, {"choice": [4, 8]}],
    "stem": {"width": {"choice": [3, 6]}, "planes": {"choice": [2, 3]}, "blocks": {"repeat": KERNEL, "times": [1, 2]}},
    "stages": [_stage(2, [1]), _stage(3, [1, 3])],
    "head": {
        "kind": "bottom_up",
        "deconvs": [
            {"width": {"choice": [3, 5]}, "blocks": {"repeat": KERNEL, "times": [0, 1, 2]}},
            {"width": {"choice": [2, 4]}, "blocks": []},
        ],
    },
    "joints": 3,
}


@pytest.mark.parametrize("head", ["bottom_up", "top_down"])
def test_extraction(head: str) -> None:
    space: Space[HRNet] = Space(HRNet, SPACE if head == "bottom_up" else {**SPACE, "head": {"kind": head}})
    net = randomise(HRNetNet(space.largest()))
    rng = np.random.default_rng(0)
    x = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    for arch in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(6))):
        shapes = [(2, 6, 16, 8), (2, 3, 32, 16), (2, 3, 64, 32)] if head == "bottom_up" else [(2, 3, 16, 8)]
        assert [tuple(m.shape) for m in net(x, arch)] == shapes
        assert_extracts(net, arch, x)


@pytest.mark.parametrize("training", [False, True])
def test_the_head_slices_each_part_of_a_concatenation(training: bool) -> None:
    """Features and maps are concatenated: of 4 features out of 8 and all 6 maps, the weights 0..3 and 8..13 belong.

    Comparing a supernet with what is extracted from it cannot see this, because both would be wrong alike.
    """
    row: nn.Module = randomise(DeconvRow((8, 6), Deconv(5, ())))
    row.train(training)
    generator = torch.Generator().manual_seed(0)
    features, maps = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 6, 4, 4, generator=generator)
    weight = row.deconv.weight.detach()

    def expected(rows: list[int]) -> Tensor:
        y = F.conv_transpose2d(torch.cat((features, maps), 1), weight[rows, :3], stride=2, padding=1)
        bn = row.bn
        y = F.batch_norm(
            y, bn.running_mean[:3].clone(), bn.running_var[:3].clone(), bn.weight[:3], bn.bias[:3], training, 0.1
        )
        return F.relu(y)

    per_part, prefix = expected([0, 1, 2, 3, 8, 9, 10, 11, 12, 13]), expected(list(range(10)))
    with torch.no_grad():
        found = row(features, maps, Deconv(3, ()))
    assert torch.equal(found, per_part)
    assert not torch.allclose(found, prefix, atol=0.1)


def test_a_leading_prefix_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails with the mistake that it is there for."""

    def prefix(tensor: Tensor, dim: int, whole: Parts, used: Parts) -> Tensor:
        return tensor.narrow(dim, 0, sum(used))

    assert leading(torch.arange(4), 0, (2, 2), (1, 1)).tolist() == [0, 2]
    monkeypatch.setattr("archsearch.elastic.leading", prefix)
    with pytest.raises(AssertionError):
        test_the_head_slices_each_part_of_a_concatenation(False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "stages of [] branches"),
        ({"widths": (4, 8)}, "stages of [2, 3, 4] branches with widths (4, 8)"),
        ({"widths": (0, 8, 16, 32)}, "must be positive"),
        ({"joints": 0}, "joints 0 must be positive"),
        ({"input_hw": (512, 500)}, "input 512x500 is not a multiple of 32"),
        ({"input_hw": (0, 512)}, "input 0x512"),
    ],
)
def test_architectures_that_are_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(archsearch.load_arch("higherhrnet-w16"), **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Block(2), "kernel 2 is not an odd number"),
        (lambda: Stage(0, (FOUR,)), "a stage of 0 modules"),
        (lambda: Stage(1, ()), "a stage without branches"),
        (lambda: Stage(1, (FOUR,), "basic|foo"), "block kind foo is not one of basic"),
    ],
)
def test_parts_that_are_none(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_fields_in_the_wrong_place() -> None:
    """Members of a union begin with their kind; other values in its place would be read as a default head."""
    with pytest.raises(ValueError, match=r"kind \(Deconv\(.*\),\) of BottomUp is not one of bottom_up"):
        BottomUp((Deconv(),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="features 'coarsest' of TopDown is not one of finest, concat, iterative"):
        TopDown(features="coarsest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind 'lit' of Stem is not one of residual, lite"):
        Stem(kind="lit")  # type: ignore[arg-type]


def test_a_head_of_another_form_is_refused_not_answered() -> None:
    """A network answers for the architecture that it is asked for, or not at all."""
    arch = archsearch.load_arch("higherhrnet-w18-shrink3")
    net = archsearch.build(arch).eval()
    x = torch.zeros(1, 3, 64, 64)
    wanted = {
        "this network has bottom_up of finest": replace(arch, head=BottomUp(features="concat")),
        "head top_down of finest": replace(arch, head=TopDown()),
        "2 doublings do not fit": replace(arch, head=BottomUp(deconvs=(Deconv(), Deconv()))),
        "1 blocks after a doubling do not fit": replace(arch, head=BottomUp(deconvs=(Deconv(blocks=(Block(),)),))),
    }
    for words, other in wanted.items():
        with pytest.raises(ValueError, match=words):
            net(x, other)
    pyramid = archsearch.build(replace(arch, head=TopDown(features="concat", pyramid=(8, 8)))).eval()
    with pytest.raises(ValueError, match="3 levels do not fit into a pyramid of 2"):
        pyramid(x, replace(arch, head=TopDown(features="concat", pyramid=(8, 8, 8))))
    with pytest.raises(ValueError, match="width 0"):
        Deconv(width=0)
