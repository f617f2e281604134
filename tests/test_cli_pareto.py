"""``archsearch pareto``: what it prints, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report.records import make_run
from typer.testing import CliRunner

from archsearch.cli import app
from archsearch.files import InputError


def test_the_command_prints_the_front_and_its_caption(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    done = CliRunner().invoke(app, ["pareto", str(run.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "on the front, 1 of 4" in done.output
    assert "AP on embedded scenes against MACs" in done.output
    machine = CliRunner().invoke(app, ["pareto", str(run.path), "--json", "--out", str(tmp_path / "json")])
    assert [row["name"] for row in json.loads(machine.output)] == ["shrink1", "shrink3", "shrink2", "baseline"]


@pytest.mark.parametrize(
    ("x", "unit", "cost", "shown"),
    [
        ("params", "M", 1.206339, "1.206 M"),
        ("macs", "M", 72.953856, "72.95 M"),
        ("macs:ptflops_0_6", "M", 96.408864, "96.41 M"),
        ("latency:processor", "ms", 9.81, "9.81 ms"),
    ],
)
def test_a_cost_is_in_its_unit_everywhere(tmp_path: Path, x: str, unit: str, cost: float, shown: str) -> None:
    run = make_run(tmp_path / "run", names=("baseline",))
    words = ["pareto", str(run.path), "--x", x, "--out", str(tmp_path / "out")]
    assert shown in CliRunner().invoke(app, words).output
    (row,) = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert (row["cost"], row["unit"]) == (cost, unit)
    assert f"({unit}" in row["cost_of"]
    assert (row["params"], row["macs_true"]) == (1206339, 72953856)  # these are never scaled
    with open(tmp_path / "out" / "pareto.csv", encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert (float(line["cost"]), line["unit"], line["params"]) == (cost, unit, "1206339")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "nothing to draw: name the folder of a run"),
        (["--published", "mpii"], "--published mpii: one of crowdpose, coco"),
        (["RUN", "--published", "coco"], "AP on embedded scenes cannot share an axis with AP published on coco"),
        (["RUN", "--x", "speed"], "--x speed: one of"),
        (["RUN", "--y", "pck"], "--y pck: one of ap, ap50, ap75"),
        (["RUN", "--width", "wall"], "--width wall: one of column, page"),
        (["RUN", "--x", "latency:tpu"], "--x latency:tpu: is none of: A processor"),
        (["nowhere"], "nowhere: no such folder"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(tmp_path: Path, words: list[str], fault: str) -> None:
    run = make_run(tmp_path / "run", names=("baseline",))
    given = [str(run.path) if word == "RUN" else word for word in words]
    done = CliRunner().invoke(app, ["pareto", *given, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert fault in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists()
