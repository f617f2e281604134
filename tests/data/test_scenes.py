"""The embedded data: honest annotations, the levels' statistics, the same bytes every time, files others can read."""

from __future__ import annotations

import dataclasses
import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from archsearch.data import scenes as scenes_module
from archsearch.data.backdrop import OBJECTS, paint_object
from archsearch.data.coco import load_coco
from archsearch.data.contact import contact_sheet, save_sheet
from archsearch.data.figure import ANGLES, AT, FAMILIES, LIMITS, POINTS, mirror_angles, pose_bodies, sample_angles
from archsearch.data.looks import SLOT, sample_looks
from archsearch.data.render import LIMBS, PARTS, Canvas, paint_person
from archsearch.data.scenes import LEVELS, Scene, crowd_index, draw_scene, scenes, write_scenes
from archsearch.data.shapes import Crowd, place
from archsearch.data.visible import visibility
from archsearch.files import InputError
from archsearch.skeleton import COCO17, CROWDPOSE14, SKELETONS, Skeleton, describe

_FRONT = COCO17.joints  # every joint of a figure that stands and faces the camera


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed))


def _draw(level: str, i: int, size_px: int = 96, skeleton: Skeleton = COCO17) -> Scene:
    return draw_scene(_rng(5, i), size_px, skeleton, LEVELS[level])


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Scene]]:
    return {level: [_draw(level, i) for i in range(250)] for level in LEVELS}


def _figures(*people: tuple[float, float, float, float], pose: dict[str, float] | None = None) -> Crowd:
    """Figures of default build from (pelvis x, pelvis y, stature, yaw), all in one pose, without hats and long hair."""
    rows = np.array(people)
    angles = np.zeros((len(rows), len(ANGLES)))
    for name, degrees in ({"left_out": 20.0, "right_out": 20.0} | (pose or {})).items():
        angles[:, ANGLES.index(name)] = degrees
    bodies = pose_bodies(angles, rows[:, 3], np.ones((len(rows), 6)))
    looks = sample_looks(_rng(0), len(rows), canonical=1.0, contrast=1.0)
    bare = np.zeros(len(rows), bool)
    looks = dataclasses.replace(looks, long_hair_P=bare, hat_P=bare)
    return place(bodies, looks, rows[:, :2], rows[:, 2], (0.0, -1.0), np.ones(len(rows)))


def _paint(crowd: Crowd, size_px: int = 256) -> Canvas:
    canvas = Canvas(np.zeros((size_px, size_px, 3), np.uint8), np.zeros((size_px, size_px), np.uint16))
    for p in range(len(crowd.stature_px_P)):
        paint_person(canvas, crowd, p)
    return canvas


def _seen(canvas: Canvas, crowd: Crowd, p: int = 0) -> dict[str, int]:
    return dict(zip(_FRONT, visibility(canvas.labels, crowd, _FRONT)[p].tolist(), strict=True))


# -------------------------------------------------------------------------------------------------------- kinematics


@pytest.mark.parametrize("family", range(len(FAMILIES)), ids=list(FAMILIES))
def test_angles_stay_within_their_limits(family: int) -> None:
    angles = sample_angles(_rng(1), np.full(400, family), spread=3.0)
    for d, name in enumerate(ANGLES):
        low, high = LIMITS[name.removeprefix("left_").removeprefix("right_")]
        assert low <= angles[:, d].min() <= angles[:, d].max() <= high


def test_elbows_bend_forward_and_knees_backward() -> None:
    angles = np.zeros((1, len(ANGLES)))
    for name in ANGLES:
        if name.endswith(("elbow", "knee")):
            angles[0, ANGLES.index(name)] = 70
    points = pose_bodies(angles, np.zeros(1), np.ones((1, 6))).points_PK3[0]
    for side in ("left", "right"):
        assert points[AT[f"{side}_wrist"], 2] > points[AT[f"{side}_elbow"], 2] + 0.1  # nearer: it faces the camera
        assert points[AT[f"{side}_ankle"], 2] < points[AT[f"{side}_knee"], 2] - 0.2


