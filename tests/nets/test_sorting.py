"""Channel sorting: what stays the same, what becomes larger, and what must not move."""

from __future__ import annotations

import copy
import functools
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archsearch
from archsearch.elastic import BatchNorm, Conv
from archsearch.nets import litepose
from archsearch.nets.axes import Axis, free_axes, variants
from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.heads import Block, BottomUp, Deconv, TopDown
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.lite_blocks import Lite
from archsearch.nets.litepose import LitePose
from archsearch.nets.sorting import importance, moments, permutations, reorder, sort_channels

ONE, TWO = (Block(),), (Block(),) * 2
LITE_STEM = Stem(16, 12, (), "lite")


def lite_pose(
    stem: int, widths: tuple[int, ...], filters: tuple[int, ...], depth: int = 2, kernel: int = 5
) -> LitePose:
    strides = [2] * (len(widths) - 1) + [1]
    blocks = (litepose.Block(kernel, 2), litepose.Block(kernel, 3))[:depth]
    stages = tuple(litepose.Stage(width, stride, blocks) for width, stride in zip(widths, strides, strict=True))
    return LitePose("litepose", 32, stem, stages, litepose.Head(filters, True, 3), joints=3)


def hr(head: BottomUp | TopDown, kinds: Sequence[str] = ("basic",) * 2, **fields: Any) -> HRNet:
    stages = (Stage(1, (TWO, ONE), kinds[0]), Stage(2, (TWO, ONE, TWO), kinds[1]))
    return replace(HRNet("hrnet", (32, 32), (8, 12, 16), Stem(10, 6, TWO), stages, head, 3), **fields)


def efficient(stem: int, rows: tuple[int, ...], widths: tuple[int, ...], deconv: int) -> EfficientHRNet:
    blocks = (litepose.Block(3, 4), litepose.Block(5, 2))
    return EfficientHRNet(
        "efficient_hrnet",
        (32, 32),
        stem,
        tuple(litepose.Stage(width, stride, blocks) for width, stride in zip(rows, (1, 2, 2), strict=True)),
        widths,
        (Stage(1, (TWO, ONE)),),
        BottomUp(deconvs=(Deconv(deconv, ONE),)),
        joints=3,
    )


PYRAMID = TopDown(features="concat", pyramid=(14, 10))
ARCHS: dict[str, Any] = {
    "litepose": lite_pose(8, (8, 12, 16), (12, 8)),
    "higherhrnet": hr(BottomUp(deconvs=(Deconv(8, ONE), Deconv(6)))),
    "higherhrnet of an empty branch": hr(BottomUp(), stages=(Stage(2, ((), ONE)), Stage(4, (ONE, (), ONE)))),
    "bottom-up, concat": hr(BottomUp(deconvs=(Deconv(8, ONE),), features="concat")),
    "pyramid": hr(PYRAMID),
    "separable, iterative": hr(TopDown(features="iterative"), links="separable", fusion="authors"),
    "lite-hrnet": hr(TopDown(features="iterative"), ("weighting", "shuffle"), stem=LITE_STEM, links="separable"),
    "alternatives": hr(BottomUp(), ("basic", "basic|shuffle|weighting")),
    "efficienthrnet": efficient(6, (8, 8, 12), (8, 12), 6),
}
NARROW: dict[str, tuple[Any, Any]] = {  # as large as above, and narrower in every width
    "litepose": (ARCHS["litepose"], lite_pose(4, (6, 8, 12), (8, 4))),
    **{
        name: (ARCHS[name], replace(ARCHS[name], widths=(4, 8, 10), stem=Stem(6, 4, TWO), head=head))
        for name, head in {
            "higherhrnet": BottomUp(deconvs=(Deconv(4, ONE), Deconv(4))),
            "bottom-up, concat": BottomUp(deconvs=(Deconv(4, ONE),), features="concat"),
            "pyramid": replace(PYRAMID, pyramid=(8, 6)),
            "separable, iterative": TopDown(features="iterative"),
        }.items()
    },
    "efficienthrnet": (ARCHS["efficienthrnet"], efficient(4, (6, 4, 8), (4, 8), 4)),
}


