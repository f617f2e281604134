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
    study: dict[str, Any] = {
        "kind": "search", "name": name, "data": SCENES, "space": "litepose", "trials": count,
        "question": "Which architectures of LitePose's space are worth training?",
        "score": {"kind": "supernet", "run": "runs/litepose_supernet/20260101-120000"}, "latency": {"device": "cpu"},
        "budgets": {"s": 2e9, "l": 8e9},
    }  # fmt: skip
    write_text(path / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    run, rng = Run(path), np.random.default_rng(seed)
    space, model = _litepose()
    for trial in range(count):
        arch = space.sample(rng)
        cost = model(arch)
        assert isinstance(arch, LitePose)
        ap = made_up_ap(arch, cost.macs, rng)
        latency = {} if not device else {
            "latency_ms": cost.macs / 4e7, "latency_iqr_ms": 2.0, "device": device, "latency_is": "predicted"
        }  # fmt: skip
        run.record(
            "candidate", arch=to_plain(arch), choices=space.choices(arch), fingerprint=fingerprint(arch), ap=ap,
            ap_low=ap - 0.02, ap_high=ap + 0.025, macs=cost.macs, params=cost.params, source="supernet", trial=trial,
            time_s=30.0 * (trial + 1), costs={"macs": cost.macs}, images=300, evaluation_s=28.0, outside_s=0.4,
            rejected={"cost": trial % 3, "known": trial % 2}, **latency,
        )  # fmt: skip
    return run


def finish_search(run: Run) -> None:
    """The front's latency is measured, and two models come out."""
    records = run.records("candidate")
    space, model = _litepose()
    for record in sorted(records, key=lambda r: -r["ap"])[:6]:
        fields = {name: value for name, value in record.items() if name != "kind"}
        predicted = record["macs"] / 4e7
        measured = {"latency_ms": 1.04 * predicted, "latency_iqr_ms": 0.03 * predicted, "latency_is": "measured"}
        run.record("candidate", **{**fields, **measured, "latency_predicted_ms": predicted, "device": "cpu, 1 thread"})
    run.record(
        "table", blocks=120, runtime="torch", threads=1, device="a processor", held_out_networks=10, kendall=0.9,
        mape=0.03,
    )  # fmt: skip
    for name, budget in (("s", 2e9), ("l", 8e9)):
        record = max((r for r in records if r["macs"] <= budget), key=lambda r: r["ap"])
        counted = model(space.build(record["choices"]))
        latency = {
            "median_ms": record["macs"] / 4e7, "iqr_ms": 1.5, "device": "a processor", "runtime": "torch", "threads": 1,
            "batch": 1, "repeats": 30,
        }  # fmt: skip
        run.folder("packages").joinpath(name).mkdir()
        run.record(
            "package", name=name, trial=record["trial"], fingerprint=record["fingerprint"], arch=record["arch"],
            arch_hw=[256, 256], images_seen=12000, budget=budget, budget_of="macs", ap=record["ap"] + 0.03,
            ap_low=record["ap"], ap_high=record["ap"] + 0.06, search_ap=record["ap"], source="supernet",
            fine_tuned=True, params=counted.params, macs=counted.macs,
            macs_by_convention=counted.macs_by_convention, latency=latency,
            onnx={"input": [1, 3, 256, 256], "relative_difference": 4e-7}, seed=0, commit="0123456",
            folder=f"packages/{name}",
        )  # fmt: skip
