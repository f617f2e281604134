import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from archsearch.data.boxes import (
    HRNET,
    LITE_HRNET,
    PersonAugmentation,
    clipped_boxes,
    crop_matrices,
    crops,
    half_body,
    has_extent,
    lower_body,
    sample_crop,
)
from archsearch.data.transforms import apply, inverse, warp, warp_joints
from archsearch.skeleton import COCO17, CROWDPOSE14, MPII16, describe

COCO_HW, MPII_HW = (256, 192), (256, 256)


def test_boxes_grow_to_the_inputs_ratio_and_then_by_a_quarter() -> None:
    boxes = [[100, 50, 60, 160], [0, 0, 160, 60], [10, 20, 30, 40]]
    centres, sizes = crops(boxes, COCO_HW, 1.25)
    assert centres.tolist() == [[130, 130], [80, 30], [25, 40]]
    # 60 x 160: the width grows to 120; 160 x 60: the height to 213.3; 30 x 40 has the ratio
    assert np.allclose(sizes, [[150, 200], [200, 266.6666667], [37.5, 50]])
    assert np.allclose(crops(boxes, MPII_HW, 1.25)[1], [[200, 200], [200, 200], [50, 50]])


def test_boxes_are_cut_to_the_image_as_the_released_reader_does() -> None:
    """x2 = min(W - 1, max(0, x) + max(0, w - 1)): whole boxes lose a pixel, too."""
    boxes = [[10, 20, 30, 40], [-5, -6, 30, 40], [90, 40, 30, 40], [200, 10, 5, 5], [10, 10, 0.5, 0]]
    clipped = clipped_boxes(boxes, height=60, width=100)
    assert clipped[:3].tolist() == [[10, 20, 29, 39], [0, 0, 29, 39], [90, 40, 9, 19]]
    assert has_extent(clipped).tolist() == [True, True, True, False, False]


def three_points(
    centre: tuple[float, float], width: float, degrees: float, input_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """The affine map of the released code, from the three pairs of points that it is made of."""
    angle = math.radians(degrees)
    up = np.array([math.sin(angle), -math.cos(angle)]) * width / 2
    aside = np.array([up[1], -up[0]])
    out_centre, out_up = np.array([input_hw[1], input_hw[0]]) / 2, np.array([0, -input_hw[1] / 2])
    out_aside = np.array([out_up[1], -out_up[0]])
    source = np.float32([centre, centre + up, centre + aside])
    target = np.float32([out_centre, out_centre + out_up, out_centre + out_aside])
    return np.asarray(cv2.getAffineTransform(source, target))


@pytest.mark.parametrize("degrees", [0, 30, -75, 160])
@pytest.mark.parametrize("input_hw", [COCO_HW, MPII_HW])
def test_the_official_matrix_maps_three_points_as_the_released_code_does(
    degrees: float, input_hw: tuple[int, int]
) -> None:
    size = np.array([90.0, 90.0 * input_hw[0] / input_hw[1]])
    matrix = crop_matrices([[140.5, 77.25]], size, input_hw, "official", degrees)[0]
    assert np.allclose(matrix, three_points((140.5, 77.25), 90, degrees, input_hw), atol=1e-3)


def test_udp_puts_the_crops_corners_on_the_outermost_pixels() -> None:
    matrix = crop_matrices([[50, 60]], [[90, 120]], COCO_HW, "udp")[0]
    corners = apply(matrix, np.array([[5.0, 0], [95, 0], [5, 120], [95, 120], [50, 60]]))
    assert np.allclose(corners, [[0, 0], [191, 0], [0, 255], [191, 255], [95.5, 127.5]])
    turned = crop_matrices([[50, 60]], [[90, 90]], MPII_HW, "udp", 90)[0]
    assert np.allclose(apply(turned, np.array([[95.0, 60]])), [[127.5, 0]])  # what is right comes up


@given(
    transform=st.sampled_from(["official", "udp"]),
    centre=st.tuples(st.floats(-100, 900), st.floats(-100, 900)),
    width=st.floats(2, 800),
    degrees=st.floats(-90, 90),
    mirrored=st.booleans(),
)
@settings(deadline=None)
def test_points_come_back(transform, centre, width, degrees, mirrored):
    matrix = crop_matrices([centre], [[width, width * 4 / 3]], COCO_HW, transform, degrees, mirrored)[0]
    points = np.random.default_rng(0).uniform(-200, 1000, (20, 2))
    assert np.allclose(apply(inverse(matrix), apply(matrix, points)), points, atol=1e-6)
    middle = (COCO_HW[1] / 2, COCO_HW[0] / 2) if transform == "official" else (95.5, 127.5)
    assert np.allclose(apply(matrix, np.array([centre])), [middle])


@pytest.mark.parametrize("transform", ["official", "udp"])
def test_a_mirrored_crop_is_the_crop_of_the_mirrored_image(transform: str) -> None:
    """The released code mirrors the image, x' = W - 1 - x, and the box's centre, then turns."""
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8), (9, 9), 0)
    centre, size = np.array([[70.25, 55.5]]), np.array([[60.0, 80]])
    ours = crop_matrices(centre, size, (64, 48), transform, 25, True)[0]
    theirs = crop_matrices([[159 - 70.25, 55.5]], size, (64, 48), transform, 25)[0]
    flipped = np.ascontiguousarray(image[:, ::-1])
    difference = warp(image, ours, (64, 48)).astype(int) - warp(flipped, theirs, (64, 48))
    assert abs(difference).max() <= 3  # OpenCV rounds positions to 1/32 pixel
    joints = np.array([[[80.0, 60, 2], [60, 50, 1]]], np.float32)
    mirrored = joints * [-1, 1, 1] + [159, 0, 0]
    assert np.allclose(warp_joints(joints, ours, (64, 48), (1, 0)), warp_joints(mirrored[:, ::-1], theirs, (64, 48)))


