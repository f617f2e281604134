"""What a network is to answer: heatmaps and the places of its tags, built from joints for the resolution at hand.

Shapes: N images; P people (padded); J joints; H, W of the network input in pixels; h, w of a map in cells.
Joints (N, P, J, 3) are x, y in pixel-index coordinates of the network input, and visibility v; v = 0 is unlabelled,
which is also the padding. Nothing is ever resized or re-indexed: another resolution builds its own.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Style = Literal["official", "aligned"]


def joint_cells(
    joints_NPJ3: Tensor, size_hw: tuple[int, int], map_hw: tuple[int, int], style: Style
) -> tuple[Tensor, Tensor, Tensor]:
    """Where joints lie on a map: cells (N, P, J, 2) as x, y (int64), centres (N, P, J, 2) in cells, valid (N, P, J).

    ``official``: the cell is x * w / W truncated toward zero, and the centre is the cell (HigherHRNet, LitePose).
    ``aligned``: the centre is (x + 0.5) * w / W - 0.5, and the cell the one that contains it. Valid joints are labelled
    and on the map.
    """
    dtype = joints_NPJ3.dtype
    scale = torch.tensor([map_hw[1] / size_hw[1], map_hw[0] / size_hw[0]], dtype=dtype, device=joints_NPJ3.device)
    limit = torch.tensor([map_hw[1], map_hw[0]], device=joints_NPJ3.device)
    if style == "official":
        centres = torch.trunc(joints_NPJ3[..., :2] * scale)
        cells = centres
    elif style == "aligned":
        places = (joints_NPJ3[..., :2] + 0.5) * scale
        centres, cells = places - 0.5, torch.floor(places)
    else:
        raise ValueError(f"style {style!r} is not one of ('official', 'aligned')")
    valid = (joints_NPJ3[..., 2] > 0) & ((cells >= 0) & (cells < limit)).all(-1)
    return cells.long(), centres, valid


def heatmaps(
    joints_NPJ3: Tensor, size_hw: tuple[int, int], map_hw: tuple[int, int], *, sigma: float, style: Style
) -> Tensor:
    """Gaussians exp(-d^2 / 2 sigma^2) around every labelled joint, the highest of all people: (N, J, h, w) in 0..1.

    ``official`` patches reach 3 sigma + 1 cells from the joint's cell (6 sigma + 3 in all), ``aligned`` ones 3.5 sigma;
    beyond them it is 0. Any number of people. The patches of all joints are scattered at once: cost and memory grow
    with joints times patch, not with people times map.
    """
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} is not a positive number of cells")
    count, people, joints, _ = joints_NPJ3.shape
    height, width = map_hw
    cells, centres, valid = joint_cells(joints_NPJ3, size_hw, map_hw, style)
    device, dtype = joints_NPJ3.device, joints_NPJ3.dtype
    maps = _zeros(count * joints * height * width, dtype, device)

    starts = torch.arange(count * joints, device=device).view(count, 1, joints) * (height * width)
    starts_K = starts.expand(count, people, joints).reshape(-1)
    cells_K2, centres_K2, valid_K = cells.reshape(-1, 2), centres.reshape(-1, 2), valid.reshape(-1)
    if device.type == "cpu":  # elsewhere, picking waits for the device; padding writes zeros instead
        picked = valid_K.nonzero().squeeze(1)
        starts_K, cells_K2, centres_K2, valid_K = (t[picked] for t in (starts_K, cells_K2, centres_K2, valid_K))

    radius = int(3 * sigma + 1) if style == "official" else math.ceil(3.5 * sigma)
    offsets_D = torch.arange(-radius, radius + 1, device=device)

    def along(axis: int, limit: int) -> tuple[Tensor, Tensor]:
        """Positions (K, D) on the map, and the Gaussian there: 0 outside of the map."""
        places = cells_K2[:, axis, None] + offsets_D
        gauss = torch.exp((places - centres_K2[:, axis, None]).square() * (-0.5 / sigma**2))
        return places.clamp(0, limit - 1), gauss * ((places >= 0) & (places < limit))

    x_KD, gauss_x_KD = along(0, width)
    y_KD, gauss_y_KD = along(1, height)
    values_KDD = (gauss_y_KD * valid_K[:, None])[:, :, None] * gauss_x_KD[:, None, :]
    index_KDD = (starts_K[:, None] + y_KD * width)[:, :, None] + x_KD[:, None, :]
    maps.scatter_reduce_(0, index_KDD.reshape(-1), values_KDD.reshape(-1), "amax")
    return maps.view(count, joints, height, width)


def _zeros(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(length,). NumPy asks the kernel for huge pages: torch's own zeros spend 2 ms an image on small ones."""
    if device.type != "cpu":
        return torch.zeros(length, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(length, torch.empty(0, dtype=dtype).numpy().dtype))


def tag_positions(
    joints_NPJ3: Tensor, size_hw: tuple[int, int], map_hw: tuple[int, int], *, style: Style
) -> tuple[Tensor, Tensor]:
    """Where to read each joint's tag: index y * w + x (N, P, J) into the joint's own flat map, and valid (N, P, J)."""
    cells, _, valid = joint_cells(joints_NPJ3, size_hw, map_hw, style)
    return (cells[..., 1] * map_hw[1] + cells[..., 0]) * valid, valid


def mask_at(masks_NHW: Tensor, map_hw: tuple[int, int]) -> Tensor:
    """A mask of the network input at the resolution of a map, bool (N, h, w): true where over half of a cell counts."""
    height, width = masks_NHW.shape[1:]
    cell = height // map_hw[0]
    if (height, width) != (cell * map_hw[0], cell * map_hw[1]) or cell * cell > 255:
        means = F.interpolate(masks_NHW[:, None].float(), size=map_hw, mode="area")
        return means[:, 0] > 0.5
    pixels = masks_NHW.to(torch.uint8)  # whole cells: counted, six times faster
    rows = sum((pixels[:, i::cell] for i in range(1, cell)), pixels[:, ::cell])
    counts = sum((rows[:, :, i::cell] for i in range(1, cell)), rows[:, :, ::cell])
    return counts > cell * cell // 2
