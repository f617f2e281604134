"""How long targets, losses and batches take, against plain implementations that go joint by joint, person by person.

    python benchmarks/bm_losses.py [--repeats 9] [--json FILE]

Each is timed in turn with its plain counterpart on the same inputs, on one thread; the tables show medians. Losses
include their gradient. The plain ones are written the obvious way: a Gaussian patch for every joint of every person, a
loop over images, people and pairs of people for the tags, autograd through the formula of quality focal loss.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.data.batches import make_batch
from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.targets import heatmaps, tag_positions
from archsearch.data.transforms import FAST as FAST_AUGMENTATION
from archsearch.data.transforms import OFFICIAL as OFFICIAL_AUGMENTATION
from archsearch.pose.losses import FAST, OFFICIAL, Targets, bottom_up_loss, heatmap_quality_focal, tag_loss
from archsearch.skeleton import COCO17

JOINTS = len(COCO17)


def people_in(count: int, people: int, size: int) -> Tensor:
    """Joints (N, P, J, 3) anywhere in the image, a quarter of them unlabelled."""
    g = torch.Generator().manual_seed(count + people + size)
    joints = torch.rand(count, people, JOINTS, 3, generator=g) * size
    joints[..., 2] = torch.randint(0, 4, (count, people, JOINTS), generator=g).clamp(max=2)
    return joints


def plain_heatmaps(joints_NPJ3: Tensor, size: int, out: int, sigma: float) -> Tensor:
    """Official Gaussians, one joint after the other."""
    count, people, joints, _ = joints_NPJ3.shape
    radius = int(3 * sigma + 1)
    grid = np.arange(-radius, radius + 1)
    patch = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * sigma**2)).astype(np.float32)
    maps = np.zeros((count, joints, out, out), np.float32)
    places = joints_NPJ3.numpy()
    for n in range(count):
        for p in range(people):
            for j in range(joints):
                x, y = int(places[n, p, j, 0] * out / size), int(places[n, p, j, 1] * out / size)
                if places[n, p, j, 2] <= 0 or x < 0 or y < 0 or x >= out or y >= out:
                    continue
                left, top, right, bottom = x - radius, y - radius, x + radius + 1, y + radius + 1
                a, b, c, d = max(0, top), min(out, bottom), max(0, left), min(out, right)
                piece = patch[a - top : b - top, c - left : d - left]
                maps[n, j, a:b, c:d] = np.maximum(maps[n, j, a:b, c:d], piece)
    return torch.from_numpy(maps)


def plain_tags(tags_NJM: Tensor, index_NPJ: Tensor, valid_NPJ: Tensor) -> tuple[Tensor, Tensor]:
    """Pull and push, one person after the other."""
    zero = tags_NJM.sum() * 0
    pulls, pushes = [], []
    for tags, index, valid in zip(tags_NJM, index_NPJ, valid_NPJ, strict=True):
        means, pull = [], zero
        for p in range(len(index)):
            read = [tags[j, index[p, j]] for j in range(JOINTS) if valid[p, j]]
            if read:
                stacked = torch.stack(read)
                means.append(stacked.mean())
                pull = pull + (stacked - means[-1]).square().mean()
        push, number = zero, len(means)
        for a in range(number):
            for b in range(number):
                if a != b:
                    push = push + 0.5 * torch.exp(-((means[a] - means[b]) ** 2))
        pulls.append(pull / max(number, 1))
        pushes.append(push / max(number * (number - 1), 1))
    return torch.stack(pulls), torch.stack(pushes)


def plain_quality_focal(logits: Tensor, target: Tensor) -> Tensor:
    """The formula, differentiated by autograd."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((target - logits.sigmoid()).abs() ** 2 * entropy).sum() / target.sum().clamp(min=1)


def tags_backward(function: Callable[..., tuple[Tensor, Tensor]], tags: Tensor, *places: Tensor) -> None:
    tags.grad = None
    pull, push = function(tags, *places)
    (pull + push).sum().backward()


