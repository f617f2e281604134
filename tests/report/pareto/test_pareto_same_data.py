"""Runs that may share an axis, and those that may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from report.records import make_run
from report.searches import SCENES, make_search

from archsearch.files import InputError, write_json, write_text
from archsearch.report.pareto.records import points_of
from archsearch.report.pareto.same_data import check_published, data_of
from archsearch.runs import Run, reopen, start

CROWDPOSE = {
    "kind": "coco", "name": "crowdpose", "skeleton": "crowdpose14", "root": "data",
    "train_annotations": "json/crowdpose_trainval.json", "train_images": "images",
    "val_annotations": "json/crowdpose_test.json", "val_images": "images",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"level": "hard"}, "data.level is hard, there it is easy"),
        ({"skeleton": "crowdpose14"}, "data.skeleton is crowdpose14, there it is coco17"),
        ({"seed": 7}, "data.seed is 7, there it is 0"),
    ],
)
def test_other_images_or_joints_cannot_share_an_axis(tmp_path: Path, change: dict[str, object], fault: str) -> None:
    scenes = {"kind": "scenes", "skeleton": "coco17", "level": "easy", "size_px": 96, "train": 9, "val": 300, "seed": 0}
    runs = [make_run(tmp_path / "a", names=("baseline",)), make_run(tmp_path / "b", data={**scenes, **change})]
    with pytest.raises(InputError, match=f"b: cannot share an AP axis with .*a: {fault}"):
        points_of(runs, "ap")
    same = make_run(tmp_path / "c", names=("baseline",), data=scenes)  # other training images are no other AP
    assert len(points_of([runs[0], same], "ap")) == 2


def test_embedded_ap_is_not_published_ap(tmp_path: Path) -> None:
    scenes = make_run(tmp_path / "scenes", names=("baseline",))
    with pytest.raises(InputError, match="AP on embedded scenes cannot share an axis with AP published on crowdpose"):
        check_published([scenes], "crowdpose")
    real = make_run(tmp_path / "real", names=("baseline",), data=CROWDPOSE)
    check_published([real], "crowdpose")
    with pytest.raises(InputError, match="its AP is on crowdpose, that of the published models on coco"):
        check_published([real], "coco")


@pytest.mark.parametrize(
    ("data", "study", "fault"),
    [
        ({"val_annotations": "json/crowdpose_val.json"}, {},
         "data.val_annotations is data/json/crowdpose_val.json, that of the published models crowdpose_test.json"),
        ({}, {"estimate": {"val_images": 500}},
         "estimate.val_images is 500, the published models are evaluated on all images"),
        ({}, {"score": {"estimate": {"val_images": 2000}}}, "estimate.val_images is 2000"),
        ({}, {"protocol": "top_down"},
         r"detections is none \(annotated boxes\), published top-down AP is in a detector's boxes"),
    ],
)  # fmt: skip
def test_only_the_papers_own_images_and_boxes_stand_beside_them(
    tmp_path: Path, data: dict[str, object], study: dict[str, object], fault: str
) -> None:
    run = make_run(tmp_path / "run", names=("baseline",), data={**CROWDPOSE, **data})
    add_to_study(run, study)
    with pytest.raises(InputError, match=fault) as raised:
        check_published([run], "crowdpose")
    assert "\n" not in str(raised.value)


def test_a_detectors_boxes_stand_beside_the_papers(tmp_path: Path) -> None:
    coco = {**CROWDPOSE, "name": "coco", "skeleton": "coco17", "val_annotations": "a/person_keypoints_val2017.json"}
    run = make_run(tmp_path / "run", names=("baseline",), data=coco)
    add_to_study(run, {"protocol": "top_down", "detections": "boxes.json"})
    check_published([run], "coco")


def add_to_study(run: Run, fields: dict[str, object]) -> None:
    path = run.path / "study.yaml"
    write_text(path, yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}))


def photos(folder: Path, people: int) -> dict[str, object]:
    """Data as ``archsearch train --annotations`` names them: the file is ``folder/annotations.json``."""
    write_json(folder / "annotations.json", {"annotations": [{"id": i} for i in range(people)]})
    paths = {f"{part}_annotations": str(folder / "annotations.json") for part in ("train", "val")}
    return {"kind": "coco", "name": "photos", "skeleton": "coco17", "root": ".", **paths,
            "train_images": "images", "val_images": "images"}  # fmt: skip


def begun(name: str, root: Path, data: dict[str, object] | None, **fields: object) -> Run:
    """A run that began as commands begin them, with a point."""
    run = start(name, {"kind": "train", "name": name, **({} if data is None else {"data": data}), **fields}, root)
    assert not run.metrics.exists()  # one that records nothing leaves nothing behind
    for record in make_search(root / f"points_{name}", count=1).records("candidate"):
        run.record(**record)
    return run


def test_two_files_of_one_name_cannot_share_an_axis(tmp_path: Path) -> None:
    one = begun("one", tmp_path, photos(tmp_path / "a", 3))
    other = begun("other", tmp_path, photos(tmp_path / "b", 4))
    files = rf"{tmp_path}/b/annotations.json \(SHA-256 \w{{12}}\), there it is {tmp_path}/a/annotations.json \(SHA"
    with pytest.raises(InputError, match=f"{other.path}: .* with {one.path}: data.val_annotations is {files}"):
        points_of([one, other], "ap")


def test_one_file_under_two_paths_and_names_shares_an_axis_even_when_it_is_gone(tmp_path: Path) -> None:
    first, second = photos(tmp_path / "a", 3), photos(tmp_path / "b", 3)
    runs = [begun("one", tmp_path, first), begun("other", tmp_path, {**second, "name": "my_photos"})]
    for folder in "ab":
        (tmp_path / folder / "annotations.json").unlink()
    assert len(points_of(runs, "ap")) == 2


def test_without_digests_whole_paths_are_compared(tmp_path: Path) -> None:
    data = photos(tmp_path / "a", 3)
    new = begun("new", tmp_path, data)
    old = make_run(tmp_path / "old", names=("baseline",), data=data)
    assert len(points_of([new, old], "ap")) == 2
    moved = make_run(tmp_path / "moved", names=("baseline",), data=photos(tmp_path / "b", 3))
    for runs in ([old, moved], [new, moved], [moved, new]):
        with pytest.raises(InputError, match=r"data\.val_annotations is .*, there it is "):
            points_of(runs, "ap")
    gone = {**data, "root": str(tmp_path / "nowhere"), "val_annotations": "annotations.json"}
    missing = begun("missing", tmp_path, gone)
    assert "data" not in json.loads((missing.path / "environment.json").read_text())
    assert len(points_of([missing], "ap")) == 1


def test_other_head_boxes_cannot_share_an_axis(tmp_path: Path) -> None:
    runs = []
    for name, size in (("a", 1), ("b", 2)):
        write_json(tmp_path / name / "heads.json", [size])
        heads = {"val_heads": str(tmp_path / name / "heads.json")}
        runs.append(begun(name, tmp_path / "runs", {**photos(tmp_path / name, 3), "kind": "mpii", **heads}))
    with pytest.raises(InputError, match=r"data\.val_heads is .*/b/heads\.json .*, there it is .*/a/heads\.json"):
        points_of(runs, "ap")


def test_annotated_and_detected_boxes_cannot_share_an_axis(tmp_path: Path) -> None:
    data = photos(tmp_path / "a", 3)
    for name, score in (("few", 0.5), ("many", 0.1)):
        write_json(tmp_path / f"{name}.json", [{"score": score}])
    root = tmp_path / "runs"
    annotated = begun("annotated", root, data, protocol="top_down", detections=None)
    again = begun("again", root, data, protocol="top_down", detections=None)
    few = begun("few", root, data, protocol="top_down", detections=str(tmp_path / "few.json"))
    many = begun("many", root, data, protocol="top_down", detections=str(tmp_path / "many.json"))
    with pytest.raises(
        InputError, match=r"few.*: detections is .*few.json \(SHA.*, there it is none \(annotated boxes"
    ):
        points_of([annotated, few], "ap")
    with pytest.raises(InputError, match=r"detections is .*many.json .*, there it is .*few.json"):
        points_of([few, many], "ap")
    assert len(points_of([annotated, again], "ap")) == 2
    bottom_up = begun("bottom_up", root, data)
    assert len(points_of([bottom_up, few], "ap")) == 2  # no boxes are none of its settings
    with pytest.raises(InputError, match="cannot share an AP axis"):
        points_of([bottom_up, few, annotated], "ap")


def test_points_in_annotated_boxes_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names=("baseline",), data=CROWDPOSE)
    add_to_study(run, {"protocol": "top_down", "detections": None})
    assert points_of([run], "ap")[0].notes == ("AP is in annotated boxes, which no detector finds so well",)
    add_to_study(run, {"detections": "boxes.json"})
    assert points_of([run], "ap")[0].notes == ()


def test_a_run_goes_on_only_with_the_file_that_it_began_with(tmp_path: Path) -> None:
    data = photos(tmp_path / "a", 3)
    study = {"kind": "train", "name": "one", "data": data}
    run = begun("one", tmp_path / "runs", data)
    assert reopen(run.path, study) == run
    photos(tmp_path / "a", 4)
    with pytest.raises(InputError, match=r"val_annotations .*/annotations\.json is not the file that the run"):
        reopen(run.path, study)
    (tmp_path / "a" / "annotations.json").unlink()
    assert reopen(run.path, study) == run  # whether it is needed is told where it is loaded


def test_a_table_of_ap_has_no_digest_of_what_lies_there_today(tmp_path: Path) -> None:
    run = begun("search", tmp_path, photos(tmp_path / "a", 3), score={"kind": "table", "path": "table.jsonl"})
    assert "data" not in json.loads((run.path / "environment.json").read_text())


def test_a_ranking_and_a_search_share_the_axis_of_their_supernet(tmp_path: Path) -> None:
    """Their own studies hold the supernet's data; a ranking of before that has the supernet's folder only."""
    data = photos(tmp_path / "a", 3)
    supernet = begun("supernet", tmp_path / "runs", data)
    folder = str(supernet.path / "supernet")
    search = begun("search", tmp_path / "runs", data, score={"kind": "supernet", "run": folder})
    rank = begun("rank", tmp_path / "runs", data, supernet=folder)
    older = begun("older", tmp_path / "runs", None, supernet=folder)
    assert len(points_of([supernet, search, rank, older], "ap")) == 4
    assert data_of(older)["data.val_annotations"].same(data_of(supernet)["data.val_annotations"])


def test_a_ranking_has_the_data_of_its_supernet(tmp_path: Path) -> None:
    search = make_search(tmp_path / "supernet_run", count=3)
    folder = tmp_path / "rank"
    folder.mkdir()
    study = {"kind": "rank", "name": "rank", "supernet": str(search.path / "supernet")}
    write_text(folder / "study.yaml", yaml.safe_dump(study))
    rank = Run(folder)
    for record in search.records("candidate"):
        rank.record(**record)
    assert len(points_of([rank, search], "ap")) == 6
    (search.path / "study.yaml").unlink()
    with pytest.raises(InputError, match="its data are those of the supernet's run"):
        points_of([rank], "ap")


def test_made_up_searches_are_on_embedded_scenes(tmp_path: Path) -> None:
    assert data_of(make_search(tmp_path / "run", count=1))["data.level"] == SCENES["level"]
