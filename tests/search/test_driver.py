"""Workers: exactly so many trials, each ended once, whoever dies, stops or fails."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState
from search import problems

from archsearch.nets.zoo import Arch
from archsearch.search.claims import Me, release
from archsearch.search.driver import Interrupted, Plan, Worker, enqueue, score_of
from archsearch.search.proposals import Proposals
from archsearch.space import fingerprint


def params_of(url: str | None, study: Any = None) -> list[dict[str, Any]]:
    study = study or problems.study(problems.problem(), "nsga2", 0, url)
    return [t.params for t in sorted(study.trials, key=lambda t: t.number) if t.state.name == "COMPLETE"]


def side_by_side(work: Callable[[str], None], hosts: str) -> None:
    """``work`` of every host in a thread of its own, to its end; what goes wrong in one is raised."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(work, hosts, timeout=120))


def test_workers_end_every_trial_once_though_they_are_killed(tmp_path: Path) -> None:
    """A worker killed at random moments is replaced; numbers are without gaps, and nothing is evaluated twice over."""
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    problems.study(problems.problem(), "nsga2", 0, url)
    moment = random.Random(0)
    workers = problems.crew(url, 2, 40, 0.05)
    time.sleep(4)
    for _ in range(3):
        time.sleep(moment.uniform(0.1, 0.8))
        victim = moment.choice(workers)
        if victim.is_alive() and victim.pid is not None:
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            workers.remove(victim)
            workers += problems.crew(url, 1, 40, 0.05)
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    trials = problems.study(problems.problem(), "nsga2", 0, url).trials
    assert [t.number for t in trials if t.state.name == "COMPLETE"] == list(range(40))
    assert all(t.state.name in ("COMPLETE", "FAIL") for t in trials)
    found = problems.problem()
    archs = [found.parameters.arch(t.params) for t in trials[:40]]
    assert [t.values[0] for t in trials[:40]] == [problems.ap(found, arch) for arch in archs]
    assert len(set(archs)) == 40


def test_an_interrupted_trial_keeps_its_number_and_its_parameters() -> None:
    found = problems.problem()
    whole = params_of(None, problems.searched(found, "nsga2", 0, 24))
    study = problems.study(found, "nsga2", 0)
    for pause in (5, 6, 13):
        asked = 0

        def score(
            arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial], pause: int = pause
        ) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            if asked > pause:
                raise Interrupted
            return {"ap": problems.ap(found, arch)}

        stop = Worker(study, Plan(24), found, score, should_stop=lambda: asked > pause)  # noqa: B023
        assert not stop.run() or len(params_of(None, study)) == 24
    rest = Worker(study, Plan(24), found, lambda arch, _, __: {"ap": problems.ap(found, arch)})
    assert rest.run()
    assert params_of(None, study) == whole


def test_a_crash_in_the_middle_of_a_proposal_changes_nothing() -> None:
    """Killed after some of the parameters were written: whoever takes the trial over writes the same ones."""
    found = problems.problem()
    whole = params_of(None, problems.searched(found, "nsga2", 0, 24))
    study = problems.study(found, "nsga2", 0)

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        return {"ap": problems.ap(found, arch)}

    assert Worker(study, Plan(22), found, score).run()
    half = study.ask()
    half.set_user_attr("worker", str(Me(unique="dead")))
    for path, distribution in list(found.parameters.distributions.items())[:3]:
        half._suggest(path, distribution)
    fresh = problems.study(found, "nsga2", 0)
    study.sampler = fresh.sampler
    assert Worker(study, Plan(24), found, score).run()
    assert params_of(None, study) == whole


def test_failed_trials_are_made_up_for_and_many_end_the_search() -> None:
    found = problems.problem()
    study = problems.study(found, "random", 0)

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        if found.space.choices(arch)["/resolution"] == 48:
            raise ValueError("too large for this device")
        return {"ap": problems.ap(found, arch)}

    with pytest.raises(ValueError, match="10 trials failed; the last one: too large for this device"):
        Worker(study, Plan(60), found, score).run()
    assert sum(t.state.name == "FAIL" for t in study.trials) == 10


