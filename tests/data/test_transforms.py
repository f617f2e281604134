"""The geometry of augmentation: matrices, warps on both paths, joints."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from archsearch.data.transforms import (
    FAST,
    IMAGENET_MEAN,
    IMAGENET_STD,
    OFFICIAL,
    Augmentation,
    apply,
    augment_batch,
    inverse,
    normalise,
    official_resize,
    resize_matrix,
    sample_matrix,
    warp,
    warp_batch,
    warp_joints,
    where_shown,
)
from archsearch.skeleton import COCO17

STILL = Augmentation(rotation_deg=0, scale=(1, 1), shift=0, flip=0)


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture with structure everywhere, no pixel black."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)), (0, 0), 2.5)
    return np.clip((noise - 128) * 3 + 130, 1, 255).astype(np.uint8)


def test_presets_are_the_published_ranges() -> None:
    assert (OFFICIAL.rotation_deg, OFFICIAL.scale, OFFICIAL.shift, OFFICIAL.flip) == (30, (0.75, 1.5), 0.2, 0.5)
    assert (FAST.rotation_deg, FAST.scale, FAST.shift, FAST.flip) == (20, (0.75, 1.25), 0.12, 0.5)
    for change in ({"scale": (1.0, 0.5)}, {"flip": 1.5}, {"rotation_deg": -1.0}, {"scale_reference": "middle"}):
        with pytest.raises(ValueError):
            Augmentation(**{"rotation_deg": 0, "scale": (1, 1), "shift": 0, "flip": 0, **change})


def test_without_augmentation_the_middle_square_is_cropped() -> None:
    matrix, flipped = sample_matrix(np.random.default_rng(0), 60, 100, 120, STILL)
    assert not flipped
    # The crop's edges, 19.5 .. 79.5 in x, become the input's, -0.5 .. 119.5.
    corners = np.array([[19.5, -0.5], [79.5, 59.5]])
    assert apply(matrix, corners) == pytest.approx(np.array([[-0.5, -0.5], [119.5, 119.5]]))


@pytest.mark.parametrize("aug", [OFFICIAL, FAST])
def test_samples_stay_in_their_ranges_and_fill_them(aug: Augmentation) -> None:
    height, width, size = 90, 160, 64
    crops, angles, shifts, flips = [], [], [], []
    for seed in range(400):
        matrix, flipped = sample_matrix(np.random.default_rng(seed), height, width, size, aug)
        crop = size / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        assert (np.linalg.det(matrix[:, :2]) < 0) == flipped
        centre = apply(inverse(matrix), np.array([(size - 1) / 2] * 2)) - [(width - 1) / 2, (height - 1) / 2]
        sign = -1 if flipped else 1
        crops.append(crop / height)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[1, 1])))
        assert matrix[0, 0] == pytest.approx(sign * matrix[1, 1])
        shifts.extend(centre / crop)
        flips.append(flipped)
    low, high = aug.scale
    assert low <= min(crops) < low + 0.02
    assert high - 0.02 < max(crops) <= high
    assert aug.rotation_deg * 0.95 < max(np.abs(angles)) <= aug.rotation_deg
    assert aug.shift * 0.95 < max(np.abs(shifts)) <= aug.shift
    assert 0.4 < np.mean(flips) < 0.6


def test_one_setting_does_not_change_what_another_draws() -> None:
    a, _ = sample_matrix(np.random.default_rng(5), 90, 90, 64, FAST)
    plain = Augmentation(FAST.rotation_deg, FAST.scale, FAST.shift, flip=0)
    b, _ = sample_matrix(np.random.default_rng(5), 90, 90, 64, plain)
    assert np.array_equal(a[1], b[1])


def test_long_side_as_reference() -> None:
    aug = Augmentation(0, (1, 1), 0, 0, scale_reference="long")
    assert np.allclose(sample_matrix(np.random.default_rng(0), 50, 200, 100, aug)[0], resize_matrix(50, 200, 100))


def test_a_mirror_image_is_the_image_reversed() -> None:
    image = photo(48, 48)
    plain, _ = sample_matrix(np.random.default_rng(0), 48, 48, 48, STILL)
    mirror, flipped = sample_matrix(np.random.default_rng(0), 48, 48, 48, Augmentation(0, (1, 1), 0, 1))
    assert flipped
    assert np.array_equal(warp(image, plain, 48), image)
    assert np.array_equal(warp(image, mirror, 48), image[:, ::-1])


def test_joints_mirror_with_left_and_right_swapped() -> None:
    joints = np.zeros((1, 17, 3), np.float32)
    left, right = COCO17.joints.index("left_wrist"), COCO17.joints.index("right_wrist")
    joints[0, left] = (10, 20, 2)
    mirror, _ = sample_matrix(np.random.default_rng(0), 48, 48, 48, Augmentation(0, (1, 1), 0, 1))
    mirrored = warp_joints(joints, mirror, 48, COCO17.flip)
    assert mirrored[0, right].tolist() == [37, 20, 2]
    assert (mirrored[0, left] == 0).all()


def test_joints_outside_of_the_crop_are_unlabelled() -> None:
    joints = np.array([[[-0.5, 0, 1], [47.4, 47.4, 2], [-0.6, 5, 2], [5, 47.6, 2], [9, 9, 0]]], np.float32)
    moved = warp_joints(joints, np.eye(2, 3), 48)
    assert moved[0, :2].tolist() == joints[0, :2].tolist()
    assert (moved[0, 2:] == 0).all()
    assert warp_joints(np.zeros((0, 5, 3), np.float32), np.eye(2, 3), 48).shape == (0, 5, 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), x=st.integers(12, 83), y=st.integers(12, 51))
def test_joints_stay_on_what_they_mark(seed: int, x: int, y: int) -> None:
    """The centre of mass of a white disc lies where its warped centre does."""
    image = np.zeros((64, 96), np.uint8)
    cv2.circle(image, (x, y), 6, 255, -1)
    matrix, _ = sample_matrix(np.random.default_rng(seed), 64, 96, 128, OFFICIAL)
    joint = warp_joints(np.array([[[x, y, 2]]], np.float32), matrix, 128)[0, 0]
    if joint[2] == 0 or not (20 < joint[0] < 108 and 20 < joint[1] < 108):
        return
    mass = warp(image, matrix, 128).astype(float)
    yy, xx = np.mgrid[:128, :128]
    assert (mass * xx).sum() / mass.sum() == pytest.approx(joint[0], abs=0.1)
    assert (mass * yy).sum() / mass.sum() == pytest.approx(joint[1], abs=0.1)


def test_inverse_leads_back() -> None:
    matrices = np.stack([sample_matrix(np.random.default_rng(i), 90, 160, 64, OFFICIAL)[0] for i in range(4)])
    points = np.random.default_rng(0).uniform(-50, 200, (6, 2))
    for matrix, back in zip(matrices, inverse(matrices), strict=True):
        assert apply(back, apply(matrix, points)) == pytest.approx(points)
    with pytest.raises(ValueError, match="no inverse"):
        inverse(np.zeros((2, 3)))


@pytest.mark.parametrize(("in_hw", "size"), [((96, 96), 96), ((70, 110), 64), ((40, 60), (96, 128))])
def test_both_paths_give_the_same_pixels(in_hw: tuple[int, int], size: int | tuple[int, int]) -> None:
    images = np.stack([photo(*in_hw, seed=i) for i in range(6)])
    matrices = np.stack([sample_matrix(np.random.default_rng(i), *in_hw, 96, OFFICIAL)[0] for i in range(6)])
    expected = np.stack([warp(image, matrix, size) for image, matrix in zip(images, matrices, strict=True)])
    found = warp_batch(torch.from_numpy(images), matrices, size, "cpu").permute(0, 2, 3, 1).numpy()
    difference = np.abs(found - expected)
    # At the image's edge the picture falls to black within a pixel: there 1/32 pixel is eight grey levels.
    assert difference.mean() < 0.5
    assert np.quantile(difference, 0.99) < 2
    assert difference.max() < 12


def test_warping_at_scale_one_moves_nothing() -> None:
    images = photo(31, 45)[None]
    found = warp_batch(torch.from_numpy(images), np.eye(2, 3)[None], (31, 45), "cpu")
    assert np.abs(found[0].permute(1, 2, 0).numpy() - images[0]).max() < 1e-2


def test_normalised_images() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    expected = (images / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    assert torch.allclose(normalise(images), expected, atol=1e-5)
    assert torch.allclose(normalise(images.float()), expected, atol=1e-5)
    assert normalise(images).is_contiguous(memory_format=torch.channels_last)


def test_looking_levels_up_is_arithmetic_bit_for_bit() -> None:
    """The table of a processor and the arithmetic of an accelerator: the same floats for all levels and channels."""
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    assert torch.equal(normalise(levels), normalise(levels.float()))


@pytest.mark.parametrize("seed", range(12))
def test_where_an_image_is_shown(seed: int) -> None:
    """A white image warped on black is above the middle grey there, but for positions that OpenCV rounds (1/32 px)."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 400, 2))
    matrix, _ = sample_matrix(rng, height, width, 128, OFFICIAL)
    white = warp(np.full((height, width), 255, np.uint8), matrix, 128) > 127
    shown = where_shown(matrix, (height, width), 128)
    assert shown.shape == (128, 128)
    assert shown.dtype == np.bool_
    differ = shown != white
    assert differ.sum() <= 8
    x, y = apply(inverse(matrix), np.argwhere(differ)[:, ::-1]).T
    from_edge = np.min([np.abs(x + 0.5), np.abs(x - width + 0.5), np.abs(y + 0.5), np.abs(y - height + 0.5)], axis=0)
    assert (from_edge < 0.1).all()


