"""Lite-HRNet against the figures of the authors' networks, and its blocks as choices in one supernet."""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets.fingerprint import SLOPES, assert_outputs, fill, image, load, official_state
from nets.parity import assert_extracts, randomise
from torch import Tensor, nn

import archsearch
from archsearch.costs.macs import trace
from archsearch.elastic import Parts
from archsearch.files import InputError
from archsearch.nets.features import Concat
from archsearch.nets.heads import Block, BottomUp, Deconv, TopDown
from archsearch.nets.hrnet import KINDS, HRNet, HRNetNet, Stage, Stem
from archsearch.nets.links import Exchange
from archsearch.nets.lite_blocks import CrossWeights, Lite, Shuffle, Weighting, interleave
from archsearch.probe import Op, Probe
from archsearch.space import Space

ZOO = {
    "litehrnet/lite-18-256x192": "litehrnet-18",
    "litehrnet/lite-18-384x288": "litehrnet-18",
    "litehrnet/lite-30-256x192": "litehrnet-30",
    "litehrnet/naive-18-256x192": "naive-litehrnet-18",
    "litehrnet/naive-18-384x288": "naive-litehrnet-18",
    "litehrnet/wider-naive-18-256x192": "wider-naive-litehrnet-18",
}
ONE, TWO = (Block(),), (Block(),) * 2
cost = functools.cache(archsearch.cost)


def test_every_model_of_the_figures_is_here() -> None:
    for kind in ("fingerprints", "complexity"):
        assert {name for name in load(kind) if name.startswith("litehrnet/")} == set(ZOO)


def fill_directly(net: nn.Module, gain: float) -> nn.Module:
    """:func:`fill` with the cosine of each sum. These networks multiply an error of 1e-16 in a weight by 1e9: the last
    bit of the weights must be the one that the figures were made with."""
    fill(net, gain)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            shape, phase = module.weight.shape, torch.zeros((), dtype=torch.float64)
            for d, slope in enumerate(SLOPES):
                ramp = slope * torch.arange(shape[d], dtype=torch.float64)
                phase = phase + ramp.reshape([-1 if i == d else 1 for i in range(4)])
            module.weight.data = gain * torch.cos(phase) / math.sqrt(math.prod(shape[1:]))
    return net


@pytest.mark.parametrize("model", [name for name in ZOO if "384" not in name])  # the same network and figures
def test_the_authors_network(model: str) -> None:
    figures = load("fingerprints")[model]
    net = archsearch.build(ZOO[model])
    assert sum(p.numel() for p in net.parameters()) == figures["params"]
    for gain, expected in figures["outputs"].items():
        with torch.no_grad():
            assert_outputs(fill_directly(net, float(gain))(image(figures["input_hw"])), expected)


def test_the_same_figures_at_either_resolution() -> None:
    for name in ("lite", "naive"):
        small, large = (load("fingerprints")[f"litehrnet/{name}-18-{hw}"] for hw in ("256x192", "384x288"))
        assert small["outputs"] == large["outputs"]


@pytest.mark.parametrize("model", ZOO)
def test_costs(model: str) -> None:
    expected = load("complexity")[model]
    found = cost(ZOO[model], tuple(expected["input_hw"]))
    assert found.params == expected["params"]
    assert {name: found.macs_by_convention[name] for name in expected["macs"]} == expected["macs"]
    assert found.macs_by_convention["torchstat_mi"] * 2**20 == expected["torchstat_once_per_module_flops"]


@pytest.mark.parametrize(
    ("name", "input_hw", "printed_m"),
    [
        ("litehrnet-18", (256, 192), 205.2),
        ("litehrnet-18", (384, 288), 461.6),
        ("litehrnet-30", (256, 192), 319.2),
        ("litehrnet-30", (384, 288), 717.8),
        ("naive-litehrnet-18", (256, 192), 194.8),
        ("wider-naive-litehrnet-18", (256, 192), 311.1),
    ],
)
def test_published_figures(name: str, input_hw: tuple[int, int], printed_m: float) -> None:
    """As the README of Lite-HRNet prints them."""
    assert round(cost(name, input_hw).macs_by_convention["torchstat_mi"], 1) == printed_m