def test_bones_keep_their_lengths() -> None:
    angles = sample_angles(_rng(2), np.arange(200) % len(FAMILIES))
    points = pose_bodies(angles, _rng(3).uniform(-180, 180, 200), np.ones((200, 6)), elevation=10).points_PK3
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        for side in ("left", "right"):
            bone = np.linalg.norm(points[:, AT[f"{side}_{a}"]] - points[:, AT[f"{side}_{b}"]], axis=1)
            assert bone.min() == pytest.approx(bone.max(), rel=1e-9)


def test_a_mirrored_pose_is_the_mirror_image() -> None:
    angles = sample_angles(_rng(4), np.arange(60) % len(FAMILIES))
    yaw = _rng(5).uniform(-180, 180, 60)
    points = pose_bodies(angles, yaw, np.ones((60, 6))).points_PK3
    mirrored = pose_bodies(mirror_angles(angles), -yaw, np.ones((60, 6))).points_PK3
    swap = {"left": "right", "right": "left"}
    other = [AT["_".join(swap.get(word, word) for word in name.split("_"))] for name in POINTS]
    np.testing.assert_allclose(mirrored[:, other] * [-1, 1, 1], points, atol=1e-12)


def test_who_faces_the_camera_has_the_left_side_on_the_right() -> None:
    for yaw, sign in ((0, 1), (180, -1)):
        points = _figures((128, 128, 200, yaw)).points_PK3[0]
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear"):
            assert sign * (points[AT[f"left_{joint}"], 0] - points[AT[f"right_{joint}"], 0]) > 0


def test_a_standing_figure_is_one_stature_high() -> None:
    canvas = _paint(_figures((128, 128, 200, 0)))
    rows = np.flatnonzero(canvas.labels.any(axis=1))
    assert 0.95 * 200 < rows[-1] - rows[0] + 1 < 1.08 * 200


# ------------------------------------------------------------------------------------------------------- what is seen


def test_everything_of_a_figure_in_front_of_the_camera_is_seen() -> None:
    crowd = _figures((128, 128, 200, 0))
    assert set(_seen(_paint(crowd), crowd).values()) == {2}


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_limbs_are_painted_where_their_joints_are(skeleton: Skeleton) -> None:
    crowd = _figures((128, 128, 200, 0))
    labels = _paint(crowd).labels
    for name in skeleton.joints:
        x, y = crowd.points_PK3[0, AT[name], :2] * 0.97 + crowd.points_PK3[0, AT["pelvis"], :2] * 0.03
        assert labels[round(y), round(x)] > 0, name
    for limb, part in LIMBS.items():
        ends = {"upper_arm": "elbow", "forearm": "wrist", "thigh": "knee", "shin": "ankle"}
        side, bone = limb.split("_", 1)
        x, y = crowd.points_PK3[0, AT[f"{side}_{ends[bone]}"], :2] + (0, -6)
        assert labels[round(y), round(x)] in (PARTS + part, PARTS + part + 2)  # that limb or the one it is joined to


def test_faces_are_seen_from_the_front_only() -> None:
    crowd = _figures((128, 128, 200, 180))
    seen = _seen(_paint(crowd), crowd)
    assert [seen[j] for j in ("nose", "left_eye", "right_eye")] == [1, 1, 1]
    assert [seen[j] for j in ("left_ear", "right_ear", "left_shoulder", "right_knee")] == [2, 2, 2, 2]


def test_the_far_side_is_covered_from_the_side() -> None:
    forward = {"left_out": 0.0, "right_out": 0.0, "left_flex": 35.0, "right_flex": 35.0}  # hands are off the hips
    crowd = _figures((128, 128, 200, -90), pose=forward)  # faces the left of the image: its left side is near
    seen = _seen(_paint(crowd), crowd)
    assert crowd.points_PK3[0, AT["nose"], 0] < crowd.points_PK3[0, AT["left_ear"], 0]
    for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee"):
        assert (seen[f"left_{joint}"], seen[f"right_{joint}"]) == (2, 1), joint


def test_an_object_covers_what_is_behind_it() -> None:
    crowd = _figures((128, 128, 200, 0))
    canvas = _paint(crowd)
    x, y = crowd.points_PK3[0, AT["left_wrist"], :2].tolist()
    paint_object(canvas, "ball", x, y, 200, [0.5] * 8)
    seen = _seen(canvas, crowd)
    assert [joint for joint, v in seen.items() if v == 1] == ["left_wrist"]
    assert not canvas.labels[round(y), round(x)]


