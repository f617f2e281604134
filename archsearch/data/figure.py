"""Articulated figures: joint angles within their limits, and where they put the body of everyone in a scene.

A body is a chain of bones that starts at the pelvis. Its own axes are x to the figure's left, y up, z forward; one unit
is the stature (the height of the figure when it stands straight). At yaw 0 the figure faces the camera, so its left is
on the right of the image. :func:`pose_bodies` returns camera axes: x right, y down, z towards the viewer.

Shapes: P people; D degrees of freedom; K named points; 2 sides, the left one first; R rings of the trunk with M points
each. Angles are in degrees everywhere outside of :func:`_turns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _sides(*names: str) -> list[str]:
    return [f"{side}_{name}" for name in names for side in ("left", "right")]


# Degrees of freedom and their limits. Positive: lean, bend, nod forward; tilt, side, cock to the figure's right; twist,
# turn to its left; flex and hip raise the limb forward, out and spread sideways; inward turns it to the middle.
_CENTRAL = ("lean", "tilt", "bend", "side", "twist", "nod", "turn", "cock")
_LATERAL = ("flex", "out", "inward", "elbow", "hip", "spread", "toes_in", "knee")
LIMITS: Mapping[str, tuple[float, float]] = {
    "lean": (-15, 50),
    "tilt": (-20, 20),
    "bend": (-15, 60),
    "side": (-25, 25),
    "twist": (-35, 35),
    "nod": (-30, 40),
    "turn": (-60, 60),
    "cock": (-25, 25),
    "flex": (-50, 175),
    "out": (-10, 165),
    "inward": (-60, 85),
    "elbow": (0, 145),
    "hip": (-25, 120),
    "spread": (-8, 50),
    "toes_in": (-35, 25),
    "knee": (0, 145),
}
ANGLES: tuple[str, ...] = (*_CENTRAL, *_sides(*_LATERAL))
_LOW = np.array([LIMITS[a.removeprefix("left_").removeprefix("right_")][0] for a in ANGLES])
_HIGH = np.array([LIMITS[a.removeprefix("left_").removeprefix("right_")][1] for a in ANGLES])
_CENTRE_SIGN = np.array([1, -1, 1, -1, -1, 1, -1, -1])  # under a mirror: what goes sideways changes its sign

# Pose families: mean and spread in degrees; what is not named is as in "stand". A name without a side means both.
_STAND: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("lean", "tilt", "bend", "side"), (0.0, 4.0)),
    "twist": (0, 8),
    "nod": (4, 9),
    "turn": (0, 18),
    "cock": (0, 6),
    "flex": (2, 12),
    "out": (10, 6),
    "inward": (15, 18),
    "elbow": (18, 14),
    "hip": (2, 6),
    "spread": (5, 4),
    "toes_in": (-8, 8),
    "knee": (5, 5),
}
FAMILIES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "stand": {},
    "hands_on_hips": {"out": (42, 8), "inward": (72, 8), "elbow": (95, 12), "flex": (-8, 8)},
    "walk": {
        "lean": (4, 3),
        "left_hip": (28, 8),
        "right_hip": (-14, 6),
        "left_knee": (12, 8),
        "right_knee": (28, 12),
        "left_flex": (-22, 10),
        "right_flex": (28, 10),
        "elbow": (28, 14),
    },
    "run": {
        "lean": (13, 5),
        "left_hip": (62, 14),
        "right_hip": (-14, 8),
        "left_knee": (80, 18),
        "right_knee": (38, 22),
        "left_flex": (-35, 10),
        "right_flex": (42, 14),
        "elbow": (92, 14),
    },
    "sit": {
        "lean": (4, 8),
        "hip": (84, 9),
        "knee": (84, 16),
        "spread": (10, 8),
        "flex": (32, 16),
        "elbow": (48, 22),
        "inward": (30, 15),
    },
    "arms_up": {"out": (138, 22), "flex": (15, 20), "elbow": (28, 25), "inward": (0, 30)},
    "wave": {"left_out": (118, 25), "left_elbow": (70, 30), "left_inward": (-45, 25)},
    "reach": {"flex": (78, 18), "elbow": (25, 20), "out": (8, 10), "lean": (6, 6)},
    "arms_out": {"out": (86, 12), "elbow": (12, 12), "flex": (0, 10)},
    "folded": {"flex": (38, 8), "inward": (62, 8), "elbow": (105, 12), "out": (8, 5)},
    "crouch": {"hip": (98, 14), "knee": (118, 14), "lean": (12, 8), "bend": (22, 10), "flex": (45, 20)},
    "jump": {"out": (112, 28), "hip": (30, 22), "knee": (52, 24), "spread": (22, 10), "elbow": (30, 20)},
    "lunge": {"left_hip": (72, 10), "left_knee": (75, 12), "right_hip": (-18, 5), "right_knee": (20, 12)},
    "dance": {
        **dict.fromkeys(("tilt", "side", "twist", "lean"), (0, 12)),
        "flex": (40, 50),
        "out": (55, 40),
        "elbow": (55, 40),
        "inward": (0, 40),
        "hip": (25, 28),
        "spread": (15, 14),
        "knee": (35, 30),
    },
}


def _table(part: int) -> Floats:
    rows = []
    for family in FAMILIES.values():
        row = []
        for angle in ANGLES:
            plain = angle.removeprefix("left_").removeprefix("right_")
            row.append(family.get(angle, family.get(plain, _STAND[plain]))[part])
        rows.append(row)
    return np.array(rows, dtype=np.float64)


_MEANS_FD, _SPREADS_FD = _table(0), _table(1)
SIT = list(FAMILIES).index("sit")


def mirror_angles(angles_PD: Floats) -> Floats:
    """The angles of the mirrored pose: left and right swapped, sideways angles negated. Shape (P, D) as given."""
    out = angles_PD.copy()
    c = len(_CENTRAL)
    out[:, :c] *= _CENTRE_SIGN
    out[:, c::2], out[:, c + 1 :: 2] = angles_PD[:, c + 1 :: 2], angles_PD[:, c::2]
    return out


def sample_angles(rng: np.random.Generator, families_P: NDArray[np.intp], spread: float = 1.0) -> Floats:
    """Joint angles (P, D) in degrees around the given pose families, within :data:`LIMITS`; half of them mirrored.

    ``spread`` scales the deviations from the families' means.
    """
    noise = rng.standard_normal((len(families_P), len(ANGLES)))
    angles = _MEANS_FD[families_P] + spread * _SPREADS_FD[families_P] * noise
    mirrored = rng.random(len(families_P)) < 0.5
    angles[mirrored] = mirror_angles(angles[mirrored])
    return np.clip(angles, _LOW, _HIGH)


# Builds: factors on the lengths of legs, trunk, arms and head and on girth and shoulder width.
BUILD = ("legs", "trunk", "arms", "head", "girth", "shoulders")
_BUILD_SPREAD = np.array([0.04, 0.04, 0.05, 0.08, 0.12, 0.07])


def sample_builds(rng: np.random.Generator, people: int) -> Floats:
    """Individual proportions, shape (P, 6) in the order of :data:`BUILD`, around 1; every eighth a child's."""
    builds = 1 + _BUILD_SPREAD * np.clip(rng.standard_normal((people, len(BUILD))), -2, 2)
    child = rng.random(people) < 0.125
    builds[child] *= np.array([0.94, 0.97, 0.95, 1.3, 1.05, 0.92])
    return builds


