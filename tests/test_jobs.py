import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archsearch.environment import cores
from archsearch.jobs import JobFailed, Talk, on_own_gpu, run_jobs, usual_workers


def double(payload: int, talk: Talk) -> int:
    talk.send(("seen", payload))
    return 2 * payload


def fail(payload: str, talk: Talk) -> None:
    if payload == "value":
        raise ValueError("lr -1 is wrong")
    if payload == "bug":
        raise KeyError("nothing")
    os._exit(7)


def wait_for_stop(payload: int, talk: Talk) -> str:
    talk.send("started")
    while not talk.should_stop():
        time.sleep(0.01)
    return "stopped"


def test_results_come_in_the_order_of_the_payloads() -> None:
    messages: list[Any] = []
    assert run_jobs(double, [3, 1, 2], workers=2, on_message=lambda i, m: messages.append((i, m))) == [6, 2, 4]
    assert sorted(messages) == [(0, ("seen", 3)), (1, ("seen", 1)), (2, ("seen", 2))]


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [("value", ValueError, "^lr -1 is wrong$"), ("bug", JobFailed, "KeyError"), ("exit", JobFailed, "exit code 7")],
)
def test_a_failure_reaches_the_parent(payload: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        run_jobs(fail, [payload], workers=1)


def test_running_jobs_are_asked_to_stop_and_waiting_ones_never_begin() -> None:
    started: list[int] = []
    results = run_jobs(
        wait_for_stop,
        [0, 1, 2],
        workers=2,
        on_message=lambda i, _: started.append(i),
        should_stop=lambda: bool(started),
    )
    assert "stopped" in results
    assert results[2] is None


@dataclass(frozen=True)
class Placed:
    """A job that lasts until ``flags`` has as many files as it waits for."""

    flags: Path
    waits_for: int
    device: str
    slot: int = -1


def slot_of(payload: Placed, talk: Talk) -> int:
    (payload.flags / str(os.getpid())).touch()
    _wait(lambda: len(list(payload.flags.iterdir())) >= payload.waits_for)
    return payload.slot


def test_jobs_side_by_side_have_slots_of_their_own(tmp_path: Path) -> None:
    """The first lasts until the third has begun, which takes the second one's slot."""
    payloads = [Placed(tmp_path, count, "cpu") for count in (3, 0, 3)]
    place = lambda payload, slot: replace(payload, slot=slot)  # noqa: E731
    assert run_jobs(slot_of, payloads, workers=2, place=place) == [0, 1, 1]


def test_each_slot_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    job = Placed(Path(), 0, "cuda")
    assert [on_own_gpu(job, slot).device for slot in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    for device in ("cpu", "cuda:1"):
        chosen = replace(job, device=device)
        assert on_own_gpu(chosen, 2) is chosen
    assert usual_workers(torch.device("cuda")) == 3
    assert usual_workers(torch.device("cuda:1")) == 1
    assert usual_workers(torch.device("cpu")) == cores()


SCRIPT = """
import sys, time
from archsearch.jobs import run_jobs
sys.path.insert(0, {folder!r})
import test_jobs
if __name__ == "__main__":
    run_jobs(test_jobs.sleeper, [{pidfile!r}], workers=1)
"""


def sleeper(pidfile: str, talk: Talk) -> None:
    Path(pidfile).write_text(str(os.getpid()))
    time.sleep(120)


def test_jobs_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script, pidfile = tmp_path / "s.py", tmp_path / "pid"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent), pidfile=str(pidfile)))
    parent = subprocess.Popen([sys.executable, str(script)])
    _wait(lambda: pidfile.exists() and pidfile.read_text() != "")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    child = int(pidfile.read_text())
    _wait(lambda: not _alive(child))


def test_ctrl_c_never_reaches_a_job_not_even_while_it_begins(tmp_path: Path) -> None:
    """SIGINT to the whole group, as a terminal sends it, right after the start: the job goes on, the parent decides."""
    script, pidfile = tmp_path / "s.py", tmp_path / "pid"
    text = SCRIPT.format(folder=str(Path(__file__).parent), pidfile=str(pidfile))
    script.write_text(
        text.replace("import sys, time", "import signal, sys; signal.signal(signal.SIGINT, lambda *_: 0)")
    )
    parent = subprocess.Popen([sys.executable, str(script)], start_new_session=True, stderr=subprocess.PIPE, text=True)
    for _ in range(10):
        time.sleep(0.2)
        os.killpg(parent.pid, signal.SIGINT)
    _wait(lambda: pidfile.exists() and pidfile.read_text() != "")
    assert parent.poll() is None
    os.killpg(parent.pid, signal.SIGKILL)
    assert parent.communicate()[1] == ""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except OSError:
        return False


def _wait(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