def test_a_udp_mirror_image_is_the_crop_mirrored_and_an_official_one_is_not() -> None:
    """What unbiased data processing is about: x' = W - 1 - x at the input, too, without half a pixel between."""
    point = np.array([[70.0, 50]])
    for transform, gap in (("udp", 0.0), ("official", 1.0)):
        plain, mirrored = (
            apply(crop_matrices([[64, 60]], [[48, 64]], COCO_HW, transform, 0, flag)[0], point)  # type: ignore[arg-type]
            for flag in (False, True)
        )
        assert mirrored[0, 0] - (191 - plain[0, 0]) == pytest.approx(gap)


@pytest.mark.parametrize("size", [[0, 0], [0, 10], [-1, 5]])
def test_a_crop_without_size_is_refused(size: list[float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        crop_matrices([[1, 1]], [size], COCO_HW)


def test_unknown_transforms_are_refused() -> None:
    with pytest.raises(ValueError, match="'unbiased' is not one of"):
        crop_matrices([[1, 1]], [[1, 1]], COCO_HW, "unbiased")  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- augmentation


def test_the_lower_body_is_told_by_names() -> None:
    assert np.flatnonzero(lower_body(COCO17)).tolist() == [11, 12, 13, 14, 15, 16]
    assert np.flatnonzero(lower_body(MPII16)).tolist() == [0, 1, 2, 3, 4, 5, 6]  # with the pelvis, as published
    assert np.flatnonzero(lower_body(CROWDPOSE14)).tolist() == [6, 7, 8, 9, 10, 11]


def person(upper: int, lower: int) -> NDArray[np.float32]:
    """COCO joints, labelled from the first on; the lower body lies below y = 100."""
    joints = np.zeros((17, 3), np.float32)
    joints[:, 0] = 50 + 10 * (np.arange(17) % 3)
    joints[:, 1] = 10 * np.arange(17)
    joints[:upper, 2] = 2
    joints[11 : 11 + lower, 2] = 1
    return joints


def test_half_a_body_is_a_crop_around_its_joints() -> None:
    lower = lower_body(COCO17)
    joints = person(5, 6)
    centre, size = half_body(joints, lower, COCO_HW, prefer_upper=True)  # type: ignore[misc]
    # upper: x 50, 60, 70, 50, 60; y 0 .. 40: 20 x 40, of ratio 3 : 4 30 x 40, times 1.5
    assert np.allclose(centre, [58, 20])
    assert np.allclose(size, [45, 60])
    centre, size = half_body(joints, lower, COCO_HW, prefer_upper=False)  # type: ignore[misc]
    assert np.allclose(centre, [np.mean([70, 50, 60, 70, 50, 60]), 135])
    assert np.allclose(size, [56.25, 75])  # y 110 .. 160


@pytest.mark.parametrize(
    ("upper", "lower", "prefer_upper", "below"),
    [(3, 6, True, False), (2, 6, True, True), (6, 2, False, False), (6, 3, False, True)],
)
def test_a_half_with_too_few_joints_gives_way(upper: int, lower: int, prefer_upper: bool, below: bool) -> None:
    found = half_body(person(upper, lower), lower_body(COCO17), COCO_HW, prefer_upper=prefer_upper)
    assert found is not None
    assert (found[0][1] > 100) == below


def test_no_half_where_there_is_none() -> None:
    assert half_body(person(1, 2), lower_body(COCO17), COCO_HW, prefer_upper=True) is None
    hand = describe("hand", ["palm", "thumb", "index"], limbs=[], sigmas=[0.1] * 3)
    joints = np.array([[0, 0, 2], [5, 5, 2], [9, 9, 2]], np.float32)
    assert half_body(joints, lower_body(hand), COCO_HW, prefer_upper=True) is None
    same = person(3, 0)
    same[:, :2] = 7
    assert half_body(same, lower_body(COCO17), COCO_HW, prefer_upper=True) is None


def drawn(aug: PersonAugmentation, count: int = 2000) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Scale of the crop, angle in degrees and mirror flag of many random crops of one person without joints."""
    joints, lower = np.zeros((17, 3), np.float32), lower_body(COCO17)
    rng = np.random.default_rng(0)
    crop = (np.array([50.0, 60]), np.array([90.0, 120]))
    pairs = [sample_crop(rng, *crop, joints, lower, aug, COCO_HW, "official") for _ in range(count)]
    matrices = np.stack([matrix for matrix, _ in pairs])
    linear = matrices[:, :, :2]
    scale = (192 / 90) / np.sqrt(abs(np.linalg.det(linear)))
    angle = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 1, 1]))
    return scale, angle, np.array([mirrored for _, mirrored in pairs])


def test_augmentation_has_the_released_distributions() -> None:
    scale, angle, mirrored = drawn(HRNET)
    assert scale.min() == pytest.approx(0.65)
    assert scale.max() == pytest.approx(1.35)
    assert np.mean(scale < 0.651) == pytest.approx(0.159, abs=0.03)  # a normal number below -1
    assert np.std(angle[angle != 0]) == pytest.approx(45 * 0.93, abs=4)
    assert abs(angle).max() <= 90 + 1e-9
    assert np.mean(abs(angle) > 1e-9) == pytest.approx(0.6, abs=0.03)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.03)
    scale, angle, _ = drawn(LITE_HRNET)
    assert (scale.min(), scale.max()) == (pytest.approx(0.75), pytest.approx(1.25))
    assert abs(angle).max() <= 60 + 1e-9


def test_a_setting_does_not_change_what_another_draws() -> None:
    flips = [drawn(PersonAugmentation(scale=s, rotation_deg=r), 50)[2].tolist() for s, r in ((0, 0), (0.3, 40))]
    assert flips[0] == flips[1]


def test_half_bodies_are_drawn_of_people_with_enough_joints() -> None:
    aug = PersonAugmentation(scale=0, rotation_deg=0, flip=0, half_body=1, half_body_joints=8)
    crop = (np.array([50.0, 60]), np.array([90.0, 120]))
    lower = lower_body(COCO17)
    for joints, expected in ((person(6, 2), 1), (person(11, 6), 3)):  # 8 joints are not over 8
        found = {
            tuple(sample_crop(np.random.default_rng(i), *crop, joints, lower, aug, COCO_HW, "official")[0].ravel())
            for i in range(100)
        }
        assert len(found) == (1 if expected == 1 else 2)  # the whole crop; or upper and lower
    head = np.array([[60.0, 0]])  # on the input where the crop is of the upper body, far above it otherwise
    upper = []
    for i in range(300):
        matrix = sample_crop(np.random.default_rng(i), *crop, person(11, 6), lower, aug, COCO_HW, "official")[0]
        upper.append(apply(matrix, head)[0, 1] > 0)
    assert np.mean(upper) == pytest.approx(0.69, abs=0.08)  # a normal number below 0.5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale": 1.0}, "scale 1.0"),
        ({"scale": -0.1}, "scale -0.1"),
        ({"rotation_deg": 100}, "rotation_deg not: 100"),
        ({"flip": 1.5}, "flip 1.5 is not a probability"),
        ({"half_body": math.nan}, "half_body nan is not a probability"),
        ({"half_body_joints": -1}, "half_body_joints -1 is negative"),
    ],
)
def test_what_is_no_augmentation_is_refused(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PersonAugmentation(**{"scale": 0.3, "rotation_deg": 30, **fields})  # type: ignore[arg-type]
