"""From a front to models: the best architecture within each budget, fine-tuned, evaluated, measured and exported.

A package is a folder ``packages/NAME`` of the run: ``arch.yaml``, ``weights.safetensors``, ``model.onnx``; the report
adds a model card. It appears whole or not at all, with a ``package`` record that has every figure of the card.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archsearch.environment import choose_device, environment
from archsearch.experiments.candidates import supernet_study
from archsearch.experiments.search.latency import known_latency, measure_candidates, measured, unmeasured
from archsearch.experiments.search.records import candidates
from archsearch.experiments.search.scores import BySupernet, ByTraining, score_for
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.search.workers import OnEvent, Place
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, job_for, run_job
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.jobs import on_own_gpu, run_jobs, usual_workers
from archsearch.nets.onnx import export_onnx
from archsearch.nets.zoo import Arch, as_arch
from archsearch.runs import Run
from archsearch.search.afford import LATENCY, cost_of
from archsearch.search.driver import Interrupted
from archsearch.search.problem import Problem
from archsearch.train.checkpoint import load_model, save_model

SUBNETS, PACKAGES = "subnets", "packages"  # of a run: what was extracted, and what came out
BOOTSTRAP = 1000


def chosen(study: SearchStudy, run: Run, problem: Problem) -> dict[str, dict[str, Any]]:
    """By the budgets' names, the candidate with the highest AP within the budget and the search's limits.

    A budget that no candidate keeps is left out.
    """
    found = {}
    whole = [r for r in candidates(run) if "beaten_by" not in r]  # the AP of others is only expected
    within = [r for r in whole if all(r["costs"][name] <= limit for name, limit in study.constraints.items())]
    prices = [(r, _price(study.budgets_of, r, problem)) for r in within]
    known = [(r, price) for r, price in prices if price is not None]
    for name, budget in study.budgets.items():
        fitting = [(r, price) for r, price in known if price <= budget]
        if fitting:
            found[name] = max(fitting, key=lambda pair: (pair[0]["ap"], -pair[1]))[0]
    return found


def _price(name: str, record: dict[str, Any], problem: Problem) -> float | None:
    if name == LATENCY:
        return record.get("latency_ms")
    return cost_of(problem.costing.count(as_arch(record["arch"])), name)


def make_packages(
    study: SearchStudy, run: Run, place: Place, problem: Problem, on_event: OnEvent, should_stop: Callable[[], bool]
) -> bool:
    """Make every package that is not there yet, or was made by other settings; False where it was stopped.

    Where latency is budgeted or limited, picks are measured, and picked again, until the measured ones keep to it.
    """
    picks = chosen(study, run, problem)
    while LATENCY in (study.budgets_of, *study.constraints) and (predicted := unmeasured(picks.values())):
        if not measure_candidates(study, run, predicted, on_event, should_stop):
            return False
        picks = chosen(study, run, problem)
    done = {record["name"]: record["made"] for record in run.records("package")}
    todo = {name: record for name, record in picks.items() if done.get(name) != _made(study, name, record)}
    if not todo:
        return True
    device = choose_device(study.device)
    try:
        data, begin = _begin(study, run, place, str(device), todo, on_event, should_stop)
    except Interrupted:
        return False
    if study.finetune is not None:
        settings = study.finetune.model_copy(update={"evaluations": 1})
        trained = {record["config"] for record in run.records("result")}
        wanted = {_config(study, record): name for name, record in todo.items()}  # two budgets can have one best
        names = [name for config, name in wanted.items() if config not in trained]
        jobs = [
            job_for(
                run, _config(study, todo[name]), study.seed, as_arch(todo[name]["arch"]), data, settings, str(device),
                BOOTSTRAP, HEIGHT_EDGES_PX, begin[name],
            )
            for name in names
        ]  # fmt: skip
        results = run_jobs(
            run_job, jobs, workers=usual_workers(device), place=on_own_gpu, should_stop=should_stop,
            on_message=lambda index, message: on_event(f"fine-tuning {names[index]}", message),
        )  # fmt: skip
        if any(result is None for result in results):
            return False
    for name, record in todo.items():
        on_event("packages", {"stage": name})
        if should_stop():
            return False
        source = begin[name]
        if study.finetune is not None:
            source = run.path / "models" / f"{_config(study, record)}-s{study.seed}"
        _package(study, run, problem, name, record, source)
    return True


def _config(study: SearchStudy, record: dict[str, Any]) -> str:
    """What a model's training is called in the records, told apart by its settings."""
    assert study.finetune is not None
    settings = hashlib.sha256(study.finetune.model_dump_json().encode()).hexdigest()[:6]
    return f"tuned-{record['fingerprint'][:8]}-{settings}"


