"""What runs have in common: which may share an axis, and what each is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch.files import InputError
from archsearch.report.tables import load_study
from archsearch.runs import Run, recorded_digests, validation_files

ANNOTATED_BOXES = "none (annotated boxes)"  # the detections of a top-down run that has none
OFFICIAL = {"crowdpose": "crowdpose_test.json", "coco": "person_keypoints_val2017.json"}  # what papers evaluate on


@dataclass(frozen=True)
class ValidationFile:
    """A file that decides what AP is of."""

    path: Path
    sha256: str | None  # when the run began; None: not on record

    def same(self, other: ValidationFile) -> bool:
        """By content where that of both is on record, else by the whole path."""
        if self.sha256 is None or other.sha256 is None:
            return self.path == other.path
        return self.sha256 == other.sha256

    def __str__(self) -> str:
        return str(self.path) if self.sha256 is None else f"{self.path} (SHA-256 {self.sha256[:12]})"


def series_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its study's, with the folder's where runs share it."""
    names = [str(load_study(run).get("name", run.path.name)) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} {run.path.name}" for name, run in zip(names, runs, strict=True)
    ]


def study_of(run: Run) -> dict[str, Any]:
    """The run's settings with its ``data``; those of a ranking are its supernet's.

    Raises ``InputError`` where the data are not on record.
    """
    study = load_study(run)
    if "data" in study:
        return study
    if "supernet" not in study:
        raise InputError(f"{run.path}/study.yaml: no field data, so nothing says what its AP is of")
    path = Path(study["supernet"]).parent / "study.yaml"
    if not path.exists():
        raise InputError(f"{run.path}: its data are those of the supernet's run, and {path} is not there")
    return {**study, "data": load_study(Run(path.parent))["data"]}


def data_of(run: Run) -> dict[str, Any]:
    """What must be equal for two runs to have comparable AP: the images that it is evaluated on, and the skeleton.

    By the name of the setting; files are :class:`ValidationFile`. ``detections`` is only there of a top-down run.
    """
    study = study_of(run)
    estimate = study.get("estimate") or (study.get("score") or {}).get("estimate") or {}
    data = study["data"]
    part = {"estimate.val_images": estimate.get("val_images")}  # how many candidates are evaluated on; None: all
    if data.get("kind") == "scenes":
        names = ("kind", "skeleton", "level", "size_px", "val", "seed")
        return {**{f"data.{name}": data.get(name) for name in names}, **part}
    digests = recorded_digests(run)
    files = {name: ValidationFile(path, digests.get(name)) for name, path in validation_files(study).items()}
    return {
        **{f"data.{name}": data.get(name) for name in ("kind", "name", "skeleton")},
        **{f"data.{name}": files.get(name) for name in ("val_annotations", "val_heads")},
        **({"detections": files.get("detections", ANNOTATED_BOXES)} if _is_top_down(study) else {}),
        **part,
    }


def in_annotated_boxes(run: Run) -> bool:
    """Whether the run is a top-down one that looked for people in the boxes of the annotations, not a detector's."""
    study = load_study(run)
    return _is_top_down(study) and study.get("detections") is None


def check_same_data(runs: Sequence[Run]) -> None:
    """Raises ``InputError`` naming two runs and the setting in which their data differ."""
    data = [data_of(run) for run in runs]
    for i, other in enumerate(data):
        for j, first in enumerate(data[:i]):  # each with each: a digest that a run has not decides nothing for others
            name = _difference(first, other)
            if name:
                raise InputError(
                    f"{runs[i].path}: cannot share an AP axis with {runs[j].path}: {name} is {other.get(name)}, there "
                    f"it is {first.get(name)}"
                )


def check_published(runs: Sequence[Run], dataset: str) -> None:
    """Raises ``InputError`` where AP of a run and AP published on ``dataset`` are not the same quantity.

    Top-down papers print AP in a detector's boxes.
    """
    for run in runs:
        data = data_of(run)
        if data["data.kind"] == "scenes":
            raise InputError(
                f"{run.path}: AP on embedded scenes cannot share an axis with AP published on {dataset}: the images "
                "have nothing in common; draw the run without --published"
            )
        if str(data["data.name"]).lower() != dataset:
            raise InputError(
                f"{run.path}: its AP is on {data['data.name']}, that of the published models on {dataset}: they cannot "
                "share an axis"
            )
        annotations = data["data.val_annotations"]
        if annotations is None or annotations.path.name != OFFICIAL[dataset]:
            raise InputError(
                f"{run.path}: data.val_annotations is {annotations}, that of the published models {OFFICIAL[dataset]}: "
                "they cannot share an axis"
            )
        part = data["estimate.val_images"]
        if part is not None:
            raise InputError(
                f"{run.path}: estimate.val_images is {part}, the published models are evaluated on all images: they "
                "cannot share an axis"
            )
        if data.get("detections") == ANNOTATED_BOXES:
            raise InputError(
                f"{run.path}: detections is {ANNOTATED_BOXES}, published top-down AP is in a detector's boxes: they "
                "cannot share an axis"
            )


def _is_top_down(study: Mapping[str, Any]) -> bool:
    return study.get("protocol") == "top_down"


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first setting in which two runs' data differ; empty where they are the same."""
    for name in dict.fromkeys([*one, *other]):
        if name == "detections" and not (name in one and name in other):
            continue  # a bottom-up run needs no boxes, and never competes with a top-down one
        if name == "data.name" and _annotations_known(one) and _annotations_known(other):
            continue  # the files say more than what somebody called them
        a, b = one.get(name), other.get(name)
        if not (a.same(b) if isinstance(a, ValidationFile) and isinstance(b, ValidationFile) else a == b):
            return name
    return ""


def _annotations_known(data: Mapping[str, Any]) -> bool:
    found = data.get("data.val_annotations")
    return isinstance(found, ValidationFile) and found.sha256 is not None
