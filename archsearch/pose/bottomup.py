"""From images to people with a bottom-up network: inference, flip test, grouping, and back to image coordinates.

Shapes: N images; J joints; T tags a joint; K people; H, W of the network input in pixels; h, w of a map in cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch.data.batches import Batch, eval_batch
from archsearch.data.dataset import Dataset
from archsearch.data.transforms import apply, augment_batch, inverse, official_resize, resize_matrix
from archsearch.pose.decode import Subpixel, group
from archsearch.pose.ensemble import Activation, Convention, merge_flip, merge_scales, to_image
from archsearch.pose.evaluate import results_of
from archsearch.skeleton import Skeleton

People = tuple[NDArray[np.float32], NDArray[np.float64]]


@dataclass(frozen=True)
class DecodeSettings:
    """How maps become people; it belongs to the way the network was trained."""

    activation: Activation = "none"  # of the heatmaps; "sigmoid" where the network gives logits
    logit_shift: float = 0.0  # added to the heatmaps before the activation
    subpixel: Subpixel = "quarter"
    convention: Convention = "official"  # where a cell's centre lies in the image, see ensemble.to_image
    flip: bool = True  # the mirrored image too
    at_input_size: bool = True  # maps are resized to the network input before peaks are looked for
    multiple: int | None = 64  # input sides are multiples of it (short side to size); None: fitted into a square
    max_people: int = 30
    detection_threshold: float = 0.1  # least value of a peak
    tag_threshold: float = 1.0  # largest tag distance of a joint to its person
    nms_kernel: int = 5  # cells
    refine: bool = True  # joints that no person claimed are filled in

    def __post_init__(self) -> None:
        if self.nms_kernel < 1 or self.nms_kernel % 2 == 0:
            raise ValueError(f"nms_kernel {self.nms_kernel} is not an odd number of cells")
        if self.max_people < 1 or (self.multiple is not None and self.multiple < 1):
            raise ValueError(f"max_people {self.max_people} and multiple {self.multiple} must be positive")
        if not (self.detection_threshold >= 0 and self.tag_threshold > 0 and math.isfinite(self.logit_shift)):
            raise ValueError(
                f"detection_threshold {self.detection_threshold} must be from 0, tag_threshold {self.tag_threshold} "
                f"positive and logit_shift {self.logit_shift} finite"
            )

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (a study's misspelt key is an error)


OFFICIAL_DECODE = DecodeSettings()
FAST_DECODE = DecodeSettings(
    activation="sigmoid",
    logit_shift=-4.0,
    subpixel="log_quadratic",
    convention="aligned",
    at_input_size=False,
    multiple=None,
)


@torch.inference_mode()
def infer(
    net: nn.Module | Callable[[Tensor], list[Tensor]], images_N3HW: Tensor, skeleton: Skeleton, settings: DecodeSettings
) -> tuple[Tensor, Tensor]:
    """Heatmaps (N, J, h, w) and tags (N, J, h, w, T) of normalised images; T is 2 with the flip test, else 1."""
    size_hw = (int(images_N3HW.shape[2]), int(images_N3HW.shape[3])) if settings.at_input_size else None
    images = images_N3HW.contiguous(memory_format=torch.channels_last)
    joints = len(skeleton)

    def maps(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = [output.float() for output in net(x)]
        if settings.logit_shift:
            outputs = [torch.cat((o[:, :joints] + settings.logit_shift, o[:, joints:]), 1) for o in outputs]
        return merge_scales(outputs, joints, size_px=size_hw, activation=settings.activation)

    plain = maps(images)
    return merge_flip(plain, maps(images.flip(3)), skeleton.flip) if settings.flip else plain


def people_of(
    heatmaps_JHW: NDArray[np.float32],
    tags_JHWT: NDArray[np.float32],
    matrix_23: NDArray[np.float64],
    input_hw: tuple[int, int],
    skeleton: Skeleton,
    settings: DecodeSettings,
) -> People:
    """People in one image's maps, in the image's own pixels: (K, J, 3+T) and their scores (K,)."""
    persons, scores = group(
        heatmaps_JHW,
        tags_JHWT,
        order=skeleton.group_order,
        max_people=settings.max_people,
        detection_threshold=settings.detection_threshold,
        tag_threshold=settings.tag_threshold,
        nms_kernel=settings.nms_kernel,
        subpixel=settings.subpixel,
        refine=settings.refine,
    )
    persons = to_image(persons, input_hw[0] / heatmaps_JHW.shape[1], settings.convention)
    found = persons[..., 2] != 0
    xy = apply(inverse(matrix_23), persons[..., :2].reshape(-1, 2)).reshape(*found.shape, 2)
    persons[..., :2] = np.where(found[..., None], xy, 0)
    return persons, scores


def predict(
    net: nn.Module,
    dataset: Dataset,
    settings: DecodeSettings,
    *,
    size_px: int,
    device: torch.device | str = "cpu",
    batch: int = 16,
    workers: int = 1,
    on_image: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """COCO results of a network on a data set. ``net`` is on ``device`` and in evaluation mode.

    ``workers`` threads group while the network goes on; ``on_image`` is told how many images are done.
    """
    skeleton = dataset.skeleton
    results: list[dict[str, Any]] = []

    def collect(prepared: Batch, jobs: list[Future[People]]) -> None:
        for index, job in zip(prepared.indices, jobs, strict=True):
            persons, scores = job.result()
            results.extend(results_of(dataset.images[index].id, persons, scores))
        on_image(len(prepared))

    with ThreadPoolExecutor(workers) as pool:
        before: tuple[Batch, list[Future[People]]] | None = None  # the batch that is grouped while the next one runs
        for prepared in _batches(dataset, settings, size_px, batch, device, pool):
            heatmaps, tags = (t.cpu().numpy() for t in infer(net, prepared.images_N3HW, skeleton, settings))
            if before is not None:
                collect(*before)
            jobs = [
                pool.submit(people_of, h, t, m, prepared.size_hw, skeleton, settings)
                for h, t, m in zip(heatmaps, tags, prepared.matrices_N23, strict=True)
            ]
            before = prepared, jobs
        if before is not None:
            collect(*before)
    return results


def predict_image(
    net: nn.Module,
    image_HW3: NDArray[np.uint8],
    skeleton: Skeleton,
    settings: DecodeSettings,
    *,
    size_px: int,
    device: torch.device | str = "cpu",
) -> People:
    """People in one image of any size, which comes to the network as :func:`predict` brings a data set's images."""
    height, width = image_HW3.shape[:2]
    if settings.multiple is None:
        matrix, size_hw = resize_matrix(height, width, size_px), (size_px, size_px)
    else:
        matrix, size_hw = official_resize(height, width, size_px, settings.multiple)
    one = eval_image(image_HW3, matrix, size_hw, device)
    heatmaps, tags = (t[0].cpu().numpy() for t in infer(net, one, skeleton, settings))
    return people_of(heatmaps, tags, matrix, size_hw, skeleton, settings)


def eval_image(
    image_HW3: NDArray[np.uint8], matrix_23: NDArray[np.float64], size_hw: tuple[int, int], device: torch.device | str
) -> Tensor:
    """One image as a network takes it: (1, 3, H, W), warped and normalised."""
    return augment_batch([image_HW3], matrix_23[None], size_hw, device)


def _batches(
    dataset: Dataset, settings: DecodeSettings, size_px: int, batch: int, device: torch.device | str, pool: Executor
) -> Iterator[Batch]:
    """Evaluation batches of images that come to one size at the network input."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, info in enumerate(dataset.images):
        size = (size_px, size_px)
        if settings.multiple is not None:
            size = official_resize(info.height, info.width, size_px, settings.multiple)[1]
        by_size.setdefault(size, []).append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), batch):
            chunk: Sequence[int] = indices[start : start + batch]
            yield eval_batch(dataset, chunk, size_px, device, multiple=settings.multiple, pool=pool)
