"""Who works on a trial: every worker signs its trial and keeps signing; what nobody signs any more goes back.

A trial keeps its number and its parameters when it goes back to the queue, so it is never lost and never counted
twice: it ends once, whoever ends it. Clocks of different machines are not compared: a trial is given up on by someone
who saw its signature unchanged for a while, or who lives on the same machine and sees that the process is gone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from archsearch.search.storage import OUTAGES

WORKER, BEAT = "worker", "beat"  # a trial's attributes: who works on it, and the last signature;
DEATHS = "deaths"  # how many workers were gone before it ended


@dataclass(frozen=True)
class Me:
    """This process as others see it."""

    host: str = field(default_factory=lambda: f"{platform.node()} {_process_space()}")
    pid: int = field(default_factory=os.getpid)
    unique: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __str__(self) -> str:
        return f"{self.host}|{self.pid}|{self.unique}"

    def knows_gone(self, worker: str) -> bool:
        """Whether that worker was a process of this machine that is not there any more."""
        host, _, rest = worker.partition("|")
        pid = rest.partition("|")[0]
        if host != self.host or not pid.isdecimal():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return int(pid) == self.pid and worker != str(self)  # an earlier process of the same number


def _process_space() -> str:
    """Tells machines apart that share a name, and containers that do not see each other's processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot[:8]} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


class Watch:
    """Gives trials back whose worker is gone."""

    def __init__(self, study: optuna.Study, me: Me, grace_s: float) -> None:
        self._study, self._me, self._grace_s = study, me, grace_s
        self._looked = time.monotonic()
        self._seen: dict[int, tuple[object, float]] = {}  # the last signature of each trial, and since when

    def give_back(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """Put those of the study's trials back into the queue that are abandoned; their numbers."""
        now = time.monotonic()
        if now - self._looked > self._grace_s / 2:  # the storage was away: nobody could sign meanwhile
            self._seen.clear()
        self._looked = now
        found = []
        for trial in trials:
            if trial.state == TrialState.RUNNING and self._abandoned(trial):
                self._seen.pop(trial.number, None)
                if release(self._study, trial._trial_id, trial.user_attrs.get(WORKER), died=True):
                    found.append(trial.number)
        return found

    def _abandoned(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker and self._me.knows_gone(worker):
            return True
        signature, now = (worker, trial.user_attrs.get(BEAT)), time.monotonic()
        last, since = self._seen.setdefault(trial.number, (signature, now))
        if last != signature:
            self._seen[trial.number] = (signature, now)
            return False
        return now - since > self._grace_s


def release(study: optuna.Study, trial_id: int, owner: str | None, *, died: bool = False) -> bool:
    """Put a trial back into the queue with its parameters; False where it has ended or is no longer the owner's.

    ``died``: the owner did not give it back itself, which is counted.
    """
    storage = study._storage
    current = storage.get_trial(trial_id)
    if current.state != TrialState.RUNNING or current.user_attrs.get(WORKER) not in (None, "", owner):
        return False
    try:
        storage.set_trial_user_attr(trial_id, WORKER, "")  # so that whoever takes it up is not taken for its owner
        if died:
            storage.set_trial_user_attr(trial_id, DEATHS, int(current.user_attrs.get(DEATHS, 0)) + 1)
        storage.set_trial_state_values(trial_id, TrialState.WAITING)
    except UpdateFinishedTrialError:
        return False
    return True


@contextmanager
def signing(
    study: optuna.Study, trial_id: int, me: Me, every_s: float, look_around: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Within the block the trial is signed every ``every_s``, by a thread of its own, which then looks around."""
    ended = threading.Event()

    def sign() -> None:
        beat = 0
        while not ended.wait(every_s):
            beat += 1
            with contextlib.suppress(*OUTAGES, UpdateFinishedTrialError):
                study._storage.set_trial_user_attr(trial_id, BEAT, f"{me.unique} {beat}")
                look_around()

    thread = threading.Thread(target=sign, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
