"""``archsearch search`` and ``worker`` as people run them: interrupted, killed, joined, and asked for nonsense."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from train import tiny

from archsearch.runs import Run

SMALL = {**tiny.LITEPOSE, "resolution": 32}
TRIALS = 8


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search whose every candidate is trained alone, for half a second."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    fields = {
        "kind": "search", "name": "hunt", "trials": TRIALS, "workers": 1, "device": "cpu", "beat_s": 0.3, "grace_s": 3,
        "sampler": {"kind": "nsga2", "options": {"population_size": 3}},
        "score": {
            "kind": "alone", "space": str(folder / "small.yaml"), "data": tiny.STUDY["data"],
            "train": {"preset": "fast", "images": 16, "batch": 8},
        },
    }  # fmt: skip
    (folder / "hunt.yaml").write_text(yaml.safe_dump(fields))
    return folder / "hunt.yaml"


def command(study: Path, root: Path, *more: str, name: str = "search") -> list[str]:
    return [sys.executable, "-m", "archsearch", name, str(study), "--runs", str(root), *more]


def run_in(root: Path) -> Run:
    (path,) = (p for p in (root / "hunt").iterdir() if p.name != "worker")
    return Run(path)


def results(run: Run) -> list[tuple[int, str, float]]:
    return sorted((r["trial"], r["fingerprint"], r["ap"]) for r in run.records("candidate"))


@pytest.fixture(scope="module")
def whole(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(study, root, "--json"), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert all("AP" in row for row in json.loads(done.stdout))
    return run_in(root)


def until_trials(root: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        found = list((root / "hunt").glob("*/metrics.jsonl")) if (root / "hunt").exists() else []
        if found and len(Run(found[0].parent).records("candidate")) >= count:
            return
        time.sleep(0.1)


def test_interrupted_killed_and_resumed_it_has_the_same_trials(whole: Run, study: Path, tmp_path: Path) -> None:
    resume: list[str] = []
    for kind, count in ((signal.SIGINT, 2), (signal.SIGKILL, 5)):
        process = subprocess.Popen(command(study, tmp_path, *resume), stderr=subprocess.PIPE, text=True)
        until_trials(tmp_path, count, process)
        process.send_signal(kind)
        _, said = process.communicate(timeout=120)
        assert process.returncode == (130 if kind == signal.SIGINT else -signal.SIGKILL), said
        if kind == signal.SIGINT:
            assert "go on with: archsearch search" in said.replace("\n", " ")
        resume = ["--resume"]
    done = subprocess.run(command(study, tmp_path, "--resume"), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert results(run_in(tmp_path)) == results(whole)
    assert len(results(whole)) == TRIALS


def test_a_worker_joins_from_elsewhere(study: Path, tmp_path: Path) -> None:
    """The search's own process is stopped; the one that joined ends all trials, and the search finds them ended."""
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    first = subprocess.Popen(command(study, tmp_path / "a", "--storage", url), stderr=subprocess.DEVNULL, text=True)
    until_trials(tmp_path / "a", 1, first)
    first.send_signal(signal.SIGINT)
    assert first.wait(120) == 130
    joined = subprocess.run(
        command(study, tmp_path / "b", "trials=3", "--storage", url, name="worker"),  # the search's own number counts
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert joined.returncode == 0, joined.stderr
    again = subprocess.run(command(study, tmp_path / "a", "--resume"), capture_output=True, text=True, timeout=600)
    assert again.returncode == 2
    assert "its trials are in sqlite:///" in again.stderr
    done = subprocess.run(
        command(study, tmp_path / "a", "--storage", url, "--resume"), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert [trial for trial, _, _ in results(run_in(tmp_path / "a"))] == list(range(TRIALS))


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("search", ["constraints.macs=5"], "constraints.macs: 5 cannot be met in small"),
        ("search", ["--storage", "mysql://x/y"], "sqlite:///FILE, postgresql://USER@HOST/NAME or journal:FILE"),
        ("search", ["sampler.kind=nsga9"], "'nsga9' is not one of nsga2"),
        ("search", ["objectives=[ap, speed]"], "objectives: cost 'speed' is not macs"),
        ("search", ["trails=9"], "trails: unknown key; did you mean trials?"),
        ("search", ["--resume"], "no run to resume"),
        ("worker", [], "--storage is missing"),
        ("worker", ["--storage", "sqlite:////no/such/x.db"], "there is no /no/such/x.db"),
    ],
)
def test_nonsense_is_one_line_and_leaves_nothing(
    study: Path, tmp_path: Path, name: str, more: list[str], message: str
) -> None:
    done = subprocess.run(command(study, tmp_path, *more, name=name), capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert message in said[0]
    assert not list(tmp_path.glob("hunt/2*"))


def test_an_architecture_is_taken_out_of_a_search(tmp_path: Path) -> None:
    """From a supernet's run, by name; wrong names are one line."""
    from experiments import made

    run = made.supernet(tmp_path / "shared")
    base = [sys.executable, "-m", "archsearch", "extract", str(run.path)]
    done = subprocess.run(
        [*base, "--arch", "smallest", "--out", str(tmp_path / "small")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"arch.yaml", "weights.safetensors"}
    for more, message in (
        (["--arch", "litepose-s"], "not an architecture of the space space"),
        (["--trial", "3"], "has 0 trials on record"),
        ([], "either --arch or --trial"),
    ):
        done = subprocess.run(
            [*base, *more, "--out", str(tmp_path / "other")], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 2
        assert message in done.stderr
    assert not (tmp_path / "other").exists()


def test_stopped_while_its_supernet_is_trained_it_goes_on_with_that(tmp_path: Path) -> None:
    """And what is wrong with the search is told before, with nothing left behind."""
    train = {**tiny.STUDY["train"], "images": 1200}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**tiny.STUDY, "subnets": 0, "train": train}))
    fields = {
        "kind": "search", "name": "hunt", "trials": 3, "workers": 1, "device": "cpu", "sampler": {"kind": "random"},
        "score": {
            "kind": "supernet", "study": str(tmp_path / "tiny.yaml"), "rungs": [],
            "estimate": {"calibration_images": 8, "bootstrap": 10},
        },
    }  # fmt: skip
    (tmp_path / "hunt.yaml").write_text(yaml.safe_dump(fields))
    begin = command(tmp_path / "hunt.yaml", tmp_path / "runs")
    for wrong, message in (("budgets={s: 5}", "budgets.s: 5 is less than"), ("sampler.kind=nsga9", "'nsga9'")):
        done = subprocess.run([*begin, wrong], capture_output=True, text=True, timeout=300)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert not list((tmp_path / "runs").glob("hunt/2*"))
    process = subprocess.Popen(begin, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((tmp_path / "runs").glob("hunt/*/training/checkpoints/*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    run = run_in(tmp_path / "runs")
    assert not run.records("candidate")
    done = subprocess.run([*begin, "--resume"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [trial for trial, _, _ in results(run)] == [0, 1, 2]
    assert (run.path / "report.html").exists()
