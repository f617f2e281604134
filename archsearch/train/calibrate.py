"""Batch-normalisation statistics for an extracted network (Once-for-All, section 3.3; Yu & Huang, ICCV 2019, 3.3).

A supernet's own statistics are a mixture over every architecture that was trained; for any one of them they mean
nothing. They are thrown away and averaged anew over training images, on a network of its own: nothing of one
candidate reaches the next.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from archsearch.data.batches import make_batch
from archsearch.data.dataset import Dataset
from archsearch.data.transforms import Augmentation


@torch.no_grad()
def recalibrate(
    net: nn.Module,
    dataset: Dataset,
    *,
    size_px: int,
    images: int,
    augmentation: Augmentation,
    batch: int = 32,
    device: torch.device | str = "cpu",
) -> None:
    """Set the statistics of ``net``, in place, to the mean of those of batches of training samples.

    There are ``images`` samples in all, evenly spread over the data set, augmented as in training, always in the same
    way, in as few batches as ``batch`` allows. Those differ by one sample at most, since each counts the same. ``net``
    is on ``device``; it ends in evaluation mode with its weights as they were. Raises ``ValueError`` where there are no
    images.
    """
    if images < 1 or len(dataset) < 1:
        raise ValueError(f"{images} of {len(dataset)} images: at least one is needed to recalibrate")
    count = min(images, len(dataset))
    picked = [k * len(dataset) // count for k in range(count)]
    layers = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    net.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
        layer.train()
    try:
        for step, chunk in enumerate(np.array_split(picked, math.ceil(count / batch))):
            made = make_batch(
                dataset, chunk.tolist(), seed=0, step=step, size_px=size_px, augmentation=augmentation, device=device
            )
            net(made.images_N3HW.contiguous(memory_format=torch.channels_last))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        net.eval()