# Points of a body, by name. Joints that skeletons name (COCO, CrowdPose, MPII) come first, then points for drawing.
JOINTS: tuple[str, ...] = (
    "nose",
    *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
    *("head", "neck", "pelvis", "head_top", "upper_neck", "thorax"),
)
POINTS: tuple[str, ...] = (*JOINTS, *_sides("hand", "toe", "mouth", "lapel"), "head_centre", "collar", "placket")
AT: Mapping[str, int] = {name: k for k, name in enumerate(POINTS)}

_HEAD_RADII = np.array([0.060, 0.081, 0.070])  # half width, half height, half depth
_FACE = {  # in units of the head's radii
    "nose": (0.0, -0.08, 1.12),
    "left_eye": (0.38, 0.13, 0.91),
    "right_eye": (-0.38, 0.13, 0.91),
    "left_ear": (1.0, 0.02, -0.08),
    "right_ear": (-1.0, 0.02, -0.08),
    "head": (0.0, 1.0, 0.0),
    "head_top": (0.0, 1.0, 0.0),
    "left_mouth": (0.26, -0.46, 0.85),
    "right_mouth": (-0.26, -0.46, 0.85),
    "head_centre": (0.0, 0.0, 0.0),
}
_FACE_K3 = np.array(list(_FACE.values()))
_FACE_AT = [AT[name] for name in _FACE]
_CHEST = {  # in trunk units, seen from the lower end of the spine
    "left_lapel": (0.034, 0.292, 0.045),
    "right_lapel": (-0.034, 0.292, 0.045),
    "collar": (0.0, 0.235, 0.066),
    "placket": (0.0, 0.10, 0.060),
}
_CHEST_K3 = np.array(list(_CHEST.values()))
_CHEST_AT = [AT[name] for name in _CHEST]
# Rings of the trunk: height above the pelvis, half width, half depth. Trousers reach from 0 to 2, the shirt from 2 on.
_RINGS = np.array(
    [
        (-0.050, 0.074, 0.052),
        (0.000, 0.090, 0.062),
        (0.105, 0.076, 0.054),
        (0.200, 0.097, 0.066),
        (0.268, 0.104, 0.048),
        (0.292, 0.055, 0.036),
    ]
)
BELT = 2
_CIRCLE_M = np.linspace(0, 2 * np.pi, 10, endpoint=False)
_RINGS_RM3 = np.stack(
    [
        _RINGS[:, 1:2] * np.cos(_CIRCLE_M),
        np.broadcast_to(_RINGS[:, :1], (len(_RINGS), len(_CIRCLE_M))),
        _RINGS[:, 2:3] * np.sin(_CIRCLE_M),
    ],
    axis=-1,
)


