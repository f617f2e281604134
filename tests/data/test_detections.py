import json
from pathlib import Path
from typing import Any

import pytest

from archsearch.data.dataset import Dataset
from archsearch.data.detections import detected_persons, read_detections
from archsearch.data.scenes import scenes
from archsearch.files import InputError
from archsearch.skeleton import COCO17


def box(image: int, x: float, score: float = 0.5, category: int = 1, **changes: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [x, 2, 30, 40], "score": score, **changes}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture(scope="module")
def data() -> Dataset:
    return scenes(3, 64, 0, COCO17, "easy")


def test_boxes_come_in_the_order_of_the_images(tmp_path: Path, data: Dataset) -> None:
    ids = [info.id for info in data.images]
    content = [box(ids[2], 1, 0.9), box(ids[0], 2), box(99, 3), box(ids[2], 4, 0.1), box(ids[1], 5, category=2)]
    path = written(tmp_path / "d.json", [*content, box(ids[1], 6, bbox=[1, 2, 0, 0])])
    found = detected_persons(data, path)
    assert found.images_K.tolist() == [0, 2, 2]
    assert found.boxes_K4.tolist() == [[2, 2, 30, 40], [1, 2, 30, 40], [4, 2, 30, 40]]
    assert found.scores_K.tolist() == [0.5, 0.9, 0.1]
    assert found.joints_KJ3.shape == (3, 17, 3)
    assert not found.joints_KJ3.any()
    assert found.source == f"boxes of {path} (1 of other images, 2 unusable left out)"


def test_no_boxes_at_all_are_nobody(tmp_path: Path, data: Dataset) -> None:
    found = detected_persons(data, written(tmp_path / "d.json", []))
    assert len(found) == 0
    assert found.boxes_K4.shape == (0, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ({"annotations": []}, "a list of detections is needed"),
        ([3], r"\[0\] is 3, an object is needed"),
        ([box(1, 0), {"image_id": 1}], r"\[1\].category_id is missing"),
        ([box("x", 0)], r"\[0\].image_id is 'x', an integer"),
        ([box(1, 0, bbox=[1, 2, 3])], r"\[0\].bbox is \[1, 2, 3\], four numbers"),
        ([box(1, 0, bbox=[1, 2, 3, -4])], "of negative size"),
        ([box(1, 0, score=None)], r"\[0\].score is None"),
        ([box(77, 0)], "none of its 1 boxes is of one of the 3 images"),
    ],
)
def test_what_is_no_list_of_detections_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = written(tmp_path / "d.json", content)
    with pytest.raises(InputError, match=words) as caught:
        read_detections(path, [1, 2, 3])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
