"""What people in scenes wear: a colour for every part, with left and right told apart by it.

Two conventions hold. A *canonical* person has one colour a limb, as in a stick-man drawing: cool on the left, warm on
the right. Everyone else wears clothes; sleeves, trouser legs, shoes, cuffs and socks are cooler and darker on the left
side, warmer and brighter on the right, as far as the level's ``contrast`` goes.

Shapes: P people; S slots. Colours are RGB, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Things that have a colour. Limbs come left, right.
_PAIRS = ("upper_arm", "forearm", "hand", "thigh", "shin", "foot", "cuff", "sock")
SLOTS: tuple[str, ...] = ("neck", *(f"{side}_{p}" for p in _PAIRS for side in ("left", "right")))
SLOTS += ("shirt", "trousers", "skin", "hair", "trim")
SLOT: Mapping[str, int] = {name: s for s, name in enumerate(SLOTS)}

_SKINS = np.array(
    [(246, 210, 184), (232, 186, 150), (214, 160, 120), (182, 126, 88), (140, 92, 62), (98, 64, 46), (240, 200, 160)]
)
_HAIRS = np.array(
    [(40, 30, 26), (66, 44, 30), (104, 70, 40), (168, 126, 66), (206, 176, 110), (128, 52, 30), (150, 146, 142)]
)
_TROUSERS = np.array(
    [(48, 62, 98), (70, 92, 136), (44, 44, 50), (90, 82, 70), (150, 132, 100), (100, 104, 108), (62, 80, 62)]
)
_COOL, _WARM = np.array([36.0, 66.0, 158.0]), np.array([250.0, 172.0, 74.0])

_CANONICAL: Mapping[str, tuple[int, int, int]] = {
    "left_upper_arm": (52, 118, 238),
    "left_forearm": (40, 206, 232),
    "right_upper_arm": (240, 96, 40),
    "right_forearm": (250, 70, 150),
    "left_thigh": (84, 66, 200),
    "left_shin": (46, 190, 104),
    "right_thigh": (196, 36, 44),
    "right_shin": (244, 206, 52),
    "left_foot": (24, 96, 60),
    "right_foot": (150, 110, 20),
    "shirt": (148, 96, 176),
    "trousers": (110, 78, 140),
}
_CANONICAL_AT = [SLOT[name] for name in _CANONICAL]
_CANONICAL_RGB = np.array(list(_CANONICAL.values()), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Looks:
    """What the people of a scene wear. ``colours_PS3`` is RGB; the rest are flags and styles of shape (P,)."""

    colours_PS3: Floats
    canonical_P: NDArray[np.bool_]
    long_hair_P: NDArray[np.bool_]
    hat_P: NDArray[np.bool_]
    glasses_P: NDArray[np.bool_]
    stripes_P: NDArray[np.bool_]
    cuffs_P: NDArray[np.bool_]


def _cloth(rng: np.random.Generator, people: int) -> Floats:
    """Random cloth colours (P, 3): any hue, mostly muted."""
    hue = rng.random((people, 1)) + np.array([0.0, 1 / 3, 2 / 3])
    saturation = 0.08 + 0.72 * rng.random((people, 1))
    value = 0.22 + 0.74 * rng.random((people, 1))
    wheel = np.clip(np.abs((hue % 1.0) * 6 - 3) - 1, 0, 1)
    return np.asarray(255 * value * (1 - saturation * (1 - wheel)))


def sample_looks(rng: np.random.Generator, people: int, canonical: float, contrast: float) -> Looks:
    """Clothes for ``people``, a share ``canonical`` of them in canonical colours.

    ``contrast`` from 0 to 1 is how far the clothes of the others tell left from right.
    """
    skin = _SKINS[rng.integers(len(_SKINS), size=people)] + rng.normal(0, 6, (people, 3))
    hair = _HAIRS[rng.integers(len(_HAIRS), size=people)] + rng.normal(0, 6, (people, 3))
    shirt, dyed = _cloth(rng, people), _cloth(rng, people)
    plain = _TROUSERS[rng.integers(len(_TROUSERS), size=people)] + rng.normal(0, 8, (people, 3))
    chance = rng.random((people, 10))
    trousers = np.where(chance[:, :1] < 0.75, plain, dyed)
    shoes = np.where(chance[:, 1:2] < 0.6, np.array([58.0, 52.0, 50.0]), np.array([200.0, 198.0, 194.0]))
    bare_upper, bare_fore = chance[:, 2:3] < 0.18, chance[:, 2:3] < 0.55
    bare_shin = chance[:, 3:4] < 0.25

    colours = np.empty((people, len(SLOTS), 3))
    colours[:, SLOT["neck"]] = colours[:, SLOT["skin"]] = skin
    colours[:, SLOT["hair"]], colours[:, SLOT["shirt"]], colours[:, SLOT["trousers"]] = hair, shirt, trousers
    colours[:, SLOT["trim"]] = _cloth(rng, people)
    strength = contrast * (0.75 + 0.25 * rng.random((people, 1)))
    for side, tint, gain in (("left", _COOL, 0.80), ("right", _WARM, 1.14)):

        def tinted(cloth: Floats, tint: Floats = tint, gain: float = gain) -> Floats:
            return np.asarray((cloth + strength * (tint - cloth)) * (1 + strength * (gain - 1)))

        sleeve, leg = tinted(shirt), tinted(trousers)
        colours[:, SLOT[f"{side}_upper_arm"]] = np.where(bare_upper, skin, sleeve)
        colours[:, SLOT[f"{side}_forearm"]] = np.where(bare_fore, skin, sleeve)
        colours[:, SLOT[f"{side}_hand"]] = skin
        colours[:, SLOT[f"{side}_thigh"]] = leg
        colours[:, SLOT[f"{side}_shin"]] = np.where(bare_shin, skin, leg)
        colours[:, SLOT[f"{side}_foot"]] = tinted(shoes)
        colours[:, SLOT[f"{side}_cuff"]] = colours[:, SLOT[f"{side}_sock"]] = tint
    striped = chance[:, 4] < 0.22
    is_canonical = rng.random(people) < canonical
    jitter = rng.normal(0, 11, (people, len(_CANONICAL), 3))
    rows = np.flatnonzero(is_canonical)
    colours[rows[:, None], _CANONICAL_AT] = _CANONICAL_RGB + jitter[rows]
    return Looks(
        np.clip(colours, 12, 250),
        is_canonical,
        long_hair_P=chance[:, 5] < 0.3,
        hat_P=(chance[:, 6] < 0.15),
        glasses_P=chance[:, 7] < 0.15,
        stripes_P=striped & ~is_canonical,
        cuffs_P=(chance[:, 8] < 0.6) & ~is_canonical,
    )
