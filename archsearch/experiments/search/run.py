"""The search experiment: supernet, latency table, trials, measured front, models; each step once, all of it resumable.

Records: ``candidate`` for every trial that ended (the last one of an architecture counts: a measured latency replaces a
predicted one), ``table`` and ``front`` for the latencies, ``package`` for every model, ``search`` at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna

from archsearch.costs.judge import judge
from archsearch.costs.passes import Plan as TablePlan
from archsearch.costs.passes import make_table
from archsearch.costs.records import settings_for
from archsearch.costs.table import Table
from archsearch.environment import choose_device
from archsearch.experiments.candidates import supernet_folder, supernet_study
from archsearch.experiments.search.latency import measure_front
from archsearch.experiments.search.packages import make_packages
from archsearch.experiments.search.records import Board, candidates, summary
from archsearch.experiments.search.scores import SupernetScore, TableScore, space_of, table_data
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.search.workers import (
    RESTARTS,
    TRIALS,
    Job,
    Place,
    make_worker,
    part_of,
    problem_of,
    searched,
    work,
)
from archsearch.experiments.supernet import run_supernet
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.experiments.supernet_study import resolved as resolved_supernet
from archsearch.files import InputError
from archsearch.jobs import on_own_gpu, run_jobs, usual_workers
from archsearch.nets.onnx import PACKAGES
from archsearch.nets.zoo import Arch, as_arch, load_arch
from archsearch.runs import Run, write_beginning
from archsearch.search.afford import LATENCY, Costing, cost_of
from archsearch.search.driver import enqueue
from archsearch.search.parameters import Parameters
from archsearch.search.pareto import front
from archsearch.search.problem import Problem
from archsearch.search.proposals import Exhausted, Proposals
from archsearch.search.samplers import maker
from archsearch.search.storage import Stopped, absolute, close_storage, first_line, hidden, patiently, quiet
from archsearch.settings import find_study, parse, read_study
from archsearch.skeleton import load_skeleton
from archsearch.space import fingerprint

OnEvent = Callable[[str, dict[str, Any]], None]
TRAINING = "training"  # of a run: the run of its own supernet
TABLE = "latency_table.jsonl"


def resolved(study: SearchStudy) -> dict[str, Any]:
    """The study with every preset and default written out, for the run's folder; ``data`` is the supernet's."""
    plain = study.model_dump(mode="json")
    if study.latency is not None and study.latency.table is not None:
        plain["latency"]["table"] = str(study.latency.table.resolve())
    if isinstance(study.score, SupernetScore):
        if study.score.run is not None:  # the run itself: a folder of runs can have a newer one tomorrow
            plain["score"]["run"] = str(supernet_folder(study.score.run).parent)
        plain["data"] = _supernet_study(study.score).data.model_dump(mode="json")
    elif isinstance(study.score, TableScore):
        plain["data"] = table_data(study.score)
    else:
        plain["data"] = plain["score"]["data"]
    return plain


def _supernet_study(score: SupernetScore) -> SupernetStudy:
    """The study that trains or has trained the supernet. Raises ``InputError`` where it is wrong or not there."""
    if score.run is not None:
        return SupernetStudy.model_validate(supernet_study(supernet_folder(score.run)))
    path = find_study(str(score.study))
    return parse(SupernetStudy, read_study(path, list(score.overrides)), path)


def default_storage(run: Run) -> str:
    """The URL of the storage in a run's own folder."""
    return f"sqlite:///{(run.path / 'search.db').resolve()}"


def check_ahead(study: SearchStudy) -> None:
    """Raises ``ValueError`` where the search would fail after its supernet and its latency table are made."""
    if study.grace_s < 3 * study.beat_s:
        raise InputError(
            f"grace_s {study.grace_s:g} is less than three times beat_s {study.beat_s:g}: "
            "others would take a living worker's trial"
        )
    if isinstance(study.score, SupernetScore) and study.score.run is None:
        planned = _supernet_study(study.score)
        # Without a skeleton the files tell it, and they are read when the supernet is trained.
        known = planned.searched(len(load_skeleton(planned.data.skeleton or "coco17")))
    elif isinstance(study.score, SupernetScore):
        assert study.score.run is not None
        known = space_of(study.score, supernet_folder(study.score.run))
    else:
        known = space_of(study.score, None)
    space = part_of(study, known)
    costing = Costing(space, study.cost_names, study.constraints, lambda _: 0.0)  # latency is not known yet
    costing.check()
    problem = Problem(Parameters(space), costing, study.objectives)
    check_sampler(study, problem)
    check_packages(study, problem)
    warm_start(study, problem)


