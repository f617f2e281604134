"""Files that some tests need and the repository does not hold: where they are, and the marks of these tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).parents[2] / "shared"  # by default they lie in a sibling of the checkout
SAMPLES = Path(os.environ.get("ARCHSEARCH_SAMPLES", _BESIDE / "samples"))  # a few photographs of each data set
REFERENCE = Path(os.environ.get("ARCHSEARCH_REFERENCE", _BESIDE / "reference"))  # answers of the published programs

_not_without_samples = pytest.mark.skipif(
    not all((SAMPLES / name).is_dir() for name in ("coco", "crowdpose", "mpii")),
    reason="ARCHSEARCH_SAMPLES names no folder of sample photographs",
)
needs_reference = pytest.mark.skipif(
    not (REFERENCE / "grouping").is_dir(), reason="ARCHSEARCH_REFERENCE names no folder of recorded answers"
)


def needs_samples(test: Callable[..., Any]) -> Callable[..., Any]:
    """The test, marked ``samples`` and skipped where the photographs are not there."""
    marked: Callable[..., Any] = pytest.mark.samples(_not_without_samples(test))
    return marked
