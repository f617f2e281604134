"""Top-down training: one architecture learns to find one person's joints in a box.

Shapes: N people of a batch; J joints; H, W of the network input in pixels; h, w of a map in cells.
Sources: HRNet (Sun et al., CVPR 2019) and Lite-HRNet (Yu et al., CVPR 2021) with their released configurations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from archsearch.data.boxes import HRNET, LITE_HRNET, PersonAugmentation, Transform
from archsearch.data.dataset import Dataset
from archsearch.data.person_targets import person_heatmaps
from archsearch.data.persons import Crop, PersonBatch, Persons, train_batch
from archsearch.pose.losses import LossParts, heatmap_mse, heatmap_quality_focal
from archsearch.pose.topdown import FAST_TOP_DOWN, OFFICIAL_TOP_DOWN, TopDownDecode
from archsearch.train.settings import LoopSettings, filled
from archsearch.train.task import Place, run


@dataclass(frozen=True)
class PersonLoss:
    """What a person's heatmaps are compared with. Raises ``ValueError`` on what is no loss."""

    heatmap: Literal["mse", "quality_focal"]  # quality focal: the network's heatmaps are logits
    sigma: float  # of the Gaussians in cells; HRNet's are 2 for 256 x 192 and 3 for 384 x 288
    beta: float = 2.0  # the exponent of quality focal loss
    logit_shift: float = 0.0  # added to the heatmaps: the logit of how rare a joint is, where training begins
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (a study's misspelt key is an error)

    def __post_init__(self) -> None:
        if self.heatmap not in ("mse", "quality_focal"):
            raise ValueError(f"heatmap loss {self.heatmap!r} is not one of ('mse', 'quality_focal')")
        if not (self.sigma > 0 and self.beta >= 1 and math.isfinite(self.logit_shift)):
            raise ValueError(
                f"sigma {self.sigma} must be positive, beta {self.beta} from 1, logit_shift {self.logit_shift} finite"
            )


OFFICIAL_LOSS = PersonLoss("mse", sigma=2.0)  # HRNet, Lite-HRNet
FAST_LOSS = PersonLoss("quality_focal", sigma=1.5, logit_shift=-4.0)


class TopDownSettings(LoopSettings):
    """One top-down training. ``preset`` gives every field that is not written out.

    How a box comes to the network is part of ``decode``, since a trained network needs the same.
    """

    preset: Literal["official", "lite_hrnet", "fast"] = "fast"
    loss: PersonLoss
    augmentation: PersonAugmentation
    decode: TopDownDecode

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, fields: Any) -> Any:
        return filled(fields, TOP_DOWN_PRESETS)


def person_loss(
    outputs: Sequence[Tensor],
    joints_NJ3: Tensor,
    size_hw: tuple[int, int],
    settings: PersonLoss,
    transform: Transform,
    *,
    mean: Callable[[Tensor], Tensor] = lambda value: value,
) -> LossParts:
    """The loss of heatmaps (N, J, h, w), of which only those of joints that count have a gradient.

    ``mse`` is half the squared error, the mean over people, joints and cells; joints that do not count add nothing and
    are part of the mean, as in the released code. ``quality_focal``, and ``mean``: see
    :func:`archsearch.pose.losses.heatmap_quality_focal`. Outputs at several resolutions are compared with targets of
    their own and summed. Computed in float32 under autocast. Raises ``ValueError`` where an output does not have the
    skeleton's number of maps.
    """
    joints = joints_NJ3.shape[1]
    losses = []
    for i, output in enumerate(outputs):
        if output.shape[1] != joints:
            raise ValueError(f"output {i} has {output.shape[1]} maps; {joints} joints need as many")
        map_hw = (int(output.shape[2]), int(output.shape[3]))
        target, counts_NJ = person_heatmaps(joints_NJ3, size_hw, map_hw, sigma=settings.sigma, transform=transform)
        # One joint's map after the other, each with its own mask. Networks answer in channels-last order.
        pred, target = ((t.reshape(-1, 1, *map_hw)) for t in ((output.float() + settings.logit_shift), target))
        mask = counts_NJ.reshape(-1, 1, 1)
        if settings.heatmap == "mse":
            losses.append(0.5 * heatmap_mse(pred, target, mask))
        else:
            losses.append(heatmap_quality_focal(pred, target, mask, beta=settings.beta, mean=mean))
    none = torch.zeros((), device=joints_NJ3.device)
    return LossParts(torch.stack(losses).sum(), tuple(losses), pull=none, push=none)


@dataclass(frozen=True, eq=False)
class TopDownTask:
    """One architecture learns to find the joints of the person in a box; a sample is a person."""

    dataset: Dataset
    persons: Persons
    crop: Crop
    augmentation: PersonAugmentation
    loss: PersonLoss

    def __len__(self) -> int:
        return len(self.persons)

    def batch(self, indices: Sequence[int], place: Place, *, seed: int, step: int, first: int) -> PersonBatch:
        """See :class:`archsearch.train.task.Task`."""
        return train_batch(
            self.dataset,
            self.persons,
            indices,
            seed=seed,
            step=step,
            crop=self.crop,
            augmentation=self.augmentation,
            device=place.device,
            pixels_NHWC=place.pixels_NHWC,
            pool=place.pool,
            first=first,
        )

    def backward(self, net: nn.Module, batch: PersonBatch, place: Place, step: int) -> LossParts:
        """See :class:`archsearch.train.task.Task`."""
        outputs = run(net, place, batch.images_N3HW)
        parts = person_loss(
            outputs, batch.joints_NJ3, batch.size_hw, self.loss, self.crop.transform, mean=place.processes.mean
        )  # fmt: skip
        parts.total.backward()  # type: ignore[no-untyped-call]
        return parts


# HRNet: Adam 1e-3, 210 epochs, divided by 10 after 170 and 200, batches of 32 a GPU, no decay of weights.
_OFFICIAL: dict[str, Any] = {
    "batch": 32,
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "steps",
    "warmup": 0.0,
    "milestones": (170 / 210, 200 / 210),
    "clip_norm": 0.0,
    "ema": 0.0,
    "init": "official",
    "loss": dataclasses.asdict(OFFICIAL_LOSS),
    "augmentation": dataclasses.asdict(HRNET),
    "decode": dataclasses.asdict(OFFICIAL_TOP_DOWN),
}
TOP_DOWN_PRESETS: dict[str, dict[str, Any]] = {
    "official": _OFFICIAL,
    # Lite-HRNet: batches of 64 a GPU, Adam 2e-3 after 500 steps of warm-up, one in a thousand on COCO.
    "lite_hrnet": {
        **_OFFICIAL,
        "batch": 64,
        "lr": 2e-3,
        "warmup": 1e-3,
        "augmentation": dataclasses.asdict(LITE_HRNET),
    },
    "fast": {  # minutes on a processor
        "batch": 16,
        "optimizer": "adamw",
        "lr": 1e-2,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 1.0,
        "ema": 0.99,
        "loss": dataclasses.asdict(FAST_LOSS),
        "augmentation": dataclasses.asdict(LITE_HRNET),
        "decode": dataclasses.asdict(FAST_TOP_DOWN),
    },
}
