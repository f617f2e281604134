"""What every report of a run says alike: its title, its data, its settings and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.files import read_json, read_text
from archsearch.report.page import Section, code, definitions, details, paragraph
from archsearch.runs import Run


def repeat_section(run: Run, command: str) -> Section:
    """The environment, the settings and the command that repeats the run from its own study.yaml."""
    text = paragraph("With study.yaml from the folder of this run (its text is below) in the working directory:")
    text += code(command)
    path = run.path / "environment.json"
    if path.exists():
        found = read_json(path)
        flat = {k: v for k, v in found.items() if not isinstance(v, dict) and v is not None}
        flat.update({k: v for group in found.values() if isinstance(group, dict) for k, v in group.items() if v})
        text += definitions({name: str(value) for name, value in flat.items()})
    text += details("study.yaml", code(read_text(run.path / "study.yaml")))
    return Section("Settings and how to repeat this", text)


def title_of(run: Run, study: Mapping[str, Any]) -> str:
    """A study's name as a heading."""
    name = str(study.get("name", run.path.name))
    return name[:1].upper() + name[1:].replace("_", " ")


def data_text(study: Mapping[str, Any]) -> str:
    """The data set in one line."""
    data = study.get("data", {})
    if data.get("kind") != "scenes":
        return str(data.get("name", "custom data"))
    return (
        f"embedded scenes, {data.get('level')}, {data.get('size_px')} px, {data.get('train')} training and "
        f"{data.get('val')} validation images"
    )
