"""From boxes to people with a top-down network: crops, flip test, peaks, back to the image, rescoring, suppression.

Shapes: K people of a data set or of an image; N of them in a batch; J joints; H, W of the network input in pixels; h, w
of a map in cells. Source: HRNet (Sun et al., CVPR 2019) with its released code; for ``udp`` Huang et al., CVPR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch.data.boxes import TRANSFORMS, Float64, Transform, crops
from archsearch.data.dataset import Dataset
from archsearch.data.person_targets import px_per_cell
from archsearch.data.persons import Crop, Persons, cropped, eval_matrices
from archsearch.data.transforms import Matrix, augment_batch, inverse
from archsearch.pose.ensemble import Activation
from archsearch.pose.evaluate import results_of
from archsearch.pose.nms import oks_nms, rescored
from archsearch.pose.peaks import PeakSubpixel, peaks
from archsearch.skeleton import Skeleton

Net = nn.Module | Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class TopDownDecode:
    """How boxes come to the network and maps become joints; it belongs to the way the network was trained."""

    transform: Transform = "official"  # from box to input, of training too, see boxes.Transform
    padding: float = 1.25  # of the box's sides, of training too
    activation: Activation = "none"  # of the heatmaps; "sigmoid" where the network gives logits
    logit_shift: float = 0.0  # added to the heatmaps before the activation
    subpixel: PeakSubpixel = "quarter"
    dark_kernel: int = 11  # cells, side of DARK's smoothing: 11 for targets of sigma 2, 17 for sigma 3
    flip: bool = True  # the mirrored crop too; its maps are moved one cell right, but for udp
    joint_threshold: float = 0.2  # joints of a lower score do not count in a person's
    nms_oks: float = 0.9  # of two people more alike than this one is dropped
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (a study's misspelt key is an error)

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform {self.transform!r} is not one of {TRANSFORMS}")
        if not self.padding > 0:
            raise ValueError(f"padding {self.padding} of boxes is not positive")
        if self.activation not in ("none", "sigmoid") or not math.isfinite(self.logit_shift):
            raise ValueError(
                f"activation {self.activation!r} is not one of ('none', 'sigmoid'), or logit_shift {self.logit_shift} "
                "not finite"
            )
        if self.subpixel not in ("none", "quarter", "dark"):
            raise ValueError(f"subpixel {self.subpixel!r} is not one of ('none', 'quarter', 'dark')")
        if self.dark_kernel < 1 or self.dark_kernel % 2 == 0:
            raise ValueError(f"dark_kernel {self.dark_kernel} is not an odd number of cells")
        if not (self.joint_threshold >= 0 and 0 <= self.nms_oks <= 1):
            raise ValueError(
                f"joint_threshold {self.joint_threshold} must be from 0 and nms_oks {self.nms_oks} from 0 to 1"
            )

    def crop(self, input_hw: tuple[int, int]) -> Crop:
        """How boxes come to a network of this input."""
        return Crop(input_hw, self.transform, self.padding)


OFFICIAL_TOP_DOWN = TopDownDecode()  # HRNet, Lite-HRNet
FAST_TOP_DOWN = TopDownDecode(transform="udp", activation="sigmoid", logit_shift=-4.0, subpixel="dark")


@dataclass(frozen=True, eq=False)
class FoundPeople:
    """Who is left of an image's boxes, by falling score."""

    boxes_N: NDArray[np.int64]  # whose boxes, of those that were given
    joints_NJ3: Float64  # x, y in pixels of the image, score
    scores_N: Float64


@torch.inference_mode()
def person_maps(net: Net, images_N3HW: Tensor, skeleton: Skeleton, decode: TopDownDecode) -> Tensor:
    """Heatmaps (N, J, h, w) of normalised crops, those at 1/4 where a network predicts several resolutions."""
    images = images_N3HW.contiguous(memory_format=torch.channels_last)

    def maps(x: Tensor) -> Tensor:
        shifted = net(x)[0].float() + decode.logit_shift
        return shifted.sigmoid() if decode.activation == "sigmoid" else shifted

    plain = maps(images)
    if not decode.flip:
        return plain
    mirrored = maps(images.flip(3)).flip(3)[:, list(skeleton.flip)]
    if decode.transform == "official":  # a cell is the pixel 4 times it, so these lie 3/4 of a cell too far left
        mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], 3)
    return (plain + mirrored) / 2


