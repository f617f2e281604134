"""One person found in several boxes is kept once: suppression by object keypoint similarity.

Shapes: K detections of an image; J joints. Source: the released code of HRNet (Sun et al., CVPR 2019), whose rules are
those of Papandreou et al. (CVPR 2017), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def rescored(box_scores_K: Float64, joint_scores_KJ: Float64, threshold: float = 0.2) -> Float64:
    """Scores (K,) of people: the box's times the mean of the joint scores over ``threshold``, 0 without such."""
    sure_KJ = joint_scores_KJ > threshold
    sums_K = np.where(sure_KJ, joint_scores_KJ, 0).sum(1)
    return np.asarray(box_scores_K * sums_K / np.maximum(sure_KJ.sum(1), 1))


def pairwise_oks(joints_KJ2: Float64, areas_K: Float64, sigmas: Sequence[float]) -> Float64:
    """Similarity (K, K) of detections to each other: the mean over all joints of exp(-d^2 / (2 s (2 sigma)^2)).

    ``s`` is the mean of the two areas in square pixels.
    """
    area_KK = (areas_K[:, None] + areas_K[None, :]) / 2 + np.spacing(1)
    total_KK: Float64 = np.zeros_like(area_KK)
    for points_K2, sigma in zip(joints_KJ2.transpose(1, 0, 2), sigmas, strict=True):  # K x K at a time, not K x K x J
        squares_KK = np.square(points_K2[:, None] - points_K2[None, :]).sum(-1)
        total_KK += np.exp(-squares_KK / (2 * sigma) ** 2 / area_KK / 2)
    total_KK /= len(sigmas)
    return total_KK


def oks_nms(
    joints_KJ2: Float64, scores_K: Float64, areas_K: Float64, sigmas: Sequence[float], threshold: float = 0.9
) -> NDArray[np.int64]:
    """The detections that stay, by falling score: none is more similar than ``threshold`` to a better one that stays.

    Of equal scores the last counts as better, as in the released code.
    """
    order_K = np.argsort(scores_K, kind="stable")[::-1]
    alike_KK = pairwise_oks(joints_KJ2[order_K], areas_K[order_K], sigmas) > threshold
    stays_K = np.ones(len(order_K), bool)
    for k in range(len(order_K)):
        if stays_K[k]:
            stays_K[k + 1 :] &= ~alike_KK[k, k + 1 :]
    return order_K[stays_K]
