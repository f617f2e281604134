"""Runs with made-up records of evaluated architectures of a real space, as searches write them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import archsearch
from archsearch.costs.fast import CostModel
from archsearch.files import write_text
from archsearch.nets.litepose import LitePose
from archsearch.runs import Run
from archsearch.space import Space, fingerprint, to_plain

SCENES = {"kind": "scenes", "skeleton": "coco17", "level": "easy", "size_px": 96, "train": 4000, "val": 300, "seed": 0}


def made_up_ap(arch: LitePose, macs: float, rng: np.random.Generator) -> float:
    """More for larger networks, less and less so; a width of 24 in the first stage is best; a little noise."""
    bonus = 0.08 if arch.stages[0].width == 24 else 0.0
    return float(0.6 - 0.35 * np.exp(-macs / 2.5e9) + bonus + 0.01 * rng.standard_normal())


@functools.cache
def _litepose() -> tuple[Space[Any], CostModel]:
    space = archsearch.load_space("litepose")
    return space, CostModel(space.largest())


def make_search(path: Path, *, count: int = 60, seed: int = 0, name: str = "search_litepose", device: str = "") -> Run:
    """A random search of ``count`` evaluations in the published space."""
    path.mkdir(parents=True)
    study: dict[str, Any] = {"kind": "search", "name": name, "data": SCENES, "space": "litepose"}
    write_text(path / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    run, rng = Run(path), np.random.default_rng(seed)
    space, model = _litepose()
    for trial in range(count):
        arch = space.sample(rng)
        cost = model(arch)
        assert isinstance(arch, LitePose)
        ap = made_up_ap(arch, cost.macs, rng)
        latency = {"latency_ms": cost.macs / 4e7, "latency_iqr_ms": 2.0, "device": device} if device else {}
        run.record(
            "candidate", arch=to_plain(arch), choices=space.choices(arch), fingerprint=fingerprint(arch), ap=ap,
            ap_low=ap - 0.02, ap_high=ap + 0.025, macs=cost.macs, params=cost.params, source="supernet", trial=trial,
            time_s=30.0 * (trial + 1), **latency,
        )  # fmt: skip
    return run
