"""How good detected people are: COCO's keypoint AP, CrowdPose's split by crowding, AP by the height of people.

The figures of :func:`evaluate` come from faster-coco-eval, which computes COCO's protocol
(cocodataset.org/#keypoints-eval) bit for bit. How sure they are follows from resampling the images (Efron and
Tibshirani 1993, chapter 13): :func:`bootstrap` says what another draw of test images could have given for the same
network. It does not contain the spread between training runs, which takes several seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import ArrayLike, NDArray

from archsearch.files import write_text
from archsearch.pose.oks import (
    ImageMatches,
    average_precision,
    checked_ground_truth,
    checked_results,
    match,
    people_and_results,
    similarities,
)
from archsearch.skeleton import Skeleton

_AREAS_PX2 = (0.0, 1e5**2)  # COCO's range "all"


@dataclass(frozen=True, eq=False)
class Scores:
    """Average precision and recall, 0 to 1, and the matches of every image, sorted by id.

    None: there is no such person in the ground truth (COCO prints -1), or the images have no ``crowdIndex``.
    """

    ap: float  # mean over OKS 0.50, 0.55 ... 0.95
    ap50: float  # at OKS 0.50
    ap75: float
    ap_m: float | None  # people of 32^2 to 96^2 px^2
    ap_l: float | None  # people of 96^2 px^2 and more
    ar: float  # recall, likewise
    ar50: float
    ar75: float
    ar_m: float | None
    ar_l: float | None
    ap_easy: float | None  # CrowdPose: images of crowdIndex below 0.2
    ap_medium: float | None  # 0.2 to below 0.8
    ap_hard: float | None  # 0.8 and more
    people: int  # how many there are to find
    images: tuple[ImageMatches, ...]

    def summary(self) -> dict[str, float | int | None]:
        """Everything but the matches, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "images"}


@dataclass(frozen=True)
class HeightBin:
    """AP of the people from ``low_px`` to below ``high_px`` in height; None where there are none."""

    low_px: float
    high_px: float
    ap: float | None
    people: int


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float


class Evaluation:
    """Scores of results that come image by image, in any order and from any thread.

    The costly part, who is whom in an image, is done in :meth:`add`: while the network finds the next people.
    Raises ``InputError`` on annotations without a person to find.
    """

    def __init__(self, annotations: dict[str, Any], skeleton: Skeleton) -> None:
        image_ids, people = checked_ground_truth(annotations, skeleton)
        self._skeleton, self._people = skeleton, people
        self._people_of: dict[int, list[dict[str, Any]]] = {i: [] for i in image_ids}
        for person in people:
            self._people_of[person["image_id"]].append(person)
        self._crowding = {int(i["id"]): float(i["crowdIndex"]) for i in annotations["images"] if "crowdIndex" in i}
        self._matches: dict[int, ImageMatches] = {}
        self._results: dict[int, list[dict[str, Any]]] = {}

    def add(self, results: Sequence[dict[str, Any]]) -> None:
        """Match results (COCO results format) with people: all those of their images, which were not here before.

        Raises ``InputError`` naming a result with another number of joints than the skeleton or an unknown image, and
        ``ValueError`` where results of an image were added already.
        """
        results_of: dict[int, list[dict[str, Any]]] = {}
        for result in checked_results(results, self._people_of.keys(), self._skeleton):
            results_of.setdefault(result["image_id"], []).append(result)
        again = results_of.keys() & self._results.keys()
        if again:
            raise ValueError(f"results of image {min(again)} were added before")
        for image_id, own in results_of.items():
            self._matches[image_id] = self._match(image_id, own)
            self._results[image_id] = own

    def _match(self, image_id: int, results: list[dict[str, Any]]) -> ImageMatches:
        image = people_and_results(image_id, self._people_of[image_id], results, self._skeleton)
        return match(image, image.ignored_G, _outside(image.detected_areas_D, *_AREAS_PX2))

    def scores(self) -> Scores:
        """Of everything that was added; nobody was found in an image without results."""
        results = [result for image_id in self._people_of for result in self._results.get(image_id, ())]
        images = tuple(self._matches[i] if i in self._matches else self._match(i, []) for i in self._people_of)
        stats = _coco_stats(list(self._people_of), self._people, results, self._skeleton)
        ap, ap50, ap75, ap_m, ap_l, ar, ar50, ar75, ar_m, ar_l = stats
        own = float(average_precision(images)[0])
        assert abs(own - ap) < 1e-9, f"AP from the matches is {own}, faster-coco-eval's {ap}"
        crowding = self._crowding

        def among(wanted: Callable[[float], bool]) -> float | None:
            chosen = [i for i in images if i.image_id in crowding and wanted(crowding[i.image_id])]
            return float(average_precision(chosen)[0]) if sum(i.positives for i in chosen) else None

        return Scores(
            ap=ap,
            ap50=ap50,
            ap75=ap75,
            ap_m=_defined(ap_m),
            ap_l=_defined(ap_l),
            ar=ar,
            ar50=ar50,
            ar75=ar75,
            ar_m=_defined(ar_m),
            ar_l=_defined(ar_l),
            ap_easy=among(lambda c: c < 0.2),
            ap_medium=among(lambda c: 0.2 <= c < 0.8),
            ap_hard=among(lambda c: c >= 0.8),
            people=sum(i.positives for i in images),
            images=images,
        )


