"""Batches: determined by seed and step, the same from memory and from files, joints on the people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from samples import SAMPLES, needs_samples

from archsearch.data.batches import Batch, epoch_order, eval_batch, indices_at, make_batch
from archsearch.data.coco import load_coco
from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.transforms import FAST, IMAGENET_MEAN, IMAGENET_STD, OFFICIAL, Augmentation, apply, inverse
from archsearch.skeleton import COCO17

STILL = Augmentation(rotation_deg=0, scale=(1, 1), shift=0, flip=0)


def scenes(people: tuple[int, ...] = (2, 0, 3, 35), size: int = 48, in_memory: bool = True) -> Dataset:
    rng = np.random.default_rng(3)
    pixels = np.stack(
        [cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3)).astype(np.uint8), (0, 0), 1.5) for _ in people]
    )
    infos = []
    for i, count in enumerate(people):
        joints = rng.uniform(0, size - 1, (count, 17, 3)).astype(np.float32)
        joints[..., 2] = rng.integers(0, 3, (count, 17))
        ones = np.ones(count, np.float32)
        infos.append(ImageInfo(i, f"{i}.png", size, size, joints, np.ones((count, 4), np.float32), ones))
    return Dataset("test", COCO17, tuple(infos), {}, lambda i: pixels[i], pixels if in_memory else None)


def equal(a: Batch, b: Batch) -> bool:
    masks = (a.masks_NHW is None) == (b.masks_NHW is None) and (
        a.masks_NHW is None or b.masks_NHW is None or torch.equal(a.masks_NHW, b.masks_NHW)
    )
    return masks and torch.equal(a.images_N3HW, b.images_N3HW) and torch.equal(a.joints_NPJ3, b.joints_NPJ3)


def test_an_epoch_visits_every_image_once() -> None:
    steps = [indices_at(4, step, 3, 10) for step in range(10)]
    visited = [index for step in steps for index in step]
    for epoch in range(3):
        assert sorted(visited[epoch * 10 : epoch * 10 + 10]) == list(range(10))
        assert visited[epoch * 10 : epoch * 10 + 10] == epoch_order(4, epoch, 10).tolist()
    assert visited[:10] != visited[10:20]
    assert indices_at(5, 0, 3, 10) != indices_at(4, 0, 3, 10)
    assert sorted(indices_at(0, 0, 8, 4)) == [0, 0, 1, 1, 2, 2, 3, 3]  # a batch of two epochs
    with pytest.raises(ValueError, match="no batch of 3 from 0 images"):
        indices_at(0, 0, 3, 0)


def test_seed_and_step_determine_a_batch() -> None:
    dataset = scenes()
    options = {"size_px": 48, "augmentation": OFFICIAL}
    first = make_batch(dataset, [0, 3], seed=1, step=5, **options)
    assert equal(first, make_batch(dataset, [0, 3], seed=1, step=5, **options))
    assert not equal(first, make_batch(dataset, [0, 3], seed=1, step=6, **options))
    assert not equal(first, make_batch(dataset, [0, 3], seed=2, step=5, **options))


def test_processes_make_their_shares_of_a_batch() -> None:
    dataset = scenes()
    options = {"seed": 1, "step": 5, "size_px": 48, "augmentation": FAST}
    whole = make_batch(dataset, [0, 1, 2, 3], **options)
    share = make_batch(dataset, [2, 3], first=2, **options)
    assert torch.equal(whole.images_N3HW[2:], share.images_N3HW)
    assert torch.equal(whole.joints_NPJ3[2:], share.joints_NPJ3)


@pytest.mark.parametrize("size", [48, 64])
def test_what_a_batch_holds(size: int) -> None:
    batch = make_batch(scenes(), [3, 1], seed=0, step=0, size_px=size, augmentation=FAST)
    assert batch.indices == (3, 1)
    assert len(batch) == 2
    assert batch.size_hw == (size, size)
    assert batch.images_N3HW.shape == (2, 3, size, size)
    assert batch.images_N3HW.dtype == batch.joints_NPJ3.dtype == torch.float32
    assert batch.images_N3HW.is_contiguous(memory_format=torch.channels_last)
    assert batch.joints_NPJ3.shape[0] == 2
    assert 30 < batch.joints_NPJ3.shape[1] <= 35
    assert batch.joints_NPJ3.shape[2:] == (17, 3)
    assert (batch.joints_NPJ3[1] == 0).all()
    assert batch.masks_NHW is None
    assert batch.matrices_N23.shape == (2, 2, 3)


def test_batches_without_people_and_without_images() -> None:
    assert make_batch(scenes(), [1], seed=0, step=0, size_px=48, augmentation=FAST).joints_NPJ3.shape == (1, 0, 17, 3)
    empty = make_batch(scenes(), [], seed=0, step=0, size_px=48, augmentation=FAST)
    assert empty.images_N3HW.shape == (0, 3, 48, 48)


def test_memory_files_threads_and_tensors_agree() -> None:
    options = {"seed": 3, "step": 2, "size_px": 40, "augmentation": OFFICIAL}
    memory, files = scenes(), scenes(in_memory=False)
    expected = make_batch(memory, [0, 2, 3, 1], **options)
    assert equal(expected, make_batch(files, [0, 2, 3, 1], **options))
    with ThreadPoolExecutor(2) as pool:
        assert equal(expected, make_batch(files, [0, 2, 3, 1], pool=pool, **options))
    assert memory.pixels_NHWC is not None
    assert equal(
        expected, make_batch(memory, [0, 2, 3, 1], pixels_NHWC=torch.from_numpy(memory.pixels_NHWC), **options)
    )


def test_ignored_parts_and_what_lies_outside() -> None:
    dataset = scenes((1, 1))
    segments = ([[8.0, 8.0, 24.0, 8.0, 24.0, 24.0, 8.0, 24.0]],)
    dataset = replace(dataset, images=(replace(dataset.images[0], ignore=segments), dataset.images[1]))
    options = {"seed": 0, "step": 0, "size_px": 48}
    masks = make_batch(dataset, [0, 1], augmentation=STILL, **options).masks_NHW
    assert masks is not None
    assert masks.dtype == torch.bool
    assert not masks[0, 9:23, 9:23].any()
    assert masks[0].sum() == 48 * 48 - 16 * 16
    assert masks[1].all()
    assert make_batch(dataset, [1], augmentation=STILL, **options).masks_NHW is None

    away = replace(STILL, scale=(2.0, 2.0))  # the image covers the middle quarter
    assert make_batch(dataset, [1], augmentation=away, **options).masks_NHW is None
    official = make_batch(dataset, [1], augmentation=replace(away, ignore_outside=True), **options).masks_NHW
    assert official is not None
    assert official[0, 13:35, 13:35].all()
    assert 22**2 <= official.sum() <= 25**2


def test_evaluation_sees_whole_images() -> None:
    dataset = scenes()
    batch = eval_batch(dataset, [0, 2], 96)
    assert batch.images_N3HW.shape == (2, 3, 96, 96)
    labelled = dataset.images[2].joints_PJ3[..., 2] > 0
    back = apply(inverse(batch.matrices_N23)[1], batch.joints_NPJ3[1, :3, :, :2].numpy())
    assert np.allclose(back[labelled], dataset.images[2].joints_PJ3[labelled][:, :2], atol=1e-3)
    exact = eval_batch(dataset, [0], 48)
    assert dataset.pixels_NHWC is not None
    restored = (exact.images_N3HW[0] * torch.tensor(IMAGENET_STD).view(3, 1, 1)) + torch.tensor(IMAGENET_MEAN).view(
        3, 1, 1
    )
    assert np.array_equal((restored * 255).round().permute(1, 2, 0).numpy(), dataset.pixels_NHWC[0])


@needs_samples
def test_real_photos() -> None:
    root = SAMPLES / "coco"
    dataset = load_coco(root / "test_coco.json", root)
    everyone = list(range(len(dataset)))
    batch = make_batch(dataset, everyone, seed=0, step=0, size_px=256, augmentation=OFFICIAL)
    with ThreadPoolExecutor(2) as pool:
        again = make_batch(dataset, everyone, seed=0, step=0, size_px=256, augmentation=OFFICIAL, pool=pool)
    assert equal(batch, again)
    assert batch.masks_NHW is not None
    assert (batch.joints_NPJ3[..., 2] > 0).sum() > 50
    # Colours under the joints are the photograph's.
    grey = batch.images_N3HW * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    differences = []
    for k in everyone:
        source = cv2.GaussianBlur(dataset.read(k), (0, 0), 2.0)
        places = batch.joints_NPJ3[k][batch.joints_NPJ3[k][..., 2] > 0][:, :2].numpy()
        origins = np.rint(apply(inverse(batch.matrices_N23)[k], places)).astype(int)
        for (x, y), (u, v) in zip(np.rint(places).astype(int), origins, strict=True):
            here = grey[k, :, min(y, 255), min(x, 255)].numpy() * 255
            differences.append(np.abs(here - source[v, u]).mean())
    assert np.median(differences) < 20
    official = eval_batch(dataset, [0], 512, multiple=64)
    assert official.size_hw == (512, 832)  # 425 x 640: 771 up to a multiple of 64
    with pytest.raises(ValueError, match="not one batch"):
        eval_batch(dataset, everyone, 512, multiple=64)