def focal_backward(function: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> None:
    logits.grad = None
    function(logits, target).backward()


def scenes(count: int, people: int, height: int, width: int) -> Dataset:
    """Noise of the size of scenes or photographs, held in memory: what is timed is the augmentation."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    joints = people_in(count, people, min(height, width)).numpy()
    boxes, areas = np.ones((people, 4), np.float32), np.ones(people, np.float32)
    infos = tuple(ImageInfo(i, f"{i}.jpg", height, width, joints[i], boxes, areas) for i in range(count))
    return Dataset("noise", COCO17, infos, {}, lambda i: pixels[i], pixels)


def milliseconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return 1e3 * (time.perf_counter() - start)


def compare(
    title: str, plain: Callable[[], Any], ours: Callable[[], Any], repeats: int, rows: list[dict[str, Any]]
) -> None:
    plain()
    ours()
    times = [(milliseconds(plain), milliseconds(ours)) for _ in range(repeats)]
    plain_ms, ours_ms = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{title:44s}  {plain_ms:9.2f}  {ours_ms:13.2f}  {plain_ms / ours_ms:13.1f}")
    rows.append({"what": title, "plain_ms": plain_ms, "archsearch_ms": ours_ms})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="rounds; each times both once (default 9)")
    parser.add_argument("--json", metavar="FILE", help="also write the medians in milliseconds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(
        f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}, opencv {cv2.__version__}"
    )
    print(f"{'N images, P people, input px':44s}   plain ms  archsearch ms   times faster")
    rows: list[dict[str, Any]] = []
    for count, people, size in ((8, 3, 96), (16, 5, 512), (16, 30, 512)):
        case = f"N {count}, P {people}, {size} px"
        joints, side = people_in(count, people, size), size // 4
        compare(
            f"official heatmaps at 1/4; {case}",
            lambda j=joints, s=size, o=side: plain_heatmaps(j, s, o, 2),
            lambda j=joints, s=size, o=side: heatmaps(j, (s, s), (o, o), sigma=2, style="official"),
            options.repeats,
            rows,
        )
        tags = torch.randn(count, JOINTS, side * side, requires_grad=True)
        index, valid = tag_positions(joints, (size, size), (side, side), style="official")
        assert all(
            math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-6)
            for x, y in zip(plain_tags(tags, index, valid), tag_loss(tags, index, valid), strict=True)
            for a, b in zip(x.tolist(), y.tolist(), strict=True)
        )
        compare(
            f"tag loss; {case}",
            lambda t=tags, i=index, v=valid: tags_backward(plain_tags, t, i, v),
            lambda t=tags, i=index, v=valid: tags_backward(tag_loss, t, i, v),
            max(3, options.repeats // 3) if people > 10 else options.repeats,
            rows,
        )
        if people > 10:
            continue
        logits = torch.randn(count, JOINTS, side, side, requires_grad=True)
        target = heatmaps(joints, (size, size), (side, side), sigma=1, style="aligned")
        compare(
            f"quality focal loss at 1/4; {case}",
            lambda z=logits, t=target: focal_backward(plain_quality_focal, z, t),
            lambda z=logits, t=target: focal_backward(heatmap_quality_focal, z, t),
            options.repeats,
            rows,
        )

    print("\nA training step without its network                     batch ms   targets and loss ms")
    for name, dataset, size, augmentation, settings in (
        ("8 scenes of 96 px, 3 people, FAST", scenes(8, 3, 96, 96), 96, FAST_AUGMENTATION, FAST),
        (
            "16 photos in memory to 512 px, 5 people, OFFICIAL",
            scenes(16, 5, 480, 640),
            512,
            OFFICIAL_AUGMENTATION,
            OFFICIAL,
        ),
        ("16 photos in memory to 512 px, 5 people, FAST", scenes(16, 5, 480, 640), 512, FAST_AUGMENTATION, FAST),
    ):
        count = len(dataset)
        outputs = [torch.randn(count, JOINTS * maps, size // k, size // k) for maps, k in ((2, 4), (1, 2))]
        outputs = [o.contiguous(memory_format=torch.channels_last).requires_grad_() for o in outputs]
        times = []
        for step in range(options.repeats + 1):
            start = time.perf_counter()
            batch = make_batch(dataset, range(count), seed=0, step=step, size_px=size, augmentation=augmentation)
            middle = time.perf_counter()
            bottom_up_loss(outputs, Targets(batch.joints_NPJ3, batch.masks_NHW, size, settings)).total.backward()
            times.append((1e3 * (middle - start), 1e3 * (time.perf_counter() - middle)))
        batch_ms, loss_ms = (statistics.median(column) for column in zip(*times[1:], strict=True))
        print(f"{name:52s}  {batch_ms:10.2f}  {loss_ms:20.2f}")
        rows.append({"what": name, "batch_ms": batch_ms, "targets_and_loss_ms": loss_ms})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
