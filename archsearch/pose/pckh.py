"""PCKh, the measure of MPII: the share of joints found within a part of the size of the person's head.

A joint counts as found within ``threshold * head size``, where the head size is 0.6 times the diagonal of the head box
(Andriluka et al., CVPR 2014, and its evaluation code). Means are over all labelled joints but the pelvis and the
thorax. The figure that papers print as "Mean@0.1" is read from a table in steps of 0.01 at its twelfth row, which is
the threshold 0.11: ``published_01`` here, beside the true 0.1.

Shapes: N people; J joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.files import InputError
from archsearch.pose.oks import checked_ground_truth, checked_results, similarities
from archsearch.skeleton import Skeleton

LEFT_OUT = ("pelvis", "thorax")  # of the means
PUBLISHED_01 = 0.11

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PckhScores:
    """Shares of joints, 0 to 1, at a threshold of 0.5 unless a name says otherwise; None where none is labelled."""

    mean: float
    mean_01: float  # at 0.1
    published_01: float  # at 0.11: what papers call Mean@0.1
    head: float | None
    shoulder: float | None  # the mean of left and right, as of the joints below
    elbow: float | None
    wrist: float | None
    hip: float | None
    knee: float | None
    ankle: float | None
    people: int
    found_J: Floats  # of every joint; nan where none is labelled

    def summary(self) -> dict[str, float | int | None]:
        """Everything but the single joints, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "found_J"}


def pckh(
    predicted_NJ2: NDArray[np.floating],
    truth_NJ3: NDArray[np.floating],
    head_px_N: NDArray[np.floating],
    threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many joints of a kind are found, and how many are labelled: (J,) each. A nan is a joint that was not found.

    ``head_px_N``: 0.6 times the diagonal of each head box. Raises ``ValueError`` where shapes do not fit or a head has
    no size.
    """
    people, joints = truth_NJ3.shape[:2]
    if predicted_NJ2.shape != (people, joints, 2) or head_px_N.shape != (people,):
        raise ValueError(
            f"predictions of shape {predicted_NJ2.shape} and heads of shape {head_px_N.shape} for {people} people "
            f"of {joints} joints"
        )
    if not (head_px_N > 0).all():
        raise ValueError(f"head sizes {head_px_N[~(head_px_N > 0)][:3].tolist()} are not positive")
    labelled = truth_NJ3[..., 2] > 0
    distance = np.linalg.norm(predicted_NJ2.astype(np.float64) - truth_NJ3[..., :2], axis=2)
    found = (distance / head_px_N[:, None] <= threshold) & labelled
    return found.sum(0), labelled.sum(0)


def evaluate_pckh(annotations: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton) -> PckhScores:
    """PCKh of results on annotations with ``head_px`` (:func:`archsearch.data.mpii.load_mpii` with head boxes).

    Results with an ``annotation_id`` are of that person, who must have one: the official protocol, which gives the
    network each person's box. Without any, people take results of their image as in COCO's evaluation, the highest
    score first and the most similar free person to each; joints of people who get none are not found.

    Raises ``InputError`` where head sizes are missing or a result is not of these annotations.
    """
    image_ids, people = checked_ground_truth(annotations, skeleton)
    raw = annotations["annotations"]
    known = [index for index, p in enumerate(people) if p["num_keypoints"] and not p["iscrowd"]]
    for index in known:
        if not _is_size(raw[index].get("head_px")):
            raise InputError(
                f"annotation {raw[index].get('id')}: head_px is {raw[index].get('head_px')!r}: PCKh needs the head "
                "boxes of MPII, gt_valid.mat or a JSON"
            )
    joints = len(skeleton)
    truth_NJ3 = np.array([raw[i]["keypoints"] for i in known], np.float64).reshape(-1, joints, 3)
    head_px_N = np.array([raw[i]["head_px"] for i in known], np.float64)
    by_person = any("annotation_id" in result for result in results)
    checked = checked_results(results, set(image_ids), skeleton)
    of = _by_id(raw, known, results, checked) if by_person else _by_similarity(image_ids, people, checked, skeleton)
    predicted_NJ2 = np.full((len(known), joints, 2), np.nan)
    for row, index in enumerate(known):
        if index in of:
            predicted_NJ2[row] = np.reshape(of[index]["keypoints"], (joints, 3))[:, :2]

    found_J, labelled_J = pckh(predicted_NJ2, truth_NJ3, head_px_N, 0.5)
    counted = np.array([name not in LEFT_OUT for name in skeleton.joints])

    def mean(threshold: float) -> float:
        found, labelled = pckh(predicted_NJ2, truth_NJ3, head_px_N, threshold)
        return float(found[counted].sum() / max(1, labelled[counted].sum()))

    share_J = np.where(labelled_J > 0, found_J / np.maximum(labelled_J, 1), np.nan)

    def group(*names: str) -> float | None:
        shares = [share_J[skeleton.joints.index(name)] for name in names if name in skeleton.joints]
        return None if not shares or np.isnan(shares).any() else float(np.mean(shares))

    def both(name: str) -> float | None:
        return group(f"left_{name}", f"right_{name}")

    return PckhScores(
        mean=mean(0.5),
        mean_01=mean(0.1),
        published_01=mean(PUBLISHED_01),
        head=group("head_top"),
        shoulder=both("shoulder"),
        elbow=both("elbow"),
        wrist=both("wrist"),
        hip=both("hip"),
        knee=both("knee"),
        ankle=both("ankle"),
        people=len(known),
        found_J=share_J,
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < np.inf


def _by_id(
    raw: Sequence[dict[str, Any]],
    known: Sequence[int],
    results: Sequence[dict[str, Any]],
    checked: Sequence[dict[str, Any]],
) -> dict[int, dict[str, Any]]:
    """The result of every person, by the person's place among the annotations."""
    index_of = {a["id"]: index for index, a in enumerate(raw)}
    of: dict[int, dict[str, Any]] = {}
    for number, (result, slim) in enumerate(zip(results, checked, strict=True)):
        identity = result.get("annotation_id")
        if identity not in index_of or raw[index_of[identity]]["image_id"] != slim["image_id"]:
            raise InputError(f"result {number}: annotation_id {identity!r} is no person of image {slim['image_id']}")
        if index_of[identity] in of:
            raise InputError(f"result {number}: annotation_id {identity} has a result already")
        of[index_of[identity]] = slim
    missing = next((index for index in known if index not in of), None)
    if missing is not None:
        raise InputError(f"annotation {raw[missing]['id']}: no result has this annotation_id")
    return of


def _by_similarity(
    image_ids: Sequence[int], people: list[dict[str, Any]], results: list[dict[str, Any]], skeleton: Skeleton
) -> dict[int, dict[str, Any]]:
    """Results by falling score take the most similar person of their image that is still free."""
    of: dict[int, dict[str, Any]] = {}
    results_of: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        results_of.setdefault(result["image_id"], []).append(result)
    people_of: dict[int, list[int]] = {}
    for person in people:
        people_of.setdefault(person["image_id"], []).append(person["id"] - 1)
    for image in similarities(image_ids, people, results, skeleton):
        ranked = sorted(results_of.get(image.image_id, []), key=lambda result: -float(result["score"]))
        for result, oks_G in zip(ranked, image.oks_DG, strict=False):  # as many as evaluation looks at
            free = [
                (oks, index)
                for oks, index, ignored in zip(oks_G, people_of.get(image.image_id, []), image.ignored_G, strict=True)
                if not ignored and index not in of and oks > 0
            ]
            if free:
                of[max(free, key=lambda pair: pair[0])[1]] = result
    return of
