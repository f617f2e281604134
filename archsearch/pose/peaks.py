"""Where the peak of a heatmap lies, to a part of a cell; all maps of a batch at once, on any device.

Shapes: N people; J joints; h, w of a map in cells. Sources: HRNet (Sun et al., CVPR 2019); distribution-aware
coordinate representation (DARK: Zhang et al., CVPR 2020, section 3.2).
"""

from __future__ import annotations

from typing import Literal

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

PeakSubpixel = Literal["none", "quarter", "dark"]
_LEAST = 1e-10  # what DARK takes for values below it before their logarithm
_MARGIN = 2  # cells from a map's border in which peaks are left where they are: less than DARK's differences reach


def peaks(heatmaps_NJhw: Tensor, subpixel: PeakSubpixel = "quarter", *, dark_kernel: int = 11) -> Tensor:
    """The highest cell of each map as x, y in cells and its value: (N, J, 3). Where no value is positive x = y = 0.

    ``quarter`` moves x and y by 0.25 toward the higher neighbour, ``dark`` to the maximum of the Gaussian that fits the
    logarithm of the smoothed map there. Peaks within a cell or two of the border stay. ``dark_kernel``: the side of the
    smoothing Gaussian in cells; the paper's are 11 for targets of sigma 2 and 17 for sigma 3. Raises ``ValueError`` on
    an unknown way or an even kernel.
    """
    if dark_kernel < 1 or dark_kernel % 2 == 0:
        raise ValueError(f"dark_kernel {dark_kernel} is not an odd number of cells")
    height, width = heatmaps_NJhw.shape[2:]
    values_NJ, index_NJ = heatmaps_NJhw.flatten(2).max(2)
    found_NJ = values_NJ > 0
    x_NJ, y_NJ = index_NJ % width * found_NJ, index_NJ // width * found_NJ
    xy_NJ2 = torch.stack([x_NJ, y_NJ], -1).to(heatmaps_NJhw.dtype)
    if subpixel == "quarter":
        inside_NJ1 = _inside(x_NJ, y_NJ, width - 1, height - 1)
        xy_NJ2 = xy_NJ2 + _quarter(_around(heatmaps_NJhw, x_NJ, y_NJ)) * inside_NJ1
    elif subpixel == "dark":
        inside_NJ1 = _inside(x_NJ, y_NJ, width - 2, height - 2)
        logs = _smoothed(heatmaps_NJhw, dark_kernel).clamp_(min=_LEAST).log_()
        step_NJ2 = _taylor(_around(logs, x_NJ, y_NJ))
        xy_NJ2 = xy_NJ2 + torch.where(inside_NJ1 & step_NJ2.isfinite().all(-1, keepdim=True), step_NJ2, 0)
    elif subpixel != "none":
        raise ValueError(f"subpixel {subpixel!r} is not one of ('none', 'quarter', 'dark')")
    return torch.cat([xy_NJ2, values_NJ[..., None]], -1)


def _inside(x_NJ: Tensor, y_NJ: Tensor, right: int, bottom: int) -> Tensor:
    """(N, J, 1): whether a peak lies from cell 2 to before ``right`` and ``bottom``."""
    return ((x_NJ >= _MARGIN) & (x_NJ < right) & (y_NJ >= _MARGIN) & (y_NJ < bottom))[..., None]


def _around(maps_NJhw: Tensor, x_NJ: Tensor, y_NJ: Tensor) -> Tensor:
    """The 5 x 5 cells around each place, (N, J, 5, 5); beyond the border the border's own cell."""
    height, width = maps_NJhw.shape[2:]
    offsets_5 = torch.arange(-2, 3, device=maps_NJhw.device)
    columns_NJ5 = (x_NJ[..., None] + offsets_5).clamp(0, width - 1)
    rows_NJ5 = (y_NJ[..., None] + offsets_5).clamp(0, height - 1)
    index_NJ55 = rows_NJ5[..., :, None] * width + columns_NJ5[..., None, :]
    return maps_NJhw.flatten(2).gather(2, index_NJ55.flatten(2)).view(index_NJ55.shape)


def _quarter(cells_NJ55: Tensor) -> Tensor:
    right, left = cells_NJ55[..., 2, 3], cells_NJ55[..., 2, 1]
    below, above = cells_NJ55[..., 3, 2], cells_NJ55[..., 1, 2]
    return 0.25 * torch.stack([right - left, below - above], -1).sign()


def _taylor(logs_NJ55: Tensor) -> Tensor:
    """Newton's step from the middle to the maximum (DARK, eq. 9), not finite where the second derivatives have no
    inverse."""

    def at(dx: int, dy: int) -> Tensor:
        return logs_NJ55[..., 2 + dy, 2 + dx]

    dx, dy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    dxx = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4
    dyy = (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
    dxy = (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1)) / 4
    determinant = dxx * dyy - dxy.square()
    return torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], -1) / determinant[..., None]


def _smoothed(maps_NJhw: Tensor, kernel: int) -> Tensor:
    """Maps under a Gaussian of OpenCV's sigma for this kernel, zeros around them, each scaled to its old maximum."""
    gauss = torch.from_numpy(cv2.getGaussianKernel(kernel, 0)[:, 0]).to(maps_NJhw)
    count, joints, height, width = maps_NJhw.shape
    flat = maps_NJhw.reshape(count * joints, 1, height, width)
    flat = F.conv2d(flat, gauss.view(1, 1, 1, kernel), padding=(0, kernel // 2))
    flat = F.conv2d(flat, gauss.view(1, 1, kernel, 1), padding=(kernel // 2, 0))
    smoothed = flat.view(count, joints, height, width)
    return smoothed * (maps_NJhw.amax((2, 3), keepdim=True) / smoothed.amax((2, 3), keepdim=True))
