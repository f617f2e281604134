"""The processes of a search: what each of them needs, opened and checked, on this machine or any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from archsearch.costs.table import Table
from archsearch.environment import choose_device
from archsearch.experiments.candidates import supernet_folder, supernet_study
from archsearch.experiments.search.scores import SupernetScore, score_for, space_of
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError
from archsearch.jobs import Talk, on_own_gpu, run_jobs, usual_workers
from archsearch.nets.zoo import Arch, load_space
from archsearch.runs import Run
from archsearch.search.afford import Costing, from_table
from archsearch.search.driver import Plan, Worker
from archsearch.search.parameters import Parameters
from archsearch.search.problem import Problem
from archsearch.search.proposals import Proposals
from archsearch.search.samplers import maker
from archsearch.search.storage import Stopped, file_of, hidden, open_storage, open_study, patiently
from archsearch.space import Space, fingerprint
from archsearch.train.supernet import of_joints

OnEvent = Callable[[str, dict[str, Any]], None]
PROBED = 200  # random architectures that tell whether one space holds another
RESTARTS = 20  # of local workers that died
TRIALS = "trials"  # the study's attribute that opens it to workers: how many trials it is to have


@dataclass(frozen=True)
class Place:
    """Where a search's parts are, as plain values that go to other processes."""

    run: Path  # the folder for records, or for a worker's own files
    storage: str  # URL
    supernet: Path | None
    table: Path | None


def searched(study: SearchStudy, supernet: Path | None) -> Space[Arch]:
    """The space: the study's own, or else all that AP is of. Raises ``InputError`` where AP is not of all of it."""
    return part_of(study, space_of(study.score, supernet))


def part_of(study: SearchStudy, known: Space[Arch]) -> Space[Arch]:
    """The part of ``known`` that is searched. Raises ``InputError`` where the study's space is no part of it."""
    if study.space is None:
        return known
    space = of_joints(load_space(study.space), known.smallest().joints)
    rng = np.random.default_rng(0)
    for arch in (space.smallest(), *(space.sample(rng) for _ in range(PROBED))):
        if arch not in known:
            raise InputError(
                f"space {space.name}: AP would come from {known.name}, which does not hold all of it, "
                f"as architecture {fingerprint(arch)}"
            )
    return space


def problem_of(study: SearchStudy, place: Place) -> Problem:
    """The search's problem. Raises ``InputError`` where files do not fit or limits cannot be met."""
    space = searched(study, place.supernet)
    latency = None
    if place.table is not None:
        latency = from_table(Table(place.table, space))  # a table of another device predicts that device's latency
    costing = Costing(space, study.cost_names, study.constraints, latency)
    costing.check()
    return Problem(Parameters(space), costing, study.objectives)


def opened(
    study: SearchStudy, place: Place, problem: Problem, facts: dict[str, Any], *, create: bool, patience_s: float,
    should_stop: Callable[[], bool],
) -> optuna.Study:  # fmt: skip
    """The study in its storage, with its sampler.

    Raises ``InputError`` where it was begun as another one, ``Stopped`` where waiting for the storage was ended.
    """
    space = problem.space
    known = {
        "space": space.name, "space_fingerprint": fingerprint(_Plain(space.plain)), "seed": study.seed,
        "objectives": list(study.objectives), "constraints": study.constraints,
        "sampler": study.sampler.model_dump(mode="json"),
        "table": _digest(place.table) if study.needs_latency else None, **facts,
    }  # fmt: skip
    storage = open_storage(place.storage, patience_s, create=create, should_stop=should_stop)

    def opening() -> optuna.Study:
        return open_study(storage, study.name, problem.directions, study.objectives, known, create=create)

    found = patiently(opening, patience_s or study.patience_s, should_stop=should_stop)
    if not create and TRIALS not in found.user_attrs:
        raise InputError(f"search {study.name}: it is only being begun; join when its first trials run")
    make = maker(study.sampler.kind, study.sampler.options, problem)
    found.sampler = Proposals(problem.parameters, make, problem.costing.fits, study.seed)
    return found


