"""PCKh by hand, against a plain implementation of the published evaluation, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsearch.files import InputError
from archsearch.pose.pckh import PUBLISHED_01, evaluate_pckh, pckh
from archsearch.skeleton import COCO17, MPII16

J = len(MPII16)


def case(seed: int, people: int = 40, noise_px: float = 12.0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """People in 20 images, some joints unlabelled, and a result for each that is off by a few pixels."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for n in range(people):
        image_id = n // 2
        size = float(rng.uniform(80, 300))
        origin = np.array([500.0 * (n % 2), 500.0 * (n // 40)])
        xy = origin + rng.uniform(0, size, (J, 2))
        labelled = rng.random(J) > 0.15
        joints = np.where(labelled[:, None], np.column_stack([xy, np.full(J, 2)]), 0)
        annotations.append(
            {
                "id": 100 + n,
                "image_id": image_id,
                "keypoints": joints.reshape(-1).tolist(),
                "num_keypoints": int(labelled.sum()),
                "bbox": [*origin.tolist(), size, size],
                "area": size * size * 0.5,
                "iscrowd": 0,
                "head_px": float(rng.uniform(15, 60)),
            }
        )
        found = xy + rng.normal(0, noise_px, xy.shape) * rng.choice([0.2, 1, 4])
        keypoints = np.column_stack([found, np.ones(J)]).reshape(-1).tolist()
        result = {"image_id": image_id, "annotation_id": 100 + n, "keypoints": keypoints}
        results.append(result | {"score": float(rng.random())})
    images = [{"id": i} for i in range((people + 1) // 2)]
    return {"images": images, "annotations": annotations}, results


def published(annotations: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """The evaluation that comes with HRNet, written out plainly: joints x people, per cent, steps of 0.01."""
    truth = np.array([a["keypoints"] for a in annotations["annotations"]]).reshape(-1, J, 3)
    found = np.array([r["keypoints"] for r in results]).reshape(-1, J, 3)
    missing = truth[:, :, 2].T == 0
    scaled = np.empty((J, len(truth)))
    for j in range(J):
        for n in range(len(truth)):
            error = np.hypot(found[n, j, 0] - truth[n, j, 0], found[n, j, 1] - truth[n, j, 1])
            scaled[j, n] = error / annotations["annotations"][n]["head_px"]
    counts = (~missing).sum(axis=1)

    def at(threshold: float) -> np.ndarray:
        return 100.0 * ((scaled <= threshold) & ~missing).sum(axis=1) / counts

    counts_used = np.delete(counts, [6, 7])
    ratio = counts_used / counts_used.sum()
    steps = np.arange(0, 0.5 + 0.01, 0.01)
    half = at(0.5)
    return {
        "head": half[9],
        "shoulder": 0.5 * (half[13] + half[12]),
        "elbow": 0.5 * (half[14] + half[11]),
        "wrist": 0.5 * (half[15] + half[10]),
        "hip": 0.5 * (half[3] + half[2]),
        "knee": 0.5 * (half[4] + half[1]),
        "ankle": 0.5 * (half[5] + half[0]),
        "mean": (np.delete(half, [6, 7]) * ratio).sum(),
        "published_01": (np.delete(at(steps[11]), [6, 7]) * ratio).sum(),
        "mean_01": (np.delete(at(0.1), [6, 7]) * ratio).sum(),
    }


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_published_evaluation(seed: int) -> None:
    annotations, results = case(seed, people=120)
    scores = evaluate_pckh(annotations, results, MPII16).summary()
    for name, value in published(annotations, results).items():
        assert scores[name] == pytest.approx(value / 100, abs=1e-12), name
    assert scores["people"] == 120
    assert 0 < scores["mean_01"] < scores["published_01"] < scores["mean"] < 1


def test_by_hand() -> None:
    truth = np.zeros((1, J, 3))
    truth[0, :, 0], truth[0, :, 2] = np.arange(J) * 100, 2
    predicted = truth[..., :2].copy()
    predicted[0, 0, 0] += 5.0  # exactly half a head: found
    predicted[0, 1, 0] += 5.1
    truth[0, 2, 2] = 0
    found, labelled = pckh(predicted, truth, np.array([10.0]), 0.5)
    assert found.tolist() == [1, 0, 0, *[1] * 13]
    assert labelled.tolist() == [1, 1, 0, *[1] * 13]
    predicted[0, 3] = np.nan
    assert pckh(predicted, truth, np.array([10.0]), 0.5)[0][3] == 0
    assert PUBLISHED_01 == 0.11


def test_pelvis_and_thorax_do_not_count_in_the_mean() -> None:
    annotations, results = case(0, people=6, noise_px=0.0)
    for result in results:
        for j in (6, 7):
            result["keypoints"][3 * j] += 1000
    scores = evaluate_pckh(annotations, results, MPII16)
    assert scores.mean == scores.mean_01 == 1.0
    assert scores.found_J[6] == scores.found_J[7] == 0.0
    results[0]["keypoints"][0] += 1000 * (annotations["annotations"][0]["keypoints"][2] > 0)
    results[0]["keypoints"][3] += 1000
    assert evaluate_pckh(annotations, results, MPII16).mean < 1.0


def test_results_without_ids_go_to_the_most_similar_people() -> None:
    """Two well separated people an image, so that it is clear who is who, and one false alarm."""
    annotations, results = case(3, noise_px=2.0)
    by_id = evaluate_pckh(annotations, results, MPII16)
    anonymous = [{k: v for k, v in r.items() if k != "annotation_id"} for r in results]
    assert evaluate_pckh(annotations, anonymous[::-1], MPII16).summary() == by_id.summary()
    stray = {"image_id": 0, "keypoints": [5000.0, 5000.0, 1.0] * J, "score": 1e-3}
    assert evaluate_pckh(annotations, [*anonymous, stray], MPII16).summary() == by_id.summary()
    fewer = evaluate_pckh(annotations, anonymous[1:], MPII16)
    labelled = sum(a["num_keypoints"] - sum(v > 0 for v in a["keypoints"][20:24:3]) for a in annotations["annotations"])
    assert 0 < by_id.mean - fewer.mean <= J / labelled
    assert evaluate_pckh(annotations, [], MPII16).mean == 0.0


def test_a_joint_that_nobody_has_is_none() -> None:
    annotations, results = case(1, people=4)
    for annotation in annotations["annotations"]:
        annotation["keypoints"][3 * 15 + 2] = 0
    scores = evaluate_pckh(annotations, results, MPII16)
    assert scores.wrist is None
    assert scores.elbow is not None
    assert np.isnan(scores.found_J[15])


def test_refuses_wrong_input() -> None:
    annotations, results = case(2, people=4)
    with pytest.raises(InputError, match="annotation 101: no result has this annotation_id"):
        evaluate_pckh(annotations, [results[0], *results[2:]], MPII16)
    with pytest.raises(InputError, match="result 1: annotation_id 100 has a result already"):
        evaluate_pckh(annotations, [results[0], results[0]], MPII16)
    with pytest.raises(InputError, match="result 0: annotation_id 103 is no person of image 0"):
        evaluate_pckh(annotations, [results[0] | {"annotation_id": 103}], MPII16)
    with pytest.raises(InputError, match="coco17"):
        evaluate_pckh(annotations, results, COCO17)
    annotations["annotations"][2]["head_px"] = None
    with pytest.raises(InputError, match="annotation 102: head_px is None: PCKh needs the head boxes"):
        evaluate_pckh(annotations, results, MPII16)
    truth = np.ones((2, J, 3))
    for predicted, heads, message in (
        (np.ones((2, J, 3)), np.ones(2), "predictions of shape"),
        (np.ones((2, J, 2)), np.ones(3), "heads of shape"),
        (np.ones((2, J, 2)), np.array([1.0, 0.0]), r"head sizes \[0.0\] are not positive"),
    ):
        with pytest.raises(ValueError, match=message):
            pckh(predicted, truth, heads, 0.5)