def test_a_person_covers_another() -> None:
    crowd = _figures((128, 128, 160, 0), (128, 128, 220, 0))
    seen = visibility(_paint(crowd).labels, crowd, _FRONT)
    assert (seen[1] == 2).all()
    at = {joint: j for j, joint in enumerate(_FRONT)}
    assert (seen[0, [at["left_hip"], at["right_hip"], at["left_shoulder"], at["right_shoulder"]]] == 1).all()


def test_an_arm_behind_the_back_is_covered() -> None:
    pose = {"left_flex": -45.0, "left_inward": 80.0, "left_elbow": 80.0, "left_out": 0.0}
    crowd = _figures((128, 128, 200, 0), pose=pose)
    seen = _seen(_paint(crowd), crowd)
    assert (seen["left_wrist"], seen["right_wrist"]) == (1, 2)


def test_joints_outside_of_the_image_are_unlabelled() -> None:
    crowd = _figures((4, 128, 200, 0))
    seen = _seen(_paint(crowd), crowd)
    assert (seen["right_shoulder"], seen["left_shoulder"]) == (0, 2)


def test_unknown_objects_are_refused() -> None:
    assert len(OBJECTS) == 6
    with pytest.raises(ValueError, match="object car is not one of box, "):
        paint_object(_paint(_figures((60, 60, 50, 0))), "car", 1, 1, 1, [0.5] * 8)


def test_left_and_right_look_different() -> None:
    for canonical in (0.0, 1.0):
        looks = sample_looks(_rng(8), 300, canonical, contrast=0.55)
        for limb in ("thigh", "foot"):
            left, right = (looks.colours_PS3[:, SLOT[f"{side}_{limb}"]] for side in ("left", "right"))
            warmth = (right - left)[:, 0] - (right - left)[:, 2]  # the right is redder or less blue
            assert (warmth > 25).mean() > 0.97