@dataclass(frozen=True)
class _Plain:
    tree: Any


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """One worker's share: the search as plain values."""

    study: dict[str, Any]
    place: Place
    device: str


def work(job: Job, talk: Talk) -> bool:
    """A worker process; False where it was stopped before the search ended."""
    study = SearchStudy.model_validate(job.study)
    try:
        return make_worker(
            study, job.place, job.device, talk.should_stop, talk.send, create=False, patience_s=study.patience_s
        ).run()
    except Stopped:
        return False


def make_worker(
    study: SearchStudy, place: Place, device: str, should_stop: Callable[[], bool],
    on_event: Callable[[dict[str, Any]], None], *, create: bool, patience_s: float = 0.0,
) -> Worker:  # fmt: skip
    """A worker on this machine. Raises ``InputError`` where anything of the search is missing or another one's.

    ``create``: begin the search where it is not in its storage, which is waited for ``patience_s``; whoever joins takes
    the number of trials from there.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = problem_of(study, place)
    trained = None
    if place.supernet is not None:
        trained = SupernetStudy.model_validate(supernet_study(place.supernet))
    score = score_for(
        study.score, supernet=place.supernet, trained=trained, run=Run(place.run), device=device,
        cost_names=study.cost_names, should_stop=should_stop,
    )  # fmt: skip
    found = opened(
        study, place, problem, score.facts, create=create, patience_s=patience_s, should_stop=should_stop
    )  # fmt: skip
    plan = Plan(study.trials if create else found.user_attrs[TRIALS], study.beat_s, study.grace_s, study.patience_s)
    return Worker(found, plan, problem, score, should_stop, on_event)


def join(
    study: SearchStudy, folder: Path, storage: str, table: Path | None, *, on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> bool:  # fmt: skip
    """Work on a search that was begun elsewhere, until it has ended; False where it was stopped.

    ``folder``: for this machine's own files, where candidates are trained. Raises ``InputError`` where this machine
    lacks what the search needs, or has another supernet, table or space.
    """
    if not storage:
        raise InputError("--storage is missing: the URL that the search was begun with")
    supernet = None
    if isinstance(study.score, SupernetScore):
        if study.score.run is None:
            raise InputError("--supernet is missing: this machine's copy of the run of archsearch supernet")
        supernet = supernet_folder(study.score.run)
    if study.needs_latency:
        table = table or (study.latency.table if study.latency is not None else None)
        if table is None:
            raise InputError("--table is missing: the search's latency table, RUN/latency_table.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder, storage, supernet, table)
    device = choose_device(study.device)
    make_worker(study, place, str(device), should_stop, lambda _: None, create=False)  # what is wrong is told here
    count = study.workers or usual_workers(device)
    jobs = [Job(study.model_dump(mode="json"), place, str(device))] * count
    done = 0

    def on_message(index: int, message: dict[str, Any]) -> None:
        nonlocal done
        done += message["stage"] == "trial"
        text = f"trial {message['trial']}, AP {message['ap']:.3f}" if message["stage"] == "trial" else message["stage"]
        on_event(f"worker {index + 1}", {"stage": f"{text}; {done} here so far"})

    results = run_jobs(
        work, jobs, workers=count, restarts=RESTARTS, place=on_own_gpu, on_message=on_message, should_stop=should_stop,
    )  # fmt: skip
    return all(results)


def check_new(study: SearchStudy, storage: str) -> None:
    """Raises ``InputError`` where a search of that name is in the storage already."""
    if (file := file_of(storage)) is not None and file.parent.is_dir() and not file.exists():
        return
    place = open_storage(storage)
    known = {found.study_name: found for found in optuna.get_all_study_summaries(place, include_best_trial=False)}
    if study.name in known and TRIALS in known[study.name].user_attrs:
        raise InputError(
            f"storage {hidden(storage)}: a search named {study.name} is there already; go on with --resume, "
            "or begin another one with name=OTHER"
        )