@pytest.mark.parametrize(
    ("model", "hw", "printed_gi"), [("w16-256x192", (256, 192), 0.54), ("w16-384x288", (384, 288), 1.21)]
)
def test_small_hrnet(model: str, hw: tuple[int, int], printed_gi: float) -> None:
    """The variant that has the published size. The figure on record counts every call of a ReLU, where torchstat, and
    we, count a stored module once: it lies higher by the calls that come before a ReLU's last one."""
    figures = load("complexity")[f"small-hrnet/{model}"]
    expected = figures["matching_variant"]
    found = cost("small-hrnet-w16", hw)
    assert (found.params, found.macs) == (expected["params"], expected["conv_macs"])
    once_mi = found.macs_by_convention["torchstat_mi"]
    assert round(once_mi / 2**10, 2) == printed_gi
    relus = [op for op in trace(archsearch.load_arch("small-hrnet-w16"), hw)[0] if op.kind == "relu"]
    last = {op.path: op.elements for op in relus}
    repeated = sum(op.elements for op in relus) - sum(last.values())
    assert once_mi * 2**20 + repeated == expected["torchstat_GiF"] * 2**30
    assert repeated > 0
    four = replace(archsearch.load_arch("small-hrnet-w16"), stem=Stem())
    guessed = archsearch.cost(four, hw)
    assert guessed.params == figures["params"]
    assert {name: guessed.macs_by_convention[name] for name in figures["macs"]} == figures["macs"]


@pytest.mark.parametrize("model", [name for name in ZOO if "384" not in name])
def test_the_authors_checkpoints(model: str) -> None:
    figures = load("official")[model]
    net = archsearch.load_official(official_state(model), ZOO[model]).eval()
    with torch.no_grad():
        assert_outputs(net(image(figures["input_hw"])), figures["outputs"], 1e-8)


def test_checkpoints_of_mmpose_1() -> None:
    model = "litehrnet/naive-18-256x192"
    state = official_state(model)
    renamed = {name.replace("keypoint_head.", "head."): tensor for name, tensor in state.items()}
    assert set(renamed) - set(state) == {"head.final_layer.weight", "head.final_layer.bias"}
    nets = [archsearch.load_official({"state_dict": s}, ZOO[model]) for s in (state, renamed)]
    for a, b in zip(*(net.state_dict().values() for net in nets), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "change",
    [
        {"links": "dense"},
        {"head": TopDown()},
        {"stages": (Stage(1, (TWO, ONE), "weighting"),)},
        {"stages": (Stage(1, (TWO, TWO), "weighting", Lite(spatial=False)),)},
        {"stages": (Stage(1, (TWO, TWO), "basic"),)},
    ],
)
def test_checkpoints_of_mixtures_do_not_exist(change: dict[str, Any]) -> None:
    arch = replace(archsearch.load_arch("litehrnet-18"), **change)
    with pytest.raises(InputError, match="no published checkpoint is of this architecture: lite stem"):
        archsearch.load_official({"a": torch.zeros(1)}, arch)


# ------------------------------------------------------------------------------------------------ as one supernet

SWITCH = {"choice": [True, False]}
KERNEL = {"kernel": {"choice": [3, 5, 7, 9]}}


def space(**changes: Any) -> Space[HRNet]:
    """Every hole that a multi-branch architecture can have, with block kinds as alternatives."""
    branch = {"repeat": KERNEL, "times": [0, 1, 2]}
    stages = [
        {
            "modules": {"choice": [1, 2]} if branches == 2 else 1,
            "branches": [branch] * branches,
            "kind": {"choice": ["basic", "shuffle", "weighting"]},
            "lite": {"spatial": SWITCH, "cross": SWITCH, "pointwise": SWITCH},
        }
        for branches in (2, 3)
    ]
    plain = {
        "kind": "hrnet",
        "input_hw": [32, 48],
        "widths": [{"choice": [4, 8]}, {"choice": [6, 10]}, {"choice": [8, 16]}],
        "stem": {"width": {"choice": [6, 10]}, "planes": {"choice": [3, 8]}, "blocks": [], "kind": "lite"},
        "stages": stages,
        "head": {"kind": "top_down"},
        "joints": 3,
        "links": "separable",
    }
    return Space(HRNet, {**plain, **changes})