def _face_rim() -> Floats:
    """The border of the face, (16, 3) unit vectors of head axes: a cap of 64 degrees around a point under the nose."""
    centre = np.array([0.0, -0.28, 1.0]) / np.hypot(0.28, 1.0)
    up = np.array([0.0, centre[2], -centre[1]])
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)[:, None]
    around = np.cos(turn) * np.array([1.0, 0.0, 0.0]) + np.sin(turn) * up
    return np.asarray(np.cos(np.deg2rad(64)) * centre + np.sin(np.deg2rad(64)) * around)


_RIM = _face_rim()


@dataclass(frozen=True, eq=False)
class Bodies:
    """Where the bodies of a scene are, in statures and camera axes (x right, y down, z near), relative to the pelvis.

    ``points_PK3`` in the order of :data:`POINTS`; ``rings_PRM3`` around the trunk; ``head_P33`` maps a unit sphere to
    the head; ``rim_PN3`` is the border of the face; ``builds_PB`` as given.
    """

    points_PK3: Floats
    rings_PRM3: Floats
    head_P33: Floats
    rim_PN3: Floats
    builds_PB: Floats


def _turns(zxy_deg: Floats) -> Floats:
    """Rotations Rz Rx Ry, shape (..., 3, 3), of angles (..., 3) in degrees about z, x, y."""
    rad = np.deg2rad(zxy_deg)
    cos, sin = np.cos(rad), np.sin(rad)
    cz, cx, cy = cos[..., 0], cos[..., 1], cos[..., 2]
    sz, sx, sy = sin[..., 0], sin[..., 1], sin[..., 2]
    out = np.empty((*zxy_deg.shape[:-1], 3, 3))
    szsx, czsx = sz * sx, cz * sx
    out[..., 0, 0] = cz * cy - szsx * sy
    out[..., 0, 1] = -sz * cx
    out[..., 0, 2] = cz * sy + szsx * cy
    out[..., 1, 0] = sz * cy + czsx * sy
    out[..., 1, 1] = cz * cx
    out[..., 1, 2] = sz * sy - czsx * cy
    out[..., 2, 0] = -cx * sy
    out[..., 2, 1] = sx
    out[..., 2, 2] = cx * cy
    return out


_SIDE = np.array([1.0, -1.0])
_D = {angle: d for d, angle in enumerate(ANGLES)}


