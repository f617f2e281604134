"""The multi-scale test against the released procedure, written down plainly here."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.transforms import apply, inverse, normalise, official_resize
from archsearch.pose.bottomup import (
    FAST_DECODE,
    OFFICIAL_DECODE,
    DecodeSettings,
    check_scales,
    falling,
    infer_scales,
    predict,
    predict_image,
    view,
)
from archsearch.pose.decode import group
from archsearch.pose.ensemble import merge_sizes
from archsearch.skeleton import CROWDPOSE14
from archsearch.train.settings import TrainSettings

J = len(CROWDPOSE14)
OFFICIAL_SCALES = (0.5, 1.0, 2.0)


class Net(torch.nn.Module):
    """Random weights: what it answers depends on every pixel around, and differs at every scale and in the mirror."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.low = torch.nn.Conv2d(3, 2 * J, 9, stride=4, padding=4)
            self.high = torch.nn.Conv2d(3, J, 5, stride=2, padding=2)
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        self.sizes.append(tuple(x.shape))
        return [self.low(x), self.high(x).abs()]


def plain_size(height: int, width: int, size: int, scale: float, smallest: float) -> tuple[int, int]:
    """Width and height of the network input: the smallest scale's are multiples of 64, the others' in proportion."""
    least = int((smallest * size + 63) // 64 * 64)
    if width < height:
        return int(least * scale / smallest), int(int((least / width * height + 63) // 64 * 64) * scale / smallest)
    return int(int((least / height * width + 63) // 64 * 64) * scale / smallest), int(least * scale / smallest)


def plain_matrix(height: int, width: int, out: tuple[int, int]) -> NDArray[np.float64]:
    """Isotropic, the short side to the short side, the rounded middle to the middle."""
    zoom = out[0] / width if width < height else out[1] / height
    x, y = int(width / 2 + 0.5), int(height / 2 + 0.5)
    return np.array([[zoom, 0, out[0] / 2 - zoom * x], [0, zoom, out[1] / 2 - zoom * y]])


@torch.inference_mode()
def plain_maps(
    net: Net, image: NDArray[np.uint8], size: int, scales: tuple[float, ...], project: bool, flip: bool
) -> tuple[Tensor, Tensor]:
    """Heatmaps (J, h, w) and tags (J, h, w, T): scale after scale from the largest, as the released code adds them."""
    height, width = image.shape[:2]
    base = plain_size(height, width, size, 1.0, min(scales))
    heat: Tensor | None = None
    tags: list[Tensor] = []
    swap = list(CROWDPOSE14.flip)
    for scale in sorted(scales, reverse=True):
        out = plain_size(height, width, size, scale, min(scales))
        warped = cv2.warpAffine(image, plain_matrix(height, width, out), out)
        x = normalise(torch.from_numpy(warped).permute(2, 0, 1)[None])
        maps, own_tags = [], []
        for mirrored in (False, True) if flip else (False,):
            low, high = net(x.flip(3) if mirrored else x)
            finest = high.shape[2:]
            averaged = (interpolate(low[:, :J], finest, mode="bilinear", align_corners=False) + high) / 2
            tag = interpolate(low[:, J:], finest, mode="bilinear", align_corners=False)
            if mirrored:
                averaged, tag = averaged.flip(3)[:, swap], tag.flip(3)[:, swap]
            if project:
                both = (averaged, tag)
                averaged, tag = (interpolate(m, base[::-1], mode="bilinear", align_corners=False) for m in both)
            maps.append(averaged)
            own_tags.append(tag)
        mean = sum(maps[1:], maps[0]) / len(maps)
        if heat is not None:
            mean = interpolate(mean, heat.shape[2:], mode="bilinear", align_corners=False)
        heat = mean if heat is None else heat + mean
        if scale == 1 or len(scales) == 1:
            tags = [interpolate(t, heat.shape[2:], mode="bilinear", align_corners=False) for t in own_tags]
    assert heat is not None
    return heat[0] / len(scales), torch.stack(tags, dim=4)[0]


def photo(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(height).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def data_of(*images: NDArray[np.uint8]) -> Dataset:
    nobody = np.zeros((0, J, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    infos = tuple(ImageInfo(7 + i, f"{i}.jpg", *image.shape[:2], *nobody) for i, image in enumerate(images))
    return Dataset("photos", CROWDPOSE14, infos, {"images": [], "annotations": []}, lambda i: images[i])


@settings(deadline=None)
@given(
    sides=st.tuples(st.integers(40, 900), st.integers(40, 900)),
    size=st.sampled_from([128, 256, 448, 512, 640]),
    scales=st.sampled_from([(1.0,), OFFICIAL_SCALES, (1.0, 1.5), (1.0, 1.5, 2.0), (0.5, 1.0), (2.0,), (0.25, 1.0)]),
)
def test_inputs_have_the_released_sizes(sides: tuple[int, int], size: int, scales: tuple[float, ...]) -> None:
    for scale in (1.0, *scales):
        matrix, (height, width) = official_resize(*sides, size, 64, scale=scale, smallest=min(scales))
        assert (width, height) == plain_size(*sides, size, scale, min(scales))
        assert np.allclose(matrix, plain_matrix(*sides, (width, height)))
        if scale in scales:
            assert width % 32 == height % 32 == 0


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), OFFICIAL_SCALES, (1.5, 1.0), (2.0,)])
def test_maps_are_those_of_the_released_procedure(scales: tuple[float, ...], project: bool, flip: bool) -> None:
    image = photo(45, 65)
    settings = dataclasses.replace(OFFICIAL_DECODE, scales=scales, at_input_size=project, flip=flip)
    heat, tags = plain_maps(Net(), image, 64, scales, project, flip)
    net = Net()
    base = view(45, 65, 64, settings)
    views = [view(45, 65, 64, settings, scale) for scale in falling(settings)]
    inputs = [
        normalise(torch.from_numpy(cv2.warpAffine(image, v.matrix_23, v.size_hw[::-1])).permute(2, 0, 1)[None])
        for v in views
    ]
    ours, our_tags = infer_scales(net, inputs, CROWDPOSE14, settings, base.size_hw)
    assert net.sizes[0][2] >= net.sizes[-1][2]
    assert ours.shape[2:] == (base.size_hw if project else (net.sizes[0][2] // 2, net.sizes[0][3] // 2))
    torch.testing.assert_close(ours[0], heat, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_tags[0], tags, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("project", [False, True])
def test_people_are_those_of_the_released_procedure(project: bool) -> None:
    """From photos of several sizes to positions in them; batches and workers change nothing."""
    images = [photo(45, 65), photo(75, 40), photo(45, 65), photo(32, 32)]
    settings = dataclasses.replace(OFFICIAL_DECODE, scales=OFFICIAL_SCALES, at_input_size=project, max_people=3)
    data, net = data_of(*images), Net()
    results = predict(net, data, settings, size_px=64, workers=2)
    assert {r["image_id"] for r in results} == {7, 8, 9, 10}
    assert [r["image_id"] for r in results] == sorted(r["image_id"] for r in results)
    expected: list[dict[str, Any]] = []
    for i, image in enumerate(images):
        heat, tags = plain_maps(net, image, 64, OFFICIAL_SCALES, project, True)
        persons, scores = group(heat, tags, order=CROWDPOSE14.group_order, max_people=3)
        base = plain_size(*image.shape[:2], 64, 1.0, 0.5)
        back = inverse(plain_matrix(*image.shape[:2], base))
        for joints, score in zip(persons, scores, strict=True):
            xy = apply(back, joints[:, :2] * (base[1] / heat.shape[1]))
            xy = np.where(joints[:, 2:3] != 0, xy, 0)
            expected.append({"image_id": 7 + i, "xy": xy, "score": score})
    assert len(results) == len(expected)
    for found, plain in zip(results, expected, strict=True):
        assert found["image_id"] == plain["image_id"]
        assert found["score"] == pytest.approx(plain["score"], abs=1e-6)
        assert np.abs(np.reshape(found["keypoints"], (-1, 3))[:, :2] - plain["xy"]).max() < 1e-3
    one = predict_image(net, images[1], CROWDPOSE14, settings, size_px=64)
    own = [r for r in results if r["image_id"] == 8]
    assert np.allclose(one[1], [r["score"] for r in own])
    assert np.allclose(one[0][..., :3].reshape(len(own), -1), [r["keypoints"] for r in own], atol=1e-3)


def test_large_scales_go_through_the_network_a_few_at_a_time() -> None:
    net, images = Net(), [photo(64, 64)] * 9
    for scales, most in (((1.0,), 8), (OFFICIAL_SCALES, 2), ((4.0,), 1)):
        settings = dataclasses.replace(OFFICIAL_DECODE, scales=scales, flip=False)
        net.sizes.clear()
        predict(net, data_of(*images), settings, size_px=64, batch=8)
        assert max(size[0] for size in net.sizes) == most
        assert sum(size[0] for size in net.sizes) == 9 * len(scales)


def test_a_square_input_is_seen_at_every_scale() -> None:
    """A white dot is where it is, whatever the scales; here heatmaps are the brightness."""

    class Copies(torch.nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            low, high = (torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), n) for n in (4, 2))
            return [low.expand(-1, 2 * J, -1, -1), high.expand(-1, J, -1, -1)]

    image = np.zeros((150, 233, 3), np.uint8)
    image[64:77, 114:127] = 255  # around x = 120, y = 70
    for scales in ((1.0,), (0.5, 1.0, 2.0), (1.0, 1.25)):
        settings = dataclasses.replace(
            FAST_DECODE, activation="none", logit_shift=0.0, detection_threshold=0.2, scales=scales
        )
        persons, _ = predict_image(Copies(), image, CROWDPOSE14, settings, size_px=128)
        assert np.abs(persons[0, 0, :2] - (120, 70)).max() < 2


def test_merging_no_sizes_is_refused() -> None:
    maps = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, 1)
    with pytest.raises(ValueError, match="no maps of size 1 among 1"):
        merge_sizes([maps], 1)
    with pytest.raises(ValueError, match="no maps of size 0 among 0"):
        merge_sizes([], 0)


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ((), "at least one"),
        ((0.0, 1.0), "all positive"),
        ((1.0, math.nan), "all positive"),
        ((1.0, math.inf), "all positive"),
        ((0.5, 2.0), "1 among them"),
        ((1.0, 1.0), "all different"),
        ((1.0, 0.7), r"scales \(1.0, 0.7\): each a whole number of halves of the least"),
    ],
)
def test_scales_that_cannot_be_are_refused(scales: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DecodeSettings(scales=scales)


def test_a_network_says_which_scales_it_takes() -> None:
    @dataclasses.dataclass
    class Arch:
        stride: int = 32

    square = dataclasses.replace(FAST_DECODE, scales=(0.5, 1.0))
    check_scales(square, 128, Arch())
    check_scales(dataclasses.replace(square, multiple=64), 96, Arch())
    with pytest.raises(ValueError, match=r"scale 0.5 of 96 px is not a multiple of 32, the network's coarsest cell"):
        check_scales(square, 96, Arch())


def test_a_study_sets_scales() -> None:
    fields = {"preset": "official", "images": 1, "decode": {"scales": [0.5, 1, 2], "flip": False}}
    decode = TrainSettings.model_validate(fields).decode
    assert decode.scales == OFFICIAL_SCALES
    assert decode.at_input_size
    assert DecodeSettings(**dataclasses.asdict(decode)) == decode
    assert DecodeSettings(**{**dataclasses.asdict(decode), "scales": [0.5, 1.0, 2.0]}) == decode  # as JSON has it
