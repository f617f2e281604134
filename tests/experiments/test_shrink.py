import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from archsearch import cost
from archsearch.experiments.shrink import Configuration, ShrinkStudy, check_sequence, run_study, shrunk
from archsearch.nets.zoo import as_arch
from archsearch.runs import start
from archsearch.settings import find_study, parse, read_study
from archsearch.train.checkpoint import load_model, load_tensors

TINY: dict[str, Any] = {
    "kind": "shrink",
    "name": "tiny",
    "question": "Does it run?",
    "data": {"kind": "scenes", "size_px": 64, "train": 24, "val": 6},
    "base": {
        "kind": "hrnet",
        "input_hw": [64, 64],
        "widths": [4, 8],
        "stem": {"width": 8, "planes": 2, "blocks": [{"kernel": 3}]},
        "stages": [{"modules": 1, "branches": [[{"kernel": 3}], [{"kernel": 3}]]}],
        "head": {"kind": "bottom_up", "deconvs": [{"width": 4, "blocks": []}]},
    },
    "configurations": [
        {"name": "base", "width": 4, "A": [[1], [1, 1]]},
        {"name": "shrunk", "width": 6, "A": [[1], [0, 1]]},
    ],
    "train": {"preset": "fast", "images": 480, "evaluations": 3, "checkpoint_s": 0.5},
    "bootstrap": 20,
    "latency": {"repeats": 3, "warmup": 1},
    "height_edges_px": [0, 40, 1000],
    "device": "cpu",
}


def step(name: str, depths: list[list[int]], width: int) -> Configuration:
    return Configuration.model_validate({"name": name, "A": depths, "width": width})


