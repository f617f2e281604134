"""How many photos a core turns into training samples a second, and where the time goes.

    python benchmarks/bm_data.py [--images FOLDER] [--batch 16] [--rounds 9] [--threads 1 2 4] [--json FILE]

A sample is what a training step of the official bottom-up settings takes: a JPEG of 640 x 480 pixels read from disk,
decoded, warped to 512 px, normalised; its mask; heatmaps and tag positions at 1/4, heatmaps at 1/2, with five people.
Without ``--images``, photos of 640 x 480 are made: scenes drawn by archsearch with grain added until a file is as large
as COCO's are on average (about 155 kB); files of a folder are used as they are. The parts are timed alone, on the same
images, and need not add up to the whole. Everything is interleaved, and the tables show medians. Times of one core are
seconds of this process on its processor, which other work on the machine hardly changes.

With several numbers of threads the reading and warping of whole batches is timed on each, as the training loop does it:
OpenCV gives up Python's lock while it decodes and warps, so that threads do what processes would.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from archsearch.data.batches import Batch, make_batch
from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.photos import PhotoReader, image_size, read_image
from archsearch.data.scenes import scenes
from archsearch.data.targets import heatmaps, mask_at, tag_positions
from archsearch.data.transforms import OFFICIAL, normalise_into, sample_matrix, warp, where_shown
from archsearch.skeleton import COCO17

INPUT_PX = 512
PEOPLE = 5
GRAIN = 22.0  # grey levels of noise in made photos


def made_photos(folder: Path, count: int) -> None:
    """Scenes with grain, 640 x 480 JPEGs."""
    drawn = scenes(count, 640, 0, COCO17, "hard")
    rng = np.random.default_rng(0)
    for i in range(count):
        image = drawn.read(i)[80:560]
        noise = cv2.GaussianBlur(rng.normal(0, GRAIN, image.shape).astype(np.float32), (3, 3), 0.8)
        grainy = np.clip(image + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), grainy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


def photos(folder: Path) -> Dataset:
    """The images of a folder with people whose joints lie anywhere, a quarter of them unlabelled."""
    rng = np.random.default_rng(1)
    infos = []
    for i, path in enumerate(sorted(folder.glob("*.jpg"))):
        height, width = image_size(path)
        joints = np.zeros((PEOPLE, len(COCO17), 3), np.float32)
        joints[..., 0], joints[..., 1] = (rng.uniform(0, side, joints.shape[:2]) for side in (width, height))
        joints[..., 2] = np.clip(rng.integers(0, 4, joints.shape[:2]), 0, 2)
        infos.append(ImageInfo(i, path.name, height, width, joints, np.zeros((PEOPLE, 4)), np.ones(PEOPLE)))  # type: ignore[arg-type]
    if not infos:
        raise SystemExit(f"{folder}: no .jpg files")
    return Dataset("photos", COCO17, tuple(infos), {}, PhotoReader(folder, infos, str(folder)))


def batch_of(data: Dataset, indices: list[int], step: int, pool: ThreadPoolExecutor | None = None) -> Batch:
    return make_batch(data, indices, seed=0, step=step, size_px=INPUT_PX, augmentation=OFFICIAL, pool=pool)


def targets_of(batch: Batch) -> None:
    """What the official loss compares with: maps, tags and masks at both resolutions."""
    joints, size_hw = batch.joints_NPJ3, batch.size_hw
    for cells in (INPUT_PX // 4, INPUT_PX // 2):
        heatmaps(joints, size_hw, (cells, cells), sigma=2.0, style="official")
        if batch.masks_NHW is not None:
            mask_at(batch.masks_NHW, (cells, cells))
    tag_positions(joints, size_hw, (INPUT_PX // 4, INPUT_PX // 4), style="official")


def parts(data: Dataset, indices: list[int]) -> dict[str, Callable[[], Any]]:
    """Each part of a batch's work, for all images of the batch."""
    infos = [data.images[i] for i in indices]
    assert isinstance(data.read, PhotoReader)
    paths = [data.read.folder / info.file for info in infos]
    files = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths]
    images = [read_image(path) for path in paths]
    rng = np.random.default_rng(0)
    matrices = [sample_matrix(rng, info.height, info.width, INPUT_PX, OFFICIAL)[0] for info in infos]
    warped = [warp(image, matrix, INPUT_PX) for image, matrix in zip(images, matrices, strict=True)]
    batch = batch_of(data, indices, 0)
    assert batch.masks_NHW is not None
    masks, joints, size_hw = batch.masks_NHW, batch.joints_NPJ3, batch.size_hw
    quarter, half = (INPUT_PX // 4,) * 2, (INPUT_PX // 2,) * 2

    def normalised() -> None:
        out = np.empty((len(warped), INPUT_PX, INPUT_PX, 3), np.float32)
        for k, image in enumerate(warped):
            normalise_into(out[k], image)

    return {
        "decode": lambda: [cv2.imdecode(file, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) for file in files],
        "read and decode, checked": lambda: [read_image(path) for path in paths],
        "warp": lambda: [warp(image, m, INPUT_PX) for image, m in zip(images, matrices, strict=True)],
        "normalise": normalised,
        "mask": lambda: [where_shown(m, (i.height, i.width), INPUT_PX) for i, m in zip(infos, matrices, strict=True)],
        "mask at 1/4 and 1/2": lambda: (mask_at(masks, quarter), mask_at(masks, half)),
        "heatmaps at 1/4": lambda: heatmaps(joints, size_hw, quarter, sigma=2.0, style="official"),
        "heatmaps at 1/2": lambda: heatmaps(joints, size_hw, half, sigma=2.0, style="official"),
        "tag positions": lambda: tag_positions(joints, size_hw, quarter, style="official"),
    }


def timed(functions: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each, interleaved, after one run that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for k in range(rounds + 1):
        for name, function in functions.items():
            start = clock()
            function()
            if k:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = given.images or Path(made)
        if given.images is None:
            made_photos(folder, given.batch)
        data = photos(folder)
        indices = [k % len(data) for k in range(given.batch)]
        kilobytes = statistics.mean((folder / data.images[i].file).stat().st_size for i in indices) / 1000
        sizes = sorted({(info.width, info.height) for info in data.images})
        print(f"{platform.processor() or platform.machine()}, OpenCV {cv2.__version__}, torch {torch.__version__}")
        print(f"batches of {given.batch}; {len(data)} photos of {sizes[:3]} pixels, {kilobytes:.0f} kB on average")

        step = iter(range(10**9))
        alone: dict[str, Callable[[], Any]] = {
            "a sample with its targets": lambda: targets_of(batch_of(data, indices, next(step))),
            "a sample without targets": lambda: batch_of(data, indices, next(step)),
            **parts(data, indices),
        }
        seconds = timed(alone, given.rounds, time.process_time)
        pools = {n: ThreadPoolExecutor(n) for n in given.threads}
        together: dict[str, Callable[[], Any]] = {
            f"a sample without targets, {n} threads": partial(batch_of, data, indices, 0, pool)
            for n, pool in pools.items()
        }
        wall = timed(together, given.rounds, time.perf_counter)
        for pool in pools.values():
            pool.shutdown()
        found = {}
        for title, part in (("one core, its own seconds", seconds), ("threads, seconds on the wall", wall)):
            print(f"\n| {title} | ms an image | images a second |\n|---|--:|--:|")
            for name, value in part.items():
                found[name] = 1000 * value / given.batch
                print(f"| {name} | {found[name]:.2f} | {1000 / found[name]:.0f} |")
    if given.json is not None:
        given.json.write_text(json.dumps({"batch": given.batch, "ms_an_image": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