# ----------------------------------------------------------------------------------------------------- whole scenes


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
@pytest.mark.parametrize("level", LEVELS)
def test_annotations_agree_with_the_label_map(drawn: dict[str, list[Scene]], level: str) -> None:
    for scene in drawn[level]:
        owner = scene.labels_HW // PARTS
        assert scene.image.shape == (96, 96, 3)
        assert scene.image.dtype == np.uint8
        assert set(np.unique(owner)) - {0} == set(scene.ids_P + 1)
        for k, person in enumerate(scene.ids_P):
            mask = owner == person + 1
            rle = {"size": [96, 96], "counts": scene.masks[k]}
            np.testing.assert_array_equal(coco_mask.decode(rle), mask)
            assert scene.areas_P[k] == mask.sum()
            ys, xs = np.nonzero(mask)
            box = (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
            assert scene.boxes_P4[k].tolist() == list(box)
            joints = scene.joints_PJ3[k]
            assert set(joints[:, 2]) <= {0, 1, 2}
            assert not joints[joints[:, 2] == 0].any()
            assert joints[:, :2].min() >= 0
            assert joints[:, :2].max() <= 95
            if joints.any():
                assert (joints[:, 2] == 2).any()


def test_easy_statistics(drawn: dict[str, list[Scene]]) -> None:
    statures = np.concatenate([s.stature_px_P for s in drawn["easy"]]) / 96
    assert 0.45 <= statures.min() <= 0.5 < 0.9 < statures.max() <= 0.95
    counts = np.bincount([len(s.ids_P) for s in drawn["easy"]], minlength=4)
    assert len(counts) == 4
    assert (counts[1:] > 40).all()
    joints = np.concatenate([s.joints_PJ3 for s in drawn["easy"]])[..., 2]
    assert (joints == 0).mean() < 0.04
    assert (joints == 2).mean() > 0.7


def test_hard_statistics(drawn: dict[str, list[Scene]]) -> None:
    statures = np.concatenate([s.stature_px_P for s in drawn["hard"]]) / 96
    assert 0.08 <= statures.min() < 0.1
    assert 0.9 < statures.max() <= 1.2
    counts = [len(s.ids_P) for s in drawn["hard"]]
    assert min(counts) == 1
    assert 10 <= max(counts) <= 12
    crowding = np.histogram([s.crowd_index for s in drawn["hard"]], bins=[0, 0.1, 0.4, 0.7, 1.01])[0] / 250
    assert (crowding > 0.04).all()
    joints = np.concatenate([s.joints_PJ3 for s in drawn["hard"]])[..., 2]
    assert all((joints == v).mean() > low for v, low in ((0, 0.02), (1, 0.25), (2, 0.35)))


@pytest.mark.parametrize("level", LEVELS)
def test_people_look_everywhere_in_hard_and_mostly_ahead_in_easy(drawn: dict[str, list[Scene]], level: str) -> None:
    joints = np.concatenate([s.joints_PJ3 for s in drawn[level]])
    a, b = COCO17.joints.index("left_shoulder"), COCO17.joints.index("right_shoulder")
    known = (joints[:, a, 2] > 0) & (joints[:, b, 2] > 0)
    ahead = (joints[known, a, 0] > joints[known, b, 0]).mean()
    assert 0.40 < ahead < 0.60 if level == "hard" else 0.80 < ahead < 0.97


def test_crowd_index_of_a_hand_computed_case() -> None:
    joints = np.zeros((3, 3, 3), np.float32)
    joints[0] = [(1, 1, 2), (5, 5, 2), (9, 9, 1)]  # all three in box 0, which holds two joints of person 1
    joints[1] = [(8, 8, 2), (9, 7, 2), (15, 15, 2)]  # all three in box 1, which holds one joint of person 0
    boxes = np.array([(0, 0, 10, 10), (7, 7, 10, 10), (0, 0, 20, 20)], np.float32)
    assert crowd_index(joints, boxes) == pytest.approx((2 / 3 + 1 / 3) / 2)  # person 2 has no joints: not counted
    joints[2, 0] = (2, 2, 2)  # in box 0 too; its own box holds its one joint and six others': 1 at most
    assert crowd_index(joints, boxes) == pytest.approx((3 / 3 + 1 / 3 + 1) / 3)
    assert crowd_index(joints[:0], boxes[:0]) == 0


@pytest.mark.parametrize("level", LEVELS)
def test_skeletons_are_complete_and_share_their_pictures(level: str) -> None:
    found: dict[str, set[int]] = {name: set() for name in SKELETONS}
    for i in range(12):
        drawn = {name: _draw(level, i, skeleton=s) for name, s in SKELETONS.items()}
        for name, scene in drawn.items():
            np.testing.assert_array_equal(scene.image, drawn["coco17"].image)
            np.testing.assert_array_equal(scene.boxes_P4, drawn["coco17"].boxes_P4)
            found[name] |= set(np.flatnonzero((scene.joints_PJ3[..., 2] == 2).any(axis=0)).tolist())
    assert found == {name: set(range(len(skeleton))) for name, skeleton in SKELETONS.items()}


def test_head_top_and_neck_are_where_they_belong() -> None:
    crowd = _figures((128, 128, 200, 0))
    at = crowd.points_PK3[0, :, 1]
    assert at[AT["head"]] < at[AT["left_eye"]] < at[AT["nose"]] < at[AT["neck"]] < at[AT["left_shoulder"]] + 1
    assert at[AT["head_top"]] == at[AT["head"]] < at[AT["upper_neck"]] < at[AT["neck"]] < at[AT["thorax"]]
    assert at[AT["thorax"]] == pytest.approx(at[[AT["left_shoulder"], AT["right_shoulder"]]].mean(), abs=1e-9)
    rows = np.flatnonzero(_paint(crowd).labels.any(axis=1))
    assert abs(at[AT["head"]] - rows[0]) <= 2


def test_compositions_are_the_same_at_every_size() -> None:
    small, large = _draw("hard", 3, 64), _draw("hard", 3, 256)
    np.testing.assert_allclose(small.stature_px_P * 4, large.stature_px_P, rtol=1e-5)


# ---------------------------------------------------------------------------------------- data sets, cache and files


def _arrays(dataset: scenes_module.Dataset) -> list[np.ndarray]:
    pixels = dataset.pixels_NHWC
    assert pixels is not None
    return [pixels, *(part for i in dataset.images for part in (i.joints_PJ3, i.boxes_P4, i.areas_P))]


def _assert_same(a: scenes_module.Dataset, b: scenes_module.Dataset) -> None:
    for x, y in zip(_arrays(a), _arrays(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert a.annotations == b.annotations


def test_image_i_depends_on_seed_and_i_only() -> None:
    many, few, other = (scenes(n, 64, seed, COCO17, "hard") for n, seed in ((5, 1), (3, 1), (3, 2)))
    np.testing.assert_array_equal(many.pixels_NHWC[:3], few.pixels_NHWC)  # type: ignore[index]
    assert many.annotations["annotations"][: len(few.annotations["annotations"])] == few.annotations["annotations"]
    assert not np.array_equal(few.pixels_NHWC, other.pixels_NHWC)  # type: ignore[arg-type]


def test_workers_agree() -> None:
    steps: list[int] = []
    alone = scenes(70, 32, 0, COCO17, "easy", progress=steps.append)
    _assert_same(alone, scenes(70, 32, 0, COCO17, "easy", workers=2))
    assert steps == [32, 64, 70]


def test_without_pixels_images_are_drawn_when_they_are_read() -> None:
    kept, lean = (scenes(3, 48, 0, COCO17, "easy", keep_pixels=keep) for keep in (True, False))
    assert lean.pixels_NHWC is None
    assert lean.annotations == kept.annotations
    for i in (0, 2, -1):
        np.testing.assert_array_equal(kept.read(i), lean.read(i))
    with pytest.raises(IndexError):
        lean.read(3)


def test_cache_gives_equal_data_and_other_parameters_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scenes(3, 48, 0, CROWDPOSE14, "hard", cache=tmp_path)
    with monkeypatch.context() as patch:  # what is cached is not drawn again
        patch.setattr(scenes_module, "_draw_all", lambda *_: pytest.fail("drawn again"))
        _assert_same(first, scenes(3, 48, 0, CROWDPOSE14, "hard", cache=tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    changes = [(2, 48, 0, CROWDPOSE14, "hard"), (3, 49, 0, CROWDPOSE14, "hard"), (3, 48, 1, CROWDPOSE14, "hard")]
    changes += [(3, 48, 0, COCO17, "hard"), (3, 48, 0, CROWDPOSE14, "easy")]
    for k, (images, size_px, seed, skeleton, level) in enumerate(changes):
        scenes(images, size_px, seed, skeleton, level, cache=tmp_path)
        assert len(list(tmp_path.iterdir())) == k + 2
    monkeypatch.setattr(scenes_module, "DRAWING", -1)
    scenes(3, 48, 0, CROWDPOSE14, "hard", cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(changes) + 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, damage: str) -> None:
    first = scenes(3, 48, 0, COCO17, "easy", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        middle = len(whole) - 9000  # in the pixels, which come last
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        np.savez(file, other=np.zeros(3))
    _assert_same(first, scenes(3, 48, 0, COCO17, "easy", cache=tmp_path))
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 0}, "images 0 is below 1"),
        ({"images": -3}, "images -3 is below 1"),
        ({"size_px": 31}, "size 31 px is below 32 px"),
        ({"seed": -1}, "seed -1 is below 0"),
        ({"workers": 0}, "workers 0 is below 1"),
        ({"level": "medium"}, "level medium is not one of easy, hard"),
        (
            {"skeleton": describe("odd", ["nose", "tail"], limbs=[], sigmas=[0.1, 0.1])},
            "skeleton odd: figures have no tail; they have nose, ",
        ),
    ],
)
def test_bad_parameters_are_named(change: dict[str, object], message: str) -> None:
    good = {"images": 1, "size_px": 32, "seed": 0, "skeleton": COCO17, "level": "easy"}
    with pytest.raises(InputError, match=message):
        scenes(**(good | change))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_files_are_what_pycocotools_reads(tmp_path: Path, skeleton: Skeleton) -> None:
    dataset = scenes(12, 64, 3, skeleton, "hard", first_id=7)
    steps: list[int] = []
    path = write_scenes(tmp_path / "out", dataset, progress=steps.append)
    assert path == tmp_path / "out" / "annotations.json"
    assert steps == list(range(1, 13))
    assert json.loads(path.read_text()) == dataset.annotations
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert coco.loadCats(1)[0]["keypoints"] == list(skeleton.joints)
    assert coco.loadCats(1)[0]["skeleton"] == [[a + 1, b + 1] for a, b in skeleton.limbs]
    assert coco.getImgIds() == list(range(7, 19))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        assert coco.annToMask(annotation).sum() == annotation["area"]
        assert coco_mask.toBbox(coco.annToRLE(annotation)).tolist() == annotation["bbox"]
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= 0
        assert max(x + w, y + h) <= 64
        assert sum(v > 0 for v in annotation["keypoints"][2::3]) == annotation["num_keypoints"]
    for i, record in enumerate(coco.loadImgs(coco.getImgIds())):
        assert 0 <= record["crowdIndex"] <= 1
        image = cv2.imread(str(tmp_path / "out" / "images" / record["file_name"]))
        assert image.shape == (record["height"], record["width"], 3)
        drift = np.abs(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(int) - dataset.read(i))
        assert drift.mean() < 8


def test_files_are_the_same_every_time_and_read_back_as_drawn(tmp_path: Path) -> None:
    dataset = scenes(6, 64, 0, CROWDPOSE14, "hard")
    for name in ("a", "b"):
        write_scenes(tmp_path / name, scenes(6, 64, 0, CROWDPOSE14, "hard"))
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 7
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    loaded = load_coco(tmp_path / "a" / "annotations.json", tmp_path / "a" / "images")
    assert loaded.skeleton == CROWDPOSE14
    for mine, theirs in zip(dataset.images, loaded.images, strict=True):
        np.testing.assert_allclose(mine.joints_PJ3, theirs.joints_PJ3, atol=1e-4)
        np.testing.assert_array_equal(mine.boxes_P4, theirs.boxes_P4)
        np.testing.assert_array_equal(mine.areas_P, theirs.areas_P)
        assert len(mine.ignore) == len(theirs.ignore)


def test_without_all_images_there_is_no_annotation_file(tmp_path: Path) -> None:
    dataset = scenes(3, 32, 0, COCO17, "easy")
    path = write_scenes(tmp_path, dataset)

    def stop(done: int) -> None:
        assert not path.exists()
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, dataset, progress=stop)
    assert not path.exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"out.*cannot hold a data set"):
        write_scenes(tmp_path / "out", scenes(1, 32, 0, COCO17, "easy"))