def test_the_record_has_costs_times_and_measured_values() -> None:
    found = problems.problem(macs=10**9)
    study = problems.study(found, "random", 0)

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        return {"ap": 0.25, "costs": {"macs": costs["macs"] + 1}, "seen": len(finished)}

    assert Worker(study, Plan(3), found, score).run()
    for trial in study.trials:
        record = score_of(trial)
        exact = found.costing(found.parameters.arch(trial.params))["macs"]
        assert (record["ap"], record["costs"]["macs"], record["seen"]) == (0.25, exact + 1, trial.number)
        assert trial.values == [0.25, exact + 1]
        assert trial.constraints["macs"] == exact + 1 - 10**9
        assert record["evaluation_s"] >= 0
        assert record["outside_s"] > 0


def test_given_architectures_come_first() -> None:
    found = problems.problem()
    study = problems.study(found, "nsga2", 0)
    first = [found.space.largest(), found.space.smallest()]
    enqueue(study, found.parameters, first, 0)
    assert Worker(study, Plan(5), found, lambda arch, _, __: {"ap": problems.ap(found, arch)}).run()
    names = [fingerprint(found.parameters.arch(t.params)) for t in study.trials]
    assert names[:2] == [fingerprint(arch) for arch in first]
    assert len(set(names)) == 5


def test_a_trial_that_was_given_back_while_it_was_evaluated_still_ends(tmp_path: Path) -> None:
    """Others took its worker for dead, as after an outage; nobody took the trial up, or somebody did and is slower."""
    found = problems.problem()
    study = problems.study(found, "random", 0, f"sqlite:///{tmp_path}/x.db")
    taken: list[int] = []

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        (mine,) = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        assert release(study, mine._trial_id, mine.user_attrs["worker"])
        if len(finished) == 1:
            taken.append(study.ask().number)  # by another worker
        return {"ap": problems.ap(found, arch)}

    assert Worker(study, Plan(3), found, score).run()
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 3
    assert taken == [1]


@pytest.mark.parametrize("ends", [False, True])
def test_a_trial_that_another_worker_took_up_ends_once(ends: bool, tmp_path: Path) -> None:
    """Given back between the record and the end, taken by another worker, and ended there, too, or not."""
    found = problems.problem()
    study = problems.study(found, "nsga2", 0, f"sqlite:///{tmp_path}/x.db")
    sampler = study.sampler
    assert isinstance(sampler, Proposals)
    assert sampler.sees_ends
    turns = 0

    def after_trial(*_: Any) -> None:
        nonlocal turns
        turns += 1
        if turns > 1:
            return
        (mine,) = study.trials
        assert release(study, mine._trial_id, mine.user_attrs["worker"])
        other = study.ask()
        assert other._trial_id == mine._trial_id
        if ends:
            study.tell(other, [0.123, 1.0])

    sampler.after_trial = after_trial  # type: ignore[method-assign]
    assert Worker(study, Plan(1), found, lambda arch, _, __: {"ap": problems.ap(found, arch)}).run()
    (trial,) = study.trials
    assert trial.state == TrialState.COMPLETE
    assert (trial.values[0] == 0.123) == ends
    assert not problems.study(found, "assisted", 0).sampler.sees_ends  # type: ignore[attr-defined]


def test_of_two_evaluations_the_record_is_that_of_the_values() -> None:
    found = problems.problem()
    study = problems.study(found, "random", 0)
    trial = study.ask(found.parameters.distributions)
    for worker, ap in (("a", 0.2), ("b", 0.3)):
        trial.set_user_attr(f"score {worker}", {"ap": ap, "values": [ap, 7.0]})
    study.tell(trial, [0.3, 7.0])
    assert score_of(study.trials[0])["ap"] == 0.3
    assert score_of(study.ask()) == {}  # type: ignore[arg-type]
    older = study.ask(found.parameters.distributions)  # of one that had no name
    older.set_user_attr("score", {"ap": 0.4})
    study.tell(older, [0.4, 7.0])
    assert score_of(study.trials[-1]) == {"ap": 0.4}


def test_an_architecture_that_breaks_its_evaluation_costs_one_trial() -> None:
    found = problems.problem()
    study = problems.study(found, "random", 0)

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        if len(finished) == 2 and not any(t.state.name == "FAIL" for t in study.trials):
            raise RuntimeError("no kernel for this size\nand more")
        return {"ap": float("nan") if len(finished) == 3 and len(study.trials) < 6 else problems.ap(found, arch)}

    assert Worker(study, Plan(5), found, score).run()
    reasons = [t.user_attrs.get("reason") for t in study.trials if t.state.name == "FAIL"]
    assert reasons == ["RuntimeError: no kernel for this size", "ap nan is not a finite number"]
    assert sum(t.state.name == "COMPLETE" for t in study.trials) == 5


