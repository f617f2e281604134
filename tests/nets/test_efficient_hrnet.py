"""EfficientHRNet against the figures of the authors' networks, and as a supernet."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets.fingerprint import assert_fingerprint, assert_outputs, image, load, official_state
from nets.parity import assert_extracts, randomise

import archsearch
from archsearch.files import InputError
from archsearch.nets.efficient_hrnet import EfficientHRNet, EfficientHRNetNet, SameConv
from archsearch.nets.heads import Block, BottomUp, TopDown
from archsearch.nets.hrnet import Stage
from archsearch.space import Space

MODELS = [name for name in load("fingerprints") if name.startswith("efficienthrnet/")]


def zoo(model: str) -> str:
    return f"efficienthrnet-h{model.split('/')[1][-1]}"


@pytest.mark.parametrize("model", MODELS)
def test_the_authors_network(model: str) -> None:
    figures = load("fingerprints")[model]
    net = archsearch.build(zoo(model), joints=figures["joints"])
    assert sum(p.numel() for p in net.parameters()) == figures["params"]
    assert_fingerprint(net, figures)


@pytest.mark.parametrize("model", [name for name in load("complexity") if name.startswith("efficienthrnet/")])
def test_costs(model: str) -> None:
    expected = load("complexity")[model]
    arch = archsearch.load_arch(zoo(model))
    assert list(arch.input_hw) == expected["input_hw"]
    found = archsearch.cost(arch, joints=expected["joints"])
    assert found.params == expected["params"]
    assert {name: found.macs_by_convention[name] for name in expected["macs"]} == expected["macs"]


def test_the_authors_checkpoint() -> None:
    model = "efficienthrnet/H-4/j14"
    figures = load("official")[model]
    net = archsearch.load_official(official_state(model), zoo(model)).eval()
    assert net.joints == 14
    with torch.no_grad():
        assert_outputs(net(image(figures["input_hw"])), figures["outputs"], 1e-8)


def test_which_rows_feed_the_branches() -> None:
    arch = archsearch.load_arch("efficienthrnet-h1")
    assert isinstance(arch, EfficientHRNet)
    assert arch.taps == (1, 2, 4, 6)
    assert [arch.rows[r].width for r in arch.taps] == [24, 40, 104, 288]
    assert arch.stride == 32
    assert arch.blocks == 16 + 1 * 4 + 3 * 6 + 3 * 8


# ----------------------------------------------------------------------------------------------------- as a supernet

INVERTED = {"kernel": {"choice": [3, 5]}, "expand": {"choice": [1, 2]}}
BRANCH = {"repeat": {"kernel": {"choice": [3, 5]}}, "times": [0, 1, 2]}
SPACE = {
    "kind": "efficient_hrnet",
    "input_hw": [32, 48],
    "stem": {"choice": [3, 6]},
    "rows": [
        {"width": {"choice": [4, 6]}, "stride": stride, "blocks": {"repeat": INVERTED, "times": [1, 2]}}
        for stride in (1, 2, 2, 1)
    ],
    "widths": [{"choice": [4, 8]}, {"choice": [6, 8]}],
    "stages": [
        {"modules": {"choice": [1, 2]}, "branches": [BRANCH, BRANCH], "kind": {"choice": ["basic", "weighting"]}}
    ],
    "head": {"kind": "bottom_up", "deconvs": [{"width": {"choice": [3, 4]}, "blocks": []}]},
    "joints": 3,
}


@pytest.mark.parametrize("head", ["bottom_up", "top_down"])
def test_extraction(head: str) -> None:
    top_down = {"head": {"kind": "top_down", "features": "concat"}}
    space: Space[EfficientHRNet] = Space(EfficientHRNet, SPACE if head == "bottom_up" else {**SPACE, **top_down})
    net = randomise(EfficientHRNetNet(space.largest()))
    rng = np.random.default_rng(0)
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    for arch in (space.smallest(), *(space.sample(rng) for _ in range(4))):
        assert_extracts(net, arch, x)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_padding_is_as_tensorflow_has_it(kernel: int) -> None:
    conv = SameConv(2, 3, 7, 2)
    x = torch.randn(1, 2, 8, 6)
    total = max(kernel - 2, 0)
    before = total // 2
    padded = F.pad(x, (before, total - before, before, total - before))
    margin = (7 - kernel) // 2
    weight = conv.weight[:, :, margin : 7 - margin, margin : 7 - margin]
    found = conv(x, None, kernel)
    assert found.shape == (1, 3, 4, 3)
    assert torch.equal(found, F.conv2d(padded, weight, stride=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (4, 8, 16)}, "strides [1, 2, 2, 2, 1, 2, 1] of the rows: 3 of them must be 2"),
        ({"stages": ()}, "stages of [] branches"),
        ({"joints": 0}, "joints 0 must be positive"),
        ({"stages": (Stage(1, ((Block(),), (Block(),)), "shuffle"),)}, "width 27 is odd: shuffle blocks of stage 0"),
        ({"input_hw": (384, 400)}, "input 384x400 is not a multiple of 32"),
    ],
)
def test_architectures_that_are_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(archsearch.load_arch("efficienthrnet-h4"), **change)


def test_architectures_that_a_network_does_not_hold() -> None:
    space: Space[EfficientHRNet] = Space(EfficientHRNet, SPACE)
    largest, x = space.largest(), torch.zeros(1, 3, 32, 48)
    arch = replace(largest, stages=tuple(replace(stage, kind="basic") for stage in largest.stages))
    with pytest.raises(ValueError, match="do not fit into a row of 1"):
        EfficientHRNetNet(space.smallest())(x, replace(space.smallest(), rows=arch.rows))
    flat = tuple(replace(row, blocks=tuple(replace(b, expand=1) for b in row.blocks)) for row in arch.rows)
    with pytest.raises(ValueError, match="expand 2 does not fit into a block without expansion"):
        EfficientHRNetNet(replace(arch, rows=flat))(x, arch)


def test_checkpoints_that_do_not_exist() -> None:
    arch = archsearch.load_arch("efficienthrnet-h4")
    assert isinstance(arch.head, BottomUp)
    light = replace(
        arch, stages=tuple(replace(stage, kind="shuffle") for stage in arch.stages[:1]), widths=(14, 28, 54, 106)
    )
    state = {"a": torch.zeros(1)}
    with pytest.raises(InputError, match="no published checkpoint is of an EfficientHRNet with shuffle blocks"):
        archsearch.load_official(state, light)
    pyramid = replace(arch, head=TopDown(features="concat", pyramid=(8,)))
    with pytest.raises(InputError, match="no published checkpoint has a head on a feature pyramid"):
        archsearch.load_official(state, pyramid)