def check_sampler(study: SearchStudy, problem: Problem) -> None:
    """Raises ``ValueError`` where the sampler is not there, or cannot propose here: two trials are tried."""
    make = maker(study.sampler.kind, study.sampler.options, problem)
    proposals = Proposals(problem.parameters, make, problem.costing.fits, study.seed)
    with quiet():
        tried = optuna.create_study(directions=problem.directions, sampler=proposals)
    try:
        for _ in range(min(2, study.trials)):
            trial = tried.ask(problem.parameters.distributions)
            costs = problem.costing(problem.parameters.arch(trial.params))
            tried.tell(trial, [0.5 if name == "ap" else costs[name] for name in problem.objectives])
    except Exhausted:
        pass  # the search says so itself
    except Exception as error:  # of a class from anywhere
        raise InputError(f"sampler {study.sampler.kind}: it cannot propose here: {first_line(error)}") from None


def check_packages(study: SearchStudy, problem: Problem) -> None:
    """Raises ``InputError`` where models could not be made in the end: told before a trial is begun."""
    smallest = problem.costing.count(problem.space.smallest())
    for name, budget in study.budgets.items():
        if study.budgets_of != LATENCY and cost_of(smallest, study.budgets_of) > budget:
            least = cost_of(smallest, study.budgets_of)
            raise InputError(
                f"budgets.{name}: {budget:,.6g} is less than the {study.budgets_of} of the smallest architecture of "
                f"{problem.space.name}, {least:,.6g}"
            )
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if study.budgets and study.export and missing:
        raise InputError(f"export: true needs {', '.join(missing)}: pip install 'archsearch[onnx]', or export=false")


def run_search(
    study: SearchStudy, run: Run, *, storage: str | None, on_event: OnEvent, should_stop: Callable[[], bool]
) -> bool:
    """Carry out the study in its run's folder; False where it was stopped before its end.

    Raises ``ValueError`` with one line on bad input.
    """
    check_ahead(study)
    place = prepare(study, run, absolute(storage or default_storage(run)), on_event, should_stop)
    if place is None:
        return False
    problem = problem_of(study, place)
    if not _trials(study, run, place, problem, on_event, should_stop):
        return False
    if study.latency is not None and not measure_front(study, run, on_event, should_stop):
        return False
    if study.budgets and not make_packages(study, run, place, problem, on_event, should_stop):
        return False
    found = summary(study, run)
    if not any(record["trials"] == found["trials"] for record in run.records("search")):
        run.record("search", **found)
    return True


def prepare(
    study: SearchStudy, run: Run, storage: str, on_event: OnEvent, should_stop: Callable[[], bool]
) -> Place | None:
    """The supernet and the latency table, made where they are not there; None where it was stopped."""
    supernet = None
    if isinstance(study.score, SupernetScore):
        supernet = _supernet(study.score, run, on_event, should_stop)
        if supernet is None:
            return None
    place = Place(run.path, storage, supernet, None)
    if study.latency is None:
        return place
    if study.latency.table is not None:
        given = study.latency.table.resolve()
        setting = settings_for(study.latency.device, threads=study.latency.threads, graph=False)[0]
        Table(given, searched(study, supernet), setting)  # raises where it is of something else
        return replace(place, table=given)
    table = run.path / TABLE
    if not run.records("table"):
        space = searched(study, supernet)
        setting = settings_for(study.latency.device, threads=study.latency.threads, graph=False)[0]
        plan = TablePlan(
            study.latency.passes, extra_passes=1, calibration=study.latency.networks, held_out=study.latency.networks
        )

        def on_step(what: str, done: int, of: int) -> None:
            on_event("latency table", {"stage": what, "step": done, "steps": of})

        if not make_table(table, space, setting, plan, (), on_step, should_stop):
            return None
        run.record("table", **judge(Table(table, space, setting)))
    return replace(place, table=table)


