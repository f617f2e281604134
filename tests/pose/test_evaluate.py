"""AP against the public evaluators, and what is ours: matches per image, intervals, AP by height."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools.coco import COCO as PublicCOCO
from pycocotools.cocoeval import COCOeval
from samples import SAMPLES, needs_samples

from archsearch.data.scenes import scenes
from archsearch.files import InputError
from archsearch.pose.evaluate import (
    HeightBin,
    Interval,
    ap_by_height,
    bootstrap,
    bootstrap_difference,
    evaluate,
    write_results,
)
from archsearch.pose.evaluate import results_of as to_results
from archsearch.pose.oks import average_precision
from archsearch.skeleton import COCO17, CROWDPOSE14, Skeleton

COCO_FIGURES = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "ar50", "ar75", "ar_m", "ar_l")


def random_case(
    seed: int, images: int = 30, spurious: int = 3, skeleton: Skeleton = COCO17, *, crowding: bool = False, noise=0.03
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations with crowds, unlabelled people and empty images; results with duplicates and equal scores."""
    rng = np.random.default_rng(seed)
    joints = len(skeleton)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def detect(image_id: int, xy: np.ndarray) -> None:
        points = np.concatenate((xy, rng.uniform(0.01, 1, (joints, 1))), axis=1)
        results.extend(to_results(image_id, points[None], [round(float(rng.random()), 2)]))

    infos = []
    for image_id in rng.permutation(images) * 3 + 7:
        infos.append({"id": int(image_id), "height": 480, "width": 640})
        if crowding:
            infos[-1]["crowdIndex"] = float(rng.choice([0.1, 0.2, 0.5, 0.8, 0.95]))
        for _ in range(rng.integers(0, 4)):
            height = float(rng.uniform(20, 200))
            box = [*rng.uniform(0, 300, 2).tolist(), height / 2, height]
            xy = (np.array(box[:2]) + rng.uniform(0, 1, (joints, 2)) * box[2:]).round()
            visible = rng.integers(0, 3, (joints, 1)) * (rng.random() > 0.1)
            annotations.append(
                {
                    "id": 500 + len(annotations),
                    "image_id": int(image_id),
                    "category_id": 1,
                    "keypoints": np.concatenate((xy, visible), axis=1).reshape(-1).tolist(),
                    "num_keypoints": int((visible > 0).sum()),
                    "bbox": box,
                    "area": box[2] * box[3] * float(rng.uniform(0.4, 0.8)),
                    "iscrowd": int(rng.random() < 0.05),
                }
            )
            for _ in range(rng.integers(0, 3)):
                detect(int(image_id), xy + rng.normal(0, height * noise * rng.uniform(0, 2), xy.shape))
        for _ in range(rng.integers(0, spurious)):
            detect(int(image_id), rng.uniform(0, 400, (joints, 2)))
    categories = [{"id": 1, "name": "person"}]
    return {"images": infos, "annotations": annotations, "categories": categories}, results


