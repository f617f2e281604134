"""What ``data check`` finds, and that it and the reader agree on what is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data.broken import FUZZED, broken, valid
from hypothesis import HealthCheck, given, settings
from samples import SAMPLES, needs_samples
from typer.testing import CliRunner

from archsearch.cli import app
from archsearch.data.check import ERRORS, WARNINGS, Report, check
from archsearch.data.coco import load_coco
from archsearch.files import InputError
from archsearch.skeleton import load_skeleton

READ_ALL_THE_SAME = {"unreadable_file", "wrong_size", "box_outside", "joints_outside", "zero_area"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "sub" / "b.jpg"), image)
    return tmp_path


def report_of(content: Any, folder: Path, **options: Any) -> Report:
    source = folder / "annotations.json"
    source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return check(source, folder, **options)


def kinds(report: Report) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_a_sound_data_set_has_no_findings(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = report_of(valid(), folder, progress=lambda done, total: seen.append((done, total)))
    assert report == Report("coco17", 2, 0, 1, 1, 1, ())
    assert seen == [(0, 2), (2, 2)]
    assert report_of(valid(), folder, decode=True).findings == ()


Change = Callable[[dict[str, Any], Path], None]


def put(*path: Any, value: Any) -> Change:
    def change(content: dict[str, Any], _: Path) -> None:
        target: Any = content
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def person(**fields: Any) -> Change:
    return lambda content, _: content["annotations"][0].update(fields)


def joint(j: int, x: float, y: float, v: int = 2) -> Change:
    def change(content: dict[str, Any], _: Path) -> None:
        content["annotations"][0]["keypoints"][3 * j : 3 * j + 3] = [x, y, v]

    return change


def _remove(_: dict[str, Any], folder: Path) -> None:
    (folder / "sub" / "b.jpg").unlink()


def _cut_jpeg(_: dict[str, Any], folder: Path) -> None:
    path = folder / "sub" / "b.jpg"
    path.write_bytes(path.read_bytes()[:-40])


def _cut_png(_: dict[str, Any], folder: Path) -> None:
    path = folder / "a.png"
    path.write_bytes(path.read_bytes()[:-40])


def _text(_: dict[str, Any], folder: Path) -> None:
    (folder / "a.png").write_text("not a picture")


def _turned(_: dict[str, Any], folder: Path) -> None:
    cv2.imwrite(str(folder / "sub" / "b.jpg"), np.zeros((40, 30, 3), np.uint8))


def _twice(content: dict[str, Any], _: Path) -> None:
    content["annotations"].append(content["annotations"][0] | {"id": 4})


def _shifted(content: dict[str, Any], _: Path) -> None:
    keypoints = content["annotations"][0]["keypoints"]
    keypoints[0::3] = [x + 100 for x in keypoints[0::3]]


CASES: list[tuple[str, Change, str]] = [
    ("missing_file", _remove, "images[1]: {folder}/sub/b.jpg: no such file"),
    ("unreadable_file", _cut_jpeg, "images[1]: {folder}/sub/b.jpg: a JPEG that is cut short"),
    ("unreadable_file", _cut_png, "images[0]: {folder}/a.png: a PNG that is cut short"),
    ("unreadable_file", _text, "images[0]: {folder}/a.png: not an image"),
    ("wrong_size", _turned, "images[1]: sub/b.jpg has 30 x 40 pixels, 40 x 30 are said"),
    ("image_entry", put("images", 1, value=None), "images[1] is None"),
    ("image_id", put("images", 1, "id", value="9"), "images[1].id is '9'"),
    ("duplicate_image_id", put("images", 1, "id", value=7), "images[1].id is 7, as an earlier image's"),
    ("image_size", put("images", 1, "width", value=0), "images[1].width is 0"),
    ("file_name", put("images", 1, "file_name", value="../b.jpg"), "not inside the folder"),
    ("crowd_index", put("images", 1, "crowdIndex", value="x"), "images[1].crowdIndex is 'x'"),
    ("annotation_entry", put("annotations", 1, value=3), "annotations[1] is 3"),
    ("annotation_id", put("annotations", 1, "id", value=-1), "annotations[1].id is -1"),
    ("duplicate_annotation_id", put("annotations", 1, "id", value=1), "annotations[1].id is 1, as an earlier"),
    ("category", put("annotations", 1, "category_id", value=8), "annotations[1].category_id is 8"),
    ("unknown_image", put("annotations", 1, "image_id", value=8), "annotations[1].image_id is 8"),
    ("keypoints", joint(0, "1", 1), "annotations[0].keypoints[0] is '1'"),  # type: ignore[arg-type]
    ("keypoints_length", person(keypoints=[0] * 63), "63 numbers, 21 joints; skeleton coco17 has 17"),
    ("visibility", joint(0, 1, 1, 3), "annotations[0].keypoints[2] is 3, a visibility is 0, 1 or 2"),
    ("num_keypoints", person(num_keypoints=18), "annotations[0].num_keypoints is 18"),
    ("bbox", person(bbox=[1, 2, 3]), "annotations[0].bbox is [1, 2, 3]"),
    ("area", person(area=-1), "annotations[0].area is -1"),
    ("iscrowd", person(iscrowd=2), "annotations[0].iscrowd is 2"),
    ("segmentation", put("annotations", 2, "segmentation", "counts", value=[7]), "annotations[2].segmentation.counts"),
    ("box_outside", person(bbox=[50, 2, 20, 25]), "annotations[0].bbox is [50, 2, 20, 25], the image is 40 x 30"),
    ("joints_outside", _shifted, "annotations[0].keypoints: 17 of 17 joints, one at [102.0, 3.0]"),
    ("zero_area", person(area=0), "annotations[0].area is 0"),
    ("box_beyond", person(bbox=[1, 2, 42, 25]), "annotations[0].bbox is [1, 2, 42, 25], the image is 40 x 30"),
    ("joint_outside", joint(3, 12, 33), "annotations[0].keypoints: 1 of 17 joints, one at [12.0, 33.0]"),
    ("box_elsewhere", person(bbox=[1, 2, 4, 4]), "annotations[0].bbox [1, 2, 4, 4] holds"),
    ("joint_at_origin", joint(3, 0, 0), "annotations[0].keypoints: 1 labelled joints at (0, 0)"),
    ("num_keypoints_differs", person(num_keypoints=3), "annotations[0].num_keypoints is 3, 17 joints"),
    ("repeated_person", _twice, "annotations[3] has the joints of another person of image 7"),
    (
        "repeated_file",
        put("images", 1, "file_name", value="a.png"),
        "images[1].file_name is 'a.png', as images[0]'s",
    ),
]


@pytest.mark.parametrize(("kind", "change", "words"), CASES, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(CASES)])
def test_every_kind_is_found_where_it_is(folder: Path, kind: str, change: Change, words: str) -> None:
    content = valid()
    change(content, folder)
    report = report_of(content, folder)
    finding = next(f for f in report.findings if f.kind == kind)
    assert finding.level == ("error" if kind in ERRORS else "warning")
    assert finding.count == 1
    assert words.format(folder=folder) in finding.examples[0]
    # what follows from it: an image that is not sound takes its annotations with it
    follow = {"box_outside": {"box_elsewhere"}, "joints_outside": {"box_elsewhere"}, "image_id": {"unknown_image"}}
    follow |= {"duplicate_image_id": {"unknown_image"}, "image_entry": {"unknown_image"}}
    assert kinds(report).keys() - {kind} <= follow.get(kind, set())


def test_every_kind_has_a_case() -> None:
    assert {kind for kind, _, _ in CASES} == {*ERRORS, *WARNINGS}


def test_all_places_are_counted_and_the_first_ones_kept(folder: Path) -> None:
    content = valid()
    for i in range(50):
        content["annotations"].append(content["annotations"][0] | {"id": 10 + i, "area": "big", "bbox": None})
    report = report_of(content, folder, examples=2)
    assert kinds(report) == {"bbox": 50, "area": 50}
    assert report.count("error") == 100
    assert [len(f.examples) for f in report.findings] == [2, 2]
    assert report.findings[0].examples[1].startswith("annotations[4].bbox is None")


def test_decoding_finds_what_a_header_hides(folder: Path) -> None:
    path = folder / "a.png"
    data = bytearray(path.read_bytes())
    data[60:200] = bytes(140)  # the middle of the pixels
    path.write_bytes(data)
    assert kinds(report_of(valid(), folder)) == {}
    found = kinds(report_of(valid(), folder, decode=True))
    assert found == {"unreadable_file": 1}


def test_another_skeleton(folder: Path, tmp_path: Path) -> None:
    hand = tmp_path / "hand.yaml"
    hand.write_text("{name: hand3, joints: [a, b, c], limbs: [[a, b]], sigmas: [0.1, 0.1, 0.1]}")
    content = valid(3)
    content["categories"] = [{"id": 1, "name": "hand", "keypoints": ["a", "b", "c"]}]
    assert report_of(content, folder, skeleton=load_skeleton(hand)).findings == ()
    with pytest.raises(InputError, match="not those of a known skeleton"):
        report_of(content, folder)


@settings(max_examples=FUZZED, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=broken(valid()))
def test_the_check_and_the_reader_agree(folder: Path, text: str) -> None:
    """What is refused has an error; what loads has none but those that the reader cannot see or lives with."""
    source = folder / "annotations.json"
    source.write_text(text)
    try:
        load_coco(source, folder)
    except InputError:
        loads = False
    else:
        loads = True
    try:
        report = report_of(text, folder)
    except InputError as error:
        message = str(error)
        errors = {"refused"}
    else:
        message = ""
        errors = {finding.kind for finding in report.findings if finding.level == "error"}
        lines = [example for finding in report.findings for example in finding.examples]
        assert not [line for line in lines if "\n" in line]
        json.dumps(report.as_json())
    assert "\n" not in message
    if loads:
        assert errors <= READ_ALL_THE_SAME
    else:
        assert errors


# --------------------------------------------------------------------------------------------------- the command line


def run(*args: object) -> Any:
    return CliRunner().invoke(app, ["data", "check", *map(str, args)])


def test_the_command_lists_findings_and_says_by_its_exit_code(folder: Path) -> None:
    source = folder / "annotations.json"
    source.write_text(json.dumps(valid()))
    good = run(source, "--images", folder)
    assert good.exit_code == 0
    assert "2 images (0 without annotations), 1 people with coco17 joints, 1 without, 1 crowds" in good.output
    assert "0 errors, 0 warnings" in good.output

    content = valid()
    content["annotations"][0]["num_keypoints"] = 3
    source.write_text(json.dumps(content))
    assert run(source, "--images", folder).exit_code == 0
    assert run(source, "--images", folder, "--strict").exit_code == 2

    (folder / "a.png").unlink()
    bad = run(source, "--images", folder)
    assert bad.exit_code == 2
    assert "error: 1 image files that are not there [missing_file]" in bad.output
    assert "a.png: no such file" in bad.output
    assert "1 errors, 1 warnings" in bad.output
    machine = json.loads(run(source, "--images", folder, "--json").stdout)
    assert (machine["errors"], machine["warnings"], machine["images"]) == (1, 1, 2)
    assert [f["kind"] for f in machine["findings"]] == ["missing_file", "num_keypoints_differs"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.json", "--images", "{folder}"), "none.json: no such file"),
        (("{folder}/annotations.json", "--images", "{folder}/none"), "none: no such folder of images"),
        (("{folder}/annotations.json", "--images", "{folder}", "--skeleton", "x"), "skeleton x is not one of"),
    ],
)
def test_what_cannot_be_checked_is_one_line(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    (folder / "annotations.json").write_text(json.dumps(valid()))
    done = run(*(argument.format(folder=folder) for argument in arguments))
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception)


@needs_samples
@pytest.mark.parametrize("name", ["coco", "crowdpose", "mpii"])
def test_real_data_has_no_errors(name: str) -> None:
    root = SAMPLES / name
    report = check(root / f"test_{name}.json", root, decode=True)
    assert report.count("error") == 0
    # CrowdPose counts neither the head nor the neck in num_keypoints
    assert kinds(report) == ({"num_keypoints_differs": 4} if name == "crowdpose" else {})