def _made(study: SearchStudy, name: str, record: dict[str, Any]) -> list[Any]:
    """What a package is made of: where this differs, it is made again."""
    training = None if study.finetune is None else _config(study, record)
    return [record["fingerprint"], study.budgets_of, study.budgets[name], training, study.export]


def _begin(
    study: SearchStudy, run: Run, place: Place, device: str, todo: dict[str, dict[str, Any]], on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> tuple[Any, dict[str, Path]]:  # fmt: skip
    """The data, and for each package a model's folder with the weights that it begins from.

    Raises ``Interrupted`` where it was stopped.
    """
    trained = None
    if place.supernet is not None:
        trained = SupernetStudy.model_validate(supernet_study(place.supernet))
    score = score_for(
        study.score, supernet=place.supernet, trained=trained, run=run, device=device, cost_names=study.cost_names,
        should_stop=should_stop,
    )  # fmt: skip
    if isinstance(score, ByTraining):
        begin = {name: score.folder(as_arch(record["arch"])) for name, record in todo.items()}
        for name, record in todo.items():
            if not begin[name].is_dir():  # another machine trained it
                on_event("training again here", {"stage": name})
                score(as_arch(record["arch"]), {}, ())
        return score.settings.data, begin
    assert isinstance(score, BySupernet)
    assert trained is not None
    supernet = score.found.supernet
    begin = {}
    for name, record in todo.items():
        on_event("extracting", {"stage": name})
        begin[name] = run.folder(SUBNETS) / name
        arch: Arch = as_arch(record["arch"])
        save_model(begin[name], score.found.network(arch), arch, supernet.skeleton, supernet.decode)
    return trained.data, begin


def _package(study: SearchStudy, run: Run, problem: Problem, name: str, record: dict[str, Any], source: Path) -> None:
    """One package and its record."""
    folder = run.folder(PACKAGES) / name
    made = folder.with_name(f".{name}")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(source, made)
    model = load_model(made)
    exported: dict[str, Any] | None = None
    if study.export:
        height, width = model.arch.input_hw
        difference = export_onnx(model.net, (height, width), made / "model.onnx")
        exported = {"input": [1, 3, height, width], "relative_difference": difference}
    counted = problem.costing.count(model.arch)
    latency = None
    if study.latency is not None:
        latency = known_latency(run, record) or measured(run, study.latency, {name: model.arch})[name]
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(made, folder)
    results = {r["config"]: r for r in run.records("result")}
    trained = None if study.finetune is None else results[_config(study, record)]
    # The figures are those of the weights in the package, which may have been trained here again.
    alone = results.get(record["fingerprint"]) if record["source"] == "alone" else None
    after = trained or alone or record
    run.record(
        "package", name=name, made=_made(study, name, record), config=trained and trained["config"],
        trial=record["trial"], fingerprint=record["fingerprint"], arch=record["arch"],
        arch_hw=list(model.arch.input_hw), images_seen=trained and trained["images_seen"],
        budget=study.budgets[name], budget_of=study.budgets_of, ap=after["ap"], ap_low=after.get("ap_low"),
        ap_high=after.get("ap_high"), search_ap=record["ap"], source=record["source"],
        fine_tuned=trained is not None, params=counted.params,
        macs=counted.macs, macs_by_convention=counted.macs_by_convention, latency=latency, onnx=exported,
        seed=study.seed, commit=environment().get("commit"), folder=str(folder.relative_to(run.path)),
    )  # fmt: skip