def pose_bodies(angles_PD: Floats, yaw_P: Floats, builds_PB: Floats, elevation: float = 0.0) -> Bodies:
    """Forward kinematics of everyone in a scene.

    Args:
        angles_PD: joint angles in degrees, in the order of :data:`ANGLES`.
        yaw_P: where the figures face, in degrees: 0 to the camera, 90 to the right of the image, 180 away.
        builds_PB: proportions in the order of :data:`BUILD`.
        elevation: how far above the figures' height the camera stands, in degrees; it looks down.
    """
    people = len(angles_PD)
    a = angles_PD
    turns = np.zeros((people, 8, 3))  # camera and yaw, root, spine, head, shoulders, hips
    turns[:, 0, 1] = elevation
    turns[:, 0, 2] = yaw_P
    turns[:, 1, :2] = a[:, [_D["tilt"], _D["lean"]]]
    turns[:, 2] = a[:, [_D["side"], _D["bend"], _D["twist"]]]
    turns[:, 3] = a[:, [_D["cock"], _D["nod"], _D["turn"]]]
    for row, (outward, forward, inward) in ((4, ("out", "flex", "inward")), (6, ("spread", "hip", "toes_in"))):
        for s, side in enumerate(("left", "right")):
            turns[:, row + s, 0] = _SIDE[s] * a[:, _D[f"{side}_{outward}"]]
            turns[:, row + s, 1] = -a[:, _D[f"{side}_{forward}"]]
            turns[:, row + s, 2] = -_SIDE[s] * a[:, _D[f"{side}_{inward}"]]
    rot = _turns(turns)
    hinges = np.zeros((people, 4, 3))  # elbows bend forward, knees backward
    hinges[:, :2, 1] = -a[:, [_D["left_elbow"], _D["right_elbow"]]]
    hinges[:, 2:, 1] = a[:, [_D["left_knee"], _D["right_knee"]]]
    root = rot[:, 0] @ rot[:, 1]
    chest = root @ rot[:, 2]
    head = chest @ rot[:, 3]
    upper_arms, thighs = chest[:, None] @ rot[:, 4:6], root[:, None] @ rot[:, 6:8]
    lower = np.concatenate([upper_arms, thighs], axis=1) @ _turns(hinges)
    forearms, shins = lower[:, :2], lower[:, 2:]

    legs, trunk, arms, head_size, girth, broad = builds_PB.T
    points = np.zeros((people, len(POINTS), 3))

    def put(name: str, value_P23: Floats) -> Floats:
        points[:, AT[f"left_{name}"]], points[:, AT[f"right_{name}"]] = value_P23[:, 0], value_P23[:, 1]
        return value_P23

    def down(frames_P233: Floats, length_P: Floats) -> Floats:
        return -frames_P233[..., 1] * length_P[:, None, None]

    shoulder = 0.112 * broad[:, None, None] * chest[:, None, :, 0] * _SIDE[:, None]
    shoulders = put("shoulder", shoulder + (0.262 * trunk[:, None] * chest[:, :, 1])[:, None])
    elbows = put("elbow", shoulders + down(upper_arms, 0.163 * arms))
    wrists = put("wrist", elbows + down(forearms, 0.143 * arms))
    put("hand", wrists + down(forearms, 0.032 * arms))
    hips = put("hip", 0.056 * girth[:, None, None] * root[:, None, :, 0] * _SIDE[:, None] - 0.012 * root[:, None, :, 1])
    knees = put("knee", hips + down(thighs, 0.243 * legs))
    ankles = put("ankle", knees + down(shins, 0.240 * legs))
    put("toe", ankles + (0.078 * shins[..., 2] - 0.026 * shins[..., 1]) * legs[:, None, None])

    size = np.stack([girth, trunk, girth], axis=-1)
    wide = size.copy()
    wide[:, 0] = 0.5 * (girth + broad)
    rings = np.empty((people, *_RINGS_RM3.shape))
    rings[:, :BELT] = (_RINGS_RM3[:BELT] * size[:, None, None]) @ root[:, None].swapaxes(-1, -2)
    rings[:, BELT:] = (_RINGS_RM3[BELT:] * wide[:, None, None]) @ chest[:, None].swapaxes(-1, -2)
    points[:, _CHEST_AT] = (_CHEST_K3 * size[:, None]) @ chest.swapaxes(-1, -2)
    neck = 0.288 * trunk[:, None] * chest[:, :, 1]
    points[:, AT["neck"]] = neck
    points[:, AT["upper_neck"]] = neck + 0.040 * head[:, :, 1]
    points[:, AT["thorax"]] = 0.262 * trunk[:, None] * chest[:, :, 1]  # between the shoulders
    sphere = head * (_HEAD_RADII * head_size[:, None])[:, None]
    centre = neck + (0.040 + 0.078 * head_size)[:, None] * head[:, :, 1] + 0.012 * head[:, :, 2]
    points[:, _FACE_AT] = _FACE_K3 @ sphere.swapaxes(-1, -2) + centre[:, None]

    flip = np.array([1.0, -1.0, 1.0])  # y up to y down
    rim = _RIM @ sphere.swapaxes(-1, -2)
    return Bodies(points * flip, rings * flip, sphere * flip[:, None], rim * flip, builds_PB)
