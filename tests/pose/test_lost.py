"""Who is lost and why: by hand for every reason, and perfect maps at 512 px."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from samples import SAMPLES, needs_samples

from archsearch.data.coco import load_coco
from archsearch.data.dataset import some_images
from archsearch.data.scenes import scenes
from archsearch.pose import losses
from archsearch.pose.bottomup import FAST_DECODE, OFFICIAL_DECODE
from archsearch.pose.ceiling import ceiling, perfect_results
from archsearch.pose.evaluate import evaluate
from archsearch.pose.lost import LostPerson, lost_people, reasons, record, rows
from archsearch.skeleton import COCO17

HEIGHT_PX = 100.0


def two_people() -> dict[str, Any]:
    """Side by side, joints on a diagonal, 300 px apart; a crowd between them is nobody to find."""
    people = []
    for n, (left, crowd) in enumerate(((0.0, 0), (300.0, 0), (150.0, 1))):
        steps = np.linspace(0, HEIGHT_PX, 17)
        joints = np.stack([left + steps, steps, np.full(17, 2)], axis=1)
        people.append(
            {
                "id": 40 + n,
                "image_id": 5,
                "keypoints": joints.reshape(-1).tolist(),
                "bbox": [left, 0.0, HEIGHT_PX, HEIGHT_PX],
                "area": HEIGHT_PX**2,
                "num_keypoints": 17,
                "iscrowd": crowd,
            }
        )
    return {"images": [{"id": 5}], "annotations": people}


def result(annotations: dict[str, Any], person: int, **moved: tuple[float, float]) -> dict[str, Any]:
    joints = np.array(annotations["annotations"][person]["keypoints"]).reshape(-1, 3)
    for name, by in moved.items():
        joints[COCO17.joints.index(name), :2] += by
    return {"image_id": 5, "keypoints": joints.reshape(-1).tolist(), "score": 0.5 + 0.1 * person}


def test_nobody_is_lost_who_is_found_exactly() -> None:
    truth = two_people()
    assert lost_people(truth, [result(truth, 0), result(truth, 1)], COCO17) == []


def test_not_found() -> None:
    truth = two_people()
    (lost,) = lost_people(truth, [result(truth, 1)], COCO17)
    assert (lost.image_id, lost.person, lost.oks, lost.reason) == (5, 0, 0.0, "not found")
    assert lost.neighbour_px == pytest.approx(150)  # of the crowd, whose joints are in the way too
    assert len(lost_people(truth, [], COCO17)) == 2
    # one result cannot be two people's: the more similar one has it
    twin = two_people()
    twin["annotations"][1]["keypoints"] = twin["annotations"][0]["keypoints"]
    assert [p.reason for p in lost_people(twin, [result(truth, 0)], COCO17)] == ["not found"]


def test_a_joint_astray() -> None:
    truth = two_people()
    lost = lost_people(truth, [result(truth, 0, left_knee=(0.0, 60.0)), result(truth, 1)], COCO17)
    tolerance = 2 * 0.087 * HEIGHT_PX
    assert lost == [
        LostPerson(
            image_id=5,
            person=0,
            oks=pytest.approx((16 + np.exp(-((60 / tolerance) ** 2) / 2)) / 17),
            reason="joints astray",
            height_px=HEIGHT_PX,
            labelled=17,
            worst_joint="left_knee",
            worst_px=pytest.approx(60.0),
            worst_tolerances=pytest.approx(60 / tolerance),
            neighbour_px=pytest.approx(150.0),
        )
    ]


def test_a_joint_of_someone_else() -> None:
    truth = two_people()
    (lost,) = lost_people(truth, [result(truth, 0, left_wrist=(301.0, 0.0)), result(truth, 1)], COCO17)
    assert (lost.reason, lost.worst_joint) == ("joints of another person", "left_wrist")


def test_precision() -> None:
    truth = two_people()
    shift = dict.fromkeys(COCO17.joints, (5.0, 0.0))
    (lost,) = lost_people(truth, [result(truth, 0, **shift), result(truth, 1)], COCO17)
    assert lost.reason == "precision"
    assert lost.worst_joint in ("left_eye", "right_eye")  # the smallest sigma
    assert 0.5 < lost.oks < 0.95


def test_rows_and_reasons() -> None:
    truth = two_people()
    lost = lost_people(truth, [result(truth, 0, left_wrist=(301.0, 0.0))], COCO17)
    assert reasons(lost) == {"not found": 1, "joints of another person": 1}
    nobody, mixed = rows(lost)
    assert (nobody["annotation"], nobody["why"], nobody["OKS"], nobody["off, px"]) == ("1", "not found", "0.000", "inf")
    assert (mixed["image"], mixed["worst joint"], mixed["off, px"]) == ("5", "left_wrist", "301.0")
    assert json.loads(json.dumps(record(lost[0]), allow_nan=False))["worst_px"] is None
    assert reasons([]) == {}
    assert rows([]) == []


def test_perfect_maps_of_hard_scenes_at_512_px() -> None:
    """Nobody is lost altogether; what is lost are joints that share a cell, or its neighbour, with a namesake."""
    data = scenes(5, 512, 5, COCO17, "hard")
    results = perfect_results(data, losses.FAST, FAST_DECODE, size_px=512)
    scores = evaluate(data.annotations, results, COCO17)
    assert scores.people >= 15
    assert scores.ap50 == pytest.approx(1.0)
    assert scores.ap >= 0.97
    for person in lost_people(data.annotations, results, COCO17):
        assert person.reason != "not found"
        assert person.neighbour_px < 10 or person.reason == "precision"


@pytest.mark.parametrize(("level", "images", "least"), [("easy", 20, 0.999), ("hard", 40, 0.97)])
def test_perfect_maps_of_large_people_with_the_official_decoding(level: str, images: int, least: float) -> None:
    """At 512 px, people of whom more than 100 px are seen lose next to nothing.

    Easy scenes lose nothing at all; without the quarter of a cell, or with another convention, it is 0.996.
    """
    data = scenes(images, 512, 5, COCO17, level)
    large = [i for i, image in enumerate(data.images) if (image.boxes_P4[:, 3] > 100).all()]
    scores = ceiling(some_images(data, large), losses.OFFICIAL, OFFICIAL_DECODE, size_px=512)
    assert scores.people >= 30
    assert scores.ap50 == pytest.approx(1.0)
    assert scores.ap >= least


@pytest.mark.parametrize("seed", [1, 5])
def test_the_official_decoding_is_too_coarse_for_small_people_and_the_list_names_them(seed: int) -> None:
    """Everyone is found, the small ones not exactly: a quarter of a cell is much of the tolerance of a small face."""
    data = scenes(8, 512, seed, COCO17, "hard")
    results = perfect_results(data, losses.OFFICIAL, OFFICIAL_DECODE, size_px=512)
    scores = evaluate(data.annotations, results, COCO17)
    assert scores.ap50 == pytest.approx(1.0)
    assert scores.ap < 0.95
    whole_cells = dataclasses.replace(OFFICIAL_DECODE, subpixel="none")
    assert scores.ap > ceiling(data, losses.OFFICIAL, whole_cells, size_px=512).ap + 0.01
    people = enumerate(data.annotations["annotations"])
    small = {str(n) for n, person in people if person["num_keypoints"] and person["bbox"][3] < 50}
    lost = lost_people(data.annotations, results, COCO17)
    assert len(small) >= 5
    assert small <= {row["annotation"] for row in rows(lost)}
    assert {person.reason for person in lost} == {"precision"}
    assert np.median([person.height_px for person in lost]) < 60


@needs_samples
@pytest.mark.parametrize("name", ["coco", "crowdpose"])
@pytest.mark.parametrize(("loss", "decode"), [(losses.FAST, FAST_DECODE), (losses.OFFICIAL, OFFICIAL_DECODE)])
def test_perfect_maps_of_photos_at_512_px(name: str, loss: Any, decode: Any) -> None:
    data = load_coco(SAMPLES / name / f"test_{name}.json", SAMPLES / name)
    assert ceiling(data, loss, decode, size_px=512).ap >= 0.97
