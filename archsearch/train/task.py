"""What a training learns: which batch a step takes, and the gradients it leaves.

The loop knows neither heatmaps nor sub-nets; a task knows no optimizer, no checkpoint and no clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from archsearch.data.batches import Batch, make_batch
from archsearch.data.dataset import Dataset
from archsearch.data.transforms import Augmentation
from archsearch.pose.losses import LossParts, LossSettings, Targets, bottom_up_loss
from archsearch.train.processes import ALONE, Processes


@dataclass(frozen=True, eq=False)
class Place:
    """Where batches are made and networks run."""

    device: torch.device
    pixels_NHWC: Tensor | None = None  # all images of the data set on an accelerator, which then augments there
    pool: Executor | None = None  # threads that read and warp photos side by side
    mixed: bool = False  # bfloat16 autocast
    processes: Processes = ALONE


class Task(Protocol):
    """What a training learns."""

    @property
    def dataset(self) -> Dataset:
        """The training images."""

    def __len__(self) -> int:
        """How many samples there are to draw from."""

    def batch(self, indices: Sequence[int], place: Place, *, seed: int, step: int, first: int) -> Any:
        """The samples ``indices`` as one batch; sample k draws its random numbers from (seed, step, first + k)."""

    def backward(self, net: nn.Module, batch: Any, place: Place, step: int) -> LossParts:
        """Add the gradients of this step to ``net``'s; the losses, detached or not."""


def run(net: nn.Module, place: Place, images_N3HW: Tensor, *args: Any) -> list[Tensor]:
    """The network's outputs on images, in the place's precision and memory format."""
    images = images_N3HW.contiguous(memory_format=torch.channels_last)
    with torch.autocast(place.device.type, torch.bfloat16) if place.mixed else contextlib.nullcontext():
        return net(images, *args)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class BottomUpTask:
    """One architecture learns to find all people of an image, at one resolution."""

    dataset: Dataset
    size_px: int
    augmentation: Augmentation
    loss: LossSettings

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Sequence[int], place: Place, *, seed: int, step: int, first: int) -> Batch:
        """See :class:`Task`."""
        return make_batch(
            self.dataset,
            indices,
            seed=seed,
            step=step,
            size_px=self.size_px,
            augmentation=self.augmentation,
            device=place.device,
            pixels_NHWC=place.pixels_NHWC,
            pool=place.pool,
            first=first,
        )

    def backward(self, net: nn.Module, batch: Batch, place: Place, step: int) -> LossParts:
        """See :class:`Task`."""
        outputs = run(net, place, batch.images_N3HW)
        targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, self.loss)
        parts = bottom_up_loss(outputs, targets, mean=place.processes.mean)
        parts.total.backward()  # type: ignore[no-untyped-call]
        return parts
