import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archsearch.data.person_targets import person_heatmaps, px_per_cell

SIZE, MAP = (64, 48), (16, 12)


def plain(x: float, y: float, sigma: float, transform: str) -> tuple[NDArray[np.float64], bool]:
    """One joint's map cell by cell, and whether it counts, by the words of the released code."""
    step_x, step_y = (47 / 11, 63 / 15) if transform == "udp" else (4, 4)
    cell_x, cell_y, reach = int(x / step_x + 0.5), int(y / step_y + 0.5), int(3 * sigma)
    out = np.zeros(MAP)
    if cell_x - reach >= 12 or cell_y - reach >= 16 or cell_x + reach + 1 < 0 or cell_y + reach + 1 < 0:
        return out, False
    centre_x, centre_y = (x / step_x, y / step_y) if transform == "udp" else (cell_x, cell_y)
    for row in range(max(0, cell_y - reach), min(15, cell_y + reach) + 1):
        for column in range(max(0, cell_x - reach), min(11, cell_x + reach) + 1):
            out[row, column] = math.exp(-((column - centre_x) ** 2 + (row - centre_y) ** 2) / (2 * sigma**2))
    return out, True


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("transform", ["official", "udp"])
def test_maps_equal_those_drawn_cell_by_cell(transform: str, sigma: float) -> None:
    rng = np.random.default_rng(0)
    joints = torch.from_numpy(rng.uniform(-60, 110, (8, 17, 3)).astype(np.float32))
    joints[..., 2] = torch.from_numpy(rng.integers(0, 3, (8, 17)).astype(np.float32))
    maps, counts = person_heatmaps(joints, SIZE, MAP, sigma=sigma, transform=transform)  # type: ignore[arg-type]
    assert maps.shape == (8, 17, 16, 12)
    assert 20 < counts.sum() < 90
    for n in range(8):
        for j in range(17):
            x, y, v = joints[n, j].tolist()
            expected, touches = plain(x, y, sigma, transform)
            assert counts[n, j] == (v > 0 and touches)
            assert np.allclose(maps[n, j], expected * (v > 0), atol=1e-5)


def test_joints_beyond_the_border_are_partly_drawn_and_count() -> None:
    joints = torch.tensor([[[-8.0, 30, 1], [-100, 30, 2]]])
    maps, counts = person_heatmaps(joints, SIZE, MAP, sigma=2, transform="official")
    assert counts.tolist() == [[True, False]]
    assert maps[0, 0].max() == pytest.approx(math.exp(-1 / 8))  # the released code truncates -1.5 to -1
    assert maps[0, 1].max() == 0


def test_cells_and_pixels() -> None:
    assert px_per_cell((256, 192), (64, 48), "official") == (4, 4)
    assert px_per_cell((256, 192), (64, 48), "udp") == (191 / 47, 255 / 63)
    with pytest.raises(ValueError, match="'dark' is not one of"):
        px_per_cell((256, 192), (64, 48), "dark")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sigma 0"):
        person_heatmaps(torch.zeros(1, 1, 3), SIZE, MAP, sigma=0, transform="official")
