"""What a pipeline could reach at most: perfect maps put through decoding and evaluation.

Everything that is lost here is lost to resolution, sub-pixel decoding, grouping and occlusion, not to the network.
Shapes: N images; P people; J joints; h, w of a map in cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from archsearch.data.batches import Batch, eval_batch
from archsearch.data.dataset import Dataset
from archsearch.data.targets import heatmaps, tag_positions
from archsearch.pose.bottomup import DecodeSettings, infer, people_of
from archsearch.pose.evaluate import Scores, evaluate, results_of
from archsearch.pose.losses import LossSettings

TAG_GAP = 10.0  # between the tags of neighbouring people: far beyond any tag threshold


def ceiling(
    dataset: Dataset, loss: LossSettings, decode: DecodeSettings, *, size_px: int, strides: Sequence[int] = (4, 2)
) -> Scores:
    """Scores of the training targets themselves, taken as a network's outputs at 1/4 and 1/2 of the input."""
    results = perfect_results(dataset, loss, decode, size_px=size_px, strides=strides)
    return evaluate(dataset.annotations, results, dataset.skeleton)


def perfect_results(
    dataset: Dataset, loss: LossSettings, decode: DecodeSettings, *, size_px: int, strides: Sequence[int] = (4, 2)
) -> list[dict[str, Any]]:
    """COCO results of those outputs; ``pose.lost`` says whom they lose.

    No flip test and one scale: a perfect network says the same of the mirrored and of the larger image.
    """
    decode = dataclasses.replace(decode, flip=False, scales=(1.0,))
    results = []
    for index in range(len(dataset)):
        batch = eval_batch(dataset, [index], size_px, multiple=decode.multiple)
        outputs = perfect_outputs(batch, loss, decode, strides)
        heatmaps_NJHW, tags_NJHWT = infer(_Fixed(outputs), batch.images_N3HW, dataset.skeleton, decode)
        maps, tags = heatmaps_NJHW[0].numpy(), tags_NJHWT[0].numpy()
        persons, scores = people_of(maps, tags, batch.matrices_N23[0], batch.size_hw, dataset.skeleton, decode)
        results += results_of(dataset.images[index].id, persons, scores)
    return results


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """A network that says the same whatever it sees."""

    outputs: list[Tensor]

    def __call__(self, _: Tensor) -> list[Tensor]:
        return self.outputs


def perfect_outputs(batch: Batch, loss: LossSettings, decode: DecodeSettings, strides: Sequence[int]) -> list[Tensor]:
    """The outputs of a network without error: [(N, J+T, h, w), (N, J, h, w)], logits where the network gives logits."""
    height, width = batch.size_hw
    outputs = []
    for i, stride in enumerate(strides):
        map_hw = (height // stride, width // stride)
        sigma = loss.sigmas[min(i, len(loss.sigmas) - 1)]
        maps = heatmaps(batch.joints_NPJ3, batch.size_hw, map_hw, sigma=sigma, style=loss.style)
        if decode.activation == "sigmoid":
            maps = torch.logit(maps, eps=1e-6) - decode.logit_shift
        outputs.append(maps)
    outputs[0] = torch.cat((outputs[0], _tags(batch, loss, outputs[0])), 1)
    return outputs


def _tags(batch: Batch, loss: LossSettings, like: Tensor) -> Tensor:
    """Each cell carries the tag of the person whose joint is nearest to it."""
    height, width = like.shape[2:]
    index_NPJ, valid_NPJ = tag_positions(batch.joints_NPJ3, batch.size_hw, (height, width), style=loss.style)
    people = index_NPJ.shape[1]
    if people == 0:
        return torch.zeros_like(like)
    cell_y = torch.arange(height).view(height, 1)
    cell_x = torch.arange(width).view(1, width)
    y, x = index_NPJ // width, index_NPJ % width
    distance = (cell_y - y[..., None, None]).square() + (cell_x - x[..., None, None]).square()  # N, P, J, h, w
    distance = distance.masked_fill(~valid_NPJ[..., None, None], 10**9)
    return distance.argmin(1).to(like.dtype) * TAG_GAP