@functools.cache
def made(arch: Any, seed: int) -> nn.Module:
    """A network whose channels are all alive and differ: statistics are those of its own activations."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net: nn.Module = archsearch.build(arch).double()
        for module in net.modules():
            if isinstance(module, BatchNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.2, 0.8)
                module.momentum = 0.5
    for _ in range(2):
        for variant in variants(arch):
            outputs(net.train(), variant)
    return net.eval()


def network(arch: Any, seed: int = 0) -> nn.Module:
    return copy.deepcopy(made(arch, seed))


def image() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@torch.no_grad()
def outputs(net: nn.Module, arch: Any = None) -> list[Tensor]:
    return net(image(), arch)  # type: ignore[no-any-return]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    """Every difference below ``tolerance`` of the largest value."""
    assert [t.shape for t in found] == [t.shape for t in expected]
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) <= tolerance * float(b.abs().max())


def far(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-6) -> bool:
    """Whether any output differs by more than ``tolerance`` of its largest value."""
    return any(
        float((a - b).abs().max()) > tolerance * float(b.abs().max()) for a, b in zip(found, expected, strict=True)
    )


def test_there_are_narrower_networks_of_each_family_that_has_free_widths() -> None:
    assert set(ARCHS) - set(NARROW) == {"higherhrnet of an empty branch", "lite-hrnet", "alternatives"}


# ------------------------------------------------------------------------------------------- what stays the same


def full_width(name: str) -> list[Any]:
    """Sub-nets of the full width: depths, modules, kernels, kinds and parts of blocks."""
    arch = ARCHS[name]
    if isinstance(arch, LitePose):
        shallow = replace(lite_pose(8, (8, 12, 16), (12, 8), depth=1), head=replace(arch.head, fusion=False))
        return [arch, shallow]
    if isinstance(arch, EfficientHRNet):
        rows = tuple(replace(row, blocks=row.blocks[:1]) for row in arch.rows)
        return [arch, replace(arch, rows=rows), replace(arch, stages=(Stage(1, ((), ONE)),))]
    if "lite" in name:
        thin = replace(arch, stages=(arch.stages[0], replace(arch.stages[1], lite=Lite(pointwise=False))))
        return [arch, thin, replace(arch, stages=(arch.stages[0], Stage(1, (ONE,) * 3, "shuffle")))]
    found: list[Any] = []
    for kind in arch.stages[1].kind.split("|"):
        found.append(replace(arch, stages=(arch.stages[0], replace(arch.stages[1], kind=kind))))
    if "empty" not in name:
        hollow = (Stage(1, ((), ONE)), Stage(1, (ONE, (), ())))
        shallow_stem = replace(found[0], stem=replace(arch.stem, blocks=ONE))
        found += [replace(arch, stages=hollow), shallow_stem]
    else:
        for modules in (1, 2, 3):
            stages = [replace(stage, modules=min(modules, stage.modules)) for stage in arch.stages]
            found.append(replace(arch, stages=tuple(stages)))
    return found


@pytest.mark.parametrize("name", ARCHS)
def test_a_sorted_network_computes_what_it_did(name: str) -> None:
    net = network(ARCHS[name])
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    expected = [outputs(net, arch) for arch in full_width(name)]
    sort_channels(net)
    assert sum(not torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items()) > 10
    for arch, maps in zip(full_width(name), expected, strict=True):
        assert_close(outputs(net, arch), maps)
    # Nothing was lost or made up: every tensor has the values that it had.
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor.flatten().sort().values, before[key].flatten().sort().values), key


@pytest.mark.parametrize("name", ["litepose", "pyramid", "efficienthrnet"])
def test_every_place_of_every_axis_matters(name: str) -> None:
    # The test above sees an axis that is left unsorted in a single layer.
    net = network(ARCHS[name])
    expected = outputs(net)
    for axis in free_axes(net):
        for place in axis.places if axis.size > 1 else ():
            tensor = net.state_dict()[place.tensor].narrow(place.dim, place.start, axis.size)
            kept = tensor.clone()
            tensor.copy_(kept.flip(place.dim))
            assert far(outputs(net), expected, 1e-8), place
            tensor.copy_(kept)


def test_a_branch_without_blocks_joins_what_is_apart_in_the_largest_network() -> None:
    # The sub-net whose branch is empty ends in the inner channels of the branch's first block.
    arch = ARCHS["higherhrnet"]
    emptied = replace(arch, stages=(Stage(1, ((), ONE)), arch.stages[1]))
    net = network(arch)
    expected = outputs(net), outputs(net, emptied)
    sort_channels(net, [arch])
    assert_close(outputs(net), expected[0])
    assert far(outputs(net, emptied), expected[1])
    again = network(arch)
    sort_channels(again, [arch, emptied])
    assert_close(outputs(again, emptied), expected[1])
    counts = [len(free_axes(again, archs)) for archs in ([arch], [arch, emptied], variants(arch))]
    assert counts[0] - 1 == counts[1] > counts[2]


def test_kernel_transforms_stay_and_still_fit() -> None:
    arch = lite_pose(8, (8, 12, 16), (12, 8), kernel=7)
    small = lite_pose(8, (8, 12, 16), (12, 8), kernel=3)
    net = network(arch)
    for module in net.modules():
        if isinstance(module, Conv) and module.kernel_size[0] == 7:
            module.add_transforms(3)
    for name, parameter in net.named_parameters():
        if "transforms" in name:
            nn.init.uniform_(parameter, -0.1, 0.1, generator=torch.Generator().manual_seed(0))
    transforms = {name: p.clone() for name, p in net.named_parameters() if "transforms" in name}
    assert transforms
    expected = outputs(net), outputs(net, small)
    orders = sort_channels(net)
    assert_close(outputs(net), expected[0])
    assert_close(outputs(net, small), expected[1])
    for name, tensor in transforms.items():
        assert orders[name] == ()
        assert torch.equal(tensor, net.get_parameter(name))


def test_the_search_for_axes_leaves_no_trace() -> None:
    net = network(ARCHS["alternatives"]).train()
    next(net.children()).eval()
    modes = [module.training for module in net.modules()]
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    permutations(net)
    assert modes == [module.training for module in net.modules()]
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


# ------------------------------------------------------------------------------------------------- what is sorted


def held_in(axes: list[Axis], tensor: str, dim: int) -> list[Axis]:
    """The axes along a tensor's dimension."""
    return [axis for axis in axes if any((p.tensor, p.dim) == (tensor, dim) for p in axis.places)]


