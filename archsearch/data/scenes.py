"""The embedded data: scenes of articulated figures, drawn with their annotations, the same bytes for the same seed.

Image ``i`` depends on the seed, on ``i``, on the size and on the level, and on nothing else: subsets, numbers of
workers and skeletons agree with each other. Bytes are the same for one version of this package, NumPy and OpenCV.

Shapes: N images; H, W their size in pixels; P people; J joints.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.compose import DRAWING, LEVELS, Level, Scene, check, crowd_index, draw_scene
from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.files import InputError, replacing, write_text
from archsearch.skeleton import Skeleton

__all__ = ["LEVELS", "Level", "Scene", "crowd_index", "draw_scene", "encode_jpeg", "scenes", "write_scenes"]

JPEG_QUALITY = 92


def _draw_many(
    seed: int, start: int, stop: int, size_px: int, skeleton: Skeleton, level: Level, keep_pixels: bool
) -> dict[str, NDArray[Any]]:
    """Images ``start`` to ``stop`` as arrays: what the cache holds. People and masks are concatenated over images."""
    drawn = [
        draw_scene(np.random.default_rng(np.random.SeedSequence([seed, i])), size_px, skeleton, level)
        for i in range(start, stop)
    ]
    masks = [mask for scene in drawn for mask in scene.masks]
    arrays: dict[str, NDArray[Any]] = {
        "people_N": np.array([len(scene.ids_P) for scene in drawn], np.int64),
        "crowd_index_N": np.array([scene.crowd_index for scene in drawn], np.float64),
        "joints_PJ3": np.concatenate([scene.joints_PJ3 for scene in drawn]),
        "boxes_P4": np.concatenate([scene.boxes_P4 for scene in drawn]),
        "areas_P": np.concatenate([scene.areas_P for scene in drawn]),
        "mask_bytes_P": np.array([len(mask) for mask in masks], np.int64),
        "masks": np.frombuffer(b"".join(masks), np.uint8),
    }
    if keep_pixels:
        arrays["pixels_NHWC"] = np.stack([scene.image for scene in drawn])
    return arrays


def _begin_drawing() -> None:
    """One thread a process, and Ctrl-C is the parent's to handle."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_CHUNK = 32  # images drawn between reports, and by a worker at once


