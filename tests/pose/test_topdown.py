import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from archsearch.data.boxes import Float64
from archsearch.data.dataset import Dataset
from archsearch.data.person_targets import person_heatmaps
from archsearch.data.persons import Persons, annotated_persons, eval_matrices
from archsearch.data.scenes import scenes
from archsearch.data.transforms import apply
from archsearch.pose.evaluate import Scores, evaluate
from archsearch.pose.topdown import (
    TopDownDecode,
    coco_results,
    find_joints,
    joints_in_image,
    people_in_image,
    person_maps,
)
from archsearch.skeleton import COCO17, MPII16, Skeleton

HW, MAP = (256, 192), (64, 48)


def on_input(persons: Persons, decode: TopDownDecode, input_hw: tuple[int, int] = HW) -> Tensor:
    """People's joints (K, J, 3) in pixels of the network input."""
    joints = persons.joints_KJ3.copy()
    for k, matrix in enumerate(eval_matrices(persons.boxes_K4, decode.crop(input_hw))):
        joints[k, :, :2] = apply(matrix, joints[k, :, :2])
    return torch.from_numpy(joints)


def perfect(data: Dataset, decode: TopDownDecode, input_hw: tuple[int, int] = HW) -> tuple[Scores, Float64, Persons]:
    """Scores of perfect heatmaps in annotated boxes, and the distance of every labelled joint."""
    persons = annotated_persons(data)
    map_hw = (input_hw[0] // 4, input_hw[1] // 4)
    joints = on_input(persons, decode, input_hw)
    maps, _ = person_heatmaps(joints, input_hw, map_hw, sigma=2, transform=decode.transform)
    found = joints_in_image(maps, eval_matrices(persons.boxes_K4, decode.crop(input_hw)), input_hw, decode)
    away = np.linalg.norm(found[..., :2] - persons.joints_KJ3[..., :2], axis=-1)[persons.joints_KJ3[..., 2] > 0]
    scores = evaluate(data.annotations, coco_results(data, persons, found, decode, input_hw), data.skeleton)
    return scores, away, persons


@pytest.fixture(scope="module")
def easy() -> Dataset:
    return scenes(20, 128, 3, COCO17, "easy")


def test_perfect_maps_of_the_official_way_lose_nobody(easy: Dataset) -> None:
    """A target at a whole cell leaves half a cell of doubt in x and in y; a quarter's step sees no slope in it."""
    scores, away, persons = perfect(easy, TopDownDecode())
    assert scores.ap >= 0.99
    cells = (persons.boxes_K4[:, 2:].max() * 1.25) / 48
    assert away.max() < np.hypot(0.5, 0.5) * cells


def test_perfect_maps_of_udp_and_dark_lose_nothing_at_all(easy: Dataset) -> None:
    scores, away, _ = perfect(easy, TopDownDecode(transform="udp", subpixel="dark"))
    assert scores.ap == 1
    assert away.max() < 0.01  # pixels of the image
    coarse = perfect(easy, TopDownDecode(transform="udp", subpixel="quarter"))[1]
    assert away.max() < 0.05 * coarse.max()


@pytest.mark.parametrize(
    ("skeleton", "size_px", "level", "input_hw"), [(COCO17, 256, "hard", HW), (MPII16, 96, "easy", (128, 128))]
)
def test_only_what_no_box_shows_is_lost(
    skeleton: Skeleton, size_px: int, level: str, input_hw: tuple[int, int]
) -> None:
    """Boxes span what is seen of a person; joints that are labelled as covered may lie beyond the crop."""
    data = scenes(10, size_px, 1, skeleton, level)
    decode = TopDownDecode(transform="udp", subpixel="dark")
    scores, away, persons = perfect(data, decode, input_hw)
    joints = on_input(persons, decode, input_hw)
    labelled = joints[..., 2] > 0
    margin = 8  # pixels: DARK leaves peaks near the border where they are
    limit = torch.tensor([input_hw[1], input_hw[0]]) - margin
    inside = ((joints[..., :2] >= margin) & (joints[..., :2] < limit)).all(-1)
    assert away[inside[labelled].numpy()].max() < 0.2  # the border's zeros pull a little
    assert 0 < (~inside & labelled).sum() < 0.1 * labelled.sum()
    assert 0.9 < scores.ap < 1


# ---------------------------------------------------------------------------------------------------------------- flip


class Answer:
    """A network that knows where the joints of the crops are, also in the mirror."""

    def __init__(self, joints_NJ3: Tensor, images_N3HW: Tensor, decode: TopDownDecode) -> None:
        self.joints, self.images, self.decode = joints_NJ3, images_N3HW, decode

    def __call__(self, images: Tensor) -> list[Tensor]:
        joints = self.joints.clone()
        if not torch.equal(images, self.images):
            assert torch.equal(images.flip(3), self.images)
            joints = joints[:, list(COCO17.flip)]
            joints[..., 0] = HW[1] - 1 - joints[..., 0]
        return [person_heatmaps(joints, HW, MAP, sigma=2, transform=self.decode.transform)[0]]


@pytest.mark.parametrize("transform", ["official", "udp"])
def test_the_mirrored_crops_maps_come_back_in_place(transform: str) -> None:
    decode = TopDownDecode(transform=transform, subpixel="none")  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    joints = torch.from_numpy(rng.uniform(20, 150, (3, 17, 3))).float()
    if transform == "official":
        joints[..., :2] = torch.round(joints[..., :2] / 4) * 4  # on cells: the mirror's lie 3/4 of a cell beside one
    images = torch.rand(3, 3, *HW)
    net = Answer(joints, images, decode)
    plain = person_maps(net, images, COCO17, dataclasses.replace(decode, flip=False))
    both = person_maps(net, images, COCO17, decode)
    assert plain.shape == both.shape == (3, 17, *MAP)
    difference = (both - plain).abs()
    if transform == "udp":
        assert difference.max() < 1e-5
    else:  # pixel 191 - 4 x is nearest to cell 48 - x, mirrored and moved to x: every joint where it was
        assert difference[..., 1:].max() < 1e-5


def test_logits_become_probabilities() -> None:
    decode = TopDownDecode(activation="sigmoid", logit_shift=-4, flip=False)
    maps = person_maps(lambda x: [torch.full((1, 17, 4, 4), 4.0)], torch.zeros(1, 3, 16, 16), COCO17, decode)
    assert torch.equal(maps, torch.full((1, 17, 4, 4), 0.5))


# ------------------------------------------------------------------------------------------------------------ data sets


def bright(_: Dataset) -> Callable[[Tensor], list[Tensor]]:
    """A network whose heatmaps are the crop's colours: what it finds depends on what it sees."""

    def net(images: Tensor) -> list[Tensor]:
        small = torch.nn.functional.avg_pool2d(images, 4)
        return [small.repeat(1, 6, 1, 1)[:, :17] * 0.2 + 0.5]

    return net


def test_batches_and_workers_change_nothing(easy: Dataset) -> None:
    persons, decode = annotated_persons(easy), TopDownDecode(subpixel="none")
    done: list[int] = []
    one = find_joints(bright(easy), easy, persons, decode, input_hw=(64, 48), batch=1000, on_person=done.append)
    assert one.shape == (len(persons), 17, 3)
    for batch, workers in ((1, 1), (7, 3)):
        found = find_joints(bright(easy), easy, persons, decode, input_hw=(64, 48), batch=batch, workers=workers)
        assert np.allclose(found, one, atol=1e-4)
    assert done == [len(persons)]


def test_one_image_is_read_as_a_data_sets(easy: Dataset) -> None:
    persons, decode = annotated_persons(easy), TopDownDecode()
    joints = find_joints(bright(easy), easy, persons, decode, input_hw=(64, 48))
    results = coco_results(easy, persons, joints, decode, (64, 48))
    own = persons.images_K == 2
    found = people_in_image(
        bright(easy), easy.read(2), persons.boxes_K4[own], persons.scores_K[own], COCO17, decode, input_hw=(64, 48)
    )
    expected = [r for r in results if r["image_id"] == easy.images[2].id]
    assert len(expected) == len(found.scores_N)
    assert np.allclose([r["score"] for r in expected], found.scores_N)
    assert np.allclose([r["keypoints"] for r in expected], found.joints_NJ3.reshape(len(expected), -1), atol=1e-3)


def test_a_person_in_two_boxes_is_found_once(easy: Dataset) -> None:
    decode = TopDownDecode(transform="udp", subpixel="dark")
    persons = annotated_persons(easy)
    twice = dataclasses.replace(
        persons,
        images_K=np.repeat(persons.images_K, 2),
        boxes_K4=np.repeat(persons.boxes_K4, 2, 0),
        scores_K=np.tile([0.4, 0.9], len(persons)),
        joints_KJ3=np.repeat(persons.joints_KJ3, 2, 0),
    )
    maps, _ = person_heatmaps(on_input(twice, decode), HW, MAP, sigma=2, transform="udp")
    found = joints_in_image(maps, eval_matrices(twice.boxes_K4, decode.crop(HW)), HW, decode)
    results = coco_results(easy, twice, found, decode, HW)
    assert len(results) == len(persons)
    assert min(r["score"] for r in results) > 0.8
    assert len(coco_results(easy, twice, found, dataclasses.replace(decode, nms_oks=1), HW)) == 2 * len(persons)


def test_no_boxes_are_no_people(easy: Dataset) -> None:
    nobody = annotated_persons(dataclasses.replace(easy, images=()))
    decode = TopDownDecode()
    joints = find_joints(bright(easy), easy, nobody, decode, input_hw=HW)
    assert joints.shape == (0, 17, 3)
    assert coco_results(easy, nobody, joints, decode, HW) == []
    found = people_in_image(bright(easy), easy.read(0), np.zeros((0, 4)), np.zeros(0), COCO17, decode, input_hw=HW)
    assert found.joints_NJ3.shape == (0, 17, 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"transform": "warp"}, "transform 'warp'"),
        ({"padding": 0}, "padding 0"),
        ({"subpixel": "taylor"}, "subpixel 'taylor'"),
        ({"dark_kernel": 8}, "dark_kernel 8"),
        ({"activation": "relu"}, "activation 'relu'"),
        ({"nms_oks": 2}, "nms_oks 2"),
    ],
)
def test_what_is_no_decoding_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TopDownDecode(**fields)  # type: ignore[arg-type]