def evaluate(annotations: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton) -> Scores:
    """Scores of ``results`` (COCO results format, at most 20 an image count) on a COCO keypoints JSON.

    People without ``area``, and all people of CrowdPose, are taken to cover 0.53 of their box. No results at all give
    an AP of 0. Neither argument is changed.

    Raises ``InputError`` naming a result with another number of joints than the skeleton or an unknown image, and on
    annotations without a person to find.
    """
    evaluation = Evaluation(annotations, skeleton)
    evaluation.add(results)
    return evaluation.scores()


def _coco_stats(
    image_ids: list[int], people: list[dict[str, Any]], results: list[dict[str, Any]], skeleton: Skeleton
) -> list[float]:
    """The ten figures of COCO's keypoint evaluation, from faster-coco-eval."""
    truth = COCO({"images": [{"id": i} for i in image_ids], "annotations": people, "categories": [{"id": 1}]})
    evaluator = COCOeval_faster(
        truth,
        truth.loadRes(results),
        "keypoints",
        kpt_oks_sigmas=list(skeleton.sigmas),
        print_function=lambda *_: None,
    )
    evaluator.run()
    return [float(value) for value in evaluator.all_stats]


def ap_by_height(
    annotations: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton, edges_px: Sequence[float]
) -> list[HeightBin]:
    """AP of people by the height of their box: a bin between each two neighbours of ``edges_px``, lower edge included.

    As in COCO's area ranges, people outside of a bin are ignored, and so are unmatched detections whose own height lies
    outside: that of their box if all results have one, else of the joints with a score.

    Raises ``ValueError`` where edges do not rise and ``InputError`` as :func:`evaluate`.
    """
    if len(edges_px) < 2 or any(low >= high for low, high in pairwise(edges_px)):
        raise ValueError(f"edges_px {tuple(edges_px)}: at least two rising heights needed")
    image_ids, people = checked_ground_truth(annotations, skeleton)
    images = similarities(image_ids, people, checked_results(results, set(image_ids), skeleton), skeleton)
    bins = []
    for low, high in pairwise(edges_px):
        below = float(np.nextafter(high, -np.inf))  # the upper edge belongs to the next bin
        matches = [
            match(i, i.ignored_G | _outside(i.heights_G, low, below), _outside(i.detected_heights_D, low, below))
            for i in images
        ]
        count = sum(m.positives for m in matches)
        bins.append(HeightBin(float(low), float(high), float(average_precision(matches)[0]) if count else None, count))
    return bins


def ap_draws(scores: Scores, samples: int, seed: int = 0) -> NDArray[np.float64]:
    """(S,) AP in each bootstrap sample, nan in one without people. With one seed, and as many images, samples are the
    same for all: differences between architectures are paired. Raises ``ValueError`` on settings out of range.
    """
    return average_precision(scores.images, _draws(len(scores.images), samples, seed))


def bootstrap(scores: Scores, samples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """Where the AP lies in ``level`` of the samples, each as many images as there are, drawn with replacement.

    Samples that happen to hold no person are left out. Raises ``ValueError`` on settings out of range.
    """
    return _interval(ap_draws(scores, samples, seed), level)


def bootstrap_difference(
    first: Scores, second: Scores, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The same for ``first.ap - second.ap`` of two runs on the same images; each sample is drawn for both alike.

    An interval without 0 says that the images at hand tell the two apart. Paired samples see much smaller differences
    than two separate intervals do. Raises ``ValueError`` where the images differ.
    """
    ids = [[(i.image_id, i.positives) for i in scores.images] for scores in (first, second)]
    if ids[0] != ids[1]:
        raise ValueError(f"the two evaluations are not of the same images: {len(ids[0])} and {len(ids[1])} images")
    draws = _draws(len(first.images), samples, seed)
    return _interval(average_precision(first.images, draws) - average_precision(second.images, draws), level)


def results_of(image_id: int, persons_KJX: ArrayLike, scores_K: ArrayLike) -> list[dict[str, Any]]:
    """People in image pixels, each joint as (x, y, score, ...), as COCO results ready for JSON.

    Raises ``ValueError`` where there is not one score for each person.
    """
    persons, scores = np.asarray(persons_KJX, dtype=np.float64), np.asarray(scores_K, dtype=np.float64)
    if persons.ndim != 3 or persons.shape[2] < 3 or scores.shape != persons.shape[:1]:
        raise ValueError(f"persons of shape {persons.shape} with scores of shape {scores.shape}: (K, J, 3+) and (K,)")
    return [
        {"image_id": int(image_id), "category_id": 1, "keypoints": joints.reshape(-1).tolist(), "score": float(score)}
        for joints, score in zip(persons[:, :, :3], scores, strict=True)
    ]


def write_results(path: Path | str, results: list[dict[str, Any]]) -> None:
    """Write results as the servers of COCO and CrowdPose take them: one list, a result a line."""
    lines = ",\n".join(json.dumps(result, separators=(",", ":"), allow_nan=False) for result in results)
    write_text(path, f"[\n{lines}\n]\n")


def _outside(sizes: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return (sizes < low) | (sizes > high)


def _defined(value: float) -> float | None:
    return None if value == -1 else value


def _draws(images: int, samples: int, seed: int) -> NDArray[np.int64]:
    """(S, I): how often each image occurs in each sample."""
    if samples < 1:
        raise ValueError(f"samples {samples} is not positive")
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=samples)


def _interval(values_S: NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    values_S = values_S[~np.isnan(values_S)]
    if not len(values_S):
        raise ValueError("no sample holds a person: more samples needed")
    low, high = np.quantile(values_S, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
