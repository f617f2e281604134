"""What a top-down network is to answer: one person's heatmaps, and which of them count.

Shapes: N people, one in each network input; J joints; H, W of the input in pixels; h, w of a map in cells.
Sources: HRNet (CVPR 2019) with its released code; unbiased data processing (UDP: Huang et al., CVPR 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.data.boxes import TRANSFORMS, Transform


def px_per_cell(size_hw: tuple[int, int], map_hw: tuple[int, int], transform: Transform) -> tuple[float, float]:
    """Pixels of the input between neighbouring cells of a map, in x and in y.

    official: the stride. udp: outermost cells lie on outermost pixels. Cell (0, 0) is pixel (0, 0) in both. Raises
    ``ValueError`` on another transform.
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"transform {transform!r} is not one of {TRANSFORMS}")
    less = 1 if transform == "udp" else 0
    return (size_hw[1] - less) / (map_hw[1] - less), (size_hw[0] - less) / (map_hw[0] - less)


def person_heatmaps(
    joints_NJ3: Tensor, size_hw: tuple[int, int], map_hw: tuple[int, int], *, sigma: float, transform: Transform
) -> tuple[Tensor, Tensor]:
    """Gaussians exp(-d^2 / 2 sigma^2) around labelled joints (N, J, h, w), and which joints count, bool (N, J).

    ``joints_NJ3``: x, y in pixels of the network input, on it or not, and visibility. A patch reaches 3 sigma from the
    joint's cell, int(x / stride + 0.5), and is 0 beyond. Its centre is that cell (official) or the joint's own place
    (udp). A joint counts where it is labelled and its patch touches the map; the map of one that does not is 0.
    """
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} is not a positive number of cells")
    dtype, device = joints_NJ3.dtype, joints_NJ3.device
    step = torch.tensor(px_per_cell(size_hw, map_hw, transform), dtype=dtype, device=device)
    places_NJ2 = joints_NJ3[..., :2] / step
    cells_NJ2 = torch.trunc(places_NJ2 + 0.5)  # toward zero, as the released code does
    centres_NJ2 = places_NJ2 if transform == "udp" else cells_NJ2
    reach = int(3 * sigma)
    limit = torch.tensor([map_hw[1], map_hw[0]], dtype=dtype, device=device)
    touches_NJ = ((cells_NJ2 - reach < limit) & (cells_NJ2 + reach + 1 >= 0)).all(-1)
    counts_NJ = (joints_NJ3[..., 2] > 0) & touches_NJ

    def along(axis: int, cells: int) -> Tensor:
        """The Gaussian (N, J, cells) on one axis, 0 outside of the patch."""
        at = torch.arange(cells, dtype=dtype, device=device)
        gauss = torch.exp((at - centres_NJ2[..., axis, None]).square() * (-0.5 / sigma**2))
        return gauss * ((at - cells_NJ2[..., axis, None]).abs() <= reach)

    rows_NJh = along(1, map_hw[0]) * counts_NJ[..., None]
    return rows_NJh[..., :, None] * along(0, map_hw[1])[..., None, :], counts_NJ
