"""Trials whose worker is gone go back, and no others do."""

from __future__ import annotations

import subprocess
import sys
import time

import optuna
from optuna.trial import TrialState

from archsearch.search.claims import BEAT, WORKER, Me, Watch, release, signing


def running(study: optuna.Study, worker: str | None) -> optuna.Trial:
    trial = study.ask({"x": optuna.distributions.IntDistribution(0, 9)})
    if worker is not None:
        trial.set_user_attr(WORKER, worker)
    return trial


def test_a_process_of_this_machine_that_is_gone_is_known_at_once() -> None:
    study = optuna.create_study()
    me = Me()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = Me(pid=ended.pid)
    trial = running(study, str(gone))
    x = trial.params["x"]
    assert me.knows_gone(str(gone))
    assert not me.knows_gone(str(me))
    assert not me.knows_gone(str(Me(host="elsewhere", pid=ended.pid)))
    assert me.knows_gone(str(Me(unique="before")))  # this process's number, used by an earlier one
    assert Watch(study, me, grace_s=60).give_back(study.get_trials(deepcopy=False)) == [trial.number]
    again = study.ask({"x": optuna.distributions.IntDistribution(0, 9)})
    assert (again.number, again.params["x"]) == (trial.number, x)


def test_an_unsigned_trial_elsewhere_is_given_up_after_a_while() -> None:
    study = optuna.create_study()
    other = running(study, str(Me(host="elsewhere")))
    nobody = running(study, None)
    alive = running(study, str(Me(host="there")))
    watch = Watch(study, Me(), grace_s=0.5)
    assert watch.give_back(study.get_trials(deepcopy=False)) == []
    deadline = time.monotonic() + 5
    found: list[int] = []
    while time.monotonic() < deadline and len(found) < 2:
        time.sleep(0.1)
        alive.set_user_attr(BEAT, time.monotonic())
        found += watch.give_back(study.get_trials(deepcopy=False))
    assert sorted(found) == [other.number, nobody.number]
    assert study.trials[alive.number].state == TrialState.RUNNING


def test_signing_signs_until_the_end_and_release_spares_ended_trials() -> None:
    study = optuna.create_study()
    trial = running(study, "me")
    with signing(study, trial._trial_id, Me(), 0.02):
        time.sleep(0.2)
    first = study.trials[0].user_attrs[BEAT]
    time.sleep(0.1)
    assert study.trials[0].user_attrs[BEAT] == first
    study.tell(trial, 1.0)
    assert not release(study, trial._trial_id, "me")
    assert study.trials[0].state == TrialState.COMPLETE
