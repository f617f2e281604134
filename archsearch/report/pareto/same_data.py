"""What runs have in common: which may share an axis, and what each is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsearch.files import InputError
from archsearch.report.tables import load_study
from archsearch.runs import Run


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
    """What must be equal for two runs to have comparable AP: the images that it is evaluated on, and the skeleton."""
    study = study_of(run)
    estimate = study.get("estimate") or (study.get("score") or {}).get("estimate") or {}
    data, part = study["data"], estimate.get("val_images")
    if data.get("kind") == "scenes":
        names = ("skeleton", "level", "size_px", "val", "seed")
        return {"kind": "scenes", **{name: data.get(name) for name in names}, "val_images": part}
    return {
        "kind": data.get("kind"),
        "name": data.get("name"),
        "skeleton": data.get("skeleton"),
        "val_annotations": Path(str(data.get("val_annotations"))).name,
        "val_images": part,  # how many of them candidates are evaluated on; None: all
    }


def check_same_data(runs: Sequence[Run]) -> None:
    """Raises ``InputError`` naming two runs and the setting in which their data differ."""
    if not runs:
        return
    first = data_of(runs[0])
    for run in runs[1:]:
        other = data_of(run)
        for name in [*first, *other]:
            if first.get(name) != other.get(name):
                raise InputError(
                    f"{run.path}: cannot share an AP axis with {runs[0].path}: "
                    f"{'estimate' if name == 'val_images' else 'data'}.{name} is {other.get(name)}, there it is "
                    f"{first.get(name)}"
                )


def check_published(runs: Sequence[Run], dataset: str) -> None:
    """Raises ``InputError`` where AP of a run and AP published on ``dataset`` are not the same quantity."""
    for run in runs:
        data = data_of(run)
        if data["kind"] == "scenes":
            raise InputError(
                f"{run.path}: AP on embedded scenes cannot share an axis with AP published on {dataset}: the images "
                "have nothing in common; draw the run without --published"
            )
        if str(data["name"]).lower() != dataset:
            raise InputError(
                f"{run.path}: its AP is on {data['name']}, that of the published models on {dataset}: they cannot "
                "share an axis"
            )