def joints_in_image(
    maps_NJhw: Tensor, matrices_N23: Matrix, input_hw: tuple[int, int], decode: TopDownDecode
) -> Float64:
    """The joints (N, J, 3) of crops' heatmaps: x, y in pixels of the image, and the height of the peak."""
    found_NJ3 = peaks(maps_NJhw, decode.subpixel, dark_kernel=decode.dark_kernel).cpu().numpy().astype(np.float64)
    map_hw = (int(maps_NJhw.shape[2]), int(maps_NJhw.shape[3]))
    back_N23 = inverse(matrices_N23)
    xy_NJ2 = found_NJ3[..., :2] * px_per_cell(input_hw, map_hw, decode.transform)
    found_NJ3[..., :2] = xy_NJ2 @ back_N23[:, :, :2].transpose(0, 2, 1) + back_N23[:, None, :, 2]
    return found_NJ3


def find_joints(
    net: Net,
    dataset: Dataset,
    persons: Persons,
    decode: TopDownDecode,
    *,
    input_hw: tuple[int, int],
    device: torch.device | str = "cpu",
    batch: int = 32,
    workers: int = 1,
    on_person: Callable[[int], None] = lambda _: None,
    on_joints: Callable[[Float64, int], None] = lambda _, __: None,
) -> Float64:
    """The joints (K, J, 3) that a network finds in each box: x, y in pixels of the image, and score.

    ``net`` is on ``device`` and in evaluation mode. ``workers`` threads read and crop the next batches meanwhile;
    ``on_person`` is told how many more boxes are done, ``on_joints`` is given the joints and how many first ones are
    known by now. Raises ``InputError`` where a photo cannot be read.
    """
    matrices_K23 = eval_matrices(persons.boxes_K4, decode.crop(input_hw))
    joints_KJ3 = np.zeros((len(persons), len(dataset.skeleton), 3))
    chunks = [slice(start, min(start + batch, len(persons))) for start in range(0, len(persons), batch)]
    with ThreadPoolExecutor(workers) as pool:

        def begun(chunk: slice) -> Future[Tensor]:
            return pool.submit(cropped, dataset, persons.images_K[chunk], matrices_K23[chunk], input_hw, device)

        ahead = [begun(chunk) for chunk in chunks[:workers]]
        for i, chunk in enumerate(chunks):
            images_N3HW = ahead.pop(0).result()
            if i + workers < len(chunks):
                ahead.append(begun(chunks[i + workers]))
            maps_NJhw = person_maps(net, images_N3HW, dataset.skeleton, decode)
            joints_KJ3[chunk] = joints_in_image(maps_NJhw, matrices_K23[chunk], input_hw, decode)
            on_joints(joints_KJ3, chunk.stop)
            on_person(len(images_N3HW))
    return joints_KJ3


