"""``archsearch supernet`` as people run it: killed, interrupted, under torchrun; each ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from experiments import made
from report.pages import parse
from train import tiny

from archsearch.cli import main, supernets
from archsearch.experiments import supernet as experiment
from archsearch.experiments import supernet_study as study_module
from archsearch.experiments.rank import read_benchmark
from archsearch.runs import Run
from archsearch.train.checkpoint import load_tensors

STUDY = {**tiny.STUDY, "processes": 2, "subnets": 0, "train": {**tiny.STUDY["train"], "images": 96}}
STUDY["supernet"] = {**tiny.STUDY["supernet"], "sync_batch_norm": True}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


@pytest.fixture(scope="module")
def whole(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run of two processes that the study starts."""
    root = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(study, root), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return run_in(root)


def command(study: Path, root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "archsearch", "supernet", str(study), "--runs", str(root), *more]


def run_in(root: Path) -> Run:
    (path,) = (root / "tiny").iterdir()
    return Run(path)


def same_weights(a: Run, b: Run) -> bool:
    one, two = (load_tensors(run.path / "supernet" / "weights.safetensors")[0] for run in (a, b))
    return set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


def candidates(run: Run) -> dict[str, Any]:
    left_out = ("seconds", "supernet")
    return {r["fingerprint"]: {k: v for k, v in r.items() if k not in left_out} for r in run.records("candidate")}


def test_a_run_has_its_supernet_its_records_and_its_page(whole: Run) -> None:
    (trained,) = whole.records("trained")
    assert (trained["images_seen"], trained["processes"]) == (96, 2)
    assert {r["name"] for r in whole.records("landmark")} == {"smallest", "median", "largest"}
    parse((whole.path / "report.html").read_text()).check()
    assert {path.name for path in whole.path.iterdir()} >= {"study.yaml", "environment.json", "plots", "supernet"}
    assert not (whole.path / "checkpoints" / "supernet").exists()


