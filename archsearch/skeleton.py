"""Skeletons as data: the joints of a kind of body, how a mirror swaps them, and what evaluation needs of them."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch.files import InputError, read_yaml


@dataclass(frozen=True)
class Skeleton:
    """A kind of body. Everything that depends on the joints (output heads, flips, evaluation, drawing) reads it here.

    Raises ``ValueError`` where the parts do not agree with each other.
    """

    name: str
    joints: tuple[str, ...]
    flip: tuple[int, ...]  # joint j of a mirrored image is joint flip[j] of the image
    sigmas: tuple[float, ...]  # per-joint constants of object keypoint similarity (COCO: k_i = 2 * sigma_i)
    limbs: tuple[tuple[int, int], ...]  # pairs of joint indices, for drawing
    group_order: tuple[int, ...]  # the order in which grouping visits joints: reliable ones first

    def __post_init__(self) -> None:
        count = len(self.joints)
        if not count:
            raise ValueError(f"skeleton {self.name}: no joints")
        if len(set(self.joints)) != count:
            raise ValueError(f"skeleton {self.name}: joint names are not unique: {self.joints}")
        if sorted(self.flip) != list(range(count)) or any(self.flip[self.flip[j]] != j for j in range(count)):
            raise ValueError(f"skeleton {self.name}: flip {self.flip} does not swap {count} joints in pairs")
        if len(self.sigmas) != count or any(s <= 0 for s in self.sigmas):
            raise ValueError(f"skeleton {self.name}: {count} positive sigmas needed, got {self.sigmas}")
        if sorted(self.group_order) != list(range(count)):
            raise ValueError(f"skeleton {self.name}: group_order {self.group_order} is not an order of {count} joints")
        for limb in self.limbs:
            if len(limb) != 2 or not all(0 <= j < count for j in limb):
                raise ValueError(f"skeleton {self.name}: limb {limb} does not join two of {count} joints")

    def __len__(self) -> int:
        return len(self.joints)


def describe(
    name: str,
    joints: list[str],
    *,
    limbs: list[tuple[str, str]],
    sigmas: list[float],
    group_order: list[str] | None = None,
    flips: list[tuple[str, str]] | None = None,
) -> Skeleton:
    """A skeleton from joint names; without ``flips``, ``left_x`` and ``right_x`` are each other's mirror image.

    Raises ``ValueError`` on an unknown joint name.
    """
    index = {joint: i for i, joint in enumerate(joints)}

    def at(joint: str, field: str) -> int:
        if joint not in index:
            raise ValueError(f"skeleton {name}: {field} names {joint!r}, which is not one of its joints")
        return index[joint]

    if flips is None:
        flips = [(j, "right_" + j[5:]) for j in joints if j.startswith("left_") and "right_" + j[5:] in index]
    flip = list(range(len(joints)))
    for left, right in flips:
        a, b = at(left, "flips"), at(right, "flips")
        if flip[a] != a or flip[b] != b:
            raise ValueError(f"skeleton {name}: flips pair {left!r} or {right!r} twice")
        flip[a], flip[b] = b, a
    order = group_order if group_order is not None else joints
    return Skeleton(
        name,
        tuple(joints),
        tuple(flip),
        tuple(float(s) for s in sigmas),
        tuple((at(a, "limbs"), at(b, "limbs")) for a, b in limbs),
        tuple(at(j, "group_order") for j in order),
    )


_ARMS_AND_LEGS = [
    (f"{side}_{a}", f"{side}_{b}")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    for side in ("left", "right")
]
_TORSO = [
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
]


def _both(*names: str) -> list[str]:
    return [f"{side}_{name}" for name in names for side in ("left", "right")]


# Sigmas of COCO: cocodataset.org/#keypoints-eval.
COCO17 = describe(
    "coco17",
    ["nose", *_both("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")],
    limbs=[
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
        *_TORSO,
        *_ARMS_AND_LEGS,
    ],
    sigmas=[0.026, *(s for s in (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2))],
    group_order=["nose", *_both("eye", "ear", "shoulder", "hip", "elbow", "wrist", "knee", "ankle")],
)

# Sigmas of CrowdPose: those of COCO for the limbs, 0.079 for the head and the neck (CrowdPose API).
CROWDPOSE14 = describe(
    "crowdpose14",
    [*_both("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), "head", "neck"],
    limbs=[("head", "neck"), ("neck", "left_shoulder"), ("neck", "right_shoulder"), *_TORSO[1:], *_ARMS_AND_LEGS],
    sigmas=[*(s for s in (0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2)), 0.079, 0.079],
    # The published parsers visit the joints of CrowdPose in the order that was made for COCO's, cut to 14 places.
    group_order=[
        *_both("shoulder", "elbow", "wrist"),
        *("left_hip", "right_ankle", "head", "right_hip", "left_knee", "right_knee", "left_ankle", "neck"),
    ],
)

# MPII is evaluated by PCKh, which needs no sigmas; for OKS, these are COCO's, and 0.079 from thorax to head.
MPII16 = describe(
    "mpii16",
    [
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("pelvis", "thorax", "upper_neck", "head_top"),
        *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    ],
    limbs=[
        *(("head_top", "upper_neck"), ("upper_neck", "thorax"), ("thorax", "pelvis")),
        *(("thorax", "left_shoulder"), ("thorax", "right_shoulder"), ("pelvis", "left_hip"), ("pelvis", "right_hip")),
        *_ARMS_AND_LEGS,
    ],
    sigmas=[
        *(0.089, 0.087, 0.107, 0.107, 0.087, 0.089),
        *(0.107, 0.079, 0.079, 0.079),
        *(0.062, 0.072, 0.079, 0.079, 0.072, 0.062),
    ],
    group_order=[
        *("thorax", "upper_neck", "head_top", *_both("shoulder"), "pelvis"),
        *_both("hip", "elbow", "wrist", "knee", "ankle"),
    ],
)

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (COCO17, CROWDPOSE14, MPII16)}


def load_skeleton(name_or_path: str | Path) -> Skeleton:
    """A known skeleton by name (``coco17``, ``crowdpose14``, ``mpii16``) or one described in a YAML file.

    The YAML has ``name``, ``joints``, ``limbs`` (pairs of names), ``sigmas`` and, if they are wanted, ``flips`` (pairs
    of names) and ``group_order`` (names). Raises ``InputError`` where it does not describe a skeleton.
    """
    if str(name_or_path) in SKELETONS:
        return SKELETONS[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"skeleton {name_or_path} is not one of {', '.join(SKELETONS)}, nor a YAML file")
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: a skeleton is a mapping with name, joints, limbs and sigmas")
    _check_types(fields, path)
    try:
        return describe(**fields)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _check_types(fields: dict[Any, Any], path: Path) -> None:
    """Raises ``InputError`` where a field is missing, unknown or not what it is made of."""

    def is_name(value: Any) -> bool:
        return isinstance(value, str) and bool(value)

    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value)

    def is_list(value: Any, of: Callable[[Any], bool]) -> bool:
        return isinstance(value, list) and all(of(item) for item in value)

    def is_pair(value: Any) -> bool:
        return is_list(value, is_name) and len(value) == 2

    names = ("a list of names", lambda value: is_list(value, is_name))
    pairs = ("a list of pairs of names", lambda value: is_list(value, is_pair))
    kinds: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "name": ("a name", is_name),
        "joints": names,
        "limbs": pairs,
        "sigmas": ("a list of numbers", lambda value: is_list(value, is_number)),
        "flips": pairs,
        "group_order": names,
    }
    for field in fields:
        if field not in kinds:
            raise InputError(f"{path}: {field!r} is none of a skeleton's fields: {', '.join(kinds)}")
    for field in ("name", "joints", "limbs", "sigmas"):
        if field not in fields:
            raise InputError(f"{path}: {field} is missing")
    for field, value in fields.items():
        words, fits = kinds[field]
        if not fits(value):
            shown = reprlib.repr(value).replace("\n", " ")
            raise InputError(f"{path}: {field} is {shown}, {words} is needed")
