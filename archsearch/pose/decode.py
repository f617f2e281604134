"""Grouping by associative embedding: heatmaps and tag maps of a bottom-up network become people.

Every joint has a heatmap and a tag map; joints of one person have tags close to each other (Newell et al. 2017,
"Associative Embedding", section 3.2). The steps and their constants are those of HigherHRNet (Cheng et al. 2020,
section 3.4 and its released parser): peaks by 5x5 non-maximum suppression, the best 30 of a joint, assignment of each
joint's peaks to the people found so far, a sub-pixel step, then joints that no person claimed are filled in.

Shapes: J joints, H x W cells of the maps, T tag maps a joint (one for each pass over the image), K people, D peaks.

Positions are cell-corner based: the centre of cell (0, 0) is (0.5, 0.5), so that a map of W cells spans 0 to W and a
caller scales to another resolution by one factor. :func:`archsearch.pose.ensemble.to_image` goes on to image pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from archsearch.skeleton import COCO17

Subpixel = Literal["quarter", "log_quadratic", "none"]
Float32 = NDArray[np.float32]
Index = NDArray[np.intp]

_NO_PERSON_COST = 1e10  # of a peak that finds no person to join: above every real cost
_SMALLEST_LOG = 1e-10  # heatmap values are clamped to this before the logarithm
_BLOCK = 1 << 15  # cells of a map that all people search before the next are read, so that they stay in the cache


def group(
    heatmaps_JHW: ArrayLike | torch.Tensor,
    tags_JHWT: ArrayLike | torch.Tensor,
    *,
    order: Sequence[int] | None = None,
    max_people: int = 30,
    detection_threshold: float = 0.1,
    tag_threshold: float = 1.0,
    use_detection_value: bool = True,
    ignore_too_much: bool = False,
    nms_kernel: int = 5,
    subpixel: Subpixel = "quarter",
    refine: bool = True,
) -> tuple[Float32, NDArray[np.float64]]:
    """People in one image: ``persons_KJ(3+T)`` with (x, y, score, tags...) a joint, and ``scores_K``.

    x and y are in cells of the maps, cell-corner based (see the head of this file). A joint that was found holds its
    heatmap value as score and its tags; a joint that was filled in has a score and zero tags; one that stayed missing
    is all zeros. A person's score is the mean over all J joints before filling. Without people the shape is
    (0, J, 3+T).

    ``order`` is the order in which joints are visited, reliable ones first; the default is the published parsers',
    COCO's, cut to J joints (they use it for CrowdPose's 14 too). ``max_people`` bounds the peaks of a joint and the
    people that a peak may join; with ``ignore_too_much`` no further people are opened once there are that many.
    ``use_detection_value`` makes the cost of a pair 100 * round(tag distance) - peak value instead of the tag distance.
    A peak joins a person only within ``tag_threshold``. ``nms_kernel`` is the odd width, in cells, of the window in
    which a peak is the maximum.

    ``subpixel``: "quarter" moves a quarter of a cell toward the higher neighbour, as the published pipelines do;
    "log_quadratic" fits a parabola to the logarithm of the map through the peak and its two neighbours in x and in y
    (exact for a Gaussian; for maps that went through a sigmoid), at most half a cell; "none" stays at the centre.

    ``refine`` looks for each person's missing joints: the first cell (row-major) with the largest
    heatmap - round(distance between its tags and the person's mean tags), if its heatmap is positive.

    Equal peaks rank by their place in the map, first rows first. Raises ``ValueError`` on maps whose shapes do not
    agree or that are not finite, and on settings out of range.
    """
    heatmaps, tags = _checked_maps(heatmaps_JHW, tags_JHWT)
    joints = len(heatmaps)
    if order is None:
        order = [j for j in COCO17.group_order if j < joints] + list(range(len(COCO17), joints))
    if sorted(order) != list(range(joints)):
        raise ValueError(f"order {tuple(order)} is not an order of {joints} joints")
    if max_people < 1:
        raise ValueError(f"max_people {max_people} is not positive")
    if nms_kernel < 1 or nms_kernel % 2 == 0:
        raise ValueError(f"nms_kernel {nms_kernel} is not an odd number of cells")
    if not detection_threshold >= 0:
        raise ValueError(f"detection_threshold {detection_threshold} is negative")
    if subpixel not in ("quarter", "log_quadratic", "none"):
        raise ValueError(f"subpixel {subpixel!r} is not one of quarter, log_quadratic, none")

    peaks = _peaks(heatmaps, max_people, detection_threshold, nms_kernel)
    persons = _match(
        [_detections(heatmaps[j], tags[j], peaks[j]) for j in range(joints)],
        tags.shape[3],
        order,
        max_people,
        tag_threshold,
        use_detection_value,
        ignore_too_much,
    )
    found = persons[:, :, 2] > 0
    scores = persons[:, :, 2].mean(axis=1, dtype=np.float64)
    if refine and len(persons):
        # float32 means over the joints in their own order: the rounding below is sensitive to the last bit
        means_KT = np.stack([p[f, 3:].mean(axis=0) for p, f in zip(persons, found, strict=True)])
        for j in range(joints):
            missing = np.flatnonzero(~found[:, j])
            if len(missing):
                y, x = _best_cells(heatmaps[j], tags[j], means_KT[missing])
                score = heatmaps[j][y, x]
                fill = score > 0
                persons[missing[fill], j, :3] = np.stack((x, y, score), axis=1)[fill]
    person, joint = np.nonzero(persons[:, :, 2] > 0)
    x, y = persons[person, joint, 0].astype(np.intp), persons[person, joint, 1].astype(np.intp)
    persons[person, joint, :2] += np.float32(0.5) + _offsets(heatmaps, joint, x, y, subpixel)
    return persons, scores


def _checked_maps(heatmaps: ArrayLike | torch.Tensor, tags: ArrayLike | torch.Tensor) -> tuple[Float32, Float32]:
    """Contiguous float32 (J, H, W) and (J, H, W, T), finite. Raises ``ValueError``."""
    maps = []
    for name, value, axes in (("heatmaps", heatmaps, 3), ("tags", tags, 4)):
        if isinstance(value, torch.Tensor):
            value = value.detach().float().cpu().numpy()
        array = np.ascontiguousarray(value, dtype=np.float32)
        if array.ndim != axes or array.size == 0:
            raise ValueError(f"{name} of shape {array.shape}: {axes} axes of at least 1 needed")
        flat = array.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            energy = np.dot(flat, flat)  # sees NaN and infinity in one fast pass; only then look for the place
        if not np.isfinite(energy) and not np.isfinite(flat).all():
            place = np.unravel_index(int(np.argmin(np.isfinite(flat))), array.shape)
            raise ValueError(f"{name} hold {array[place]} at {tuple(int(i) for i in place)}")
        maps.append(array)
    if maps[0].shape != maps[1].shape[:3]:
        raise ValueError(f"heatmaps of shape {maps[0].shape} do not go with tags of shape {maps[1].shape}")
    return maps[0], maps[1]


def _peaks(heatmaps_JHW: Float32, limit: int, threshold: float, kernel: int) -> list[Index]:
    """For every joint the flat cell indices of at most ``limit`` local maxima above ``threshold``, highest first."""
    bound = np.float32(threshold)
    if float(bound) > threshold:  # value > threshold in double precision is value > bound in single precision
        bound = np.nextafter(bound, np.float32(-np.inf))
    window = np.ones((kernel, kernel), np.uint8)
    reach = kernel // 2
    peaks = []
    for heatmap in heatmaps_JHW:
        above = heatmap > bound
        rows = np.flatnonzero(above.any(axis=1))
        if not len(rows):
            peaks.append(np.empty(0, np.intp))
            continue
        top, bottom = max(int(rows[0]) - reach, 0), int(rows[-1]) + reach + 1
        band = heatmap[top:bottom]
        above[top:bottom] &= cv2.dilate(band, window) == band  # plateaus keep all their cells
        cells = np.flatnonzero(above)
        values = heatmap.reshape(-1)[cells]
        if len(cells) > limit:
            keep = values >= np.partition(values, -limit)[-limit]
            cells, values = cells[keep], values[keep]
        peaks.append(cells[np.argsort(-values, kind="stable")[:limit]])
    return peaks


def _detections(heatmap_HW: Float32, tags_HWT: Float32, cells_D: Index) -> Float32:
    """(D, 3+T): x, y, value and tags of the cells."""
    width, tag_count = heatmap_HW.shape[1], tags_HWT.shape[2]
    detections = np.empty((len(cells_D), 3 + tag_count), np.float32)
    detections[:, 0] = cells_D % width
    detections[:, 1] = cells_D // width
    detections[:, 2] = heatmap_HW.reshape(-1)[cells_D]
    detections[:, 3:] = tags_HWT.reshape(-1, tag_count)[cells_D]
    return detections


def _match(
    detections_J: Sequence[Float32],
    tag_count: int,
    order: Sequence[int],
    max_people: int,
    tag_threshold: float,
    use_detection_value: bool,
    ignore_too_much: bool,
) -> Float32:
    """People (K, J, 3+T) from every joint's detections (D, 3+T); a joint without a detection is all zeros."""
    capacity = sum(len(d) for d in detections_J)
    persons = np.zeros((capacity, len(detections_J), 3 + tag_count), np.float32)
    joined = np.zeros((capacity, len(detections_J), tag_count), np.float32)  # a person's tags in the order they came
    means = np.zeros((capacity, tag_count), np.float32)
    counts = [0] * capacity
    # The released parser knows a person by the first tag of the joint that opened it, so a second one that opens with
    # exactly this tag continues the first. Results depend on it wherever tags repeat.
    slots: dict[float, int] = {}
    for joint in order:
        detections = detections_J[joint]
        if not len(detections):
            continue
        grouped = min(len(slots), max_people)
        if not grouped:
            pairs = [(row, -1) for row in range(len(detections))]
        elif ignore_too_much and grouped == max_people:
            continue
        else:
            distance = np.linalg.norm(detections[:, None, 3:].astype(np.float64) - means[:grouped], axis=2)
            cost = np.round(distance) * 100 - detections[:, 2:3].astype(np.float64) if use_detection_value else distance
            if len(cost) > grouped:
                cost = np.pad(cost, ((0, 0), (0, len(cost) - grouped)), constant_values=_NO_PERSON_COST)
            rows, columns = linear_sum_assignment(cost)
            accepted = columns < grouped
            accepted[accepted] = distance[rows[accepted], columns[accepted]] < tag_threshold
            pairs = list(zip(rows.tolist(), np.where(accepted, columns, -1).tolist(), strict=True))
        keys = detections[:, 3].tolist()
        for row, slot in pairs:
            if slot < 0:
                slot = slots.setdefault(keys[row], len(slots))
                counts[slot] = 0
            joined[slot, counts[slot]] = detections[row, 3:]
            counts[slot] += 1
            # All of them at once: NumPy's sum of many is not that of one after the other, and the parser's is NumPy's.
            means[slot] = np.add.reduce(joined[slot, : counts[slot]], axis=0) / np.float32(counts[slot])
            persons[slot, joint] = detections[row]
    return persons[: len(slots)].copy()


def _best_cells(heatmap_HW: Float32, tags_HWT: Float32, means_MT: Float32) -> tuple[Index, Index]:
    """Rows and columns (M,) of the cell with the largest heatmap - round(|tags - mean tags|) for each of M people.

    The first cell in row-major order wins a tie, rounding is half to even and arithmetic float32, as in the released
    parser. All people take one block of the map before the next is read; nothing is allocated on the way, which makes
    a pass so cheap that bounding it (tile maxima, sorted tags) cost more than it saved.
    """
    heat = heatmap_HW.reshape(-1)
    tags_T = [np.ascontiguousarray(tags_HWT[:, :, t]).reshape(-1) for t in range(tags_HWT.shape[2])]
    best_value = [-np.inf] * len(means_MT)
    best_cell = np.zeros(len(means_MT), np.intp)
    distance, square = np.empty((2, min(_BLOCK, heat.size)), np.float32)
    for start in range(0, heat.size, _BLOCK):
        heat_block = heat[start : start + _BLOCK]
        tags_block = [tag[start : start + _BLOCK] for tag in tags_T]
        d, s = distance[: len(heat_block)], square[: len(heat_block)]
        for person, means in enumerate(means_MT):
            np.subtract(tags_block[0], means[0], out=d)
            if len(tags_block) == 1:
                np.abs(d, out=d)  # the root of the square, to the last bit
            else:
                np.square(d, out=d)
                for tag, mean in zip(tags_block[1:], means[1:], strict=True):
                    np.subtract(tag, mean, out=s)
                    np.square(s, out=s)
                    np.add(d, s, out=d)
                np.sqrt(d, out=d)
            np.rint(d, out=d)
            np.subtract(heat_block, d, out=d)
            cell = int(d.argmax())
            if d[cell] > best_value[person]:
                best_value[person], best_cell[person] = d[cell], start + cell
    y, x = np.divmod(best_cell, heatmap_HW.shape[1])
    return y, x


def _offsets(heatmaps_JHW: Float32, joint_P: Index, x_P: Index, y_P: Index, subpixel: Subpixel) -> Float32:
    """(P, 2): how far each peak lies from the centre of its cell, in cells along x and y."""
    if subpixel == "none":
        return np.zeros((len(joint_P), 2), np.float32)
    height, width = heatmaps_JHW.shape[1:]
    before = np.stack((heatmaps_JHW[joint_P, y_P, np.maximum(x_P - 1, 0)],
                       heatmaps_JHW[joint_P, np.maximum(y_P - 1, 0), x_P]), axis=1)  # fmt: skip
    after = np.stack((heatmaps_JHW[joint_P, y_P, np.minimum(x_P + 1, width - 1)],
                      heatmaps_JHW[joint_P, np.minimum(y_P + 1, height - 1), x_P]), axis=1)  # fmt: skip
    if subpixel == "quarter":
        return np.where(after > before, 0.25, -0.25).astype(np.float32)
    inside = np.stack(((x_P > 0) & (x_P < width - 1), (y_P > 0) & (y_P < height - 1)), axis=1)
    low, peak, high = (
        np.log(np.maximum(v, _SMALLEST_LOG)) for v in (before, heatmaps_JHW[joint_P, y_P, x_P][:, None], after)
    )
    curvature = 2 * peak - low - high
    fits = inside & (curvature > 0)
    shift: Float32 = np.divide(0.5 * (high - low), curvature, out=np.zeros_like(low), where=fits)
    np.clip(shift, -0.5, 0.5, out=shift)
    return shift
