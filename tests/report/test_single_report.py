"""The report of one training: what the page says of it, and what it does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from report.pages import parse
from report.records import make_run

from archsearch.files import InputError, write_text
from archsearch.report.single import write_report
from archsearch.report.tables import load_study
from archsearch.runs import Run


def made(path: Path, **fields: Any) -> Run:
    """A run of ``archsearch train`` with made-up records, with these fields in its study."""
    run = make_run(path, names=("baseline",), latency=False)
    study = load_study(run)
    for name in ("configurations", "seeds"):
        del study[name]
    study |= {
        "kind": "train",
        "name": "baseline",
        "question": "What does it reach?",
        "protocol": "bottom_up",
        "seed": 0,
    }
    write_text(path / "study.yaml", yaml.safe_dump({**study, **fields}, sort_keys=False))
    return run


def words(run: Run) -> str:
    """All text of the page that is written of a run."""
    write_report(run)
    parsed = parse((run.path / "report.html").read_text())
    parsed.check()
    return " ".join(text for _, text in parsed.texts)


def test_the_page_speaks_of_one_network(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    assert write_report(run) == [
        {"network": "baseline", "AP": "0.281 [0.260, 0.304]", "MACs": "72.95 M", "params": "1.206 M", "train s": "231"}
    ]
    text = words(run)
    assert "Training · embedded scenes" in text
    assert "What does it reach?" in text
    assert (
        "baseline has AP on embedded scenes 0.281 (95\N{NO-BREAK SPACE}% bootstrap interval over validation images "
        "0.260 to 0.304) after 14,400 training images and 231 s. It has 1.206 M parameters and takes 72.95 M MACs an "
        "image."
    ) in text
    assert "Bottom-up: all people of an image at once. It began from random weights. Trained on cpu, seed 0." in text
    assert "archsearch train study.yaml" in text
    for word in ("configuration", "hrinking", "archsearch shrink", "from the first", "equal time", "PCKh"):
        assert word not in text, word
    names = {
        f"{name}.{kind}" for name in ("ap_by_height", "learning_curves", "architectures") for kind in ("png", "svg")
    }
    assert {path.name for path in (run.path / "plots").iterdir()} == names
    assert (run.path / "results.csv").read_text().count("\n") == 2


def test_the_boxes_the_first_weights_and_the_joints_found_are_told(tmp_path: Path) -> None:
    run = made(tmp_path / "run", protocol="top_down", detections="found.json")
    run.record("weights", config="baseline", seed=0, source="backbone", taken=30, tensors=40)
    last = run.records("result")[-1]
    run.record(**{**last, "pckh": {"mean": 0.8765, "mean_01": 0.2345}})
    text = words(run)
    assert "Top-down: one person in each box, evaluated in boxes of found.json." in text
    assert "It began from backbone: 30 of 40 tensors taken." in text
    assert "and PCKh@0.5 0.876 after" in text
    assert "0.234" in text
    assert "evaluated in annotated boxes" in words(made(tmp_path / "annotated", protocol="top_down"))


def test_a_run_without_its_cost_has_a_page(tmp_path: Path) -> None:
    """As trainings of before that was recorded."""
    run = made(tmp_path / "run")
    lines = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join(line for line in lines if '"kind": "cost"' not in line) + "\n")
    assert not run.records("cost")
    assert write_report(run)[0]["MACs"] == "–"
    text = words(run)
    assert "after 14,400 training images and 231 s." in text
    assert "MACs an image" not in text


def test_an_unfinished_training_says_what_to_run(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    lines = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join(line for line in lines if '"kind": "result"' not in line) + "\n")
    with pytest.raises(InputError, match="no finished training on record; run: archsearch train baseline --resume"):
        write_report(run)
    assert not (run.path / "report.html").exists()