def test_an_upright_image_is_shown_in_whole_rows() -> None:
    matrix = np.array([[1.0, 0, 3], [0, 1.0, -2]])
    shown = where_shown(matrix, (6, 4), (8, 10))
    assert np.array_equal(np.argwhere(shown)[[0, -1]], [[0, 3], [3, 6]])
    assert shown.sum() == 4 * 4
    assert where_shown(np.array([[1.0, 0, 50], [0, 1.0, 0]]), (6, 4), (8, 10)).sum() == 0
    assert where_shown(np.array([[1.0, 0, 0], [0, 1.0, -50]]), (6, 4), (8, 10)).sum() == 0
    turned = np.array([[0.0, -1.0, 5], [1.0, 0, 0]])  # by a right angle: rows of the image are columns
    assert where_shown(turned, (6, 4), (8, 10)).sum() == 6 * 4


def test_a_batch_of_images_of_any_size() -> None:
    images = [photo(40, 60), photo(64, 32)]
    matrices = np.stack([resize_matrix(40, 60, 48), resize_matrix(64, 32, 48)])
    batch = augment_batch(images, matrices, 48, "cpu")
    assert batch.shape == (2, 3, 48, 48)
    black = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(batch[0, :, 0, 0], black, atol=1e-5)  # filled before normalisation
    tensor = torch.from_numpy(np.stack([images[0]] * 2))
    assert torch.equal(augment_batch(tensor, matrices[[0, 0]], 48, "cpu")[1], batch[0])


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (480, 640, 512, (512, 704)),  # 682.7 up to a multiple of 64
        (640, 480, 512, (704, 512)),
        (425, 640, 448, (448, 704)),
        (512, 512, 512, (512, 512)),
        (300, 300, 500, (512, 512)),  # the short side goes up to a multiple too
    ],
)
def test_official_evaluation_size(height: int, width: int, short: int, expected: tuple[int, int]) -> None:
    matrix, size = official_resize(height, width, short)
    assert size == expected
    scale = min(expected) / min(height, width)
    assert matrix[:, :2] == pytest.approx(np.eye(2) * scale)
    middle = np.array([int(width / 2 + 0.5), int(height / 2 + 0.5)])
    assert apply(matrix, middle) == pytest.approx(np.array([size[1] / 2, size[0] / 2]))


def test_resizing_to_a_square_keeps_the_ratio() -> None:
    matrix = resize_matrix(50, 100, 200)
    assert apply(matrix, np.array([[-0.5, -0.5], [99.5, 49.5]])) == pytest.approx(
        np.array([[-0.5, 49.5], [199.5, 149.5]])
    )
