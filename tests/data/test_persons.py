import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archsearch.data.boxes import HRNET, PersonAugmentation, crop_matrices, crops
from archsearch.data.dataset import Dataset
from archsearch.data.persons import Crop, Persons, annotated_persons, cropped, eval_matrices, train_batch
from archsearch.data.scenes import scenes
from archsearch.data.transforms import apply, normalise, warp
from archsearch.skeleton import COCO17, MPII16

CROP = Crop((64, 48))
STILL = PersonAugmentation(scale=0, rotation_deg=0, flip=0, half_body=0)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return scenes(6, 96, 0, COCO17, "easy")


@pytest.fixture(scope="module")
def persons(data: Dataset) -> Persons:
    return annotated_persons(data)


def photos(data: Dataset) -> Dataset:
    """The same images, read one by one, with a note of every reading."""
    assert data.pixels_NHWC is not None
    pixels, read = data.pixels_NHWC, []

    def reader(index: int) -> NDArray[np.uint8]:
        read.append(index)
        return pixels[index]

    reader.read = read  # type: ignore[attr-defined]
    return dataclasses.replace(data, pixels_NHWC=None, read=reader)


def test_annotated_people_are_listed_by_image_with_boxes_cut_to_it(data: Dataset, persons: Persons) -> None:
    assert len(persons) == sum(len(info.joints_PJ3) for info in data.images)
    assert persons.images_K.tolist() == sorted(persons.images_K.tolist())
    assert (persons.scores_K == 1).all()
    first = data.images[0]
    x, y, w, h = first.boxes_P4[0].tolist()
    assert persons.boxes_K4[0].tolist() == [x, y, min(95, x + w - 1) - x, min(95, y + h - 1) - y]
    assert (persons.joints_KJ3[0] == first.joints_PJ3[0]).all()


def test_people_without_area_or_box_are_left_out(data: Dataset) -> None:
    first = data.images[0]
    boxes = np.array([[10, 10, 30, 40], [300, 10, 5, 5], [10, 10, 30, 40], [5, 5, 1, 1]], np.float32)
    joints = np.repeat(first.joints_PJ3[:1], 4, 0)
    areas = np.array([100, 100, 0, 100], np.float32)
    info = dataclasses.replace(first, boxes_P4=boxes, areas_P=areas, joints_PJ3=joints)
    found = annotated_persons(dataclasses.replace(data, images=(info,)))
    assert found.boxes_K4.tolist() == [[10, 10, 29, 39]]
    empty = dataclasses.replace(info, boxes_P4=boxes[:0], areas_P=areas[:0], joints_PJ3=joints[:0])
    assert annotated_persons(dataclasses.replace(data, images=(empty,))).joints_KJ3.shape == (0, 17, 3)


def test_the_squares_of_mpii_stay_as_they_are(data: Dataset) -> None:
    first = data.images[0]
    square = np.array([[-20, -30, 200, 200]], np.float32)
    info = dataclasses.replace(
        first, boxes_P4=square, areas_P=np.zeros(1, np.float32), joints_PJ3=np.ones((1, 16, 3), np.float32)
    )
    found = annotated_persons(dataclasses.replace(data, images=(info,), skeleton=MPII16))
    assert found.boxes_K4.tolist() == square.tolist()


def test_without_augmentation_a_training_crop_is_the_evaluation_crop(data: Dataset, persons: Persons) -> None:
    indices = [3, 0, 5]
    batch = train_batch(data, persons, indices, seed=0, step=0, crop=CROP, augmentation=STILL)
    matrices = eval_matrices(persons.boxes_K4[indices], CROP)
    assert np.allclose(batch.matrices_N23, matrices)
    assert np.allclose(matrices, crop_matrices(*crops(persons.boxes_K4[indices], (64, 48), 1.25), (64, 48)))
    assert batch.size_hw == (64, 48)
    for k, index in enumerate(indices):
        image = data.pixels_NHWC[persons.images_K[index]]  # type: ignore[index]
        own = normalise(torch.from_numpy(warp(image, matrices[k], (64, 48))).permute(2, 0, 1)[None])
        assert torch.equal(batch.images_N3HW[k], own[0])
        expected = apply(matrices[k], persons.joints_KJ3[index][:, :2])
        assert np.allclose(batch.joints_NJ3[k, :, :2], expected, atol=1e-4)
        assert (batch.joints_NJ3[k, :, 2].numpy() == persons.joints_KJ3[index][:, 2]).all()


def test_a_batch_depends_on_seed_step_and_place_alone(data: Dataset, persons: Persons) -> None:
    def make(indices: list[int], **changes: int) -> torch.Tensor:
        batch = train_batch(
            data, persons, indices, **{"seed": 1, "step": 2, **changes}, crop=CROP, augmentation=HRNET
        )  # type: ignore[arg-type]  # fmt: skip
        return batch.joints_NJ3

    whole = make([0, 1, 2, 3])
    assert torch.equal(whole, make([0, 1, 2, 3]))
    assert torch.equal(whole[2:], make([2, 3], first=2))
    assert not torch.equal(whole, make([0, 1, 2, 3], step=3))
    assert not torch.equal(whole, make([0, 1, 2, 3], seed=2))
    assert not torch.equal(make([0, 0])[0], make([0, 0])[1])


def test_mirrored_people_have_their_sides_swapped(data: Dataset, persons: Persons) -> None:
    mirror = dataclasses.replace(STILL, flip=1)
    crop = dataclasses.replace(CROP, transform="udp")
    plain, mirrored = (
        train_batch(data, persons, [0, 1], seed=0, step=0, crop=crop, augmentation=aug) for aug in (STILL, mirror)
    )
    swapped = plain.joints_NJ3[:, list(COCO17.flip)]
    labelled = swapped[..., 2] > 0
    assert torch.equal(mirrored.joints_NJ3[..., 2], swapped[..., 2])
    assert torch.allclose(mirrored.joints_NJ3[..., 0][labelled], 47 - swapped[..., 0][labelled], atol=1e-3)
    assert torch.allclose(mirrored.joints_NJ3[..., 1][labelled], swapped[..., 1][labelled], atol=1e-3)
    difference = (mirrored.images_N3HW - plain.images_N3HW.flip(3)).abs()
    assert difference.mean() < 0.02  # OpenCV rounds positions to 1/32 pixel


def test_photos_that_people_share_are_read_once(data: Dataset, persons: Persons) -> None:
    read = photos(data)
    matrices = eval_matrices(persons.boxes_K4, CROP)
    expected = cropped(data, persons.images_K, matrices, (64, 48))
    assert torch.equal(cropped(read, persons.images_K, matrices, (64, 48)), expected)
    assert read.read.read == sorted(set(persons.images_K.tolist()))  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as pool:
        assert torch.equal(cropped(read, persons.images_K, matrices, (64, 48), pool=pool), expected)