def _draw_all(
    images: int,
    size_px: int,
    seed: int,
    skeleton: Skeleton,
    level: Level,
    keep_pixels: bool,
    workers: int,
    progress: Callable[[int], None],
) -> dict[str, NDArray[Any]]:
    edges = [*range(0, images, _CHUNK), images]
    parts = []
    if workers == 1 or len(edges) == 2:
        for start, stop in pairwise(edges):
            parts.append(_draw_many(seed, start, stop, size_px, skeleton, level, keep_pixels))
            progress(stop)
    else:
        processes = min(workers, len(edges) - 1)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin_drawing) as pool:
            jobs = [
                pool.submit(_draw_many, seed, start, stop, size_px, skeleton, level, keep_pixels)
                for start, stop in pairwise(edges)
            ]
            for job, stop in zip(jobs, edges[1:], strict=True):
                parts.append(job.result())
                progress(stop)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cache_file(
    cache: Path, images: int, size_px: int, seed: int, skeleton: Skeleton, level: str, keep_pixels: bool
) -> Path:
    """Where scenes of these parameters are cached. Everything that bytes depend on is in the name or its digest."""
    key = {
        "drawing": DRAWING,
        "images": images,
        "size_px": size_px,
        "seed": seed,
        "skeleton": asdict(skeleton),
        "level": asdict(LEVELS[level]),
        "pixels": keep_pixels,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    return cache / f"scenes-{level}-{size_px}px-{images}-{digest}.npz"


def _load(path: Path, images: int) -> dict[str, NDArray[Any]] | None:
    """Arrays of a cache file; None where it is missing, damaged or something else."""
    try:
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        fits = len(arrays["people_N"]) == images and len(arrays["joints_PJ3"]) == arrays["people_N"].sum()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if fits else None


def _nothing(_: int) -> None:
    """No progress is reported."""


def scenes(
    images: int,
    size_px: int,
    seed: int,
    skeleton: Skeleton,
    level: str,
    *,
    cache: Path | None = None,
    first_id: int = 1,
    workers: int = 1,
    keep_pixels: bool = True,
    progress: Callable[[int], None] = _nothing,
) -> Dataset:
    """Draw a data set of scenes, or take it from the cache.

    Args:
        images: how many.
        size_px: the side of the square images, at least 32.
        seed: not negative. Image i depends on (seed, i), so that another seed gives another data set, and more images
            of one seed begin with the same ones.
        skeleton: whose joints are annotated. Pictures do not depend on it.
        level: a key of :data:`LEVELS`.
        cache: a folder for what was drawn (one file a set of parameters, written in one step). A damaged file is drawn
            again. None: no cache.
        first_id: the id of the first image; ids count up from it.
        workers: processes that draw. With more than one, scripts need ``if __name__ == "__main__":``.
        keep_pixels: hold all images in memory (images * size_px^2 * 3 bytes) and in the cache. If not, ``read`` draws
            an image anew whenever it is asked for it.
        progress: called with the number of images done so far.

    Raises ``InputError`` (a ``ValueError``) on values that make no sense.
    """
    for name, value, least in (
        ("images", images, 1),
        ("seed", seed, 0),
        ("first_id", first_id, 0),
        ("workers", workers, 1),
    ):
        if value < least:
            raise InputError(f"{name} {value} is below {least}")
    if level not in LEVELS:
        raise InputError(f"level {level} is not one of {', '.join(LEVELS)}")
    check(size_px, skeleton)

    path = None if cache is None else _cache_file(Path(cache), images, size_px, seed, skeleton, level, keep_pixels)
    arrays = None if path is None else _load(path, images)
    if arrays is None:
        arrays = _draw_all(images, size_px, seed, skeleton, LEVELS[level], keep_pixels, workers, progress)
        if path is not None:
            with replacing(path) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
    else:
        progress(images)
    pixels = arrays.get("pixels_NHWC")

    def read(i: int) -> NDArray[np.uint8]:
        if pixels is not None:
            return np.array(pixels[i], np.uint8)
        if not -images <= i < images:
            raise IndexError(f"image {i} of {images}")
        i %= images
        drawn = _draw_many(seed, i, i + 1, size_px, skeleton, LEVELS[level], keep_pixels=True)
        return np.asarray(drawn["pixels_NHWC"][0], np.uint8)

    infos, annotations = _coco(arrays, size_px, skeleton, first_id)
    annotations["info"] = {
        "description": f"archsearch scenes: level {level}, {size_px} px, seed {seed}",
        "version": str(DRAWING),
    }
    return Dataset(f"scenes-{level}", skeleton, infos, annotations, read, pixels)


def _coco(
    arrays: Mapping[str, NDArray[Any]], size_px: int, skeleton: Skeleton, first_id: int
) -> tuple[tuple[ImageInfo, ...], dict[str, Any]]:
    """The images of a data set and its COCO keypoints JSON."""
    joints, boxes, areas = arrays["joints_PJ3"], arrays["boxes_P4"], arrays["areas_P"]
    ends = np.cumsum(arrays["mask_bytes_P"]).tolist()
    text = arrays["masks"].tobytes().decode("ascii")
    masks = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    labelled = (joints[..., 2] > 0).sum(axis=1)
    infos, images, people = [], [], []
    stop = 0
    for i, (count, crowding) in enumerate(
        zip(arrays["people_N"].tolist(), arrays["crowd_index_N"].tolist(), strict=True)
    ):
        start, stop = stop, stop + count
        image_id = first_id + i
        file = f"{image_id:012d}.jpg"
        rles = [{"size": [size_px, size_px], "counts": mask} for mask in masks[start:stop]]
        mine = labelled[start:stop] > 0
        infos.append(
            ImageInfo(
                image_id,
                file,
                size_px,
                size_px,
                joints[start:stop][mine],
                boxes[start:stop][mine],
                areas[start:stop][mine],
                tuple(rle for rle, known in zip(rles, mine.tolist(), strict=True) if not known),
            )
        )
        images.append(
            {
                "id": image_id,
                "file_name": file,
                "height": size_px,
                "width": size_px,
                "license": 1,
                "crowdIndex": round(crowding, 4),
            }
        )
        for k, p in enumerate(range(start, stop)):
            rows = joints[p].astype(np.float64).round(2).tolist()
            people.append(
                {
                    "id": image_id * 100 + k + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "num_keypoints": int(labelled[p]),
                    "keypoints": [number for x, y, v in rows for number in (x, y, int(v))],
                    "bbox": boxes[p].tolist(),
                    "area": float(areas[p]),
                    "segmentation": rles[k],
                }
            )
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs],
    }
    return tuple(infos), {
        "info": {},
        "licenses": [{"id": 1, "name": "MIT", "url": "https://opensource.org/license/mit"}],
        "categories": [category],
        "images": images,
        "annotations": people,
    }


def write_scenes(out: Path, dataset: Dataset, *, progress: Callable[[int], None] = _nothing) -> Path:
    """Write ``out/images/*.jpg`` and, last, ``out/annotations.json`` (COCO keypoints); gives the path of the latter.

    While images are written there is no ``annotations.json``: where there is one, the data set is complete.
    ``progress`` is called with the number of images written so far. Raises ``InputError`` where ``out`` cannot be such
    a folder.
    """
    out = Path(out)
    annotations = out / "annotations.json"
    folder = out / "images"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        annotations.unlink(missing_ok=True)
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{error.filename}: cannot hold a data set ({error.strerror})") from None
    for i, info in enumerate(dataset.images):
        (folder / info.file).write_bytes(encode_jpeg(dataset.read(i)))
        progress(i + 1)
    write_text(annotations, json.dumps(dataset.annotations, separators=(",", ":")) + "\n")
    return annotations


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """An RGB image (H, W, 3) as the bytes of a JPEG file of quality 92."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