def test_workers_never_evaluate_one_architecture_twice(tmp_path: Path) -> None:
    """They propose from the same trials at the same time, and often the same."""
    found = problems.problem()
    study = problems.study(found, "assisted", 0, f"sqlite:///{tmp_path}/x.db")

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        time.sleep(0.02)
        return {"ap": problems.ap(found, arch)}

    def work(host: str) -> None:
        own = problems.study(found, "assisted", 0, f"sqlite:///{tmp_path}/x.db")
        assert Worker(own, Plan(50), found, score, poll_s=0.01, me=Me(host=host)).run()

    side_by_side(work, "abc")
    archs = [found.parameters.arch(t.params) for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(archs) == len(set(archs)) == 50


def test_what_was_queued_is_the_first_generation() -> None:
    found = problems.problem()
    study = problems.study(found, "nsga2", 0)
    rng = np.random.default_rng(0)
    archs = list(dict.fromkeys(found.space.sample(rng) for _ in range(30)))[:12]
    enqueue(study, found.parameters, archs, 0)
    assert Worker(study, Plan(24), found, lambda arch, _, __: {"ap": problems.ap(found, arch)}).run()
    generations = [t.system_attrs["NSGAIISampler:generation"] for t in study.trials]
    assert generations == [0] * 20 + [1] * 4


def test_only_the_owner_gives_a_trial_back() -> None:
    found = problems.problem()
    study = problems.study(found, "random", 0)
    trial = study.ask(found.parameters.distributions)
    trial.set_user_attr("worker", "b")
    assert not release(study, trial._trial_id, "a")
    assert release(study, trial._trial_id, "b")
    assert study.trials[0].state == TrialState.WAITING
    assert study.trials[0].user_attrs["worker"] == ""


def test_a_proposal_outlives_its_worker_though_others_end_meanwhile(tmp_path: Path) -> None:
    """What was proposed is kept with the trial: whoever takes it over does not mix it with another proposal."""
    found = problems.problem()
    study = problems.study(found, "nsga2", 0, f"sqlite:///{tmp_path}/x.db")

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        return {"ap": problems.ap(found, arch)}

    assert Worker(study, Plan(21), found, score).run()
    half = study.ask()
    wanted = dict(half.relative_params)
    for path, distribution in list(found.parameters.distributions.items())[:2]:
        half._suggest(path, distribution)
    for _ in range(2):
        other = study.ask(found.parameters.distributions)
        arch = found.parameters.arch(other.params)
        study.tell(other, [problems.ap(found, arch), found.costing(arch)["macs"]])
    half.set_user_attr("worker", str(Me(unique="dead")))
    assert Worker(study, Plan(24), found, score).run()
    assert study.trials[half.number].params == wanted
    assert study.trials[half.number].state == TrialState.COMPLETE


def test_workers_that_race_for_the_last_trials_evaluate_no_more_than_were_asked_for(tmp_path: Path) -> None:
    """A surplus trial that ends early makes no room for the next one."""
    found = problems.problem()
    for turn in range(6):
        study = problems.study(found, "random", turn, f"sqlite:///{tmp_path}/{turn}.db")

        def work(host: str, study: Any = study) -> None:
            score = lambda arch, _, __: {"ap": problems.ap(found, arch)}  # noqa: E731
            assert Worker(study, Plan(8), found, score, poll_s=0.01, me=Me(host=host)).run()

        side_by_side(work, "abcd")
        numbers = [t.number for t in study.trials if t.state == TrialState.COMPLETE]
        assert numbers == list(range(8))


def test_one_that_nobody_survives_counts_as_failed(tmp_path: Path) -> None:
    found = problems.problem()
    study = problems.study(found, "random", 0, f"sqlite:///{tmp_path}/x.db")
    study.ask().set_user_attr("deaths", 8)
    study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.WAITING)
    assert Worker(study, Plan(2), found, lambda arch, _, __: {"ap": problems.ap(found, arch)}).run()
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
