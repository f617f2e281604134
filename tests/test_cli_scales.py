"""``archsearch eval`` and ``predict`` with several scales, and on images that only a server can judge."""

import json
from pathlib import Path
from typing import Any

import pytest

from archsearch.data.coco import load_coco
from archsearch.data.scenes import scenes, write_scenes
from archsearch.files import InputError
from archsearch.nets.zoo import as_arch, build
from archsearch.pose.bottomup import FAST_DECODE, OFFICIAL_DECODE
from archsearch.pose.topdown import FAST_TOP_DOWN
from archsearch.skeleton import COCO17
from archsearch.train.checkpoint import save_model

PLAIN: dict[str, Any] = {
    "kind": "hrnet",
    "input_hw": [64, 64],
    "widths": [4, 8],
    "stem": {"width": 4, "planes": 2, "blocks": [{"kernel": 3}]},
    "stages": [{"modules": 1, "branches": [[], []]}],
    "head": {"kind": "bottom_up", "deconvs": [{"width": 4}]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder, scenes(3, 64, 0, COCO17, "easy"))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, arch = tmp_path_factory.mktemp("model"), as_arch(PLAIN)
    save_model(folder, build(arch, joints=17), arch, COCO17, OFFICIAL_DECODE)
    return folder


def error_of(err: str) -> str:
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    return line


def test_scales_and_flip_change_what_is_found(run: Any, data: Path, model: Path, tmp_path: Path) -> None:
    files = ("--annotations", data / "annotations.json", "--images", data / "images", "--json")
    found: dict[str, str] = {}
    for name, options in (
        ("plain", ()),
        ("one", ("--scale", 1)),
        ("three", ("--scale", 0.5, "--scale", 1, "--scale", 2)),
        ("unmirrored", ("--no-flip",)),
    ):
        code, _, err = run("eval", model, *files, *options, "--out", tmp_path / f"{name}.json")
        assert code == 0, err
        found[name] = (tmp_path / f"{name}.json").read_text()
    assert found["plain"] == found["one"]
    assert len({found["plain"], found["three"], found["unmirrored"]}) == 3
    code, _, err = run("predict", model, data / "images", "--scale", 1, "--scale", 0.5, "--out", "drawn")
    assert code == 0, err
    assert len(list(Path("drawn").glob("*.png"))) == 3


def test_scales_that_cannot_be_are_one_line(run: Any, data: Path, model: Path, tmp_path: Path) -> None:
    files = ("--annotations", data / "annotations.json", "--images", data / "images")
    code, _, err = run("eval", model, *files, "--scale", 0.5, "--scale", 2)
    assert code == 2
    assert "scales (0.5, 2.0): all different, and 1 among them" in error_of(err)
    arch = as_arch(PLAIN)
    save_model(tmp_path / "square", build(arch, joints=17), arch, COCO17, FAST_DECODE)
    code, _, err = run("predict", tmp_path / "square", data / "images", "--scale", 1, "--scale", 0.3)
    assert code == 2
    assert "scale 0.3 of 64 px is not a multiple of 8" in error_of(err)
    boxes = as_arch({**PLAIN, "head": {"kind": "top_down"}})
    save_model(tmp_path / "boxes", build(boxes, joints=17), boxes, COCO17, FAST_TOP_DOWN)
    code, _, err = run("eval", tmp_path / "boxes", *files, "--scale", 2)
    assert code == 2
    assert "a top-down network, which sees every box at one size" in error_of(err)


def test_images_without_annotations_give_a_file_for_the_server(
    run: Any, data: Path, model: Path, tmp_path: Path
) -> None:
    """As COCO's test-dev: image_info_test-dev2017.json lists images and categories, and no annotations."""
    content = json.loads((data / "annotations.json").read_text())
    info = {"images": content["images"], "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]}
    path = tmp_path / "image_info.json"
    path.write_text(json.dumps(info))
    code, out, err = run("eval", model, "--annotations", path, "--images", data / "images", "--out", "server.json")
    assert code == 0, err
    results = json.loads(Path("server.json").read_text())
    assert f"server.json: {len(results)} results" in out
    assert all(set(r) == {"image_id", "category_id", "keypoints", "score"} for r in results)
    assert all(len(r["keypoints"]) == 51 and r["category_id"] == 1 for r in results)
    assert len(results) > 0
    code, _, err = run("eval", model, "--annotations", path, "--images", data / "images")
    assert code == 2
    assert "there is nothing to evaluate" in error_of(err)
    with pytest.raises(InputError, match="there is no list annotations"):
        load_coco(path, data / "images")
    assert len(load_coco(path, data / "images", skeleton=COCO17)) == 3
