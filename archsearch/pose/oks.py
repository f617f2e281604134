"""Object keypoint similarity, matching of detections to people, and average precision from the matches.

The rules are those of COCO's keypoint evaluation (cocodataset.org/#keypoints-eval): at most 20 detections an image, ten
OKS thresholds from 0.50 to 0.95, detections take the best free person in the order of their scores, people that are
crowds or have no labelled joint are ignored, precision is read at 101 recalls. Every figure equals the public
evaluators' for the same input. What they do not hand out is kept here: the matches of every single image, from which
AP can be accumulated again for any sample of the images or bin of people.

Shapes: D detections and G annotated people of an image, J joints, T OKS thresholds, S samples of I images.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.files import InputError
from archsearch.skeleton import CROWDPOSE14, Skeleton

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

OKS_THRESHOLDS_T: Float64 = np.linspace(0.5, 0.95, 10)
RECALLS: Float64 = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 20  # an image, highest scores first
BOX_TO_AREA = 0.53  # a person's area where only the box is annotated (CrowdPose API)

_VALUES_AT_ONCE = 1 << 21  # bounds the memory of average_precision


@dataclass(frozen=True, eq=False)
class ImagePeople:
    """The people of one image and what was detected there, detections by falling score."""

    image_id: int
    oks_DG: Float64
    scores_D: Float64
    detected_areas_D: Float64  # px^2, of the box around all joints unless the result has a box, as COCO computes it
    detected_heights_D: Float64  # px, of the box around the joints with a score unless the result has a box
    areas_G: Float64  # px^2
    heights_G: Float64  # px, of the box
    ignored_G: Bool  # crowds and people without a labelled joint: neither found nor missed
    crowd_G: Bool  # may be matched any number of times


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """What AP needs to know of one image."""

    image_id: int
    scores_D: Float64
    matched_TD: Bool
    ignored_TD: Bool  # detections that count neither as hits nor as false alarms
    positives: int  # people to be found


def checked_ground_truth(annotations: dict[str, Any], skeleton: Skeleton) -> tuple[list[int], list[dict[str, Any]]]:
    """Sorted image ids and the people of a COCO keypoints JSON, reduced to what evaluation reads and numbered from 1.

    A missing ``area`` becomes 0.53 * box area, and so does every area under the protocol of CrowdPose, whose API reads
    none: that skeleton, and images with a ``crowdIndex``. Raises ``InputError`` where the annotations are not what they
    should be.
    """
    crowd_pose = skeleton == CROWDPOSE14 and any("crowdIndex" in image for image in annotations.get("images", []))
    image_ids = sorted({int(image["id"]) for image in annotations.get("images", [])})
    known = set(image_ids)
    people = []
    for number, annotation in enumerate(annotations.get("annotations", []), start=1):
        name = f"annotation {annotation.get('id', number)}"
        if annotation.get("image_id") not in known:
            raise InputError(f"{name}: image_id {annotation.get('image_id')} is not one of {len(known)} images")
        keypoints, box = annotation.get("keypoints"), annotation.get("bbox")
        if keypoints is None or len(keypoints) != 3 * len(skeleton):
            count = "no" if keypoints is None else len(keypoints)
            raise InputError(f"{name}: {count} keypoint values, {skeleton.name} has 3 * {len(skeleton)}")
        if box is None or len(box) != 4:
            raise InputError(f"{name}: bbox {box} is not x, y, width, height")
        area = annotation.get("area")
        people.append(
            {
                "id": number,
                "image_id": int(annotation["image_id"]),
                "category_id": 1,
                "keypoints": list(keypoints),
                "num_keypoints": annotation.get("num_keypoints", sum(v > 0 for v in keypoints[2::3])),
                "bbox": list(box),
                "area": box[2] * box[3] * BOX_TO_AREA if area is None or crowd_pose else area,
                "iscrowd": int(annotation.get("iscrowd", 0)),
            }
        )
    if not any(_positive(person) for person in people):
        raise InputError(f"no annotated person with joints in {len(image_ids)} images: there is nothing to evaluate")
    return image_ids, people


def checked_results(results: Sequence[dict[str, Any]], known: Set[int], skeleton: Skeleton) -> list[dict[str, Any]]:
    """COCO results reduced to what evaluation reads; ``known`` are the ids of images.

    Raises ``InputError`` naming the first result that is wrong.
    """
    boxes = bool(results) and all("bbox" in result for result in results)
    checked = []
    for number, result in enumerate(results):
        name = f"result {number} (image_id {result.get('image_id')})"
        if result.get("image_id") not in known:
            raise InputError(f"{name}: not one of the {len(known)} images of the annotations")
        keypoints = np.asarray(result.get("keypoints", ()), dtype=np.float64)
        if keypoints.shape != (3 * len(skeleton),):
            raise InputError(f"{name}: {keypoints.size} keypoint values, {skeleton.name} has 3 * {len(skeleton)}")
        score = result.get("score")
        if score is None or not np.isfinite(score) or not np.isfinite(keypoints).all():
            raise InputError(f"{name}: the score {score} or a keypoint is not a finite number")
        slim: dict[str, Any] = {"image_id": int(result["image_id"]), "category_id": 1, "score": float(score)}
        slim["keypoints"] = keypoints.tolist()
        if boxes:
            slim["bbox"] = [float(v) for v in result["bbox"]]
        checked.append(slim)
    return checked


def similarities(
    image_ids: Sequence[int], people: list[dict[str, Any]], results: list[dict[str, Any]], skeleton: Skeleton
) -> list[ImagePeople]:
    """OKS between all detections and people of every image; ``people`` and ``results`` as the checks return them."""
    people_of: dict[int, list[dict[str, Any]]] = {i: [] for i in image_ids}
    results_of: dict[int, list[dict[str, Any]]] = {i: [] for i in image_ids}
    for person in people:
        people_of[person["image_id"]].append(person)
    for result in results:
        results_of[result["image_id"]].append(result)
    return [people_and_results(i, people_of[i], results_of[i], skeleton) for i in image_ids]


def _positive(person: dict[str, Any]) -> bool:
    return bool(person["num_keypoints"] > 0 and not person["iscrowd"])


def people_and_results(
    image_id: int, people: list[dict[str, Any]], results: list[dict[str, Any]], skeleton: Skeleton
) -> ImagePeople:
    """:func:`similarities` of one image, whose ``people`` and ``results`` these are."""
    scores = np.array([r["score"] for r in results], dtype=np.float64)
    best = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
    results = [results[i] for i in best]
    joints_DJ3 = np.array([r["keypoints"] for r in results], dtype=np.float64).reshape(-1, len(skeleton), 3)
    areas, heights = np.zeros(len(results)), np.zeros(len(results))
    for d, (result, joints) in enumerate(zip(results, joints_DJ3, strict=True)):
        if "bbox" in result:
            areas[d], heights[d] = result["bbox"][2] * result["bbox"][3], result["bbox"][3]
        else:
            areas[d] = np.prod(np.ptp(joints[:, :2], axis=0))
            found = joints[joints[:, 2] > 0] if (joints[:, 2] > 0).any() else joints
            heights[d] = np.ptp(found[:, 1])
    return ImagePeople(
        image_id,
        _oks(joints_DJ3, people, skeleton),
        scores[best],
        areas,
        heights,
        np.array([p["area"] for p in people], dtype=np.float64),
        np.array([p["bbox"][3] for p in people], dtype=np.float64),
        np.array([not _positive(p) for p in people], dtype=bool),
        np.array([p["iscrowd"] for p in people], dtype=bool),
    )


def _oks(joints_DJ3: Float64, people: list[dict[str, Any]], skeleton: Skeleton) -> Float64:
    """(D, G): mean over a person's labelled joints of exp(-d^2 / (2 * area * (2 sigma)^2)).

    For a person without labelled joints, d is how far a joint lies outside of the box doubled on each side.
    """
    oks = np.zeros((len(joints_DJ3), len(people)))
    x, y = joints_DJ3[:, :, 0], joints_DJ3[:, :, 1]
    variances = (np.array(skeleton.sigmas) * 2) ** 2
    for g, person in enumerate(people):
        labelled = np.array(person["keypoints"], dtype=np.float64).reshape(-1, 3)
        use = labelled[:, 2] > 0
        if use.any():
            dx, dy = x - labelled[:, 0], y - labelled[:, 1]
        else:
            left, top, width, height = person["bbox"]
            use[:] = True
            dx = np.maximum(0, left - width - x) + np.maximum(0, x - (left + width * 2))
            dy = np.maximum(0, top - height - y) + np.maximum(0, y - (top + height * 2))
        # in this order the figures equal the public evaluators' bit for bit, so that no threshold is crossed here only
        exponent = (dx**2 + dy**2) / variances / (person["area"] + np.spacing(1)) / 2
        oks[:, g] = np.ascontiguousarray(np.exp(-exponent)[:, use]).sum(axis=1) / use.sum()
    return oks


def match(image: ImagePeople, ignored_G: Bool, outside_D: Bool) -> ImageMatches:
    """Detections take people in the order of their scores, at all thresholds at once.

    A detection prefers the most similar free person that counts; only without one may it take an ignored person, and
    is then ignored itself. Unmatched detections in ``outside_D`` are ignored too. Of equal similarities the last wins.
    """
    thresholds = np.minimum(OKS_THRESHOLDS_T, 1 - 1e-10)
    shape = (len(thresholds), len(image.scores_D))
    matched, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    free_TG = np.ones((len(thresholds), len(ignored_G)), dtype=bool)
    rows = np.arange(len(thresholds))
    if len(ignored_G):
        for d, oks_G in enumerate(image.oks_DG):
            possible = free_TG & (oks_G >= thresholds[:, None])
            real = possible & ~ignored_G
            possible = np.where(real.any(axis=1, keepdims=True), real, possible)
            value = np.where(possible, oks_G, -1.0)
            best = value.shape[1] - 1 - value[:, ::-1].argmax(axis=1)
            matched[:, d] = possible[rows, best]
            ignored[:, d] = matched[:, d] & ignored_G[best]
            free_TG[rows, best] &= ~matched[:, d] | image.crowd_G[best]
    ignored |= ~matched & outside_D
    return ImageMatches(image.image_id, image.scores_D, matched, ignored, int((~ignored_G).sum()))


def average_precision(images: Sequence[ImageMatches], weights_SI: NDArray[np.integer] | None = None) -> Float64:
    """AP (S,) over all thresholds of samples in which image i occurs ``weights_SI[s, i]`` times (default: once, S = 1).

    Precision at a recall is the highest at this recall or beyond, read at 101 recalls and averaged; COCO's AP. A sample
    without a person to find has NaN.
    """
    if weights_SI is None:
        weights_SI = np.ones((1, len(images)), dtype=np.int64)
    scores = np.concatenate([image.scores_D for image in images])
    order = np.argsort(-scores, kind="stable")
    image_D = np.repeat(np.arange(len(images)), [len(image.scores_D) for image in images])[order]
    matched = np.concatenate([image.matched_TD for image in images], axis=1)[:, order]
    counted = ~np.concatenate([image.ignored_TD for image in images], axis=1)[:, order]
    positives_S = weights_SI @ np.array([image.positives for image in images])
    result = np.zeros(len(weights_SI))
    step = max(1, _VALUES_AT_ONCE // max(1, len(order)))
    for start in range(0, len(weights_SI), step):
        samples = slice(start, start + step)
        weights_SD = weights_SI[samples][:, image_D].astype(np.float64)
        for hit, count in zip(matched & counted, counted, strict=True):
            result[samples] += _precision_sums(weights_SD[:, count], hit[count], positives_S[samples])
    result /= len(OKS_THRESHOLDS_T) * len(RECALLS)
    result[positives_S == 0] = np.nan
    return result


def _precision_sums(weights_SD: Float64, hit_D: Bool, positives_S: NDArray[np.integer]) -> Float64:
    """(S,): the sum over the 101 recalls of the interpolated precision at one threshold."""
    # Precision falls at every false alarm, so its maximum over what follows is always taken at a hit.
    hits_SH = np.cumsum(weights_SD[:, hit_D], axis=1)
    if not hits_SH.shape[1]:
        return np.zeros(len(weights_SD))
    recall_SH = hits_SH / np.maximum(positives_S, 1)[:, None]
    all_SH = np.cumsum(weights_SD, axis=1)[:, hit_D]
    precision_SH = hits_SH / (all_SH + np.spacing(1))
    envelope_SH = np.zeros((len(weights_SD), hits_SH.shape[1] + 1))  # the last entry: recalls that are never reached
    envelope_SH[:, :-1] = np.maximum.accumulate(precision_SH[:, ::-1], axis=1)[:, ::-1]
    return np.array(
        [e[np.searchsorted(r, RECALLS, side="left")].sum() for e, r in zip(envelope_SH, recall_SH, strict=True)]
    )
