"""What choices say of an architecture, by name.

A *trait* is what a hole of the space says, holes of the blocks of one list taken together: the mean of their kernels,
or their most common kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

_SINGULAR = {"branches": "branch", "stages": "stage", "filters": "filter", "blocks": "block", "rows": "row"}


def traits(choices: Mapping[str, Any]) -> dict[str, float | str]:
    """What choices say of an architecture, by path; holes of the blocks of a list together, numbers as their mean."""
    groups: dict[str, list[Any]] = {}
    for path, value in choices.items():
        groups.setdefault(trait_path(path), []).append(value)
    found: dict[str, float | str] = {}
    for path, values in groups.items():
        numbers = [np.mean(v) if isinstance(v, list | tuple) else v for v in values if not isinstance(v, str)]
        found[path] = float(np.mean(numbers)) if numbers else Counter(map(str, values)).most_common(1)[0][0]
    return found


def trait_path(path: str) -> str:
    """``/stages/0/blocks/3/kernel`` as ``/stages/0/blocks/*/kernel``: one trait of all blocks of a list."""
    return re.sub(r"^(.*/\d+/.*?)/\d+(/(?!times$)[^/]*)$", r"\1/*\2", path)


def trait_name(path: str) -> str:
    """A path for people to read: ``/stages/0/blocks/*/kernel`` is ``stage 1 kernel``."""
    parts = path.strip("/").split("/")
    words: list[str] = []
    for i, part in enumerate(parts):
        if part.isdigit():
            words[-1] = f"{_SINGULAR.get(parts[i - 1], parts[i - 1])} {int(part) + 1}"
        elif part == "*":
            if not words[-1][-1].isdigit():  # "blocks" says nothing of a kernel
                words.pop()
        elif part == "times":
            words.append("depth")
        else:
            words.append(part)
    if words[-2:] == ["blocks", "depth"]:
        words[-2:] = ["depth"]
    return " ".join(words)


def trait_kind(path: str) -> str:
    """What a trait is, wherever it stands: width, kernel, depth, filters."""
    last = path.rstrip("/").rpartition("/")[2]
    if last.isdigit():
        return path.rstrip("/").split("/")[-2]
    return "depth" if last == "times" else last
