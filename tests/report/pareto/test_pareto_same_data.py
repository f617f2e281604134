"""Runs that may share an axis, and those that may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from report.records import make_run
from report.searches import SCENES, make_search

from archsearch.files import InputError, write_text
from archsearch.report.pareto.records import points_of
from archsearch.report.pareto.same_data import check_published, data_of
from archsearch.runs import Run

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
    assert data_of(make_search(tmp_path / "run", count=1))["level"] == SCENES["level"]
