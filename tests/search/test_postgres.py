"""A real PostgreSQL server, workers that are killed at random moments, and a server that goes away for a while.

ARCHSEARCH_OUTAGE_S sets for how long it is away (3 s).
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from search import problems

from archsearch.search.driver import score_of

TRIALS, WORKERS, KILLS = 60, 4, 10
OUTAGE_S = float(os.environ.get("ARCHSEARCH_OUTAGE_S", "3"))


class Server:
    """A server of its own on a free port, in a folder that goes away with it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._as: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as = ["runuser", "-u", "postgres", "--"]
        self._call("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "searcher", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://searcher@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._call(
            "pg_ctl", "-D", str(self._folder / "data"), "-w", "-o", options, "-l", str(self._folder / "log"), "start"
        )

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", "immediate", "stop")

    def _call(self, program: str, *words: str) -> None:
        command = [*self._as, str(self._programs / program), *words]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture
def server() -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine: Debian's package postgresql has it")
    folder = Path(tempfile.mkdtemp(prefix="archsearch-pg-"))  # short: a socket's path has 107 characters at most
    try:
        found = Server(programs, folder)
        yield found
        found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_every_trial_ends_once_though_workers_die_and_the_server_goes_away(server: Server) -> None:
    problems.trials_at(server.url)  # begins the search
    moment = random.Random(0)
    crew = problems.crew(server.url, WORKERS, TRIALS, 0.3)
    _until_some(server.url, 4)
    for kill in range(KILLS):
        time.sleep(moment.uniform(0.0, 0.6))
        victim = moment.choice([worker for worker in crew if worker.is_alive()])
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        crew.remove(victim)
        crew += problems.crew(server.url, 1, TRIALS, 0.3)
        if kill == KILLS // 2:
            server.stop()
            time.sleep(OUTAGE_S)
            server.start()
    for worker in crew:
        worker.join(240)
        assert worker.exitcode == 0
    found = problems.problem()
    trials = problems.trials_at(server.url)
    assert [t.number for t in trials if t.state.name == "COMPLETE"] == list(range(TRIALS))
    assert {t.state.name for t in trials[TRIALS:]} <= {"FAIL"}  # numbers that no search needed
    for trial in trials[:TRIALS]:
        arch = found.parameters.arch(trial.params)
        assert trial.values == [problems.ap(found, arch), found.costing(arch)["macs"]]
        assert score_of(trial)["ap"] == trial.values[0]
    assert len({found.parameters.arch(trial.params) for trial in trials[:TRIALS]}) == TRIALS


def _until_some(url: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        trials = problems.trials_at(url)
        if sum(trial.state.name == "COMPLETE" for trial in trials) >= count:
            return
        time.sleep(0.2)
    raise AssertionError("the workers do not get on")