@pytest.mark.parametrize("name", ARCHS)
def test_importance_falls_along_every_axis(name: str) -> None:
    net = network(ARCHS[name])
    axes = free_axes(net)
    before = [importance(axis, net.state_dict()) for axis in axes]
    sort_channels(net)
    for axis, unsorted in zip(axes, before, strict=True):
        found = importance(axis, net.state_dict())
        assert (found.diff() <= 1e-12 * found[0]).all()
        torch.testing.assert_close(found, unsorted.sort(descending=True).values, rtol=1e-12, atol=0)
        assert any(place.reads for place in axis.places)
        assert float(found[-1]) > 0
    assert any((unsorted.diff() > 0).any() for unsorted in before)
    again = permutations(net)  # but for sums of other roundings, a sorted network is sorted
    assert all(torch.equal(order, torch.arange(len(order))) for dims in again.values() for _, order in dims)


def test_equal_channels_keep_their_order() -> None:
    net = network(ARCHS["litepose"])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.5)
    for dims in permutations(net).values():
        for _, order in dims:
            assert torch.equal(order, torch.arange(len(order)))


def test_the_importance_of_a_litepose_stage_by_hand() -> None:
    # The coarsest stage but one: read by its own second block, by the next stage and by the raw path of a doubling.
    net = network(ARCHS["litepose"])
    (axis,) = held_in(free_axes(net), "stages.1.blocks.0.project.conv.weight", 0)
    weights = dict(net.named_parameters())
    expected = torch.stack(
        [
            weights["stages.1.blocks.1.expand.conv.weight"].abs().sum((0, 2, 3)),
            weights["stages.2.blocks.0.expand.conv.weight"].abs().sum((0, 2, 3)),
            weights["head.deconvs.0.raw.weight"].abs().sum((1, 2, 3)),
        ]
    ).sum(0)
    torch.testing.assert_close(importance(axis, net.state_dict()), expected.detach())
    assert {place.tensor for place in axis.places} == {
        "stages.1.blocks.0.project.conv.weight",
        "stages.1.blocks.1.project.conv.weight",
        "stages.1.blocks.1.expand.conv.weight",
        "stages.2.blocks.0.expand.conv.weight",
        "head.deconvs.0.raw.weight",
        *(
            f"stages.1.blocks.{i}.project.bn.{part}"
            for i in (0, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        ),
    }


def test_the_axes_of_a_litepose() -> None:
    arch = ARCHS["litepose"]
    inputs = [(arch.stem, 8), (8, 8), (8, 12), (12, 12), (12, 16), (16, 16)]
    hidden = [n * (2 if i % 2 == 0 else 3) for i, (n, _) in enumerate(inputs)]
    expected = [litepose.STEM_WIDTH, arch.stem, 8, 12, 16, *hidden, *arch.head.filters]
    assert sorted(axis.size for axis in free_axes(network(arch))) == sorted(expected)


def test_the_axes_of_a_higherhrnet() -> None:
    arch = ARCHS["higherhrnet"]
    stem = [10, 10, *(6, 6) * 2, 24]
    inner = [8, 8, 12, *(8, 8, 12, 16, 16) * 2]  # of every residual block
    chains = [8]  # of two strides, from branch 0 to 2: in the one module that brings all three branches on
    deconvs = [8, 8, 6]
    found = sorted(axis.size for axis in free_axes(network(arch), [arch]))
    assert found == sorted([*stem, *arch.widths, *inner, *chains, *deconvs])


@pytest.mark.parametrize("name", ARCHS)
def test_image_and_outputs_do_not_move(name: str) -> None:
    net = network(ARCHS[name])
    orders = permutations(net)
    first = next(key for key, tensor in net.state_dict().items() if key.endswith("weight") and tensor.shape[1] == 3)
    assert 1 not in [dim for dim, _ in orders[first]]
    finals = [key for key in orders if re.match(r"head\.(finals\.\d|final|pyramid\.finals\.\d)", key)]
    written = [key for key in finals if isinstance(net.get_submodule(key.rpartition(".")[0]), Conv)]
    written = [key for key in written if "depthwise" not in key]
    assert written
    for key in written:
        assert 0 not in [dim for dim, _ in orders[key]]


def test_what_light_blocks_cut_in_halves_does_not_move() -> None:
    net = network(ARCHS["lite-hrnet"])
    orders = permutations(net)
    fixed = ("stem.conv.", "stages.0.last.exchange", "transitions.0.first.pointwise", "features.row.1.depthwise")
    for key, dims in orders.items():
        if key.startswith(fixed):
            assert not dims, key
    sizes = {key: [len(order) for _, order in dims] for key, dims in orders.items() if dims}
    assert sizes["stem.second.1.conv.weight"] == [12]
    assert sizes["stages.0.last.weighting.0.spatial.0.squeeze.weight"] == [1]
    assert sizes["stages.0.last.weighting.0.cross.squeeze.conv.weight"] == [1]
    inner = "stages.1.last.branches.2.blocks.0.shuffle.before.conv.weight"
    assert not orders[inner]
    assert [len(order) for _, order in permutations(net, [ARCHS["lite-hrnet"]])[inner]] == [8]


# ------------------------------------------------------------------------------------ what smaller networks gain


def narrowed(net: nn.Module, axes: list[Axis], narrow: Any) -> list[int]:
    """The channels that the network of ``narrow`` has of each of ``axes``."""
    sizes = {
        tuple((p.tensor, p.dim, p.reads) for p in axis.places): axis.size
        for axis in free_axes(archsearch.build(narrow, joints=net.joints))  # type: ignore[arg-type]
    }
    return [sizes[tuple((p.tensor, p.dim, p.reads) for p in axis.places)] for axis in axes]


@pytest.mark.parametrize("name", NARROW)
def test_a_narrower_network_has_the_channels_of_larger_importance(name: str) -> None:
    large, narrow = NARROW[name]
    net = network(large)
    axes = free_axes(net)
    kept = narrowed(net, axes, narrow)
    before = [importance(axis, net.state_dict())[:n].sum() for axis, n in zip(axes, kept, strict=True)]
    sort_channels(net)
    after = [importance(axis, net.state_dict())[:n].sum() for axis, n in zip(axes, kept, strict=True)]
    assert all(b >= a * (1 - 1e-12) for a, b in zip(before, after, strict=True))
    assert sum(float(b) > float(a) * 1.001 for a, b in zip(before, after, strict=True)) > len(axes) // 2


@pytest.mark.parametrize("name", NARROW)
def test_a_narrower_network_is_the_unsorted_one_without_the_other_channels(name: str) -> None:
    # Independent of every order: nothing reads the unimportant channels of the network that was not sorted. Parts that
    # are taken for one, or channels sorted in one layer and not in another, give other outputs.
    large, narrow = NARROW[name]
    net = network(large)
    sorted_net = copy.deepcopy(net)
    sort_channels(sorted_net)
    axes = free_axes(net)
    tensors = net.state_dict()
    dropped = []
    for axis, kept in zip(axes, narrowed(net, axes, narrow), strict=True):
        dropped.append((axis, importance(axis, tensors).argsort(descending=True)[kept:]))
        assert kept < axis.size or axis.size in (1, litepose.STEM_WIDTH)
    whole = outputs(net)
    with torch.no_grad():
        for axis, channels in dropped:
            for place in axis.places:
                if place.reads:
                    tensors[place.tensor].index_fill_(place.dim, place.start + channels, 0.0)
    assert_close(outputs(sorted_net, narrow), outputs(net))
    assert far(outputs(net), whole)


def test_parts_of_a_concatenation_are_sorted_each_by_itself() -> None:
    net = network(ARCHS["pyramid"])
    orders = permutations(net)
    ((_, made), (_, read)) = sorted(orders["features.mix.conv.weight"], key=lambda entry: entry[0])
    starts = (0, 8, 20, 36)
    for b, (start, end) in enumerate(itertools.pairwise(starts)):
        part = read[start:end] - start
        assert part.sort().values.tolist() == list(range(end - start))
        ((_, branch),) = orders[f"stages.1.last.branches.{b}.blocks.0.basic.bn2.weight"]
        assert part.tolist() == branch.tolist()
        assert part.tolist() != list(range(end - start))
    assert set(made[:8].tolist()) != set(range(8))  # what is mixed is one part

    bottom_up = network(ARCHS["bottom-up, concat"])
    ((_, read),) = [e for e in permutations(bottom_up)["head.deconvs.0.deconv.weight"] if e[0] == 0]
    assert read[:36].tolist() != list(range(36))
    assert read[36:].tolist() == list(range(36, 42))  # the maps, which are outputs too


# ----------------------------------------------------------------------------------------------- while it trains


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    x = image()
    maps = net.train()(x)
    sum((m - F.interpolate(x[:, :1], m.shape[2:])).square().mean() for m in maps).backward()  # type: ignore[union-attr]
    optimizer.step()


@pytest.mark.parametrize("name", ["litepose", "higherhrnet", "bottom-up, concat", "separable, iterative"])
def test_sorting_and_then_training_is_training_and_then_sorting(name: str) -> None:
    first = network(ARCHS[name])
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(first.parameters(), 1e-3, eps=1e-4)]
    step(first, optimizers[0])
    second = copy.deepcopy(first)
    optimizers.append(torch.optim.AdamW(second.parameters(), 1e-3, eps=1e-4))
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))  # else the two share it

    orders = sort_channels(first)
    held = moments(first, optimizers[0])
    assert len(held) == 2
    for tensors in held:
        assert set(tensors) == {key for key, _ in first.named_parameters()}
        reorder(orders, tensors)
    step(first, optimizers[0])

    step(second, optimizers[1])
    reorder(orders, second.state_dict())
    for tensors in moments(second, optimizers[1]):
        reorder(orders, tensors)

    pairs = [(first.state_dict(), second.state_dict())]
    pairs += list(zip(held, moments(second, optimizers[1]), strict=True))
    for ours, theirs in pairs:
        for key, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[key], rtol=1e-9, atol=1e-11, msg=key)


