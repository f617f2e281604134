"""Drawing: what appears where, and that the image given stays as it was."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from samples import SAMPLES, needs_samples

from archsearch.pose.draw import LEFT, MIDDLE, RIGHT, RIMS, draw_people
from archsearch.skeleton import COCO17, CROWDPOSE14

GREY = 128


def image(height: int = 240, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def person(score: float = 1.0, x: float = 100.0, scale: float = 1.0) -> np.ndarray:
    """Arms and legs straight down: left at x + 40, right at x - 40, hips at y = 120, ankles at 200."""
    heights = {"nose": 20, "eye": 15, "ear": 20, "shoulder": 50, "elbow": 85, "wrist": 115, "hip": 120, "knee": 160,
               "ankle": 200}  # fmt: skip
    widths = {"nose": 0, "eye": 6, "ear": 12, "hip": 25, "knee": 25, "ankle": 25}
    joints = np.zeros((17, 4))
    for j, name in enumerate(COCO17.joints):
        part = name.split("_")[-1]
        side = 1 if name.startswith("left_") else -1
        joints[j] = (x + scale * side * widths.get(part, 40), scale * heights[part], score, 0)
    return joints


def at(picture: np.ndarray, name_a: str, name_b: str, joints: np.ndarray) -> tuple[int, ...]:
    """The colour in the middle of a limb."""
    a, b = (joints[COCO17.joints.index(n), :2] for n in (name_a, name_b))
    x, y = ((a + b) / 2).round().astype(int)
    return tuple(int(v) for v in picture[y, x])


def test_sides_have_their_colours():
    joints = person()
    picture = draw_people(image(), joints[None], COCO17)
    assert at(picture, "left_hip", "left_knee", joints) == LEFT
    assert at(picture, "right_hip", "right_knee", joints) == RIGHT
    assert at(picture, "left_hip", "right_hip", joints) == MIDDLE
    assert tuple(picture[230, 10]) == (GREY,) * 3


def test_leaves_the_image_alone_and_takes_views():
    given = image()
    before = given.copy()
    draw_people(given, person()[None], COCO17, ground_truth=person()[None])
    assert (given == before).all()
    flipped = given[:, ::-1, ::-1]  # negative strides
    assert draw_people(flipped, person()[None], COCO17).shape == given.shape
    given.flags.writeable = False
    assert draw_people(given, person()[None], COCO17).flags.writeable


@pytest.mark.parametrize("nobody", [np.zeros((0, 17, 4)), [], person(score=0.0)[None], person(score=0.04)[None]])
def test_nobody_draws_nothing(nobody):
    assert (draw_people(image(), nobody, COCO17) == image()).all()


def test_low_scores_are_faint():
    joints = person()
    sure = at(draw_people(image(), joints[None], COCO17), "left_hip", "left_knee", joints)
    joints[COCO17.joints.index("left_knee"), 2] = 0.1
    faint = at(draw_people(image(), joints[None], COCO17), "left_hip", "left_knee", joints)
    gone = at(draw_people(image(), joints[None], COCO17, threshold=0.15), "left_hip", "left_knee", joints)
    distance = [np.abs(np.array(c, float) - GREY).sum() for c in (gone, faint, sure)]
    assert distance[0] == 0
    assert 0 < distance[1] < 0.6 * distance[2]
    # the rest of the person is as sure as before
    picture = draw_people(image(), joints[None], COCO17)
    assert at(picture, "right_hip", "right_knee", joints) == RIGHT


def test_people_are_told_apart_by_their_rims():
    people = np.stack([person(x=60 + 100 * k) for k in range(3)])
    alone = [draw_people(image(240, 340), people[k : k + 1], COCO17) for k in range(3)]
    together = draw_people(image(240, 340), people, COCO17)
    for k, joints in enumerate(people):
        x0, x1 = int(joints[:, 0].min()) - 5, int(joints[:, 0].max()) + 6
        part = together[:, x0:x1]
        assert (np.abs(part.astype(int) - RIMS[k]).max(axis=2) < 40).sum() > 50  # smoothed
        assert (alone[k][:, x0:x1] == part).all() == (k == 0)  # alone, everyone has the first rim


def test_lines_grow_with_the_person():
    def width(scale: float) -> int:
        picture = draw_people(image(900, 900), person(x=400, scale=scale)[None], COCO17)
        y = int(140 * scale)
        return int((picture[y, 400:] != GREY).any(axis=1).sum())

    assert 3 <= width(0.2) < width(1) < width(4)


def test_ground_truth_is_white_and_on_top():
    joints = person(x=150)
    truth = joints[:, :3].copy()
    truth[:, 2] = 2
    picture = draw_people(image(), joints[None], COCO17, ground_truth=truth[None])
    assert min(at(picture, "left_hip", "left_knee", joints)) > 220  # white, smoothed
    truth[COCO17.joints.index("left_knee"), 2] = 0  # not labelled
    picture = draw_people(image(), joints[None], COCO17, ground_truth=truth[None])
    assert at(picture, "left_hip", "left_knee", joints) == LEFT


def test_far_outside_of_the_image():
    joints = person()
    joints[0, :2] = 1e12, -1e12
    assert draw_people(image(), joints[None], COCO17).shape == (240, 320, 3)
    assert (draw_people(image(20, 20), joints[None] + [[[5000, 0, 0, 0]]], COCO17)[:, :, 0] >= 0).all()


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"image of shape \(8, 8\)"):
        draw_people(np.zeros((8, 8), np.uint8), person()[None], COCO17)
    with pytest.raises(ValueError, match="float32"):
        draw_people(np.zeros((8, 8, 3), np.float32), person()[None], COCO17)
    with pytest.raises(ValueError, match=r"persons of shape \(1, 17, 4\): \(K, 14"):
        draw_people(image(), person()[None], CROWDPOSE14)
    with pytest.raises(ValueError, match="ground_truth of shape"):
        draw_people(image(), [], COCO17, ground_truth=np.zeros((17, 3)))


@needs_samples
@pytest.mark.parametrize(("name", "skeleton"), [("coco", COCO17), ("crowdpose", CROWDPOSE14)])
def test_real_photographs(name, skeleton):
    annotations = json.loads((SAMPLES / name / f"test_{name}.json").read_text())
    for info in annotations["images"]:
        people = [a["keypoints"] for a in annotations["annotations"] if a["image_id"] == info["id"]]
        joints = np.array(people, float).reshape(-1, len(skeleton), 3)
        photo = cv2.imread(str(SAMPLES / name / info["file_name"]))[:, :, ::-1]
        picture = draw_people(photo, joints, skeleton, ground_truth=joints)
        changed = (picture != photo).any(axis=2)
        assert 0 < changed.mean() < 0.5
        near = joints[joints[..., 2] > 0][:, :2].astype(int)
        assert changed[near[:, 1].clip(0, info["height"] - 1), near[:, 0].clip(0, info["width"] - 1)].mean() > 0.95