def test_killed_interrupted_and_resumed_it_ends_as_if_nothing_had_happened(
    whole: Run, study: Path, tmp_path: Path
) -> None:
    """SIGKILL of the whole program at a random moment of the training, then Ctrl-C at another."""
    moment, resume = random.Random(1), list[str]()
    for kind in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            command(study, tmp_path, *resume), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_for_step(tmp_path, process)
        time.sleep(moment.uniform(0, 0.2))
        process.send_signal(kind)
        _, errors = process.communicate(timeout=300)
        if kind is signal.SIGINT:
            assert process.returncode == 130, errors
            assert "stopped; go on with: archsearch supernet" in errors
        resume = ["--resume"]
        time.sleep(0.5)  # its processes notice that it is gone
    parts = run_in(tmp_path)
    assert not parts.records("trained"), "it ended before it was stopped twice"
    done = subprocess.run(command(study, tmp_path, "--resume"), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert same_weights(whole, parts)
    assert candidates(whole) == candidates(parts)


def wait_for_step(root: Path, process: subprocess.Popen[str]) -> None:
    """Until this program has put a step on record."""
    before = len(steps(root))
    started = time.time()
    while process.poll() is None and len(steps(root)) <= before:
        assert time.time() - started < 240
        time.sleep(0.02)
    assert process.poll() is None, process.stderr.read() if process.stderr else ""


def steps(root: Path) -> list[str]:
    return [
        line
        for path in root.glob("tiny/*/metrics.jsonl")
        for line in path.read_text().splitlines()
        if '"kind": "step"' in line
    ]


def test_under_torchrun_two_processes_make_the_same_weights(whole: Run, study: Path, tmp_path: Path) -> None:
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *words, *command(study, tmp_path)[1:]], capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = run_in(tmp_path)
    assert same_weights(whole, run)
    assert candidates(whole) == candidates(run)
    assert (run.path / "report.html").exists()


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# ----------------------------------------------------------------------------------------------------- within a process


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["archsearch", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    code = caught.value.code
    return (code if isinstance(code, int) else 0), out, err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["supernet", "STUDY", "supernet.random=-1"], "supernet.random: "),
        (["supernet", "STUDY", "supernet.phases=[{until: 0.5}]"], "parts of the training that rise to 1"),
        (["supernet", "STUDY", "supernet.strategy=fair", "supernet.teacher_weight=0.5"], "only a sandwich has"),
        (["supernet", "STUDY", "supernet.randoms=2"], "unknown key; did you mean random?"),
        (["supernet", "no_such_study"], "neither a YAML file nor one of"),
        (["supernet", "STUDY", "--resume"], "no run to resume"),
        (["supernet", "STUDY", "processes=3"], "batch 8 cannot be shared equally by 3 processes"),
        (["supernet", "STUDY", "processes=8", "supernet.sync_batch_norm=false"], "each would normalise one image"),
        (["supernet", "STUDY", "supernet.weights=/no/such/model"], "supernet.weights: /no/such/model: no such file"),
        (["supernet", "table", "nowhere", "embedded_table", "--out", "."], "--out .: is a folder, a file is needed"),
        (["supernet", "table", "nowhere", "embedded_table", "--out", "a/t.jsonl"], "there is no folder a"),
        (["supernet", "conflict", "nowhere"], "nowhere: no supernet"),
        (["supernet", "table", "nowhere", "embedded_table", "--out", "t.jsonl"], "nowhere: no supernet"),
        (["supernet", "table", "nowhere", "no_such_space", "--out", "t.jsonl"], "no_such_space is neither a file nor"),
        (["rank", "embedded_rank", "--supernet", "nowhere"], "nowhere: no supernet"),
        (["shrink", "gradual_shrinking", "--no-train"], "--no-train leaves nothing to do without --supernet"),
        (["shrink", "gradual_shrinking", "--supernet", "nowhere"], "nowhere: no supernet"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    words: list[str], line: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, *[str(study) if word == "STUDY" else word for word in words])
    lines = [text for text in err.splitlines() if text.startswith("error: ")]
    assert code == 2, err
    assert len(lines) == 1
    assert line in lines[0]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_under_torchrun_another_number_of_processes_is_one_clear_line(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    code, _, err = call(monkeypatch, capsys, "supernet", study)
    assert code == 2, err
    assert err.strip() == "error: processes is 2, torchrun started 4"
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_elsewhere_with_as_many_processes(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also an older one, in whose study.yaml the number was not written out."""
    words = ["supernet", study, "processes=null", "--runs", tmp_path]
    went_on: list[Any] = []
    monkeypatch.setattr(experiment, "run_supernet", lambda settings, *_, **__: went_on.append(settings.processes))
    monkeypatch.setattr(study_module, "cores", lambda: 2)
    assert call(monkeypatch, capsys, *words)[0] == 130
    (run,) = (tmp_path / "tiny").iterdir()
    assert yaml.safe_load((run / "study.yaml").read_text())["processes"] == 2
    monkeypatch.setattr(study_module, "cores", lambda: 8)
    code, _, err = call(monkeypatch, capsys, *words, "--resume")
    assert code == 130, err
    older = {**yaml.safe_load((run / "study.yaml").read_text()), "processes": None}
    (run / "study.yaml").write_text(yaml.safe_dump(older))
    Run(run).record("trained", processes=2)
    code, _, err = call(monkeypatch, capsys, *words, "--resume")
    assert code == 130, err
    assert went_on == [2, 2, 2]
    assert yaml.safe_load((run / "study.yaml").read_text())["processes"] == 2
    code, _, err = call(monkeypatch, capsys, "supernet", study, "processes=4", "--runs", tmp_path, "--resume")
    assert code == 2
    assert "the run was started with other settings: processes was 2, is 4" in err


def test_reports_are_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    run = made.supernet(tmp_path / "20260101-000000")
    run.record("candidate", fingerprint="f", ap=0.25, ap_low=0.2, ap_high=0.3, macs=1_000_000, params=1000)
    run.record("landmark", name="smallest", fingerprint="f")
    code, out, err = call(monkeypatch, capsys, "report", run.path, "--json")
    assert code == 0, err
    assert json.loads(out)[0]["AP"] == "0.250 [0.200, 0.300]"
    parse((run.path / "report.html").read_text()).check()


def test_a_table_of_a_small_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    net = made.supernet(tmp_path / "net" / "20260101-000000")
    first, *stages = tiny.LITEPOSE["stages"]
    plain = {
        **tiny.LITEPOSE, "stem": 8, "stages": [{**first, "width": 4, "blocks": [{"kernel": 3, "expand": 2}]}, *stages],
        "head": {"filters": [8, 8]},
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(plain))
    words = ["supernet", "table", net.path, tmp_path / "small.yaml", "--out", tmp_path / "t.jsonl", "--json"]
    words += ["--runs", tmp_path / "runs", "--calibration-images", 4]
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 0, err
    found = json.loads(out)
    rows = read_benchmark(tmp_path / "t.jsonl")
    assert found["architectures"] == len(rows) == 2
    assert found["best"] in {row["fingerprint"] for row in rows}
    origin = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])["source"]
    assert (origin["space"], origin["estimate"]["calibration_images"]) == ("small", 4)
    code, out, err = call(monkeypatch, capsys, *words, "--resume")
    assert code == 0, err
    assert json.loads(out) == found
    (run,) = (tmp_path / "runs" / "small").iterdir()
    assert len(Run(run).records("candidate")) == 2


def test_under_torchrun_the_way_to_go_on_is_torchruns(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["archsearch", "supernet", "a study.yaml", "--resume"])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
    for torchrun, command in (
        (True, "torchrun --nproc-per-node 2 --nnodes 3 -m archsearch supernet 'a study.yaml' --resume"),
        (False, "archsearch supernet 'a study.yaml' --resume"),
    ):
        with pytest.raises(typer.Exit) as caught:
            supernets._stopped(torchrun)
        assert caught.value.exit_code == 130
        assert f"stopped; go on with: {command}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["supernet", "train"], ["supernet", "conflict"], ["supernet", "table"], ["rank"]])
def test_commands_explain_themselves(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    code, out, _ = call(monkeypatch, capsys, *words, "--help")
    assert code == 0
    assert "Example: archsearch" in out
