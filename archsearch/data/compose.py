"""One scene: who is where, how difficult it is, and its annotations as they are seen.

Shapes: H, W the image in pixels; P people; J joints. A pixel's centre has integer coordinates, so a mirrored image has
x' = W - 1 - x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from archsearch.data.backdrop import OBJECTS, develop, paint_backdrop, paint_object, paint_shadows, paint_stool
from archsearch.data.figure import AT, FAMILIES, JOINTS, SIT, pose_bodies, sample_angles, sample_builds
from archsearch.data.looks import sample_looks
from archsearch.data.render import PARTS, Canvas, paint_person
from archsearch.data.shapes import Crowd, Floats, place
from archsearch.data.visible import visibility
from archsearch.files import InputError
from archsearch.skeleton import Skeleton

DRAWING = 1  # the version of the drawing: count up whenever a change alters pixels or annotations
MIN_SIZE_PX = 32
_TRIES = 6  # places looked at for a person where people stand for themselves
_BODY_AREA = 0.18  # of a figure that nothing covers, in squared statures, about
MIN_SEEN = 0.08  # who shows less than this share of their body has no joints annotated


@dataclass(frozen=True)
class Level:
    """How difficult scenes are. Shares are from 0 to 1; statures are shares of the image's side."""

    people: tuple[float, ...]  # how likely 1, 2, 3, ... people are, up to a factor
    stature: tuple[float, float]  # the smallest and the largest height of a standing figure
    groups: bool  # people come in groups of one size, near to each other; else each for themselves
    canonical: float  # share of people with one canonical colour a limb
    contrast: float  # how far the clothes of everyone else tell left from right
    turned: float  # share of people who face anywhere; the others face the camera within 60 degrees
    objects: tuple[float, float, float]  # how likely 0, 1, 2 objects in front of people are
    clutter: tuple[int, int]  # things in the background
    distractors: float  # share of these that look like limbs
    truncation: float  # how much of a person may lie outside of the image, share of its extent
    lighting: float  # strength of uneven light, tint, exposure, noise and blur


