"""The slicing rule and the layers that follow it, each against torch's own operators on weights cut by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given as given_
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archsearch.elastic import BatchNorm, Conv, Transposed, as_parts, centre, give, leading, put, take

PARTS = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def statistics(bn: BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    assert bn.num_batches_tracked is not None
    return bn.running_mean, bn.running_var, bn.num_batches_tracked


def norm(features: Any) -> BatchNorm:
    bn = BatchNorm(features)
    for i, tensor in enumerate((bn.weight, bn.bias, *statistics(bn)[:2])):
        tensor.data.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(i)) + 0.5)
    return bn


# ---------------------------------------------------------------------------------------------------- the rule


@settings(deadline=None)
@given_(PARTS, st.data())
def test_of_each_part_the_leading_entries(whole: tuple[int, ...], data: st.DataObject) -> None:
    used = tuple(data.draw(st.integers(1, n)) for n in whole)
    labels = [(part, i) for part, n in enumerate(whole) for i in range(n)]
    tensor = torch.arange(len(labels)).repeat(2, 1)
    kept = [labels[i] for i in leading(tensor, 1, whole, used)[1].tolist()]
    assert kept == [(part, i) for part, n in enumerate(used) for i in range(n)]


def test_a_whole_layer_is_not_copied() -> None:
    tensor = random(6, 3)
    assert leading(tensor, 0, (2, 4), (2, 4)) is tensor
    assert leading(tensor, 0, (6,), (4,)).data_ptr() == tensor.data_ptr()
    assert centre(random(2, 2, 3, 3), 3).shape == (2, 2, 3, 3)


@pytest.mark.parametrize(("whole", "used"), [((4,), (5,)), ((4, 4), (4,)), ((4, 4), (2, 5)), ((8,), (4, 4))])
def test_more_than_there_is(whole: tuple[int, ...], used: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"channels {used} do not fit into a layer with {whole}")):
        leading(torch.zeros(8), 0, whole, used)


def test_the_centre_of_a_kernel() -> None:
    weight = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert centre(weight, 3).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert centre(weight, 1).flatten().tolist() == [12]
    for kernel in (2, 4, 7):
        with pytest.raises(ValueError, match=f"kernel {kernel} is not the centre of a kernel of 5"):
            centre(weight, kernel)


def test_channels_as_parts() -> None:
    assert as_parts(3) == (3,)
    assert as_parts([3, 4]) == (3, 4)


# ---------------------------------------------------------------------------------------------------- layers


def test_they_are_torchs_own_layers() -> None:
    conv, deconv, bn = Conv(3, 4, 3, 2, bias=True), Transposed(3, 4), BatchNorm(4)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(deconv, nn.ConvTranspose2d)
    assert isinstance(bn, nn.BatchNorm2d)
    x = random(2, 3, 8, 8)
    assert torch.equal(conv(x), nn.Conv2d.forward(conv, x))
    assert torch.equal(deconv(x), nn.ConvTranspose2d.forward(deconv, x))
    assert (conv.padding, conv.groups, Conv(4, 4, 7, depthwise=True).groups) == ((1, 1), 1, 4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_convolution(stride: int, bias: bool) -> None:
    conv, x = Conv(6, 8, 5, stride, bias=bias), random(2, 4, 9, 7)
    weight, shift = conv.weight[:3, :4, 1:4, 1:4], None if conv.bias is None else conv.bias[:3]
    assert torch.equal(conv(x, 3, 3), F.conv2d(x, weight, shift, stride, 1))
    assert torch.equal(conv(x), F.conv2d(x, conv.weight[:, :4], conv.bias, stride, 2))


def test_depthwise_convolution() -> None:
    conv, x = Conv(6, 6, 5, 2, depthwise=True), random(2, 4, 9, 7)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight[:4], None, 2, 2, 1, 4))
    assert torch.equal(conv(x, kernel=3), F.conv2d(x, conv.weight[:4, :, 1:4, 1:4], None, 2, 1, 1, 4))
    whole = random(2, 6, 9, 7)
    assert torch.equal(conv(whole, kernel=3), F.conv2d(whole, conv.weight[..., 1:4, 1:4], None, 2, 1, 1, 6))
    with pytest.raises(ValueError, match=re.escape("depthwise convolution of (6,) to (8,) channels")):
        Conv(6, 8, depthwise=True)


def test_convolutions_of_concatenated_tensors() -> None:
    """Of parts (4, 3) the leading (2, 1): columns 0, 1 and 4. Of outputs (2, 2) the leading (1, 1): rows 0 and 2."""
    conv, x = Conv((4, 3), (2, 2), 1), random(2, 3, 5, 5)
    found = conv(x, (1, 1), parts=(2, 1))
    assert torch.equal(found, F.conv2d(x, conv.weight[[0, 2]][:, [0, 1, 4]]))
    prefix = F.conv2d(x, conv.weight[[0, 1]][:, [0, 1, 2]])
    assert not torch.allclose(found, prefix, atol=1e-2)
    deconv = Transposed((4, 3), 2)
    found = deconv(x, 1, (2, 1))
    assert torch.equal(found, F.conv_transpose2d(x, deconv.weight[[0, 1, 4], :1], stride=2, padding=1))
    depthwise = Conv((4, 3), (4, 3), 3, depthwise=True)
    assert torch.equal(depthwise(x, parts=(2, 1)), F.conv2d(x, depthwise.weight[[0, 1, 4]], None, 1, 1, 1, 3))


@pytest.mark.parametrize("layer", [Conv((4, 3), 2), Transposed((4, 3), 2), BatchNorm((4, 3))])
def test_parts_must_be_named(layer: nn.Module) -> None:
    """Without them a slice of a concatenation would be a leading prefix of the whole."""
    with pytest.raises(ValueError, match=re.escape("channels (5,) do not fit into a layer with (4, 3)")):
        layer(random(1, 5, 4, 4))


def test_transposed_convolution() -> None:
    deconv, x = Transposed(6, 4), random(2, 3, 5, 4)
    assert torch.equal(deconv(x, 2), F.conv_transpose2d(x, deconv.weight[:3, :2], stride=2, padding=1))
    assert deconv(x).shape == (2, 4, 10, 8)


@pytest.mark.parametrize(
    ("features", "parts", "kept"), [(6, None, [0, 1, 2]), ((3, 3), (2, 1), [0, 1, 3])], ids=["one part", "two parts"]
)
def test_batch_normalisation(features: Any, parts: Any, kept: list[int]) -> None:
    bn, x = norm(features), random(4, 3, 5, 5)
    mean, var, count = statistics(bn)
    before = mean.clone(), var.clone()
    reference = nn.BatchNorm2d(3)
    reference.load_state_dict({name: t[kept] if t.ndim else t for name, t in bn.state_dict().items()})

    assert torch.equal(bn.eval()(x, parts), reference.eval()(x))
    assert torch.equal(mean, before[0])
    assert torch.equal(bn.train()(x, parts), reference.train()(x))
    assert torch.equal(mean[kept], reference.running_mean)
    assert torch.equal(var[kept], reference.running_var)
    rest = [i for i in range(6) if i not in kept]
    assert torch.equal(mean[rest], before[0][rest])
    assert torch.equal(var[rest], before[1][rest])
    assert int(count) == 1


def test_gradients_reach_the_slice_only() -> None:
    conv = Conv((4, 3), 5, 3)
    conv(random(1, 3, 4, 4), 2, 1, (2, 1)).sum().backward()
    assert conv.weight.grad is not None
    reached = conv.weight.grad != 0
    assert reached[:2, [0, 1, 4], 1, 1].all()
    assert int(reached.sum()) == 2 * 3


def test_on_the_meta_device_nothing_is_filled() -> None:
    with torch.device("meta"):
        for layer in (Conv(3, 4, 3, bias=True), Transposed(3, 4), BatchNorm(4)):
            assert all(p.is_meta for p in layer.parameters())


# ------------------------------------------------------------------------------------------------------- extraction


class Pair(nn.Module):
    def __init__(self, inputs: Any, width: int, *, norm: bool = True) -> None:
        super().__init__()
        self.conv = Conv(inputs, width, 3, bias=True)
        self.deconv = Transposed(width, width)
        self.bn = BatchNorm(width) if norm else None


def test_taking_a_slice() -> None:
    large, small = Pair((4, 3), 6), Pair((2, 3), 4)
    large.bn = norm(6)
    statistics(large.bn)[2].fill_(9)
    take(small, large)
    assert torch.equal(small.conv.weight, large.conv.weight[:4, [0, 1, 4, 5, 6]])
    assert small.conv.bias is not None
    assert large.conv.bias is not None
    assert torch.equal(small.conv.bias, large.conv.bias[:4])
    assert torch.equal(small.deconv.weight, large.deconv.weight[:4, :4])
    assert small.bn is not None
    for a, b in zip(statistics(small.bn), statistics(large.bn), strict=True):
        assert torch.equal(a, b[:4] if b.ndim else b)
    large.conv.weight.data.zero_()
    assert small.conv.weight.abs().sum() > 0  # a copy


def test_what_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match=re.escape("channels (5,) do not fit into a layer with (4,)")):
        take(Pair(3, 5), Pair(3, 4))
    with pytest.raises(ValueError, match="the larger network has no BatchNorm named bn"):
        take(Pair(3, 4), Pair(3, 4, norm=False))
    wrong = Pair(3, 4)
    wrong.deconv = Conv(4, 4)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="the larger network has no Transposed named deconv"):
        take(Pair(3, 4), wrong)


def test_parts_of_an_equal_sum_are_not_taken_for_the_whole() -> None:
    x = torch.randn(1, 16, 4, 4)
    for layer in (Conv((8, 8), 4), Transposed((8, 8), 4), BatchNorm((8, 8)), BatchNorm((8, 8)).eval()):
        with pytest.raises(ValueError, match="do not fit"):
            layer(x, parts=(4, 12))
        layer(x, parts=(8, 8))


# ----------------------------------------------------------------------------------------------- the inverse of slicing


@settings(deadline=None)
@given_(PARTS, PARTS, st.data())
def test_put_writes_where_leading_reads(rows: tuple[int, ...], columns: tuple[int, ...], data: st.DataObject) -> None:
    used = [tuple(data.draw(st.integers(1, n)) for n in whole) for whole in (rows, columns)]
    whole = torch.zeros(sum(rows), sum(columns))
    piece = torch.arange(1, sum(used[0]) * sum(used[1]) + 1.0).view(sum(used[0]), sum(used[1]))
    put(whole, piece, (rows, used[0]), (columns, used[1]))
    assert torch.equal(leading(leading(whole, 0, rows, used[0]), 1, columns, used[1]), piece)
    assert int((whole != 0).sum()) == piece.numel()  # and nowhere else


@pytest.mark.parametrize(("whole", "used"), [((4,), (5,)), ((4, 4), (4,)), ((4, 4), (2, 5)), ((8,), (4, 4))])
def test_more_than_there_is_cannot_be_put(whole: tuple[int, ...], used: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"channels {used} do not fit into a layer with {whole}")):
        put(torch.zeros(8), torch.zeros(sum(used)), (whole, used))


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (Conv(3, 4, 3, bias=True), Conv(5, 6, 5, bias=True)),
        (Conv((2, 3), (1, 4), 1), Conv((4, 3), (2, 6), 3)),
        (Conv(3, 3, 3, depthwise=True), Conv(5, 5, 7, depthwise=True)),
        (Transposed((2, 1), 3), Transposed((3, 4), 5)),
    ],
)
def test_giving_is_the_inverse_of_taking(small: Any, large: Any) -> None:
    before = [p.detach().clone() for p in large.parameters()]
    give(nn.ModuleList([small]), nn.ModuleList([large]))
    back = type(small)
    again = (
        back(small.inputs, small.outputs[0])
        if back is Transposed
        else back(
            small.inputs, small.outputs, small.kernel_size[0], depthwise=small.depthwise, bias=small.bias is not None
        )
    )
    again.take(large)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), again.parameters(), strict=True))
    for was, now, own in zip(before, large.parameters(), small.parameters(), strict=True):
        beyond = now == was
        if was.ndim == 4 and back is Conv:  # every entry of the channels' slice changed, windows around it are zero
            changed = (~beyond).flatten(2).any(2)
            assert int(changed.sum()) == own.shape[0] * own.shape[1]
            margin = (was.shape[-1] - own.shape[-1]) // 2
            inside = torch.zeros_like(was, dtype=torch.bool)
            inside[..., margin : was.shape[-1] - margin, margin : was.shape[-1] - margin] = True
            assert not now[(changed[:, :, None, None] & ~inside).expand_as(now)].any()
        else:
            assert int((~beyond).sum()) == own.numel()


def test_giving_statistics() -> None:
    small, large = norm((2, 1)), BatchNorm((3, 2))
    give(nn.ModuleList([small]), nn.ModuleList([large]))
    again = BatchNorm((2, 1))
    again.take(large)
    for a, b in zip(statistics(small)[:2], statistics(again)[:2], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(again.weight, small.weight)
    assert large.weight[[2, 4]].tolist() == [1, 1]
    assert statistics(large)[0][[2, 4]].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("small", "large", "words"),
    [
        (Conv(3, 4, 5), Conv(3, 4, 3), "kernel 5 is not the centre of a kernel of 3"),
        (Conv(3, 4, 3), Conv(3, 4, 4), "kernel 3 is not the centre of a kernel of 4"),
        (Conv(3, 5), Conv(3, 4), "channels (5,) do not fit into a layer with (4,)"),
        (BatchNorm(3), BatchNorm(2), "channels (3,) do not fit into a layer with (2,)"),
        (Conv(3, 4), Transposed(3, 4), "the larger network has no Conv named 0"),
    ],
)
def test_what_cannot_be_given(small: nn.Module, large: nn.Module, words: str) -> None:
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(words)):
        give(nn.ModuleList([small]), nn.ModuleList([large]))
    assert all(torch.equal(before[name], value) for name, value in large.state_dict().items())


# ------------------------------------------------------------------------------------------------ transforms of kernels


def test_transforms_are_at_first_the_plain_centre() -> None:
    conv = Conv(4, 6, 7)
    plain = {k: centre(conv.weight, k).clone() for k in (3, 5)}
    conv.add_transforms(3)
    assert conv.transforms is not None
    assert {name: tuple(p.shape) for name, p in conv.transforms.items()} == {"5": (25, 25), "3": (9, 9)}
    for k, expected in plain.items():
        assert torch.equal(conv.slice((4,), (6,), k)[0], expected)


def test_a_smaller_kernel_is_the_map_of_the_map_of_the_centre() -> None:
    """Entry by entry: w5 = c5 + c5 M5, w3 = c3(w5) + c3(w5) M3, one map for all channels; the largest is as it is."""
    conv = Conv(3, 3, 7, depthwise=True)
    conv.add_transforms(3)
    assert conv.transforms is not None
    maps = {k: random(k * k, k * k, seed=k) for k in (5, 3)}
    for k, values in maps.items():
        conv.transforms[str(k)].data.copy_(values)
    for channel in range(3):
        window = conv.weight.detach()[channel, 0]
        for k in (5, 3):
            inner = window[1:-1, 1:-1].flatten()
            window = torch.stack([inner[j] + sum(inner[i] * maps[k][i, j] for i in range(k * k)) for j in range(k * k)])
            window = window.view(k, k)
            found = conv.slice((3,), (3,), k)[0].detach()[channel, 0]
            assert torch.allclose(found, window, atol=1e-5)
    assert conv.slice((3,), (3,), 7)[0] is conv.weight


def test_a_taken_kernel_has_its_transform_worked_in() -> None:
    large = Conv(4, 6, 5)
    large.add_transforms(3)
    assert large.transforms is not None
    large.transforms["3"].data.copy_(random(9, 9))
    small = Conv(2, 3, 3)
    small.take(large)
    x = random(2, 2, 6, 6)
    assert torch.equal(small(x), large(x, 3, 3))
    assert not torch.equal(small.weight, centre(large.weight[:3, :2], 3))
    large(x, 3, 3).square().sum().backward()
    assert large.transforms["3"].grad is not None
    assert large.transforms["3"].grad.abs().sum() > 0
    large.transforms["3"].grad = None
    large(x, 3, 5).sum().backward()
    assert large.transforms["3"].grad is None  # the largest kernel does not use it
