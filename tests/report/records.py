"""Runs with made-up records, as a gradual-shrinking study writes them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from archsearch.files import write_json, write_text
from archsearch.nets.heads import Block, BottomUp, Deconv
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.runs import Run
from archsearch.space import fingerprint, to_plain

DEPTHS = {
    "baseline": (16, ((1,), (2, 2), (2, 2, 2), (2, 2, 2, 2))),
    "shrink1": (16, ((1,), (1, 2), (1, 1, 2), (0, 1, 1, 2))),
    "shrink2": (18, ((1,), (1, 2), (0, 1, 2), (0, 0, 1, 2))),
    "shrink3": (18, ((1,), (0, 2), (0, 0, 2), (0, 0, 0, 2))),
}
# AP, parameters, MACs, MACs as ptflops counts them, latency and its IQR in ms, training time in s
FIGURES = {
    "baseline": (0.281, 1206339, 72953856, 96408864, 9.81, 0.62, 231.0),
    "shrink1": (0.296, 1078883, 55701504, 78893856, 7.42, 0.31, 176.0),
    "shrink2": (0.288, 1344292, 63221472, 87330420, 7.18, 0.55, 171.0),
    "shrink3": (0.262, 1282804, 58182624, 82237140, 6.03, 0.28, 148.5),
}
HEIGHTS = ((0, 50, 0.08, 41), (50, 60, 0.19, 163), (60, 70, 0.27, 158), (70, 80, 0.33, 147), (80, 1000, 0.41, 112))
IMAGES, STEPS, EVALUATIONS = 14400, 1800, 6


def shrinking_arch(width: int, depths: Sequence[Sequence[int]], modules: Sequence[int] = (1, 1, 1)) -> HRNet:
    """A small HigherHRNet with ``A = depths``."""
    return HRNet(
        kind="hrnet",
        input_hw=(96, 96),
        widths=(width, 2 * width, 4 * width, 8 * width),
        stem=Stem(32, width // 2, (Block(),) * depths[0][0]),
        stages=tuple(
            Stage(count, tuple((Block(),) * depth for depth in row))
            for count, row in zip(modules, depths[1:], strict=True)
        ),
        head=BottomUp(deconvs=(Deconv(16),)),
    )


ARCHS = {name: shrinking_arch(width, depths) for name, (width, depths) in DEPTHS.items()}


def make_run(
    path: Path,
    *,
    names: Sequence[str] = tuple(DEPTHS),
    seeds: Sequence[int] = (0,),
    finished: Sequence[str] | None = None,
    latency: bool = True,
    data: dict[str, Any] | None = None,
) -> Run:
    """A run of the configurations ``names``, of which those in ``finished`` (None: all) have a result."""
    path.mkdir(parents=True)
    scenes = {
        "kind": "scenes",
        "skeleton": "coco17",
        "level": "easy",
        "size_px": 96,
        "train": 4000,
        "val": 300,
        "seed": 0,
    }
    study = {
        "kind": "shrink",
        "name": "gradual_shrinking",
        "question": "Do the blocks of high-resolution branches earn their cost?",
        "data": data or scenes,
        "configurations": [{"name": n, "width": DEPTHS[n][0], "A": to_plain(DEPTHS[n][1])} for n in names],
        "train": {"preset": "fast", "images": IMAGES, "evaluations": EVALUATIONS},
        "seeds": list(seeds),
    }
    write_text(path / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    write_json(
        path / "environment.json",
        {"time": "2025-01-01T00:00:00+00:00", "python": "3.12.1", "cpu": "A processor <2 GHz>", "cores": 2, "gpu": None,
         "packages": {"archsearch": "0.1.0", "torch": "2.13.0"}},
    )  # fmt: skip
    run = Run(path)
    for name in names:
        _, params, macs, ptflops, *_ = FIGURES[name]
        conventions = {"true": macs, "ptflops_0_6": ptflops}
        run.record("cost", config=name, arch=to_plain(ARCHS[name]), params=params, macs=macs,
                   macs_by_convention=conventions, activations=400000)  # fmt: skip
    done = names if finished is None else finished
    for name in names:
        for seed in seeds:
            train(run, name, seed, part=1.0 if name in done else 0.5)
    for name in names if latency else ():
        _, _, _, _, median, iqr, _ = FIGURES[name]
        run.record("latency", config=name, median_ms=median, iqr_ms=iqr, p95_ms=median + 2 * iqr, repeats=50,
                   device="A processor <2 GHz>", runtime="torch-eager", batch=1, threads=1)  # fmt: skip
    return run


def share(run: Run, shift: float = 0.1) -> None:
    """Records of every configuration taken from a supernet, half as dear, its AP by ``shift`` higher."""
    for name, (ap, params, macs, *_) in FIGURES.items():
        arch = dataclasses.replace(ARCHS[name], input_hw=(64, 64))
        found = {"ap": ap + shift, "ap_low": ap + shift - 0.02, "ap_high": ap + shift + 0.02, "macs": macs // 2,
                 "fingerprint": fingerprint(arch), "supernet": "supernet"}  # fmt: skip
        run.record("candidate", **found, arch=to_plain(arch), params=params, source="supernet", images=300)
        run.record("shared", **found, config=name, supernet_images=24000)


def train(run: Run, name: str, seed: int, part: float = 1.0) -> None:
    """Records of one training that came to ``part`` of its end."""
    final, *_, train_s = FIGURES[name]
    final += 0.009 * math.sin(3 * seed + len(name) + ord(name[-1])) * (seed > 0)
    for step in range(30, int(STEPS * part) + 1, 30):
        done = step / STEPS
        at = {
            "config": name,
            "seed": seed,
            "step": step,
            "steps": STEPS,
            "images_seen": 8 * step,
            "train_s": train_s * done,
        }
        loss = 0.7 - final + 1.6 * math.exp(-5 * done) + 0.08 * math.sin(step * 12.9898)
        run.record("step", **at, loss=loss)
        if step % (STEPS // EVALUATIONS) == 0:
            run.record("evaluation", **at, loss=loss, ap=final * (1 - math.exp(-4.5 * done)) / (1 - math.exp(-4.5)))
    if part < 1:
        return
    by_height = []
    for low, high, ap, people in HEIGHTS:
        moved = ap * final / 0.28 + 0.01 * math.sin(low + len(name) + ord(name[-1]))
        by_height.append({"low_px": low, "high_px": high, "ap": moved, "people": people})
    run.record(
        "result", config=name, seed=seed, ap=final, ap50=final + 0.33, ap75=final - 0.06, ap_m=final - 0.07, ap_l=None,
        ar=final + 0.07, ap_low=final - 0.021, ap_high=final + 0.023, by_height=by_height, images_seen=IMAGES,
        train_s=train_s, train_device="cpu",
    )  # fmt: skip
