"""Merging network outputs, and the way from map cells to image pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archsearch.pose.ensemble import merge_flip, merge_scales, to_image
from archsearch.skeleton import COCO17, CROWDPOSE14

J = len(CROWDPOSE14)


def outputs(batch: int = 2, height: int = 32, width: int = 48, joints: int = J) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, 2 * joints, height // 4, width // 4, generator=generator),
        torch.randn(batch, joints, height // 2, width // 2, generator=generator),
    ]


def upsampled(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def test_merge_scales_averages_at_half_resolution():
    low, high = outputs()
    heatmaps, tags = merge_scales([low, high], J)
    assert heatmaps.shape == (2, J, 16, 24)
    assert tags.shape == (2, J, 16, 24, 1)
    torch.testing.assert_close(heatmaps, (upsampled(low[:, :J], (16, 24)) + high) / 2)
    torch.testing.assert_close(tags[..., 0], upsampled(low[:, J:], (16, 24)))


def test_bilinear_weights_by_hand():
    """Twice the cells: the new centres lie a quarter from the old, so the weights are 3/4 and 1/4."""
    low = torch.zeros(1, 2, 1, 2)
    low[0, 0, 0] = torch.tensor([0.0, 4.0])
    heatmaps, _ = merge_scales([low, torch.zeros(1, 1, 2, 4)], 1)
    torch.testing.assert_close(heatmaps[0, 0], torch.tensor([[0.0, 0.5, 1.5, 2.0]] * 2))


def test_merge_scales_activates_each_resolution_and_leaves_tags():
    low, high = outputs()
    heatmaps, tags = merge_scales([low, high], J, activation="sigmoid")
    torch.testing.assert_close(heatmaps, (upsampled(low[:, :J].sigmoid(), (16, 24)) + high.sigmoid()) / 2)
    torch.testing.assert_close(tags, merge_scales([low, high], J)[1])


def test_merge_scales_resizes_to_the_input():
    heatmaps, tags = merge_scales(outputs(), J, size_px=(32, 48))
    half, half_tags = merge_scales(outputs(), J)
    torch.testing.assert_close(heatmaps, upsampled(half, (32, 48)))
    torch.testing.assert_close(tags[..., 0], upsampled(half_tags[..., 0], (32, 48)))


@pytest.mark.parametrize("skeleton", [COCO17, CROWDPOSE14], ids=lambda s: s.name)
def test_merge_flip_of_a_network_that_mirrors_exactly(skeleton):
    """Whoever sees the mirrored image as the mirror of what he sees gets the same heatmaps and the same tags twice."""
    plain = merge_scales(outputs(joints=len(skeleton)), len(skeleton))
    swap = list(skeleton.flip)
    mirrored = plain[0].flip(3)[:, swap], plain[1].flip(3)[:, swap]
    heatmaps, tags = merge_flip(plain, mirrored, skeleton.flip)
    torch.testing.assert_close(heatmaps, plain[0])
    assert tags.shape[-1] == 2
    torch.testing.assert_close(tags, plain[1].expand_as(tags))


def test_merge_flip_averages_heatmaps_and_keeps_both_tags():
    left, right = CROWDPOSE14.joints.index("left_wrist"), CROWDPOSE14.joints.index("right_wrist")
    zeros = torch.zeros(1, J, 4, 8), torch.zeros(1, J, 4, 8, 1)
    mirrored = tuple(z.clone() for z in zeros)
    mirrored[0][0, right, 1, 0] = 1.0  # at the left edge of the mirrored image: the left wrist at the right edge
    mirrored[1][0, right, 1, 0, 0] = 7.0
    heatmaps, tags = merge_flip(zeros, mirrored, CROWDPOSE14.flip)
    assert heatmaps[0, left, 1, 7] == 0.5
    assert tags[0, left, 1, 7].tolist() == [0.0, 7.0]
    assert heatmaps.sum() == 0.5


def test_refuses_what_does_not_fit():
    low, high = outputs()
    with pytest.raises(ValueError, match=r"output 0 of shape \(2, 28, 8, 12\): \(N, 34, H, W\) needed, 17 joints"):
        merge_scales([low, high], 17)
    with pytest.raises(ValueError, match="no outputs"):
        merge_scales([], J)
    with pytest.raises(ValueError, match="'softmax'"):
        merge_scales([low, high], J, activation="softmax")
    plain = merge_scales([low, high], J)
    with pytest.raises(ValueError, match="17 joints for maps of 14"):
        merge_flip(plain, plain, COCO17.flip)
    with pytest.raises(ValueError, match="do not go with mirrored ones"):
        merge_flip(plain, merge_scales(outputs(width=64), J), CROWDPOSE14.flip)


def test_to_image():
    persons = np.array([[[2.75, 4.25, 0.9, 3.0], [0, 0, 0, 0]]], np.float32)
    np.testing.assert_allclose(to_image(persons, 4), [[[11, 17, 0.9, 3], [0, 0, 0, 0]]], rtol=1e-6)
    np.testing.assert_allclose(to_image(persons, 4, "aligned"), [[[10.5, 16.5, 0.9, 3], [0, 0, 0, 0]]], rtol=1e-6)
    assert persons[0, 0, 0] == 2.75
    assert to_image(np.zeros((0, 17, 4), np.float32), 2.0).shape == (0, 17, 4)
    with pytest.raises(ValueError, match="px_per_cell 0"):
        to_image(persons, 0)
    with pytest.raises(ValueError, match="'centre'"):
        to_image(persons, 4, "centre")