def predict(
    net: Net,
    dataset: Dataset,
    persons: Persons,
    decode: TopDownDecode,
    *,
    input_hw: tuple[int, int],
    device: torch.device | str = "cpu",
    batch: int = 32,
    workers: int = 1,
    on_person: Callable[[int], None] = lambda _: None,
    on_results: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """COCO results of a network in boxes, in the order of the images; arguments as of :func:`find_joints`.

    Images whose last box is done are rescored and suppressed, and given to ``on_results``, while the network goes on.
    """
    waiting = sorted(_by_image(persons), key=lambda own: int(own[1][-1]))
    jobs: list[Future[list[dict[str, Any]]]] = []
    with ThreadPoolExecutor(1) as finisher:

        def finished(index: int, own_N: NDArray[np.int64], joints_KJ3: Float64) -> list[dict[str, Any]]:
            results = _image_results(dataset, index, persons, own_N, joints_KJ3, decode, input_hw)
            on_results(results)
            return results

        def on_joints(joints_KJ3: Float64, known: int) -> None:
            while waiting and waiting[0][1][-1] < known:
                jobs.append(finisher.submit(finished, *waiting.pop(0), joints_KJ3))

        find_joints(
            net, dataset, persons, decode, input_hw=input_hw, device=device, batch=batch, workers=workers,
            on_person=on_person, on_joints=on_joints,
        )  # fmt: skip
        return [result for job in jobs for result in job.result()]


def kept_people(
    boxes_K4: Float64,
    box_scores_K: Float64,
    joints_KJ3: Float64,
    skeleton: Skeleton,
    decode: TopDownDecode,
    input_hw: tuple[int, int],
) -> FoundPeople:
    """The people of one image: scored by box and joints, found twice only once.

    How alike two are depends on the areas of their crops, as in the released code.
    """
    scores_K = rescored(box_scores_K, joints_KJ3[..., 2], decode.joint_threshold)
    areas_K = crops(boxes_K4, input_hw, decode.padding)[1].prod(1)
    kept_N = oks_nms(joints_KJ3[..., :2], scores_K, areas_K, skeleton.sigmas, decode.nms_oks)
    return FoundPeople(kept_N, joints_KJ3[kept_N], scores_K[kept_N])


def coco_results(
    dataset: Dataset, persons: Persons, joints_KJ3: Float64, decode: TopDownDecode, input_hw: tuple[int, int]
) -> list[dict[str, Any]]:
    """COCO results of what :func:`find_joints` found in each box."""
    each = (_image_results(dataset, i, persons, own_N, joints_KJ3, decode, input_hw) for i, own_N in _by_image(persons))
    return [result for results in each for result in results]


def _by_image(persons: Persons) -> list[tuple[int, NDArray[np.int64]]]:
    """The images with boxes, and which boxes are theirs."""
    order_K = np.argsort(persons.images_K, kind="stable")
    images, starts = np.unique(persons.images_K[order_K], return_index=True)
    return list(zip(images.tolist(), np.split(order_K, starts[1:]), strict=True)) if len(images) else []


def _image_results(
    dataset: Dataset,
    index: int,
    persons: Persons,
    own_N: NDArray[np.int64],
    joints_KJ3: Float64,
    decode: TopDownDecode,
    input_hw: tuple[int, int],
) -> list[dict[str, Any]]:
    """COCO results of one image and its boxes ``own_N``."""
    found = kept_people(
        persons.boxes_K4[own_N], persons.scores_K[own_N], joints_KJ3[own_N], dataset.skeleton, decode, input_hw
    )
    return results_of(dataset.images[index].id, found.joints_NJ3, found.scores_N)


def results_of_all(
    dataset: Dataset, persons: Persons, joints_KJ3: Float64, decode: TopDownDecode, annotation_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """COCO results of every box, each with the ``annotation_id`` of the person whose box it is: what PCKh reads."""
    scores_K = rescored(persons.scores_K, joints_KJ3[..., 2], decode.joint_threshold)
    results: list[dict[str, Any]] = []
    for k, annotation_id in enumerate(annotation_ids):
        own = results_of(dataset.images[persons.images_K[k]].id, joints_KJ3[k : k + 1], scores_K[k : k + 1])
        results.append({**own[0], "annotation_id": annotation_id})
    return results


def people_in_image(
    net: Net,
    image_HW3: NDArray[np.uint8],
    boxes_K4: Float64,
    box_scores_K: Float64,
    skeleton: Skeleton,
    decode: TopDownDecode,
    *,
    input_hw: tuple[int, int],
    device: torch.device | str = "cpu",
    batch: int = 32,
) -> FoundPeople:
    """The people that a network finds in the boxes of one image of any size."""
    matrices_K23 = eval_matrices(boxes_K4, decode.crop(input_hw))
    joints_KJ3 = np.zeros((len(boxes_K4), len(skeleton), 3))
    for start in range(0, len(boxes_K4), batch):
        chunk = slice(start, start + batch)
        images_N3HW = augment_batch([image_HW3] * len(matrices_K23[chunk]), matrices_K23[chunk], input_hw, device)
        maps_NJhw = person_maps(net, images_N3HW, skeleton, decode)
        joints_KJ3[chunk] = joints_in_image(maps_NJhw, matrices_K23[chunk], input_hw, decode)
    return kept_people(boxes_K4, box_scores_K, joints_KJ3, skeleton, decode, input_hw)