RESIDUAL = {"width": {"choice": [4, 6]}, "planes": {"choice": [2, 4]}, "blocks": {"repeat": KERNEL, "times": [1, 2]}}
DOUBLING = {"width": {"choice": [3, 6]}, "blocks": {"repeat": KERNEL, "times": [0, 1]}}
VARIANTS: dict[str, dict[str, Any]] = {
    "iterative": {"head": {"kind": "top_down", "features": "iterative"}, "fusion": "authors"},
    "pyramid": {"head": {"kind": "top_down", "features": "concat", "pyramid": [{"choice": [4, 6]}, 5]}},
    "dense": {"links": "dense", "stem": RESIDUAL},
    "bottom_up": {"head": {"kind": "bottom_up", "features": "concat", "deconvs": [DOUBLING]}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_extraction(variant: str) -> None:
    """Random mixtures of kinds, widths, depths, kernels and switches: the supernet's and the extracted net's bits."""
    mixed = space(**VARIANTS[variant])
    net = randomise(HRNetNet(mixed.largest()))
    rng = np.random.default_rng(0)
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    for i in range(6):  # every stage has every kind twice, beside another one
        arch = mixed.sample(rng) if i else mixed.smallest()
        stages = tuple(replace(stage, kind=KINDS[(i + s) % 3]) for s, stage in enumerate(arch.stages))
        arch = replace(arch, stages=stages)
        assert arch in mixed
        assert_extracts(net, arch, x)
        ops: list[Op] = []
        assert [m.shape for m in net(Probe((2, 3, 32, 48), ops), arch)] == [tuple(m.shape) for m in net(x, arch)]


def test_what_is_switched_off_has_no_weights() -> None:
    def params(kind: str, **switches: bool) -> int:
        stage = Stage(1, (ONE, ONE), kind, Lite(**switches))
        arch = HRNet("hrnet", (32, 32), (8, 16), Stem(8, 8, (), "lite"), (stage,), TopDown(), 2, "separable")
        return archsearch.cost(arch).params

    depthwise = params("weighting", spatial=False, cross=False)
    assert params("shuffle", pointwise=False) == depthwise
    # halves of 4 and 8: squeezed to 1 and 2 with biases; 12 squeezed to 1, both normalised
    assert params("weighting", cross=False) - depthwise == (4 + 1 + 4 + 4) + (16 + 2 + 16 + 8)
    assert params("weighting", spatial=False) - depthwise == 12 + 2 + 12 + 24
    assert params("shuffle") - depthwise == 2 * (16 + 8) + 2 * (64 + 16)
    assert params("shuffle", spatial=False, cross=False) == params("shuffle")


@pytest.mark.parametrize("training", [False, True])
def test_cross_weights_slice_each_part_of_a_concatenation(training: bool) -> None:
    """Of parts (8, 16, 8) a sub-net has (4, 0, 4): channels 0..3 and 24..27, in, out, and in the statistics.

    Comparing a supernet with what is extracted from it cannot see a mistake here, because both would be wrong alike.
    """
    weights = CrossWeights((8, 16, 8))
    randomise(weights)
    weights.train(training)
    generator = torch.Generator().manual_seed(0)
    fine, coarse = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 4, 2, 2, generator=generator)
    before = {name: tensor.detach().clone() for name, tensor in weights.state_dict().items()}

    def expected(rows: list[int]) -> tuple[Tensor, Tensor]:
        def norm(y: Tensor, name: str, rows: list[int]) -> Tensor:
            w, b, mean, var = (
                before[f"{name}.bn.{k}"][rows] for k in ("weight", "bias", "running_mean", "running_var")
            )
            return F.batch_norm(y, mean, var, w, b, training, 0.1)

        y = torch.cat((F.adaptive_avg_pool2d(fine, 2), coarse), 1)
        y = F.conv2d(y, before["squeeze.conv.weight"][:1][:, rows])
        y = F.relu(norm(y, "squeeze", [0]))
        y = torch.sigmoid(norm(F.conv2d(y, before["expand.conv.weight"][rows][:, :1]), "expand", rows))
        return fine * y[:, :4].repeat_interleave(4, 2).repeat_interleave(4, 3), coarse * y[:, 4:]

    per_part, prefix = expected([0, 1, 2, 3, 24, 25, 26, 27]), expected(list(range(8)))
    with torch.no_grad():
        found = weights({0: fine, 2: coarse})
    for i, b in enumerate((0, 2)):
        torch.testing.assert_close(found[b], per_part[i])
        assert not torch.allclose(found[b], prefix[i], atol=1e-3)
    moved = weights.expand.bn.running_mean != before["expand.bn.running_mean"]
    assert moved.nonzero().flatten().tolist() == ([0, 1, 2, 3, 24, 25, 26, 27] if training else [])


def test_concatenated_features_slice_each_part() -> None:
    features: nn.Module = randomise(Concat((4, 8))).eval()
    generator = torch.Generator().manual_seed(0)
    fine, coarse = torch.randn(1, 2, 4, 4, generator=generator), torch.randn(1, 3, 2, 2, generator=generator)
    up = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    conv, bn = features.mix.conv, features.mix.bn

    def expected(columns: list[int]) -> Tensor:
        y = F.conv2d(torch.cat((fine, up), 1), conv.weight[:5][:, columns])
        return F.relu(F.batch_norm(y, bn.running_mean[:5], bn.running_var[:5], bn.weight[:5], bn.bias[:5]))

    with torch.no_grad():
        found = features([fine, coarse])
        torch.testing.assert_close(found, expected([0, 1, 4, 5, 6]))
        assert not torch.allclose(found, expected(list(range(5))), atol=1e-2)


def test_a_leading_prefix_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two tests above fail with the mistake that they are there for."""

    def prefix(tensor: Tensor, dim: int, whole: Parts, used: Parts) -> Tensor:
        return tensor.narrow(dim, 0, sum(used))

    monkeypatch.setattr("archsearch.elastic.leading", prefix)
    with pytest.raises(AssertionError):
        test_cross_weights_slice_each_part_of_a_concatenation(False)
    with pytest.raises(AssertionError):
        test_concatenated_features_slice_each_part()


def test_a_sub_net_keeps_the_leading_channels_of_each_half() -> None:
    """The first n interleaved channels are the first n / 2 of each half, so what follows needs no parts."""
    halves = torch.arange(8).view(1, 8, 1, 1).chunk(2, 1)
    assert interleave(*halves).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    block: Any = randomise(Shuffle(8, 5, Lite())).eval()
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    def layer(module: Any, y: Tensor, **kwargs: Any) -> Tensor:
        bn = module.bn
        y = F.conv2d(y, **kwargs)
        return F.batch_norm(y, bn.running_mean[:2], bn.running_var[:2], bn.weight[:2], bn.bias[:2])

    y = F.relu(layer(block.before, x[:, 2:], weight=block.before.conv.weight[:2, :2]))
    y = layer(block.depthwise, y, weight=block.depthwise.conv.weight[:2, :, 1:-1, 1:-1], padding=1, groups=2)
    y = F.relu(layer(block.after, y, weight=block.after.conv.weight[:2, :2]))
    expected = torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), 1)
    with torch.no_grad():
        torch.testing.assert_close(block(x, 3, Lite()), expected)


def test_weighting_spans_the_branches_that_are_deep_enough() -> None:
    deep = Weighting((4, 8, 16), (3, 0, 5), Lite())
    assert deep.cross is not None
    assert deep.cross.squeeze.conv.in_channels == 2 + 8
    assert set(deep.depthwise) == set(deep.spatial) == {"0", "2"}
    xs = [torch.randn(2, 4 * 2**b, 16 >> b, 16 >> b) for b in range(3)]
    ys = deep(xs, (3, 0, 5), Lite())
    assert torch.equal(ys[1], xs[1])
    for b in (0, 2):
        assert torch.equal(ys[b][:, 0::2], xs[b].chunk(2, 1)[0])  # the first half passes, interleaved
        assert not torch.equal(ys[b][:, 1::2], xs[b].chunk(2, 1)[1])


@pytest.mark.parametrize("links", ["dense", "separable"])
def test_fusion(links: str) -> None:
    """Each branch once; or as in the authors' code: the finest twice, and the others see its sum."""
    generator = torch.Generator().manual_seed(0)
    xs = [torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 6, 4, 4, generator=generator)]
    for fusion in ("sum", "authors"):
        exchange: nn.Module = randomise(Exchange((4, 6), 2, links=links, fusion=fusion)).eval()
        with torch.no_grad():
            up = exchange.up["1_0"](xs[1], 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
            fine = xs[0] + up if fusion == "sum" else 2 * xs[0] + up
            down = exchange.down["0_1"](xs[0] if fusion == "sum" else fine, 6)
            coarse = down + xs[1] if fusion == "sum" else 2 * down + xs[1]
            before = [x.clone() for x in xs]
            found = exchange(xs, (4, 6))
        for y, e, x, b in zip(found, (fine, coarse), xs, before, strict=True):
            torch.testing.assert_close(y, e.relu())
            assert torch.equal(x, b)  # what was given is left as it was


def test_a_pyramid_gives_a_map_for_each_level() -> None:
    head = TopDown(features="concat", pyramid=(8, 8, 4))
    arch = HRNet("hrnet", (64, 64), (4, 8), Stem(8, 8, (), "lite"), (Stage(1, (ONE, ONE)),), head, 5)
    maps = archsearch.build(arch).eval()(torch.zeros(1, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [(1, 5, 16, 16), (1, 5, 8, 8), (1, 5, 4, 4)]


def test_export_to_onnx(tmp_path: Any) -> None:
    """Adaptive pooling, channel shuffling and interpolation in one small network."""
    import onnxruntime

    stages = (Stage(1, (ONE, ONE), "weighting"),)
    head = TopDown(features="iterative")
    arch = HRNet("hrnet", (32, 32), (4, 8), Stem(8, 8, (), "lite"), stages, head, 3, "separable")
    net = randomise(archsearch.build(arch)).eval()
    x = torch.randn(1, 3, *arch.input_hw, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), dynamo=True, verbose=False).save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        (expected,) = net(x)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * float(expected.abs().max()))


# ----------------------------------------------------------------------------------------------------- what is refused


def small(kind: str, branches: tuple[tuple[Block, ...], ...] = (ONE, ONE), **changes: Any) -> HRNet:
    stem = Stem(4, 4, (), "lite")
    arch = HRNet("hrnet", (32, 32), (4, 8), stem, (Stage(1, branches, kind),), TopDown(), 2, "separable")
    return replace(arch, **changes)


@pytest.mark.parametrize(
    ("held", "asked", "message"),
    [
        (small("basic|shuffle"), None, "block kind basic|shuffle: this network holds basic, shuffle, name one of them"),
        (small("basic"), small("shuffle"), "block kind shuffle: this network holds basic"),
        (small("shuffle|weighting"), small("shuffle", ((), ONE)), "without blocks shares the first basic block"),
        (small("weighting"), small("weighting", (TWO, ONE)), "2 blocks do not fit into a branch of 1"),
        (small("basic", ((), ONE)), small("basic"), "1 blocks do not fit into a branch of 0"),
        (small("basic"), small("basic", links="dense"), "links dense, fusion sum: this network has lite, separable"),
        (small("basic"), small("basic", fusion="authors"), "fusion authors"),
        (
            small("weighting", stages=(Stage(1, (ONE, ONE), "weighting", Lite(cross=False)),)),
            small("weighting"),
            "built without cross-resolution weighting",
        ),
        (
            small("weighting", stages=(Stage(1, (ONE, ONE), "weighting", Lite(spatial=False)),)),
            small("weighting"),
            "built without spatial weighting",
        ),
        (
            small("shuffle", stages=(Stage(1, (ONE, ONE), "shuffle", Lite(pointwise=False)),)),
            small("shuffle"),
            "built without 1x1 convolutions",
        ),
        (small("basic"), small("basic", stages=(Stage(2, (ONE, ONE)),)), "2 modules do not fit into a stage of 1"),
    ],
)
def test_architectures_that_a_network_does_not_hold(held: HRNet, asked: HRNet | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        HRNetNet(held)(torch.zeros(1, 3, 32, 32), asked)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small("shuffle", widths=(4, 7)), "width 7 is odd: shuffle blocks of stage 0 halve it"),
        (lambda: small("basic|weighting", widths=(5, 8)), "width 5 is odd: basic|weighting blocks"),
        (lambda: Stem(4, 4, ONE, "lite"), "a lite stem of width 4 with 1 blocks"),
        (lambda: Stem(5, 4, (), "lite"), "a lite stem of width 5"),
        (lambda: TopDown(pyramid=(8,)), "a pyramid needs features concat, not finest"),
    ],
)
def test_architectures_that_are_none(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_odd_widths_are_fine_for_residual_blocks() -> None:
    assert archsearch.cost(small("basic", widths=(5, 7))).params > 0


def test_a_bottom_up_network_of_light_blocks() -> None:
    """A mixture that no paper has: conditional weighting under HigherHRNet's head."""
    head = BottomUp(deconvs=(Deconv(8, ONE),), features="iterative")
    arch = small("weighting", (TWO, ONE), head=head)
    maps = archsearch.build(arch)(torch.zeros(2, 3, 32, 32))
    assert [tuple(m.shape) for m in maps] == [(2, 4, 8, 8), (2, 2, 16, 16)]