def _supernet(score: SupernetScore, run: Run, on_event: OnEvent, should_stop: Callable[[], bool]) -> Path | None:
    """The folder of the supernet, trained in the run's own folder where the study says so; None where stopped."""
    if score.run is not None:
        return supernet_folder(score.run)
    inner = Run(run.folder(TRAINING))
    settings = _supernet_study(score)
    if not (inner.path / "study.yaml").exists():
        write_beginning(inner.path, resolved_supernet(settings))
    if not run_supernet(settings, inner, on_event=on_event, should_stop=should_stop):
        return None
    return supernet_folder(inner.path)


def _trials(
    study: SearchStudy, run: Run, place: Place, problem: Problem, on_event: OnEvent, should_stop: Callable[[], bool]
) -> bool:
    """All trials, by workers on this machine and whoever joins; their records; False where it was stopped."""
    begun = run.records("begun")
    where = "" if place.storage == default_storage(run) else hidden(place.storage)
    if begun and begun[0]["storage"] != where:
        there = begun[0]["storage"] or "the run's folder"
        raise InputError(f"{run.path}: its trials are in {there}: go on with that --storage")
    device = choose_device(study.device)
    first = warm_start(study, problem)
    # The first worker is made here once: what is wrong is told before processes start, and the queue is filled once.
    new = not run.records("candidate")  # else the storage is there, or its trials are lost
    worker = make_worker(study, place, str(device), should_stop, lambda _: None, create=new)
    if TRIALS in worker.study.user_attrs and not begun:
        raise InputError(
            f"storage {hidden(place.storage)}: a search named {study.name} is there, but not of {run.path}"
        )
    if TRIALS not in worker.study.user_attrs:  # nobody works on it yet: what is in it is the head of this queue
        queued = len(worker.study.get_trials(deepcopy=False))
        enqueue(worker.study, problem.parameters, first[queued : study.trials], study.seed)
        run.record("begun", warm_start=len(first), storage=where, time=time.time())
    try:
        patiently(lambda: worker.study.set_user_attr(TRIALS, study.trials), study.patience_s, should_stop=should_stop)
    except Stopped:
        return False
    board = Board(study, run, problem, worker.study, on_event)
    board.look()
    if len(board.ended) >= study.trials or any(r["of"] == study.trials for r in run.records("exhausted")):
        return True
    count = study.workers or usual_workers(device)
    jobs = [Job(study.model_dump(mode="json"), place, str(device))] * count
    results = run_jobs(
        work, jobs, workers=count, restarts=RESTARTS, place=on_own_gpu,
        on_message=lambda _, message: board.told(message), should_stop=lambda: board.tick() or should_stop(),
    )  # fmt: skip
    board.look(study.patience_s, should_stop)
    close_storage(worker.study._storage)
    if not all(results):
        return False
    if len(board.ended) < study.trials:
        run.record("exhausted", trials=len(board.ended), of=study.trials)
    return True


def warm_start(study: SearchStudy, problem: Problem) -> list[Arch]:
    """The architectures to begin with, each once. Raises ``InputError`` where one is not of the space."""
    space = problem.space
    found: dict[str, Arch] = {}
    for name in study.warm_start.zoo:
        arch = load_arch(name)
        arch = replace(arch, joints=space.smallest().joints)
        if arch in space and not problem.costing.fits(arch):
            over = {k: v for k, v in problem.costing.over(problem.costing(arch)).items() if v > 0}
            raise InputError(f"warm_start.zoo: {name} breaks the limits of {', '.join(over)}")
        if arch not in space:
            raise InputError(f"warm_start.zoo: {name} is not an architecture of the space {space.name}")
        found[fingerprint(arch)] = arch
    for path in study.warm_start.runs:
        records = [r for r in candidates(Run(path)) if "beaten_by" not in r]
        if not records:
            raise InputError(f"warm_start.runs: {path} has no candidates on record")
        best = front([(r["ap"], r["macs"]) for r in records], ("max", "min"))
        for record, on_front in zip(records, best, strict=True):
            arch = replace(as_arch(record["arch"]), joints=space.smallest().joints)
            if on_front and arch in space and problem.costing.fits(arch):
                found[fingerprint(arch)] = arch
    return list(found.values())