def test_people_of_whom_too_little_is_seen_are_ignored(drawn: dict[str, list[Scene]]) -> None:
    dataset = scenes(60, 64, 0, COCO17, "hard")
    unknown = [a for a in dataset.annotations["annotations"] if a["num_keypoints"] == 0]
    assert unknown
    assert [s for image in dataset.images for s in image.ignore] == [a["segmentation"] for a in unknown]
    assert all(image.joints_PJ3[..., 2].any(axis=1).all() for image in dataset.images)


def test_reading_gives_a_copy() -> None:
    dataset = scenes(1, 32, 0, COCO17, "easy")
    dataset.read(0)[:] = 0
    assert dataset.read(0).any()


# ----------------------------------------------------------------------------------------------------- contact sheets


def test_contact_sheet(tmp_path: Path) -> None:
    dataset = scenes(3, 48, 0, COCO17, "easy")
    plain, marked = (contact_sheet(dataset, 2, 2, annotate=a) for a in (False, True))
    assert plain.shape == marked.shape == (96, 96, 3)
    np.testing.assert_array_equal(plain[:48, 48:], dataset.read(1))
    assert not plain[48:, 48:].any()
    assert not np.array_equal(plain, marked)
    assert contact_sheet(dataset, 3, 1, annotate=True, cell_px=20).shape == (20, 60, 3)
    with pytest.raises(ValueError, match="0 columns and 2 rows"):
        contact_sheet(dataset, 0, 2, annotate=False)
    path = save_sheet(tmp_path / "sheet.png", dataset, dataset, columns=3, rows=2, cell_px=32)
    assert cv2.imread(str(path)).shape == (128, 96, 3)
    with pytest.raises(InputError, match="a contact sheet is a"):
        save_sheet(tmp_path / "sheet.txt", dataset)
