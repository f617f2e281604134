import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from archsearch.pose.nms import oks_nms, pairwise_oks, rescored
from archsearch.skeleton import COCO17


def alike(a: NDArray[np.float64], b: NDArray[np.float64], area_a: float, area_b: float) -> float:
    """The similarity of two detections joint by joint, as the released code writes it."""
    total = 0.0
    for (xa, ya), (xb, yb), sigma in zip(a, b, COCO17.sigmas, strict=True):
        e = ((xa - xb) ** 2 + (ya - yb) ** 2) / (sigma * 2) ** 2 / ((area_a + area_b) / 2 + np.spacing(1)) / 2
        total += np.exp(-e)
    return total / len(COCO17)


def brute_force(joints, scores, areas, threshold):
    left = sorted(range(len(scores)), key=lambda k: (-scores[k], -k))  # of equal scores the last
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [k for k in left if alike(joints[best], joints[k], areas[best], areas[k]) <= threshold]
    return kept


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 25), threshold=st.sampled_from([0.3, 0.6, 0.9]))
def test_suppression_equals_brute_force(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    people = rng.uniform(0, 200, (4, 17, 2))
    joints = people[rng.integers(0, 4, count)] + rng.normal(0, 6, (count, 17, 2)) * rng.uniform(0, 1, (count, 1, 1))
    scores, areas = rng.choice([0.1, 0.5, 0.8, 0.9], count), rng.uniform(2e3, 2e4, count)
    kept = oks_nms(joints, scores, areas, COCO17.sigmas, threshold)
    assert kept.tolist() == brute_force(joints, scores, areas, threshold)


def test_the_better_of_two_alike_stays() -> None:
    joints = np.zeros((3, 17, 2))
    joints[1] += 1
    joints[2] += 100
    areas = np.full(3, 1e4)
    assert oks_nms(joints, np.array([0.5, 0.6, 0.1]), areas, COCO17.sigmas).tolist() == [1, 2]
    matrix = pairwise_oks(joints, areas, COCO17.sigmas)
    assert np.allclose(np.diag(matrix), 1)
    assert matrix[0, 1] == pytest.approx(alike(joints[0], joints[1], 1e4, 1e4))
    assert np.allclose(matrix, matrix.T)


def test_scores_are_the_boxs_times_the_mean_of_sure_joints() -> None:
    joint_scores = np.array([[0.9, 0.5, 0.2, 0.1], [0.2, 0.1, 0.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    scores = rescored(np.array([0.5, 1.0, 0.8]), joint_scores)
    assert np.allclose(scores, [0.5 * 0.7, 0, 0.8])  # 0.2 itself is not over 0.2
