"""archsearch: architecture search and shrinking studies for 2D human pose estimation.

>>> import archsearch
>>> archsearch.cost("higherhrnet-w16-baseline").macs
11218714624
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archsearch.costs.macs import cost as cost
    from archsearch.nets.official import load_official as load_official
    from archsearch.nets.zoo import build as build
    from archsearch.nets.zoo import extract as extract
    from archsearch.nets.zoo import load_arch as load_arch
    from archsearch.nets.zoo import load_space as load_space
    from archsearch.nets.zoo import models as models
    from archsearch.pose.decode import group as group

__version__ = "0.1.0"
_HOMES = {
    "models": "archsearch.nets.zoo",
    "build": "archsearch.nets.zoo",
    "load_arch": "archsearch.nets.zoo",
    "load_space": "archsearch.nets.zoo",
    "extract": "archsearch.nets.zoo",
    "cost": "archsearch.costs.macs",
    "load_official": "archsearch.nets.official",
    "group": "archsearch.pose.decode",
}
__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: ``archsearch --help`` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'archsearch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
