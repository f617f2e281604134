import math

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archsearch.data.person_targets import person_heatmaps
from archsearch.pose.peaks import peaks

HW = (64, 48)


def gaussians(centres_J2: NDArray[np.float64], sigma: float) -> torch.Tensor:
    y, x = np.mgrid[: HW[0], : HW[1]]
    squares = (x - centres_J2[:, 0, None, None]) ** 2 + (y - centres_J2[:, 1, None, None]) ** 2
    return torch.from_numpy(np.exp(-squares / (2 * sigma**2)))[None]


def taylor(heatmap: NDArray[np.float64], kernel: int) -> tuple[float, float]:
    """DARK's decoding of one map, step by step."""
    height, width = heatmap.shape
    y, x = divmod(int(heatmap.argmax()), width)
    border = kernel // 2
    padded = np.zeros((height + 2 * border, width + 2 * border))
    padded[border:-border, border:-border] = heatmap
    smooth = cv2.GaussianBlur(padded, (kernel, kernel), 0)[border:-border, border:-border]
    log = np.log(np.maximum(smooth * heatmap.max() / smooth.max(), 1e-10))
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return x, y
    gradient = np.array([log[y, x + 1] - log[y, x - 1], log[y + 1, x] - log[y - 1, x]]) / 2
    mixed = (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1]) / 4
    across = (log[y, x + 2] - 2 * log[y, x] + log[y, x - 2]) / 4
    down = (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x]) / 4
    step = -np.linalg.inv(np.array([[across, mixed], [mixed, down]])) @ gradient
    return x + step[0], y + step[1]


@pytest.mark.parametrize(("sigma", "kernel"), [(2.0, 11), (3.0, 17)])
def test_dark_finds_the_centres_of_gaussians_between_cells(sigma: float, kernel: int) -> None:
    centres = np.random.default_rng(0).uniform([10, 10], [37, 53], (50, 2))
    found = peaks(gaussians(centres, sigma), "dark", dark_kernel=kernel)[0].numpy()
    assert abs(found[:, :2] - centres).max() < 2e-3
    quarter = peaks(gaussians(centres, sigma), "quarter")[0].numpy()
    assert abs(quarter[:, :2] - centres).max() == pytest.approx(0.25, abs=0.02)
    assert np.allclose(found[:, 2], gaussians(centres, sigma)[0].amax((1, 2)))


@pytest.mark.parametrize(("sigma", "kernel"), [(2.0, 11), (3.0, 17)])
def test_dark_finds_the_centres_of_cut_off_targets(sigma: float, kernel: int) -> None:
    joints = torch.from_numpy(np.random.default_rng(0).uniform(40, 150, (1, 40, 3))).float()
    maps, _ = person_heatmaps(joints, (256, 192), HW, sigma=sigma, transform="udp")
    found = peaks(maps, "dark", dark_kernel=kernel)
    assert (found[..., :2] * torch.tensor([191 / 47, 255 / 63]) - joints[..., :2]).abs().max() < 0.01


def test_every_way_equals_its_words_on_noise() -> None:
    """Several maxima, negative values, peaks at the border: map by map against the plain formulas."""
    rng = np.random.default_rng(1)
    noise = np.stack([cv2.GaussianBlur(rng.normal(0, 1, HW), (5, 5), 0) for _ in range(60)]).reshape(4, 15, *HW)
    noise[0, 0, 0, 0] = noise[0, 1, 63, 20] = noise[0, 2, 30, 46] = noise[0, 3, 62, 46] = noise[0, 4, 1, 1] = 9
    maps = torch.from_numpy(noise)
    highest, quarter, dark = (peaks(maps, way).numpy() for way in ("none", "quarter", "dark"))  # type: ignore[arg-type]
    for n in range(4):
        for j in range(15):
            heatmap = noise[n, j]
            y, x = divmod(int(heatmap.argmax()), HW[1])
            assert highest[n, j].tolist() == [x, y, heatmap.max()]
            moved = [float(x), float(y)]
            if 1 < x < HW[1] - 1 and 1 < y < HW[0] - 1:
                moved[0] += 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1])
                moved[1] += 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x])
            assert quarter[n, j].tolist() == [*moved, heatmap.max()]
            assert np.allclose(dark[n, j, :2], taylor(heatmap, 11), atol=1e-6)
    assert quarter[0, 0, :2].tolist() == [0, 0]
    assert (quarter[0, 2, :2] != highest[0, 2, :2]).any()  # column 46 of 48 still moves
    assert (dark[0, 2] == highest[0, 2]).all()  # but is too near the border for DARK


@pytest.mark.parametrize("way", ["none", "quarter", "dark"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_maps_without_a_positive_value_have_no_place(way: str, value: float) -> None:
    found = peaks(torch.full((1, 2, *HW), value), way)  # type: ignore[arg-type]
    assert found.tolist() == [[[0, 0, value]] * 2]


def test_a_flat_peak_stays_where_it_is() -> None:
    """No second derivative to divide by."""
    assert peaks(torch.ones(1, 1, 40, 40), "dark", dark_kernel=1).tolist() == [[[0, 0, 1]]]
    plateau = torch.zeros(1, 1, 40, 40)
    plateau[..., 10:20, 10:20] = 1
    plateau[..., 15, 15] = 1 + 1e-7
    assert math.isfinite(peaks(plateau, "dark", dark_kernel=1)[..., :2].abs().max())


def test_what_is_no_way_is_refused() -> None:
    with pytest.raises(ValueError, match="'taylor' is not one of"):
        peaks(torch.zeros(1, 1, 8, 8), "taylor")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dark_kernel 10"):
        peaks(torch.zeros(1, 1, 8, 8), "dark", dark_kernel=10)
