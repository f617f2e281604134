"""Broken COCO files for tests: a small sound one, and changes that hypothesis makes to it."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import strategies as st

from archsearch.skeleton import COCO17

# Continuous integration looks at 200 variants a test; ARCHSEARCH_FUZZ=1000 looks at more.
FUZZED = int(os.environ.get("ARCHSEARCH_FUZZ", "200"))


def valid(joints: int = 17) -> dict[str, Any]:
    """Two images of 40 x 30; a labelled person, one without joints, and a crowd."""
    person = [v for j in range(joints) for v in (2 + j, 3 + j, 1 + j % 2)]
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "a.png", "height": 30, "width": 40},
            {"id": 9, "file_name": "sub/b.jpg", "height": 30, "width": 40, "crowdIndex": 0.4},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints[:joints]), "skeleton": []}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "iscrowd": 0,
                "num_keypoints": joints,
                "keypoints": person,
                "bbox": [1, 2, 20, 25],
                "area": 300.5,
                "segmentation": [[1, 2, 21, 2, 21, 27]],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 1,
                "iscrowd": 0,
                "num_keypoints": 0,
                "keypoints": [0] * (3 * joints),
                "bbox": [30, 20, 5, 5],
                "area": 20,
                "segmentation": [[30, 20, 35, 20, 35, 25, 30, 25]],
            },
            {
                "id": 3,
                "image_id": 9,
                "category_id": 1,
                "iscrowd": 1,
                "num_keypoints": 0,
                "keypoints": [0] * (3 * joints),
                "bbox": [0, 0, 10, 30],
                "area": 300,
                "segmentation": {"size": [30, 40], "counts": [0, 300, 900]},
            },
        ],
    }


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a JSON value; of long lists of numbers only the first few."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    return [path, *(inner for key, item in items for inner in _places(item, (*path, key)))]


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([10**30, 10**400, -1, 2**63, 1e308, float("inf"), float("nan"), -0.0, 0.5, 7.0, 1e7]),
    st.text(max_size=5),
    st.sampled_from(["a.png", "..", "/", "\x00", "\ud800", ".", "sub", "3", "0" * 200, "a\nb.png"]),
    st.recursive(st.integers(-2, 50), lambda inner: st.lists(inner, max_size=4), max_leaves=6),
    st.dictionaries(st.sampled_from(["size", "counts", "id", "x"]), st.integers(-1, 40), max_size=3),
)


@st.composite
def broken(draw: st.DrawFn, sound: Any) -> str:
    """The text of a JSON file: ``sound`` with up to three values removed, repeated or replaced, or cut short."""
    content = copy.deepcopy(sound)
    places = [path for path in _places(sound) if path]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places))
        try:
            parent = content
            for key in path[:-1]:
                parent = parent[key]
            change = draw(st.sampled_from(["remove", "replace", "replace", "repeat", "swap"]))
            if change == "remove":
                del parent[path[-1]]
            elif change == "replace":
                parent[path[-1]] = draw(ODD_VALUES)
            elif change == "repeat" and isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            else:  # what stands elsewhere
                other: Any = sound
                for key in draw(st.sampled_from(places)):
                    other = other[key]
                parent[path[-1]] = copy.deepcopy(other)
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    text = json.dumps(content)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text