def public_figures(annotations: dict[str, Any], results: list[dict[str, Any]], skeleton: Skeleton = COCO17):
    """pycocotools' ten figures; -1 becomes None."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = PublicCOCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [None if v == -1 else float(v) for v in evaluator.stats]


def assert_same(scores, expected) -> None:
    for name, value in zip(COCO_FIGURES, expected, strict=True):
        ours = getattr(scores, name)
        assert (ours is None) == (value is None), name
        assert value is None or abs(ours - value) < 1e-9, name


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("skeleton", [COCO17, CROWDPOSE14], ids=lambda s: s.name)
def test_equals_pycocotools(seed, skeleton):
    annotations, results = random_case(seed, spurious=30 if seed == 1 else 3, skeleton=skeleton)
    before = copy.deepcopy((annotations, results))
    scores = evaluate(annotations, results, skeleton)
    assert (annotations, results) == before
    assert 0.01 < scores.ap < 0.9
    assert_same(scores, public_figures(annotations, results, skeleton))
    assert abs(float(average_precision(scores.images)[0]) - scores.ap) < 1e-12


def test_equals_pycocotools_on_500_scenes():
    """Scenes, 100 of them hard, their people found more or less well, twice, or not at all, and people not there."""
    parts = (scenes(400, 96, 7, COCO17, "easy"), scenes(100, 96, 7, COCO17, "hard", first_id=1001))
    annotations = parts[0].annotations | {
        name: [entry for part in parts for entry in part.annotations[name]] for name in ("images", "annotations")
    }
    rng = np.random.default_rng(7)
    results: list[dict[str, Any]] = []
    for annotation in annotations["annotations"]:
        joints = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        spread = np.sqrt(annotation["area"]) * np.array(COCO17.sigmas)[:, None]
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            points = joints.copy()
            points[:, :2] += rng.normal(0, 1, (17, 2)) * spread * rng.choice([0.2, 0.5, 1.0, 4.0])
            results += to_results(annotation["image_id"], points[None], [round(float(rng.random()), 2)])
    for image in annotations["images"][::7]:
        strangers = rng.uniform(0, 96, (25 if image["id"] % 4 == 1 else 2, 17, 3))
        results += to_results(image["id"], strangers, (0.5 * rng.random(len(strangers))).round(2))
    scores = evaluate(annotations, results, COCO17)
    assert scores.people > 1000
    assert 0.2 < scores.ap < 0.8
    assert_same(scores, public_figures(annotations, results))
    assert len(scores.images) == 500


def test_equals_the_recorded_figures_of_crowdpose():
    """What xtcocotools 1.14.3 (CrowdPose's evaluation code, as mmpose packages it), run beside numpy 1.26, makes of the
    results in crowdpose.npz: 512 hard scenes with crowds, doubled, false and more than 20 detections in an image."""
    data = np.load(Path(__file__).parent / "data" / "crowdpose.npz")
    ids, crowding = data["image_id_I"].tolist(), data["crowd_index_I"].tolist()
    people = zip(*(data[f"person_{n}"].tolist() for n in ("image_P", "joints_PJ3", "box_P4", "crowd_P")), strict=True)
    annotations = {
        "images": [{"id": i, "crowdIndex": c / 1e4} for i, c in zip(ids, crowding, strict=True)],
        "annotations": [
            {
                "id": n,
                "image_id": image_id,
                "keypoints": [v for joint in joints for v in joint],
                "num_keypoints": sum(v > 0 for _, _, v in joints),
                "bbox": box,
                "iscrowd": crowd,
            }
            for n, (image_id, joints, box, crowd) in enumerate(people, 1)
        ],
    }
    results: list[dict[str, Any]] = []
    for image_id, joints_J2, score in zip(
        data["result_image_R"], data["result_joints_RJ2"], data["result_score_R"].tolist(), strict=True
    ):
        joints_J3 = np.concatenate((joints_J2, np.ones((14, 1))), axis=1)
        results += to_results(image_id, joints_J3[None], [score / 100])
    scores = evaluate(annotations, results, CROWDPOSE14)
    assert len(scores.images) == 512
    np.testing.assert_allclose(
        [scores.ap, scores.ap50, scores.ap75, scores.ar, scores.ar50, scores.ar75],
        [
            *(0.2333405835170617, 0.3562765039190852, 0.21532783830247335),
            *(0.48488641631896146, 0.6161335187760779, 0.4807603152526657),
        ],
        rtol=0,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        [scores.ap_easy, scores.ap_medium, scores.ap_hard],
        [0.23784016694449112, 0.23608910887063023, 0.22222269686531645],  # 231, 247 and 34 images
        rtol=0,
        atol=1e-12,
    )


def test_equals_pycocotools_when_results_have_boxes():
    annotations, results = random_case(5)
    rng = np.random.default_rng(0)
    for result in results:
        result["bbox"] = rng.uniform(0, 150, 4).tolist()
    assert_same(evaluate(annotations, results, COCO17), public_figures(annotations, results))


def test_missing_area_is_a_share_of_the_box():
    annotations, results = random_case(6)
    filled = copy.deepcopy(annotations)
    for i, (bare, full) in enumerate(zip(annotations["annotations"], filled["annotations"], strict=True)):
        full["area"] = full["bbox"][2] * full["bbox"][3] * 0.53
        del bare["area"]
        if i % 2:
            del bare["num_keypoints"]
    assert_same(evaluate(annotations, results, COCO17), public_figures(filled, results))


def test_equals_faster_coco_eval_on_crowdpose():
    annotations, results = random_case(7, images=60, skeleton=CROWDPOSE14, crowding=True)
    scores = evaluate(annotations, results, CROWDPOSE14)  # areas are there, and must not be read
    truth = COCO(copy.deepcopy(annotations))
    evaluator = COCOeval_faster(
        truth,
        truth.loadRes(copy.deepcopy(results)),
        "keypoints_crowd",
        kpt_oks_sigmas=list(CROWDPOSE14.sigmas),
        use_area=False,
        print_function=lambda *_: None,
    )
    evaluator.run()
    ap, ap50, ap75, ar, ar50, ar75, easy, medium, hard = evaluator.all_stats
    np.testing.assert_allclose(
        [scores.ap, scores.ap50, scores.ap75, scores.ar, scores.ar50, scores.ar75],
        [ap, ap50, ap75, ar, ar50, ar75],
        atol=1e-12,
    )
    np.testing.assert_allclose([scores.ap_easy, scores.ap_medium, scores.ap_hard], [easy, medium, hard], atol=5.1e-5)
    assert len({scores.ap_easy, scores.ap_medium, scores.ap_hard}) == 3


def test_category_of_crowding_without_people_is_none():
    annotations, results = random_case(8, crowding=True, skeleton=CROWDPOSE14)
    for image in annotations["images"]:
        image["crowdIndex"] = 0.5
    scores = evaluate(annotations, results, CROWDPOSE14)
    assert (scores.ap_easy, scores.ap_hard) == (None, None)
    assert scores.ap_medium == pytest.approx(scores.ap, abs=1e-12)


def test_no_results_give_zero():
    annotations, _ = random_case(0)
    scores = evaluate(annotations, [], COCO17)
    assert (scores.ap, scores.ap50, scores.ar) == (0, 0, 0)
    assert scores.people > 0
    assert bootstrap(scores, samples=50) == Interval(0.0, 0.0)
    assert [b.ap for b in ap_by_height(annotations, [], COCO17, (0, 1000))] == [0.0]


def person(image_id: int, height: float, left: float = 0.0) -> dict[str, Any]:
    """A square box with joints on its diagonal, so that the area is height^2."""
    steps = np.linspace(0, height, len(COCO17))
    keypoints = np.stack((left + steps, steps, np.full(len(steps), 2)), axis=1)
    box = [left, 0.0, height, height]
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints.reshape(-1).tolist(), "bbox": box,
            "area": height * height, "num_keypoints": 17, "iscrowd": 0}  # fmt: skip


def truth_of(people: list[dict[str, Any]], images: int) -> dict[str, Any]:
    return {
        "images": [{"id": i} for i in range(images)],
        "annotations": [{"id": n + 1, **p} for n, p in enumerate(people)],
        "categories": [{"id": 1, "name": "person"}],
    }


def found(annotation: dict[str, Any], score: float) -> dict[str, Any]:
    return {k: annotation[k] for k in ("image_id", "category_id", "keypoints")} | {"score": score}


def test_by_hand():
    """Two of three people found exactly, one false alarm between them: 2/3 recall at precision 1, then 2/3."""
    people = [person(0, 50), person(0, 50, 300), person(1, 50)]
    annotations = truth_of(people, 3)
    results = [found(people[0], 0.9), found(person(2, 50), 0.8), found(people[2], 0.7)]
    scores = evaluate(annotations, results, COCO17)
    # recalls 0.00 to 0.33 at precision 1, 0.34 to 0.66 at 2/3, the rest never reached
    assert scores.ap == pytest.approx((34 * 1 + 33 * 2 / 3) / 101, abs=1e-12)
    assert scores.ar == pytest.approx(2 / 3)
    assert (scores.people, scores.ap_m, scores.ap_l) == (3, pytest.approx(scores.ap), None)
    assert [i.positives for i in scores.images] == [2, 1, 0]
    assert [i.matched_TD.tolist() for i in scores.images] == [[[True]] * 10, [[True]] * 10, [[False]] * 10]
    json.dumps(scores.summary(), allow_nan=False)


def test_resampling_equals_repeating_images():
    """A weight of n is the image n times over: the same data set, written out."""
    annotations, results = random_case(11)
    rng = np.random.default_rng(0)
    for result in results:
        result["score"] = float(rng.random())  # without ties, whose order repetition would change
    scores = evaluate(annotations, results, COCO17)
    ids = [i.image_id for i in scores.images]
    weights = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=3)
    ours = average_precision(scores.images, weights)
    for row, value in zip(weights, ours, strict=True):
        copies = [(image, c) for image, n in zip(ids, row, strict=True) for c in range(n)]
        repeated = {
            "images": [{"id": 1000 * i + c} for i, c in copies],
            "annotations": [
                a | {"image_id": 1000 * i + c} for i, c in copies for a in annotations["annotations"]
                if a["image_id"] == i
            ],
            "categories": annotations["categories"],
        }  # fmt: skip
        again = [r | {"image_id": 1000 * i + c} for i, c in copies for r in results if r["image_id"] == i]
        assert abs(evaluate(repeated, again, COCO17).ap - value) < 1e-12


def test_sample_without_people_is_nan_and_left_out():
    people = [person(0, 50)]
    scores = evaluate(truth_of(people, 2), [found(people[0], 0.5)], COCO17)
    assert np.isnan(average_precision(scores.images, np.array([[0, 2], [2, 0]]))).tolist() == [True, False]
    interval = bootstrap(scores, samples=100)
    assert (interval.low, interval.high) == (pytest.approx(1), pytest.approx(1))


def test_bootstrap():
    annotations, results = random_case(12, images=60)
    scores = evaluate(annotations, results, COCO17)
    interval = bootstrap(scores, samples=400, seed=3)
    assert interval == bootstrap(scores, samples=400, seed=3)
    assert interval.low < scores.ap < interval.high
    narrow = bootstrap(scores, samples=400, seed=3, level=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high
    # the chunks of samples must not show
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archsearch.pose.oks._VALUES_AT_ONCE", 1000)
        assert bootstrap(scores, samples=400, seed=3) == interval
    with pytest.raises(ValueError, match="samples 0"):
        bootstrap(scores, samples=0)
    with pytest.raises(ValueError, match="level 95"):
        bootstrap(scores, level=95)


def test_bootstrap_covers_as_often_as_it_says():
    """Draw data sets of a hundred images from a population whose AP is known: 80 % intervals hold it 80 % of the time.

    With 60 draws the count is binomial around 48 with a deviation of 3.1; ten either way is beyond three of them.
    """
    population, results = random_case(13, images=400, noise=0.02)
    everything = evaluate(population, results, COCO17)
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        chosen = tuple(everything.images[i] for i in rng.integers(0, 400, 100))
        interval = bootstrap(dataclasses.replace(everything, images=chosen), samples=200, seed=seed, level=0.8)
        held += interval.low <= everything.ap <= interval.high
    assert 38 <= held <= 58


def test_paired_difference_is_narrower_than_two_intervals():
    annotations, results = random_case(14, images=80, noise=0.02)
    rng = np.random.default_rng(0)
    worse = [r for r in results if rng.random() > 0.1]
    first, second = evaluate(annotations, results, COCO17), evaluate(annotations, worse, COCO17)
    difference = bootstrap_difference(first, second, samples=300)
    assert difference.low < first.ap - second.ap < difference.high
    width = difference.high - difference.low
    for scores in (first, second):
        alone = bootstrap(scores, samples=300)
        assert width < alone.high - alone.low
    assert bootstrap_difference(first, first, samples=50) == Interval(0.0, 0.0)
    with pytest.raises(ValueError, match="not of the same images: 80 and 30 images"):
        bootstrap_difference(first, evaluate(*random_case(1), COCO17))


def test_ap_by_height_equals_cocos_area_ranges_for_square_boxes():
    rng = np.random.default_rng(0)
    people = [person(int(rng.integers(0, 40)), float(rng.uniform(15, 200)), 300.0 * (n % 2)) for n in range(80)]
    annotations, results = truth_of(people, 40), []
    for p in people + people[:30]:
        keypoints = np.array(p["keypoints"]).reshape(-1, 3)
        height = p["bbox"][3] * rng.uniform(0.8, 1.25)
        keypoints[:, :2] = keypoints[:, :2] * rng.uniform(0.97, 1.03) + rng.normal(0, 0.04 * p["bbox"][3], (17, 2))
        results.append(found(p, float(rng.random())) | {"keypoints": keypoints.reshape(-1).tolist()})
        results[-1]["bbox"] = [0.0, 0.0, height, height]
    scores = evaluate(annotations, results, COCO17)
    bins = ap_by_height(annotations, results, COCO17, (0, 32, 96, 1e5))
    assert bins[1].ap == pytest.approx(scores.ap_m, abs=1e-12)
    assert bins[2].ap == pytest.approx(scores.ap_l, abs=1e-12)
    assert sum(b.people for b in bins) == scores.people
    (everyone,) = ap_by_height(annotations, results, COCO17, (0, 1e5))
    assert everyone.ap == pytest.approx(scores.ap, abs=1e-12)


def test_ap_by_height_by_hand():
    people = [person(0, 40), person(0, 60, 300), person(1, 100)]
    results = [found(people[1], 0.9), found(people[2], 0.8), found(person(2, 45), 0.7)]
    bins = ap_by_height(truth_of(people, 3), results, COCO17, (20, 40, 60, 120, 400))
    assert bins == [
        HeightBin(20, 40, None, 0),
        HeightBin(40, 60, 0.0, 1),  # lower edge included; missed, and the false alarm of 45 px is counted here
        HeightBin(60, 120, pytest.approx(1.0), 2),  # and not here
        HeightBin(120, 400, None, 0),
    ]
    for edges in ((10,), (10, 10), (20, 10)):
        with pytest.raises(ValueError, match="rising heights"):
            ap_by_height(truth_of(people, 3), results, COCO17, edges)


def test_height_of_a_detection_leaves_out_joints_that_are_missing():
    """A missing joint sits at (0, 0) with score 0; a person of 30 px far down the image stays one of 30 px."""
    truth = person(0, 30, 200)
    lost = person(1, 30, 200)
    keypoints = np.array(lost["keypoints"]).reshape(-1, 3)
    keypoints[:, 1] += 300
    keypoints[0] = 0
    false_alarm = found(lost, 0.9) | {"keypoints": keypoints.reshape(-1).tolist()}
    small, tall = ap_by_height(
        truth_of([truth, person(1, 320)], 2), [false_alarm, found(truth, 0.5)], COCO17, (0, 100, 400)
    )
    assert small.ap == pytest.approx(0.5)
    assert tall.ap == 0.0


def test_results_of():
    persons = np.arange(2 * 17 * 4, dtype=np.float32).reshape(2, 17, 4)
    results = to_results(np.int64(7), persons, np.array([0.5, 0.25]))
    assert [r["score"] for r in results] == [0.5, 0.25]
    assert results[1]["keypoints"][:6] == [68, 69, 70, 72, 73, 74]
    assert {len(r["keypoints"]) for r in results} == {51}
    assert json.loads(json.dumps(results)) == results
    assert to_results(1, np.zeros((0, 17, 4)), np.zeros(0)) == []
    with pytest.raises(ValueError, match=r"\(2, 17, 4\) with scores of shape \(3,\)"):
        to_results(1, persons, [1, 2, 3])


def test_result_files_are_what_the_servers_take(tmp_path):
    """A JSON list whose entries have these four fields and 3 * J numbers; pycocotools loads it as it is."""
    annotations, results = random_case(2)
    path = tmp_path / "results.json"
    write_results(path, results)
    assert json.loads(path.read_text()) == results
    assert len(path.read_text().splitlines()) == len(results) + 2
    assert {frozenset(r) for r in results} == {frozenset(("image_id", "category_id", "keypoints", "score"))}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = PublicCOCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        assert len(truth.loadRes(str(path)).anns) == len(results)
    write_results(path, [])
    assert json.loads(path.read_text()) == []
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(path, [results[0] | {"score": float("nan")}])
    assert json.loads(path.read_text()) == []


def test_refuses_wrong_input():
    people = [person(0, 50)]
    annotations, result = truth_of(people, 1), found(people[0], 0.5)
    for change, message in (
        ({"image_id": 9}, r"result 1 \(image_id 9\): not one of the 1 images"),
        ({"keypoints": [0.0] * 42}, r"result 1 \(image_id 0\): 42 keypoint values, coco17 has 3 \* 17"),
        ({"keypoints": None}, "keypoint values"),
        ({"score": float("nan")}, "not a finite number"),
        ({"score": None}, "not a finite number"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(annotations, [result, result | change], COCO17)
    for change, message in (
        ({"image_id": 9}, "annotation 1: image_id 9"),
        ({"keypoints": [0] * 42}, "annotation 1: 42 keypoint values"),
        ({"keypoints": None}, "annotation 1: no keypoint values"),
        ({"bbox": None}, "annotation 1: bbox None"),
        ({"iscrowd": 1}, "no annotated person with joints in 1 images"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(truth_of([people[0] | change], 1), [result], COCO17)
    with pytest.raises(InputError, match="no annotated person"):
        evaluate({}, [], COCO17)


@needs_samples
@pytest.mark.parametrize(("name", "skeleton"), [("coco", COCO17), ("crowdpose", CROWDPOSE14)])
def test_real_annotations_are_their_own_perfect_results(name, skeleton):
    annotations = json.loads((SAMPLES / name / f"test_{name}.json").read_text())
    results = [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0}
        for a in annotations["annotations"]
        if a["num_keypoints"] and not a["iscrowd"]
    ]
    scores = evaluate(annotations, results, skeleton)
    assert scores.people == len(results)
    assert scores.ap == pytest.approx(1.0, abs=1e-9)
    assert (scores.ap_medium is None) == (name == "coco")
    assert evaluate(annotations, results[1:], skeleton).ap < 1