def test_the_published_sequence_is_the_zoos() -> None:
    path = find_study("gradual_shrinking_crowdpose")
    study = parse(ShrinkStudy, read_study(path), path)
    archs = study.architectures(14)
    zoo = ["higherhrnet-w16-baseline", "higherhrnet-w16-shrink1", "higherhrnet-w18-shrink2", "higherhrnet-w18-shrink3"]
    assert list(archs.values()) == [as_arch(name) for name in zoo]
    assert [arch.blocks for arch in archs.values()] == [108, 77, 54, 36]
    printed = [round(cost(arch).macs_by_convention["ptflops_0_6"] / 1e9, 2) for arch in archs.values()]
    assert printed == [12.50, 10.12, 10.02, 9.15]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (step("b", [[1], [2, 3]], 8), r"b: A2\[1\] = 3 grows from 2 in a"),
        (step("b", [[2], [2, 2]], 8), r"b: A1\[0\] = 2 grows from 1 in a"),
        (step("b", [[1], [2, 2]], 6), "b: width 6 falls from 8 in a"),
        (step("b", [[1], [2, 2], [1]], 8), "b: A has stages of"),
    ],
)
def test_a_sequence_that_grows_is_refused_by_entry(after: Configuration, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_sequence((step("a", [[1], [2, 2]], 8), after))


def test_depths_must_be_those_of_the_base() -> None:
    base = as_arch(TINY["base"])
    with pytest.raises(ValueError, match=r"depths of \[1, 2\] branches"):
        shrunk(base, step("a", [[1], [1, 1, 1]], 4))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the stem needs a block"):
        shrunk(base, step("a", [[0], [1, 1]], 4))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width 5 makes"):
        shrunk(base, step("a", [[1], [1, 1]], 5))  # type: ignore[arg-type]


def test_a_study_runs_to_its_records_and_is_not_repeated(tmp_path: Path) -> None:
    study = ShrinkStudy.model_validate(TINY)
    run = start("tiny", study.model_dump(mode="json"), tmp_path)
    events: list[tuple[str, dict[str, Any]]] = []
    assert run_study(study, run, on_event=lambda *event: events.append(event), should_stop=lambda: False)

    results = {record["config"]: record for record in run.records("result")}
    assert set(results) == {"base", "shrunk"}
    assert all(record["images_seen"] == 480 and 0 <= record["ap"] <= 1 for record in results.values())
    costs = {record["config"]: record for record in run.records("cost")}
    archs = study.architectures(17)
    assert {name: record["macs"] for name, record in costs.items()} == {n: cost(a).macs for n, a in archs.items()}
    assert [r["step"] for r in run.records("evaluation") if r["config"] == "base"] == [20, 40, 60]
    assert {r["config"] for r in run.records("latency")} == {"base", "shrunk"}
    assert run.records("ceiling")[0]["ap"] > 0.8
    comparison = run.records("comparison")
    assert [(r["config"], r["against"]) for r in comparison] == [("shrunk", "base")]
    assert comparison[0]["difference"] == pytest.approx(results["shrunk"]["ap"] - results["base"]["ap"])
    assert comparison[0]["low"] <= comparison[0]["difference"] <= comparison[0]["high"]
    model = load_model(run.path / "models" / "shrunk-s0")
    assert model.arch == archs["shrunk"]
    predictions = json.loads((run.path / "predictions" / "base-s0.json").read_text())
    assert all(len(p["keypoints"]) == 51 for p in predictions)
    assert {label for label, _ in events} >= {"data", "base-s0", "shrunk-s0", "latency"}

    before = (run.path / "metrics.jsonl").read_bytes()
    assert run_study(study, run, on_event=lambda *_: None, should_stop=lambda: False)
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_a_run_that_was_cut_after_any_of_its_last_records_is_completed(tmp_path: Path) -> None:
    """Stages that write a record for each configuration are not done when one of these is there."""
    study = ShrinkStudy.model_validate(TINY)
    run = start("tiny", study.model_dump(mode="json"), tmp_path)
    assert run_study(study, run, on_event=lambda *_: None, should_stop=lambda: False)
    lines = run.metrics.read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    whole = _keys(run.metrics)
    trained = max(i for i, kind in enumerate(kinds) if kind == "result") + 1
    for cut in range(trained, len(lines)):
        run.metrics.write_text("".join(lines[1:cut]))  # without the first cost as well
        assert run_study(study, run, on_event=lambda *_: None, should_stop=lambda: False)
        assert _keys(run.metrics) == whole


def _keys(path: Path) -> set[tuple[Any, ...]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {tuple(r.get(name) for name in ("kind", "config", "seed", "step", "against")) for r in records}


def test_killed_at_any_moment_and_resumed_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """SIGKILL of the whole process three times, each time somewhere in the training."""
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    command = [sys.executable, "-m", "archsearch", "shrink", str(file), "train.images=2400", "--runs"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    whole = next((tmp_path / "whole" / "tiny").iterdir())

    moment = random.Random(0)
    killed = 0
    resume: list[str] = []
    while killed < 3:
        process = subprocess.Popen(
            [*command, str(tmp_path / "parts"), *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_progress(tmp_path / "parts", process)
        time.sleep(moment.uniform(0, 1.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        resume = ["--resume"]
        time.sleep(0.5)  # its jobs notice that it is gone
        assert not (_run(tmp_path / "parts") / "results.csv").exists(), "it ended before it was killed three times"
    subprocess.run([*command, str(tmp_path / "parts"), "--resume"], check=True, capture_output=True)
    parts = _run(tmp_path / "parts")

    for name in ("base-s0", "shrunk-s0"):
        one = (load_tensors(folder / "models" / name / "weights.safetensors")[0] for folder in (whole, parts))
        assert _equal(*one)
        one_json = ((folder / "predictions" / f"{name}.json").read_text() for folder in (whole, parts))
        assert len(set(one_json)) == 1
    timeless = [
        {r["config"]: {k: v for k, v in r.items() if k != "train_s"} for r in _records(folder) if r["kind"] == "result"}
        for folder in (whole, parts)
    ]
    assert timeless[0] == timeless[1]


def _run(root: Path) -> Path:
    return next((root / "tiny").iterdir())


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]


def _wait_for_progress(root: Path, process: subprocess.Popen[bytes]) -> None:
    """Until this process has written a record of training."""
    before = time.time()
    while process.poll() is None:
        files = list(root.glob("tiny/*/metrics.jsonl"))
        if files and files[0].stat().st_mtime > before and '"step"' in files[0].read_text():
            return
        assert time.time() - before < 120
        time.sleep(0.05)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return set(a) == set(b) and all(_equal(a[key], b[key]) for key in a)
    return bool((a == b).all())
