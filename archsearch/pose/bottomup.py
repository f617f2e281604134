"""From images to people with a bottom-up network: inference, flip test, grouping, and back to image coordinates.

Shapes: N images; J joints; T tags a joint; K people; H, W of the network input in pixels; h, w of a map in cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch.data.dataset import Dataset
from archsearch.data.transforms import (
    Matrix,
    apply,
    augment_batch,
    inverse,
    official_resize,
    resize_matrix,
    warped_batch,
)
from archsearch.pose.decode import Subpixel, group
from archsearch.pose.ensemble import Activation, Convention, merge_flip, merge_scales, merge_sizes, to_image
from archsearch.pose.evaluate import results_of
from archsearch.skeleton import Skeleton

People = tuple[NDArray[np.float32], NDArray[np.float64]]
Maps = tuple[NDArray[np.float32], ...]  # heatmaps (N, J, h, w) and tags (N, J, h, w, T)
Net = nn.Module | Callable[[Tensor], list[Tensor]]

_AHEAD = 2  # batches that are prepared while the network computes


@dataclass(frozen=True)
class DecodeSettings:
    """How maps become people; it belongs to the way the network was trained."""

    activation: Activation = "none"  # of the heatmaps; "sigmoid" where the network gives logits
    logit_shift: float = 0.0  # added to the heatmaps before the activation
    subpixel: Subpixel = "quarter"
    convention: Convention = "official"  # where a cell's centre lies in the image, see ensemble.to_image
    flip: bool = True  # the mirrored image too
    scales: tuple[float, ...] = (1.0,)  # sizes at which the image is seen, in parts of the input's size
    at_input_size: bool = True  # maps are resized to the network input before peaks are looked for
    multiple: int | None = 64  # input sides are multiples of it (short side to size); None: fitted into a square
    max_people: int = 30
    detection_threshold: float = 0.1  # least value of a peak
    tag_threshold: float = 1.0  # largest tag distance of a joint to its person
    nms_kernel: int = 5  # cells
    refine: bool = True  # joints that no person claimed are filled in

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))  # a file's list
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales {self.scales}: at least one, all positive")
        if len(set(self.scales)) < len(self.scales) or (len(self.scales) > 1 and 1 not in self.scales):
            raise ValueError(f"scales {self.scales}: all different, and 1 among them, where the tags come from")
        halves = [2 * scale / min(self.scales) for scale in self.scales]
        if self.multiple is not None and any(abs(half - round(half)) > 1e-6 for half in halves):
            raise ValueError(
                f"scales {self.scales}: each a whole number of halves of the least, so that the sides of all inputs "
                f"are multiples of half of {self.multiple}"
            )
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


@dataclass(frozen=True, eq=False)
class View:
    """How one image comes to the network at one scale."""

    matrix_23: Matrix  # from pixels of the image to pixels of the network input
    size_hw: tuple[int, int]  # of the network input, in pixels


def view(height: int, width: int, size_px: int, settings: DecodeSettings, scale: float = 1.0) -> View:
    """How an image of this size is seen at ``scale``; maps are grouped, and positions come back, by that of scale 1."""
    if settings.multiple is None:
        side = round(size_px * scale)
        return View(resize_matrix(height, width, side), (side, side))
    smallest = min(settings.scales)
    return View(*official_resize(height, width, size_px, settings.multiple, scale=scale, smallest=smallest))


def falling(settings: DecodeSettings) -> list[float]:
    """The scales from the largest to the smallest, as the released code takes them."""
    return sorted(settings.scales, reverse=True)


def check_scales(settings: DecodeSettings, size_px: int, net: object) -> None:
    """Raise ``ValueError`` where a network (or architecture) cannot take square inputs of a scale."""
    stride = int(getattr(getattr(net, "arch", net), "stride", 1))
    for scale in settings.scales if settings.multiple is None else ():
        if abs(size_px * scale / stride - round(size_px * scale / stride)) > 1e-6:
            raise ValueError(
                f"scale {scale} of {size_px} px is not a multiple of {stride}, the network's coarsest cell"
            )


@torch.inference_mode()
def infer(
    net: Net,
    images_N3HW: Tensor,
    skeleton: Skeleton,
    settings: DecodeSettings,
    *,
    project_hw: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Heatmaps (N, J, h, w) and tags (N, J, h, w, T) of normalised images; T is 2 with the flip test, else 1.

    ``project_hw``: what maps are resized to with ``at_input_size``; None for the images' own size.
    """
    size_hw = project_hw or (int(images_N3HW.shape[2]), int(images_N3HW.shape[3]))
    images = images_N3HW.contiguous(memory_format=torch.channels_last)
    joints = len(skeleton)

    def maps(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = [output.float() for output in net(x)]
        if settings.logit_shift:
            outputs = [torch.cat((o[:, :joints] + settings.logit_shift, o[:, joints:]), 1) for o in outputs]
        size_px = size_hw if settings.at_input_size else None
        return merge_scales(outputs, joints, size_px=size_px, activation=settings.activation)

    plain = maps(images)
    return merge_flip(plain, maps(images.flip(3)), skeleton.flip) if settings.flip else plain


@torch.inference_mode()
def infer_scales(
    net: Net, images_by_scale: Sequence[Tensor], skeleton: Skeleton, settings: DecodeSettings, base_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """:func:`infer` of images at each of the scales, :func:`falling`: a multi-scale test. ``base_hw``: of scale 1.

    With ``at_input_size`` maps of all scales are resized to ``base_hw``, else to the largest scale's maps.
    """
    scales = falling(settings)
    each = (infer(net, images, skeleton, settings, project_hw=base_hw) for images in images_by_scale)
    return merge_sizes(each, scales.index(1) if len(scales) > 1 else 0)


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


@dataclass(frozen=True, eq=False)
class _Seen:
    """Images of one size, ready for the network."""

    indices: Sequence[int]  # into the data set's images
    images_by_scale: list[Tensor]  # (N, 3, H, W) each, see falling
    base: list[View]  # each image's at scale 1


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
    on_results: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """COCO results of a network on a data set, in the order of its images.

    ``net`` is on ``device`` and in evaluation mode. While it computes, the next images are read and warped, and people
    of the last ones are grouped and given to ``on_results``, image by image, each by ``workers`` threads. ``batch``
    images of one size go through the network together, fewer where a scale is larger than 1. ``on_image`` is told how
    many more images are done. Raises ``ValueError`` where the network cannot take an input of a scale.
    """
    check_scales(settings, size_px, net)
    skeleton = dataset.skeleton
    found: dict[int, list[dict[str, Any]]] = {}

    def grouped(index: int, maps: Maps, k: int, base: View) -> None:
        heatmaps, tags = maps
        persons, scores = people_of(heatmaps[k], tags[k], base.matrix_23, base.size_hw, skeleton, settings)
        found[index] = results_of(dataset.images[index].id, persons, scores)
        on_results(found[index])

    def collect(jobs: list[Future[None]]) -> None:
        for job in jobs:
            job.result()
        on_image(len(jobs))

    chunks = _chunks(dataset, settings, size_px, batch)
    with (
        ThreadPoolExecutor(1) as preparer,
        ThreadPoolExecutor(workers) as readers,
        ThreadPoolExecutor(workers) as groupers,
    ):

        def begun(chunk: Sequence[int]) -> Future[_Seen]:
            return preparer.submit(_seen, dataset, chunk, settings, size_px, device, readers)

        ahead = [begun(chunk) for chunk in chunks[:_AHEAD]]
        before: list[Future[None]] = []  # the batch that is grouped while the next one runs
        for i in range(len(chunks)):
            seen = ahead.pop(0).result()
            if i + _AHEAD < len(chunks):
                ahead.append(begun(chunks[i + _AHEAD]))
            found_maps = infer_scales(net, seen.images_by_scale, skeleton, settings, seen.base[0].size_hw)
            maps = tuple(t.cpu().numpy() for t in found_maps)
            collect(before)
            before = [
                groupers.submit(grouped, index, maps, k, seen.base[k]) for k, index in enumerate(seen.indices)
            ]  # fmt: skip
        collect(before)
    return [result for index in range(len(dataset)) for result in found[index]]


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
    check_scales(settings, size_px, net)
    height, width = image_HW3.shape[:2]
    base = view(height, width, size_px, settings)
    views = [view(height, width, size_px, settings, scale) for scale in falling(settings)]
    images = [eval_image(image_HW3, seen.matrix_23, seen.size_hw, device) for seen in views]
    heatmaps, tags = (t[0].cpu().numpy() for t in infer_scales(net, images, skeleton, settings, base.size_hw))
    return people_of(heatmaps, tags, base.matrix_23, base.size_hw, skeleton, settings)


def eval_image(
    image_HW3: NDArray[np.uint8], matrix_23: Matrix, size_hw: tuple[int, int], device: torch.device | str
) -> Tensor:
    """One image as a network takes it: (1, 3, H, W), warped and normalised."""
    return augment_batch([image_HW3], matrix_23[None], size_hw, device)


def _chunks(dataset: Dataset, settings: DecodeSettings, size_px: int, batch: int) -> list[Sequence[int]]:
    """Images that come to one size at the network input, at most as many as have the pixels of ``batch`` at scale 1."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, info in enumerate(dataset.images):
        size_hw = view(info.height, info.width, size_px, settings, falling(settings)[0]).size_hw
        by_size.setdefault(size_hw, []).append(index)
    step = max(1, int(batch / max(1.0, falling(settings)[0] ** 2)))
    return [indices[start : start + step] for indices in by_size.values() for start in range(0, len(indices), step)]


def _seen(
    dataset: Dataset,
    indices: Sequence[int],
    settings: DecodeSettings,
    size_px: int,
    device: torch.device | str,
    readers: Executor,
) -> _Seen:
    """Images read once, and warped for every scale."""
    stored = dataset.pixels_NHWC
    pixels = list(readers.map(lambda i: dataset.read(i) if stored is None else stored[i], indices))
    images: list[Tensor] = []
    for scale in falling(settings):
        views = _views(dataset, indices, size_px, settings, scale)
        matrices_N23 = np.stack([seen.matrix_23 for seen in views])
        images.append(warped_batch(pixels.__getitem__, matrices_N23, views[0].size_hw, device, readers))
    return _Seen(indices, images, _views(dataset, indices, size_px, settings, 1.0))


def _views(
    dataset: Dataset, indices: Sequence[int], size_px: int, settings: DecodeSettings, scale: float
) -> list[View]:
    infos = [dataset.images[index] for index in indices]
    return [view(info.height, info.width, size_px, settings, scale) for info in infos]
