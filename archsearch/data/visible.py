"""Which joints of a painted crowd can be seen, read off the label map.

Shapes: P people; J joints; H, W the image in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsearch.data.figure import AT
from archsearch.data.render import HEAD, LIMBS, PARTS, TRUNK
from archsearch.data.shapes import EAR_SEEN, FACING, Crowd

MIN_SHARE = 0.4  # of the samples around a joint
_TRUNK_SEEN = -0.045  # a shoulder or hip farther than this behind the middle of the trunk, in statures, is hidden by it


def _parts(*names: str) -> int:
    bits = {"trunk": TRUNK, "head": HEAD, **LIMBS}
    return sum(1 << bits[name] for name in names)


def _owners() -> Mapping[str, int]:
    """For every joint, a bit mask of the parts that show it when they are what is seen there."""
    heads = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head", "head_top")
    owners = {name: _parts("head") for name in heads}
    owners |= {name: _parts("trunk", "head") for name in ("neck", "upper_neck", "thorax")}
    owners["pelvis"] = _parts("trunk")
    for side in ("left", "right"):
        owners[f"{side}_shoulder"] = _parts("trunk", f"{side}_upper_arm")
        owners[f"{side}_elbow"] = _parts(f"{side}_upper_arm", f"{side}_forearm")
        owners[f"{side}_wrist"] = _parts(f"{side}_forearm")
        owners[f"{side}_hip"] = _parts("trunk", f"{side}_thigh")
        owners[f"{side}_knee"] = _parts(f"{side}_thigh", f"{side}_shin")
        owners[f"{side}_ankle"] = _parts(f"{side}_shin")
    return owners


_OWNERS = _owners()
# Where to look around a joint, in statures, and how far towards the middle of the head for those at its border.
_REACH = {"shoulder": 0.020, "hip": 0.028, "knee": 0.020, "elbow": 0.015, "wrist": 0.011, "ankle": 0.013}
_INWARD = {"head": 0.3, "head_top": 0.3, "nose": 0.2, "left_ear": 0.25, "right_ear": 0.25}
_STAR = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-0.7, -0.7), (0.7, -0.7), (-0.7, 0.7), (0.7, 0.7)])


def visibility(labels_HW: NDArray[np.uint16], crowd: Crowd, joints: tuple[str, ...]) -> NDArray[np.uint8]:
    """What can be seen of each joint, (P, J): 2 visible, 1 covered, 0 outside of the image.

    A joint is visible when at least 40 % of nine samples around it show the parts it belongs to. A nose, an eye or an
    ear must face the camera as well, and the far shoulder or hip of someone seen from the side is behind the trunk.
    Raises ``KeyError`` on a joint that bodies do not have.
    """
    height, width = labels_HW.shape
    points = crowd.points_PK3[:, [AT[j] for j in joints]]
    people = len(points)
    units = crowd.stature_px_P[:, None]
    head = crowd.points_PK3[:, AT["head_centre"], None]
    inward = np.array([_INWARD.get(j, 0.0) for j in joints])[:, None]
    probes = points[..., :2] + inward * (head - points)[..., :2]
    reach = np.array([_REACH.get(j.split("_")[-1], 0.010) for j in joints])
    spread = np.maximum(reach * units, 0.4)
    samples = np.rint(probes[:, :, None] + spread[..., None, None] * _STAR).astype(np.intp)
    x, y = np.clip(samples[..., 0], 0, width - 1), np.clip(samples[..., 1], 0, height - 1)
    found = labels_HW[y, x].astype(np.int64)

    depth = points[..., 2] / units
    from_head = depth - head[..., 2] / units
    from_trunk = {"shoulder": depth - crowd.points_PK3[:, AT["neck"], None, 2] / units, "hip": depth}
    owners = np.tile([_OWNERS[j] for j in joints], (people, 1))
    facing = np.ones((people, len(joints)), dtype=bool)
    for j, name in enumerate(joints):
        kind = name.split("_")[-1]
        if kind in from_trunk:
            owners[from_trunk[kind][:, j] < _TRUNK_SEEN, j] &= ~(1 << TRUNK)
        elif name in FACING:
            facing[:, j] = from_head[:, j] > FACING[name]
        elif kind == "ear":
            facing[:, j] = (from_head[:, j] > EAR_SEEN) & ~crowd.looks.long_hair_P
    shown = (owners[..., None] >> found % PARTS) & 1 == 1
    mine = found // PARTS == np.arange(1, people + 1)[:, None, None]
    seen = (mine & shown).mean(axis=-1) >= MIN_SHARE
    inside = ((points[..., :2] >= 0) & (points[..., :2] <= (width - 1, height - 1))).all(axis=-1)
    return np.where(inside, 1 + (seen & facing), 0).astype(np.uint8)