LEVELS: Mapping[str, Level] = {
    "easy": Level(
        people=(4, 4, 3),
        stature=(0.45, 0.95),
        groups=False,
        canonical=0.75,
        contrast=0.75,
        turned=0.25,
        objects=(0.80, 0.18, 0.02),
        clutter=(4, 14),
        distractors=0.05,
        truncation=0.10,
        lighting=0.35,
    ),
    "hard": Level(
        people=(18, 15, 13, 11, 9, 8, 6, 5, 4, 4, 4, 3),
        stature=(0.08, 1.20),
        groups=True,
        canonical=0.0,
        contrast=0.55,
        turned=1.0,
        objects=(0.35, 0.40, 0.25),
        clutter=(8, 28),
        distractors=0.13,
        truncation=0.30,
        lighting=1.0,
    ),
}


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn image and who is in it: everyone of whom at least one pixel is seen, the farthest first.

    ``image`` is uint8 RGB (H, W, 3). ``labels_HW`` holds ``(ids_P[p] + 1) * PARTS + part`` where person ``p`` is seen.
    ``joints_PJ3`` has x, y in pixels and visibility (0 outside of the image, 1 covered, 2 seen); it is zero throughout
    for people of whom too little is seen to annotate them. Boxes (x, y, width, height), areas (px^2) and ``masks``
    (run lengths as pycocotools reads them) are those of the pixels that are seen.
    """

    image: NDArray[np.uint8]
    labels_HW: NDArray[np.uint16]
    ids_P: NDArray[np.int64]
    joints_PJ3: NDArray[np.float32]
    boxes_P4: NDArray[np.float32]
    areas_P: NDArray[np.float32]
    masks: tuple[bytes, ...]
    stature_px_P: NDArray[np.float32]
    crowd_index: float


def crowd_index(joints_PJ3: NDArray[np.float32], boxes_P4: NDArray[np.float32]) -> float:
    """How crowded an image is, from 0 to 1 (CrowdPose, Li et al., CVPR 2019, section 3.1).

    The mean over annotated people of the number of others' joints in their box over the number of their own, at most 1
    each. People without joints count neither as own nor as others.
    """
    labelled = joints_PJ3[..., 2] > 0
    annotated = labelled.any(axis=1)
    if not annotated.any():
        return 0.0
    boxes, joints, labelled = boxes_P4[annotated], joints_PJ3[annotated], labelled[annotated]
    low, high = boxes[:, None, None, :2], boxes[:, None, None, :2] + boxes[:, None, None, 2:]
    inside = ((joints[None, ..., :2] >= low) & (joints[None, ..., :2] <= high)).all(axis=-1) & labelled[None]
    counts = inside.sum(axis=-1)  # (box, person)
    own = np.diagonal(counts)
    others = counts.sum(axis=1) - own
    return float(np.minimum(others / np.maximum(own, 1), 1).mean())


def _choose(rng: np.random.Generator, weights: tuple[float, ...]) -> int:
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))


def _statures(rng: np.random.Generator, level: Level, people: int) -> tuple[Floats, NDArray[np.intp]]:
    """Statures (share of the side) and the group of each person."""
    low, high = level.stature
    if not level.groups:
        return rng.uniform(low, high, people), np.arange(people)
    groups = rng.integers(0, 1 + int(rng.integers(0, 4)), people)
    top = max(low * 2, high / max(1.0, people / 2.5) ** 0.5)  # many people need room
    size = np.exp(rng.uniform(np.log(low), np.log(top), 4))
    return np.clip(size[groups] * rng.lognormal(0, 0.13, people), low, high), groups


def _pelvises(
    rng: np.random.Generator,
    level: Level,
    extents_P4: Floats,
    stature_P: Floats,
    groups_P: NDArray[np.intp],
    horizon: float,
) -> Floats:
    """Where people are: pelvises (P, 2) in shares of the side. Extents are left, top, right, bottom around them."""
    people = len(stature_P)
    allowed = level.truncation * (extents_P4[:, 2:] - extents_P4[:, :2])
    low, high = -extents_P4[:, :2] - allowed, 1 - extents_P4[:, 2:] + allowed
    low, high = np.minimum(low, high), np.maximum(low, high)
    spots = low + (high - low) * rng.random((_TRIES, people, 2))
    out = spots[0]
    if level.groups:  # nearer people stand lower, and groups stand together
        ground = horizon + (1.02 - horizon) * np.minimum(1, stature_P / 0.75) + rng.normal(0, 0.03, people)
        out[:, 1] = np.where(rng.random() < 0.75, ground - extents_P4[:, 3], out[:, 1])
        members = np.bincount(groups_P)[groups_P]
        crowding = float(np.exp(rng.uniform(np.log(0.10), np.log(0.9))))
        scatter = rng.normal(0, 1, (people, 2)) * (crowding * stature_P * members**0.5)[:, None]
        first = [int(np.flatnonzero(groups_P == g)[0]) for g in groups_P]
        together = np.column_stack([out[first, 0] + scatter[:, 0], out[:, 1] + 0.15 * scatter[:, 1]])
        return np.asarray(np.clip(np.where((members > 1)[:, None], together, out), low, high))
    for p in range(1, people):  # of a few places, the one that covers the least
        overlap = np.zeros(_TRIES)
        for q in range(p):
            a, b = extents_P4[p] + np.tile(spots[:, p], 2), extents_P4[q] + np.tile(out[q], 2)
            common = np.maximum(np.minimum(a[:, 2:], b[2:]) - np.maximum(a[:, :2], b[:2]), 0)
            overlap += common[:, 0] * common[:, 1]
        out[p] = spots[int(overlap.argmin()), p]
    return np.asarray(out)


def _crowd(rng: np.random.Generator, size_px: int, level: Level, horizon: float) -> tuple[Crowd, NDArray[np.bool_]]:
    """Everyone in a scene, the farthest first, and who of them sits."""
    people = 1 + _choose(rng, level.people)
    stature, groups = _statures(rng, level, people)
    order = np.argsort(stature * np.exp(0.12 * rng.standard_normal(people)))
    stature, groups = stature[order], groups[order]
    families = rng.integers(0, len(FAMILIES), people)
    families[rng.random(people) < 0.3] = 0
    angles = sample_angles(rng, families)
    anywhere, ahead = rng.uniform(-180, 180, people), rng.normal(0, 28, people).clip(-60, 60)
    yaw = np.where(rng.random(people) < level.turned, anywhere, ahead)
    bodies = pose_bodies(angles, yaw, sample_builds(rng, people), elevation=float(rng.uniform(-4, 14)))
    xy = bodies.points_PK3[:, :, :2]
    extents = np.concatenate([xy.min(axis=1) - 0.03, xy.max(axis=1) + 0.03], axis=1) * stature[:, None]
    pelvises = _pelvises(rng, level, extents, stature, groups, horizon)
    tilt = float(rng.uniform(-1.1, 1.1))
    looks = sample_looks(rng, people, level.canonical, level.contrast)
    gain = 1 + 0.22 * level.lighting * rng.uniform(-1, 0.6, people)
    crowd = place(bodies, looks, pelvises * size_px, stature * size_px, (math.sin(tilt), -math.cos(tilt)), gain)
    return crowd, families == SIT


def draw_scene(rng: np.random.Generator, size_px: int, skeleton: Skeleton, level: Level) -> Scene:
    """Draw one scene of ``size_px`` by ``size_px`` pixels.

    Raises ``ValueError`` where the size is below 32 or the skeleton has a joint that figures do not have.
    """
    check(size_px, skeleton)
    horizon = float(rng.uniform(0.35, 0.75))
    crowd, sits = _crowd(rng, size_px, level, horizon)
    people = len(sits)
    things = int(rng.integers(level.clutter[0], level.clutter[1] + 1))
    image = paint_backdrop(rng, size_px, horizon, things, level.distractors)
    canvas = Canvas(image, np.zeros((size_px, size_px), np.uint16))
    ankles = crowd.points_PK3[:, [AT["left_toe"], AT["right_toe"]]]
    feet = np.column_stack([ankles[..., 0].mean(axis=1), ankles[..., 1].max(axis=1) + 0.02 * crowd.stature_px_P])
    paint_shadows(image, np.column_stack([feet, crowd.stature_px_P]).tolist())

    objects = _choose(rng, level.objects)
    after = rng.integers(0, people, objects).tolist()  # the person it stands right in front of
    values = rng.random((objects, 12)).tolist()
    seats = rng.random((people, 4)).tolist()
    for p in range(people):
        unit = float(crowd.stature_px_P[p])
        if sits[p]:
            x, y = crowd.points_PK3[p, AT["pelvis"], :2].tolist()
            paint_stool(canvas, x, y + 0.07 * unit, unit, seats[p])
        paint_person(canvas, crowd, p)
        for i in range(objects):
            if after[i] == p:
                low, high = (crowd.points_PK3[p, :, :2].min(axis=0), crowd.points_PK3[p, :, :2].max(axis=0))
                x, y = (low + (high - low) * np.array([values[i][0], 0.3 + 0.7 * values[i][1]])).tolist()
                paint_object(canvas, OBJECTS[int(values[i][2] * len(OBJECTS))], x, y, unit, values[i][3:])
    develop(rng, image, level.lighting)
    return _annotate(image, canvas.labels, crowd, skeleton)


def _annotate(image: NDArray[np.uint8], labels_HW: NDArray[np.uint16], crowd: Crowd, skeleton: Skeleton) -> Scene:
    """Read joints, visibility, boxes, areas and masks off the label map."""
    size_px = labels_HW.shape[0]
    people = len(crowd.stature_px_P)
    owner = (cv2.transpose(labels_HW) // PARTS).astype(np.uint8).ravel()  # by columns, as COCO's masks run
    starts = np.concatenate([[0], np.flatnonzero(owner[1:] != owner[:-1]) + 1])
    ends = np.append(starts[1:], owner.size)
    whose = owner[starts]
    areas = np.bincount(whose, weights=ends - starts, minlength=people + 1)[1:]
    ids = np.flatnonzero(areas > 0)

    seen = visibility(labels_HW, crowd, skeleton.joints)
    joints = np.zeros((people, len(skeleton), 3), np.float32)
    joints[..., :2] = crowd.points_PK3[:, [AT[j] for j in skeleton.joints], :2]
    joints[..., :2] = joints[..., :2].round(2)
    joints[..., 2] = seen
    joints[seen == 0] = 0
    body_px = _BODY_AREA * crowd.stature_px_P**2 * crowd.girth_P  # what a whole figure covers, about
    joints[(areas < MIN_SEEN * body_px) | (seen < 2).all(axis=1)] = 0

    boxes = np.zeros((len(ids), 4), np.float32)
    masks = []
    for row, person in enumerate(ids):
        mine = whose == person + 1
        first, last = starts[mine], ends[mine] - 1
        counts = np.empty(2 * len(first) + 1, np.int64)
        counts[0], counts[-1] = first[0], owner.size - 1 - last[-1]
        counts[1::2] = last + 1 - first
        counts[2:-1:2] = first[1:] - last[:-1] - 1
        rle = coco_mask.frPyObjects({"size": [size_px, size_px], "counts": counts.tolist()}, size_px, size_px)
        masks.append(bytes(rle["counts"]))
        boxes[row] = coco_mask.toBbox(rle)
    kept = joints[ids]
    return Scene(
        image,
        labels_HW,
        ids,
        kept,
        boxes,
        areas[ids].astype(np.float32),
        tuple(masks),
        crowd.stature_px_P[ids].astype(np.float32),
        crowd_index(kept, boxes),
    )


def check(size_px: int, skeleton: Skeleton) -> None:
    """Raise ``InputError`` where scenes cannot be that small or figures lack a joint of the skeleton."""
    if size_px < MIN_SIZE_PX:
        raise InputError(f"size {size_px} px is below {MIN_SIZE_PX} px")
    unknown = [joint for joint in skeleton.joints if joint not in JOINTS]
    if unknown:
        raise InputError(
            f"skeleton {skeleton.name}: figures have no {', '.join(unknown)}; they have {', '.join(JOINTS)}"
        )