def test_averaged_weights_follow() -> None:
    net, averaged = network(ARCHS["litepose"]), network(ARCHS["litepose"], seed=5)
    expected = outputs(averaged)
    reorder(sort_channels(net), averaged.state_dict())
    assert_close(outputs(averaged), expected)


# ------------------------------------------------------------------------------------------------ what is refused


class Loose(nn.Module):
    """A network of one forward that is given, for what no network here does."""

    def __init__(self, forward: Callable[[Any, Any], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.arch = ARCHS["litepose"]
        self.run = forward

    def forward(self, x: Tensor, _: Any = None) -> list[Tensor]:
        return [self.run(self.layers, x)]


def test_a_layer_that_takes_a_concatenation_for_one_part() -> None:
    def forward(layers: Any, x: Tensor) -> Tensor:
        return layers.c(torch.cat((layers.a(x), layers.b(x)), 1))  # type: ignore[no-any-return]

    layers = {"a": Conv(3, 4), "b": Conv(3, 6)}
    with pytest.raises(ValueError, match=r"layers.c is built for channels of parts \(10,\) and given \(4, 6\)"):
        free_axes(Loose(forward, **layers, c=Conv(10, 3)))
    assert [axis.size for axis in free_axes(Loose(forward, **layers, c=Conv((4, 6), 3)))] == [4, 6]


def test_a_cut_between_parts_frees_and_one_within_a_part_pins() -> None:
    def forward(layers: Any, x: Tensor) -> Tensor:
        first, second = torch.split(torch.cat((layers.a(x), layers.b(x)), 1), [4, 6], 1)
        return layers.c(first) + layers.d(torch.cat(torch.chunk(second, 2, 1), 1))  # type: ignore[no-any-return]

    net = Loose(forward, a=Conv(3, 4), b=Conv(3, 6), c=Conv(4, 3), d=Conv((3, 3), 3))
    (axis,) = free_axes(net)
    assert {place.tensor for place in axis.places} == {"layers.a.weight", "layers.c.weight"}


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_added_to_pinned_channels_is_pinned(turned: bool) -> None:
    def forward(layers: Any, x: Tensor) -> Tensor:
        pair = torch.chunk(layers.a(x), 2, 1)[0], layers.b(x)
        return layers.c(pair[turned] + pair[not turned])  # type: ignore[no-any-return]

    assert free_axes(Loose(forward, a=Conv(3, 4), b=Conv(3, 2), c=Conv(2, 3))) == []


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda layers, x: F.softmax(layers.a(x), 1), "no rule for the operator softmax"),
        (lambda layers, x: layers.a(x) * torch.ones(4, 1, 1), "channels of a tensor (4, 1, 1) in a sum or product"),
        (lambda layers, x: torch.cat((layers.a(x), layers.a(x)), 2), "no rule for the channels of cat along 2"),
        (lambda layers, x: F.pad(layers.a(x), (0, 0, 0, 0, 0, 1)), "no rule for what pad does to channels"),
    ],
)
def test_an_operator_without_a_rule(forward: Callable[[Any, Any], Any], message: str) -> None:
    with pytest.raises(NotImplementedError, match=re.escape(message)):
        free_axes(Loose(forward, a=Conv(3, 4)))


