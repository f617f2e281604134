"""The bottom-up loss against plain loops written from the formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from archsearch.data.targets import heatmaps, tag_positions
from archsearch.pose.losses import (
    FAST,
    OFFICIAL,
    LossSettings,
    Targets,
    bottom_up_loss,
    heatmap_mse,
    heatmap_quality_focal,
    tag_loss,
)


def loop_tags(tags_JHW: Tensor, joints: list[list[tuple[int, int] | None]]) -> tuple[Tensor, Tensor]:
    """Pull and push of one image, person by person; ``joints[p][j]`` is (x, y) on the map, or None."""
    zero = tags_JHW.sum() * 0
    means, deviations = [], []
    for person in joints:
        read = [tags_JHW[j, place[1], place[0]] for j, place in enumerate(person) if place is not None]
        if read:
            mean = sum(read) / len(read)
            means.append(mean)
            deviations.append(sum((tag - mean) ** 2 for tag in read) / len(read))
    count = len(means)
    pull = sum(deviations) / count if count else zero
    full = sum(torch.exp(-((a - b) ** 2)) for a in means for b in means)
    push = 0.5 * (full - count) / (count * (count - 1)) if count > 1 else zero
    return pull + zero, push + zero


def random_case(
    people: list[int], joints: int = 5, side: int = 12, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, list[list[list[tuple[int, int] | None]]]]:
    """Tags, index, valid and the same as lists; half of the joints are unlabelled, the padding all of them."""
    g = torch.Generator().manual_seed(seed)
    shape = (len(people), max([*people, 0]) + 1, joints)
    tags = torch.randn(len(people), joints, side, side, generator=g, dtype=torch.float64)
    valid = torch.rand(shape, generator=g) > 0.5
    for n, count in enumerate(people):
        valid[n, count:] = False
    index = torch.randint(0, side * side, shape, generator=g)
    lists = [
        [
            [
                (int(index[n, p, j]) % side, int(index[n, p, j]) // side) if valid[n, p, j] else None
                for j in range(joints)
            ]
            for p in range(shape[1])
        ]
        for n in range(len(people))
    ]
    return tags, index, valid, lists


@pytest.mark.parametrize("people", [[0], [1], [2, 0, 1], [35, 3]])
def test_tag_loss_equals_the_loop(people: list[int]) -> None:
    tags, index, valid, lists = random_case(people)
    tags.requires_grad_()
    pull, push = tag_loss(tags.flatten(2), index, valid)
    expected = [loop_tags(tags[n], lists[n]) for n in range(len(people))]
    for n, (expected_pull, expected_push) in enumerate(expected):
        assert pull[n].item() == pytest.approx(expected_pull.item(), abs=1e-12)
        assert push[n].item() == pytest.approx(expected_push.item(), abs=1e-12)
    (found_grad,) = torch.autograd.grad((2 * pull + 3 * push).sum(), tags)
    (expected_grad,) = torch.autograd.grad(sum(2 * a + 3 * b for a, b in expected), tags)
    assert torch.allclose(found_grad, expected_grad, atol=1e-12)


def test_tag_loss_in_numbers() -> None:
    """Two people with tags (0, 2) and (3, 5): means 1 and 4, pull 1, push 0.5 * 2 exp(-9) / 2."""
    tags = torch.tensor([[[0.0, 3.0], [2.0, 5.0]]])
    index = torch.tensor([[[0, 0], [1, 1]]])
    pull, push = tag_loss(tags, index, torch.ones(1, 2, 2, dtype=torch.bool))
    assert pull.item() == pytest.approx(1)
    assert push.item() == pytest.approx(0.5 * math.exp(-9))


def test_images_without_people_have_clean_gradients() -> None:
    for shape in ((2, 0, 5), (2, 3, 5)):
        tags = torch.randn(2, 5, 16, requires_grad=True)
        pull, push = tag_loss(tags, torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool))
        assert pull.tolist() == push.tolist() == [0, 0]
        (pull + push).sum().backward()
        assert tags.grad is not None
        assert (tags.grad == 0).all()


def test_tag_loss_gradient() -> None:
    tags, index, valid, _ = random_case([3, 1, 0], joints=3, side=3)
    assert torch.autograd.gradcheck(lambda t: tag_loss(t, index, valid), tags.requires_grad_())


def test_mse_counts_masked_cells_in_the_mean() -> None:
    pred, target = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert heatmap_mse(pred, target).item() == 1
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[0] = False
    assert heatmap_mse(pred, target, mask).item() == 0.5


def loop_quality_focal(logits: Tensor, target: Tensor, mask: Tensor | None, beta: float) -> float:
    total = positives = 0.0
    for n in range(logits.shape[0]):
        for j in range(logits.shape[1]):
            for y in range(logits.shape[2]):
                for x in range(logits.shape[3]):
                    if mask is not None and not mask[n, y, x]:
                        continue
                    t, p = target[n, j, y, x].item(), 1 / (1 + math.exp(-logits[n, j, y, x].item()))
                    total += abs(t - p) ** beta * -(t * math.log(p) + (1 - t) * math.log(1 - p))
                    positives += t
    return total / max(positives, 1)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("masked", [False, True])
def test_quality_focal_equals_the_loop_and_its_gradient_is_right(beta: float, masked: bool) -> None:
    g = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(2, 2, 3, 4, generator=g, dtype=torch.float64)).requires_grad_()
    target = torch.rand(2, 2, 3, 4, generator=g, dtype=torch.float64)
    mask = torch.rand(2, 3, 4, generator=g) > 0.4 if masked else None
    found = heatmap_quality_focal(logits, target, mask, beta=beta)
    assert found.item() == pytest.approx(loop_quality_focal(logits, target, mask, beta), rel=1e-9)
    assert torch.autograd.gradcheck(lambda z: heatmap_quality_focal(z, target, mask, beta=beta), logits)


def test_quality_focal_at_extreme_logits() -> None:
    logits = torch.tensor([-100.0, -20, 0, 20, 100]).view(1, 1, 1, 5).requires_grad_()
    for value in (0.0, 1.0):
        loss = heatmap_quality_focal(logits, torch.full_like(logits, value))
        (grad,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(grad).all()


def network_outputs(count: int, joints: int, size: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(2)
    shapes = [(count, 2 * joints, size // 4, size // 4), (count, joints, size // 2, size // 2)]
    return [torch.randn(shape, generator=g, dtype=dtype).requires_grad_() for shape in shapes]


def some_people(count: int, people: int, joints: int, size: int) -> Tensor:
    g = torch.Generator().manual_seed(3)
    result = torch.rand(count, people, joints, 3, generator=g, dtype=torch.float64) * size
    result[..., 2] = torch.randint(0, 3, (count, people, joints), generator=g)
    return result


@pytest.mark.parametrize("settings", [OFFICIAL, FAST])
@pytest.mark.parametrize("people", [0, 1, 35])
def test_the_whole_loss_is_its_parts(settings: LossSettings, people: int) -> None:
    size, joints = 32, 4
    outputs, places = network_outputs(2, joints, size), some_people(2, people, joints, size)
    mask = torch.ones(2, size, size, dtype=torch.bool)
    mask[1, :16] = False
    parts = bottom_up_loss(outputs, Targets(places, mask, size, settings))
    sigmas = (2, 2) if settings is OFFICIAL else (1.0, 1.5)
    for i, (output, sigma) in enumerate(zip(outputs, sigmas, strict=True)):
        side = output.shape[2]
        target = heatmaps(places, (size, size), (side, side), sigma=sigma, style=settings.style)
        small = mask[:, :: size // side, :: size // side]
        if settings is OFFICIAL:
            expected = ((output[:, :joints] - target).square() * small[:, None]).mean().item()
        else:
            expected = loop_quality_focal(output[:, :joints] - 4.0, target, small, 2)
        assert parts.heatmaps[i].item() == pytest.approx(expected, rel=1e-9)
    index, valid = tag_positions(places, (size, size), (8, 8), style=settings.style)
    pull, push = tag_loss(outputs[0][:, joints:], index, valid)
    assert parts.pull.item() == pytest.approx(pull.mean().item())
    assert parts.push.item() == pytest.approx(push.mean().item())
    pull_weight, push_weight = (1e-3, 1e-3) if settings is OFFICIAL else (0.05, 0.3)
    whole = parts.heatmaps[0] + parts.heatmaps[1] + pull_weight * parts.pull + push_weight * parts.push
    assert parts.total.item() == pytest.approx(whole.item())
    parts.total.backward()
    for output in outputs:
        assert output.grad is not None
        assert torch.isfinite(output.grad).all()
        assert output.grad.abs().sum() > 0


def test_the_order_of_memory_and_half_precision_do_not_matter() -> None:
    places = some_people(2, 3, 4, 32).float()
    outputs = [o.detach().float() for o in network_outputs(2, 4, 32)]
    expected = bottom_up_loss(outputs, Targets(places, None, 32, FAST)).total
    last = [o.contiguous(memory_format=torch.channels_last) for o in outputs]
    assert torch.equal(bottom_up_loss(last, Targets(places, None, (32, 32), FAST)).total, expected)
    half = bottom_up_loss([o.bfloat16() for o in outputs], Targets(places, None, 32, FAST)).total
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), rel=0.02)


def test_any_number_of_resolutions_and_oblong_inputs() -> None:
    places = some_people(1, 2, 4, 32)
    outputs = [torch.randn(1, maps, 32 // k, 64 // k) for maps, k in ((8, 8), (4, 4), (4, 2))]
    assert len(bottom_up_loss(outputs, Targets(places, None, (32, 64), FAST)).heatmaps) == 3
    assert len(bottom_up_loss(outputs[:1], Targets(places, None, (32, 64), OFFICIAL)).heatmaps) == 1


def test_what_is_no_loss() -> None:
    places = some_people(1, 2, 4, 32)
    with pytest.raises(ValueError, match="output 0 has 4 maps; 4 joints need 8"):
        bottom_up_loss([torch.zeros(1, 4, 8, 8)], Targets(places, None, 32, FAST))
    for change in ({"heatmap": "l1"}, {"sigmas": ()}, {"sigmas": (1.0, -1.0)}, {"beta": 0.5}):
        with pytest.raises(ValueError):
            replace(FAST, **change)
