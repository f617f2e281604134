"""Targets against plain loops written from the formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.data.targets import Style, heatmaps, joint_cells, mask_at, tag_positions


def loop_official(joints_NPJ3: Tensor, size: int, out: int, sigma: int) -> NDArray[np.float64]:
    """A patch of 6 sigma + 3 around int(x * out / size), maximum over people."""
    count, people, joints, _ = joints_NPJ3.shape
    maps = np.zeros((count, joints, out, out))
    for n in range(count):
        for p in range(people):
            for j in range(joints):
                x, y, v = joints_NPJ3[n, p, j].tolist()
                cx, cy = int(x * out / size), int(y * out / size)
                if v <= 0 or not (0 <= cx < out and 0 <= cy < out):
                    continue
                side = 6 * sigma + 3
                for a in range(side):
                    for b in range(side):
                        px, py = cx - 3 * sigma - 1 + a, cy - 3 * sigma - 1 + b
                        if 0 <= px < out and 0 <= py < out:
                            value = math.exp(-((px - cx) ** 2 + (py - cy) ** 2) / (2 * sigma**2))
                            maps[n, j, py, px] = max(maps[n, j, py, px], value)
    return maps


def dense_aligned(joints_NPJ3: Tensor, size: int, out: int, sigma: float) -> NDArray[np.float64]:
    """Gaussians over the whole map around (x + 0.5) * out / size - 0.5, maximum over people."""
    count, people, joints, _ = joints_NPJ3.shape
    maps = np.zeros((count, joints, out, out))
    yy, xx = np.mgrid[:out, :out]
    for n in range(count):
        for p in range(people):
            for j in range(joints):
                x, y, v = joints_NPJ3[n, p, j].tolist()
                if v > 0:
                    cx, cy = (x + 0.5) * out / size - 0.5, (y + 0.5) * out / size - 0.5
                    value = np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * sigma**2))
                    maps[n, j] = np.maximum(maps[n, j], value)
    return maps


def random_joints(count: int, people: int, joints: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, people, joints, 3, generator=generator, dtype=torch.float64) * size - 0.5
    places[..., 2] = torch.randint(0, 3, (count, people, joints), generator=generator)
    return places


@pytest.mark.parametrize("people", [0, 1, 3, 35])
@pytest.mark.parametrize(("out", "sigma"), [(16, 2), (32, 2), (24, 1)])
def test_official_heatmaps(people: int, out: int, sigma: int) -> None:
    joints = random_joints(2, people, 3, 64)
    found = heatmaps(joints, (64, 64), (out, out), sigma=sigma, style="official")
    assert np.allclose(found.numpy(), loop_official(joints, 64, out, sigma), atol=1e-12)


@pytest.mark.parametrize("people", [0, 1, 35])
@pytest.mark.parametrize(("out", "sigma"), [(16, 1.0), (32, 1.5)])
def test_aligned_heatmaps(people: int, out: int, sigma: float) -> None:
    joints = random_joints(2, people, 3, 64)
    found = heatmaps(joints, (64, 64), (out, out), sigma=sigma, style="aligned").numpy()
    expected = dense_aligned(joints, 64, out, sigma)
    assert np.allclose(found, expected, atol=math.exp(-(3.5**2) / 2))  # cut off beyond 3.5 sigma
    assert np.allclose(found[expected > 0.02], expected[expected > 0.02], atol=1e-12)


def test_worked_numbers() -> None:
    joints = torch.tensor([[[[9.0, 5.0, 2.0]]]])
    official = heatmaps(joints, (64, 64), (16, 16), sigma=2, style="official")
    assert official[0, 0, 1, 2] == 1  # int(9 / 4), int(5 / 4)
    assert official[0, 0, 1, 4] == pytest.approx(math.exp(-0.5))
    assert official[0, 0, 1, 9] == pytest.approx(math.exp(-49 / 8))
    assert official[0, 0, 1, 10] == 0
    aligned = heatmaps(joints, (64, 64), (16, 16), sigma=1, style="aligned")
    dx, dy = 9.5 / 4 - 0.5 - 2, 5.5 / 4 - 0.5 - 1
    assert aligned[0, 0, 1, 2] == pytest.approx(math.exp(-(dx**2 + dy**2) / 2))


@pytest.mark.parametrize("style", ["official", "aligned"])
def test_places_at_the_edges(style: Style) -> None:
    joints = torch.tensor([[[[-0.5, 0.0, 2], [63.4, 63.4, 1], [64.0, 3.0, 2], [3.0, -9.0, 2], [5.0, 5.0, 0]]]])
    cells, _, valid = joint_cells(joints, (64, 64), (16, 16), style)
    assert valid[0, 0].tolist() == [True, True, False, False, False]
    assert cells[0, 0, :2].tolist() == [[0, 0], [15, 15]]
    maps = heatmaps(joints, (64, 64), (16, 16), sigma=1, style=style)
    assert (maps[0, 2:] == 0).all()


@pytest.mark.parametrize("out", [16, 24, 32])  # the row length is the map's own, not a fixed training size's
def test_tags_are_read_where_the_joint_is(out: int) -> None:
    joints = random_joints(2, 4, 5, 64)
    index, valid = tag_positions(joints, (64, 96), (out, out + 8), style="aligned")
    assert index.shape == valid.shape == (2, 4, 5)
    for n, p, j in np.ndindex(2, 4, 5):
        x, y, v = joints[n, p, j].tolist()
        assert bool(valid[n, p, j]) == (v > 0)
        if v > 0:
            cell = math.floor((y + 0.5) * out / 64) * (out + 8) + math.floor((x + 0.5) * (out + 8) / 96)
            assert index[n, p, j] == cell
        else:
            assert index[n, p, j] == 0


def test_the_highest_cell_is_the_tags() -> None:
    joints = random_joints(1, 1, 17, 64)
    maps = heatmaps(joints, (64, 64), (16, 16), sigma=1.0, style="aligned")
    index, valid = tag_positions(joints, (64, 64), (16, 16), style="aligned")
    assert torch.equal(maps[0].flatten(1).argmax(1)[valid[0, 0]], index[0, 0][valid[0, 0]])


def test_masks_at_a_map() -> None:
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    mask[0, :4, :4] = False
    mask[0, 4, 4:6] = False  # half of a cell: it no longer counts
    mask[0, 6, 6] = False  # a quarter: it does
    small = mask_at(mask, (4, 4))
    assert small.dtype == torch.bool
    assert small[0].int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(("size", "cells"), [(96, 24), (96, 48), (96, 96), (90, 30), (96, 36), (64, 128), (320, 16)])
def test_masks_are_counted_as_they_are_averaged(size: int, cells: int) -> None:
    """Whole cells are counted, others averaged: the answer is the same."""
    generator = torch.Generator().manual_seed(size + cells)
    masks = torch.rand(3, size, size, generator=generator) > torch.tensor([0.3, 0.5, 0.55])[:, None, None]
    means = torch.nn.functional.interpolate(masks[:, None].double(), size=(cells, cells), mode="area")[:, 0]
    assert torch.equal(mask_at(masks, (cells, cells)), means > 0.5)


def test_what_is_no_target() -> None:
    joints = random_joints(1, 1, 1, 64)
    with pytest.raises(ValueError, match="sigma 0"):
        heatmaps(joints, (64, 64), (16, 16), sigma=0, style="aligned")
    with pytest.raises(ValueError, match="style 'x'"):
        heatmaps(joints, (64, 64), (16, 16), sigma=1, style="x")  # type: ignore[arg-type]