def test_a_sum_of_other_parts() -> None:
    def forward(layers: Any, x: Tensor) -> Tensor:
        return layers.a(x) + torch.cat((layers.b(x), layers.b(x)), 1)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match=r"channels of parts \(4,\) meet channels of parts \(2, 2\)"):
        free_axes(Loose(forward, a=Conv(3, 4), b=Conv(3, 2)))


def test_a_network_that_was_not_run_whole() -> None:
    arch = ARCHS["alternatives"]
    net = network(arch)
    basic = variants(arch)[0]
    assert basic.stages[1].kind == "basic"
    with pytest.raises(ValueError, match=r"no architecture that was given runs stages\.1\..*shuffle"):
        free_axes(net, [basic])


def test_an_architecture_that_is_narrower() -> None:
    large, narrow = NARROW["litepose"]
    with pytest.raises(ValueError, match="axes are found at full widths and kernels"):
        free_axes(network(large), [large, narrow])


def test_a_layer_of_another_kind() -> None:
    with pytest.raises(ValueError, match=r"layers\.a is a Conv2d: its channels have no rule"):
        free_axes(Loose(lambda layers, x: layers.a(x), a=nn.Conv2d(3, 4, 1)))


def test_tensors_of_another_network() -> None:
    orders = permutations(network(ARCHS["litepose"]))
    good, bad = torch.arange(8.0), torch.zeros(5)
    with pytest.raises(ValueError, match=r"net\.stem is not a tensor of the sorted network"):
        reorder(orders, {"stem.project.bn.weight": good, "net.stem": bad})
    with pytest.raises(ValueError, match=r"weight of shape \(5,\) has not 8 entries along 0"):
        reorder(orders, {"stem.project.bn.weight": good, "stages.0.blocks.0.project.bn.weight": bad})
    assert good.tolist() == list(range(8))


def test_an_optimiser_that_stores_other_shapes() -> None:
    net = network(ARCHS["litepose"])
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    optimizer.state[next(net.parameters())] = {"row": torch.zeros(3), "step": torch.tensor(1.0), "count": 2}
    with pytest.raises(ValueError, match=r"row of stem\.conv\.conv\.weight has shape \(3,\), not \(32, 3, 3, 3\)"):
        moments(net, optimizer)


def test_every_published_model_has_axes() -> None:
    for name in archsearch.models():
        with torch.device("meta"):
            net = archsearch.build(name)
        assert len(free_axes(net)) >= 14, name
