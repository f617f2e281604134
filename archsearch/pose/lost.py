"""Which people AP loses, and why: for every person the best result, its worst joint, and who is in the way.

Shapes: D results and G annotated people of an image; J joints; P people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archsearch.pose.oks import Float64, checked_ground_truth, checked_results, similarities
from archsearch.skeleton import Skeleton

Reason = Literal["not found", "joints of another person", "joints astray", "precision"]
ASTRAY = 3.0  # tolerances: where a joint's similarity exp(-d^2 / 2) has fallen to 0.01
_KEPT = 0.95  # the highest OKS threshold: who reaches it is lost nowhere


@dataclass(frozen=True)
class LostPerson:
    """A person whom no result reaches OKS 0.95 for.

    ``reason``: no result of the image belongs to it; some joints lie where another person's same joint is; some lie
    elsewhere, farther off than three tolerances; or all are near, but not near enough for the person's size.
    A joint's tolerance is 2 sigma times the square root of the person's area, in pixels.
    """

    image_id: int
    person: int  # its place among the annotations
    oks: float  # of the best result of its own, 0 without one
    reason: Reason
    height_px: float  # of its box
    labelled: int  # joints
    worst_joint: str
    worst_px: float  # how far off that joint is
    worst_tolerances: float  # the same in tolerances
    neighbour_px: float  # from the worst joint to the nearest same joint of another person; inf without one


def lost_people(annotations: dict[str, Any], results: Sequence[dict[str, Any]], skeleton: Skeleton) -> list[LostPerson]:
    """The people that some threshold of AP loses, worst first; arguments as of ``pose.evaluate.evaluate``.

    Each person takes its most similar result, the most similar pairs first, so that nobody is found by a result that
    is another's. Raises ``InputError`` as evaluation does.
    """
    image_ids, people = checked_ground_truth(annotations, skeleton)
    checked = checked_results(results, set(image_ids), skeleton)
    variances_J = (2 * np.array(skeleton.sigmas)) ** 2
    lost: list[LostPerson] = []
    for image in similarities(image_ids, people, checked, skeleton):
        mine = [person for person in people if person["image_id"] == image.image_id]
        found = sorted((r for r in checked if r["image_id"] == image.image_id), key=lambda r: -float(r["score"]))
        truth_GJ3 = np.array([person["keypoints"] for person in mine], np.float64).reshape(-1, len(skeleton), 3)
        own = _pairs(image.oks_DG, ~image.ignored_G)
        for g in np.flatnonzero(~image.ignored_G).tolist():
            oks = float(image.oks_DG[own[g], g]) if g in own else 0.0
            if oks >= _KEPT:
                continue
            found_J2 = np.reshape(found[own[g]]["keypoints"], (-1, 3))[:, :2] if g in own else None
            reason, j, error_px, apart_px = _why(g, truth_GJ3, found_J2, np.sqrt(variances_J * image.areas_G[g]))
            tolerance_px = float(np.sqrt(variances_J[j] * image.areas_G[g]))
            lost.append(
                LostPerson(
                    image_id=image.image_id,
                    person=int(mine[g]["id"]) - 1,
                    oks=oks,
                    reason=reason,
                    height_px=float(image.heights_G[g]),
                    labelled=int((truth_GJ3[g, :, 2] > 0).sum()),
                    worst_joint=skeleton.joints[j],
                    worst_px=error_px,
                    worst_tolerances=error_px / tolerance_px if tolerance_px > 0 else np.inf,
                    neighbour_px=apart_px,
                )
            )
    return sorted(lost, key=lambda person: person.oks)


def reasons(lost: Sequence[LostPerson]) -> dict[Reason, int]:
    """How many people are lost for each reason, the most frequent first."""
    return dict(Counter(person.reason for person in lost).most_common())


def record(person: LostPerson) -> dict[str, Any]:
    """A person's fields as JSON has them: None for what is infinite."""
    return {name: None if value == np.inf else value for name, value in asdict(person).items()}


def rows(lost: Sequence[LostPerson]) -> list[dict[str, str]]:
    """One row of a table a person."""
    return [
        {
            "image": str(person.image_id),
            "annotation": str(person.person),
            "OKS": f"{person.oks:.3f}",
            "why": person.reason,
            "height, px": f"{person.height_px:.0f}",
            "joints": str(person.labelled),
            "worst joint": person.worst_joint,
            "off, px": f"{person.worst_px:.1f}",
            "in tolerances": f"{person.worst_tolerances:.1f}",
            "nearest namesake, px": f"{person.neighbour_px:.1f}",
        }
        for person in lost
    ]


def _why(
    g: int, truth_GJ3: Float64, found_J2: Float64 | None, tolerances_J: Float64
) -> tuple[Reason, int, float, float]:
    """The reason, the worst joint, how far off it is, and how far its nearest namesake of another person: in pixels."""
    labelled_J = truth_GJ3[g, :, 2] > 0
    others = np.delete(truth_GJ3, g, axis=0)
    apart_PJ = np.hypot(*np.moveaxis(others[..., :2] - truth_GJ3[g, :, :2], -1, 0))
    apart_J = np.where(others[..., 2] > 0, apart_PJ, np.inf).min(axis=0, initial=np.inf)
    if found_J2 is None:
        j = int(np.where(labelled_J, apart_J, np.inf).argmin()) if labelled_J.any() else 0
        return "not found", j, np.inf, float(apart_J[j])
    error_J = np.where(labelled_J, np.hypot(*(found_J2 - truth_GJ3[g, :, :2]).T), 0.0)
    j = int((error_J / np.maximum(tolerances_J, 1e-9)).argmax())
    reason: Reason = "precision"
    astray_J = error_J > ASTRAY * tolerances_J
    if astray_J.any():
        to_other_PJ = np.hypot(*np.moveaxis(others[..., :2] - found_J2, -1, 0))
        to_other_J = np.where(others[..., 2] > 0, to_other_PJ, np.inf).min(axis=0, initial=np.inf)
        taken = bool((to_other_J < tolerances_J)[astray_J].any())
        reason = "joints of another person" if taken else "joints astray"
    return reason, j, float(error_J[j]), float(apart_J[j])


def _pairs(oks_DG: Float64, wanted_G: NDArray[np.bool_]) -> dict[int, int]:
    """The result of each wanted person: most similar pairs first, each result and person once."""
    left = np.where(wanted_G, oks_DG, 0.0)
    own: dict[int, int] = {}
    while left.size and left.max() > 0.1:
        d, g = np.unravel_index(int(left.argmax()), left.shape)
        own[int(g)] = int(d)
        left[d], left[:, g] = 0.0, 0.0
    return own
