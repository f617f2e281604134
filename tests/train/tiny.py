"""A space, settings and data that train in milliseconds; shared by the tests of supernets."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from archsearch.data.dataset import Dataset
from archsearch.data.scenes import scenes
from archsearch.nets.zoo import Arch
from archsearch.skeleton import COCO17
from archsearch.space import Space
from archsearch.train.settings import TrainSettings
from archsearch.train.subnets import SupernetSettings
from archsearch.train.supernet import SupernetTask, first_supernet

LITEPOSE: dict[str, Any] = {
    "kind": "litepose",
    "resolution": {"choice": [32, 48]},
    "stem": {"choice": [4, 8]},
    "stages": [
        {
            "width": {"choice": [4, 8]},
            "stride": 2,
            "blocks": {
                "repeat": {"kernel": {"choice": [3, 5, 7]}, "expand": {"choice": [1, 2]}},
                "times": [1, 2],
            },
        },
        {"width": 8, "stride": 2, "blocks": {"repeat": {"kernel": 3, "expand": 2}, "times": 1}},
        {"width": 8, "stride": 1, "blocks": {"repeat": {"kernel": 3, "expand": 2}, "times": 1}},
    ],
    "head": {"filters": [8, {"choice": [4, 8]}]},
    "joints": 17,
}
STUDY: dict[str, Any] = {
    "kind": "supernet",
    "name": "tiny",
    "space": LITEPOSE,
    "data": {"kind": "scenes", "size_px": 48, "train": 24, "val": 6},
    "train": {"preset": "fast", "images": 64, "batch": 8, "evaluations": 2, "checkpoint_s": 0},
    "supernet": {
        "kernel_transforms": True,
        "phases": [{"until": 0.5, "open": ["*/kernel"]}, {"until": 1.0, "sort_channels": True}],
    },
    "estimate": {"calibration_images": 8, "bootstrap": 10},
    "subnets": 1,
    "device": "cpu",
    "processes": 1,
}


def space(**changes: Any) -> Space[Arch]:
    return Space(Arch, {**copy.deepcopy(LITEPOSE), **changes}, "tiny")


def settings(**changes: Any) -> TrainSettings:
    fields = {"preset": "fast", "images": 40, "batch": 8, "checkpoint_s": 0, **changes}
    return TrainSettings.model_validate(fields)


def supernet_settings(**changes: Any) -> SupernetSettings:
    return SupernetSettings.model_validate(changes)


def data() -> Dataset:
    return scenes(12, 48, 0, COCO17, "easy")


def task(dataset: Dataset, chosen: TrainSettings, steps: int = 5, **changes: Any) -> SupernetTask:
    supernet = supernet_settings(**changes)
    return SupernetTask(dataset, space(), supernet, chosen.augmentation, chosen.loss, 0, steps)


def net(chosen: TrainSettings | None = None, **changes: Any) -> nn.Module:
    made = first_supernet(space(), 17, chosen or settings(), supernet_settings(**changes), 0)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """``module`` with random numbers in everything that it stores, so that no two layers are alike."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=g)
                tensor.copy_(noise + 0.5 if "running_var" in name else 0.4 * (noise - 0.5))
    return module


def samples(count: int, seed: int = 0) -> list[Arch]:
    rng = np.random.default_rng(seed)
    return [space().sample(rng) for _ in range(count)]
