"""The supernet experiment: train one network for a whole space, then see what its sub-nets are worth.

Records: ``step`` and ``evaluation`` along the way (``config`` is ``supernet``, ``subnet`` which one was evaluated),
``trained`` once, a ``candidate`` for every sub-net evaluated, and a ``result`` for each of the smallest, the median and
the largest one trained alone on as many images, with ``step`` and ``evaluation`` of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from archsearch.costs.fast import CostModel
from archsearch.data.sources import load_data
from archsearch.environment import choose_device, cores
from archsearch.experiments.candidates import FOLDER, Estimator, estimate_all
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, job_for, run_job
from archsearch.experiments.supernet_study import CHECKPOINTS, SupernetStudy, checked, has_begun
from archsearch.files import cache_folder
from archsearch.jobs import Talk, on_own_gpu, run_jobs, usual_workers
from archsearch.nets.zoo import Arch
from archsearch.runs import Run
from archsearch.space import Space, fingerprint
from archsearch.train.loop import OtherFailed, Progress, Stopped, train
from archsearch.train.processes import ALONE, Processes, group, own_device, under_torchrun
from archsearch.train.stored import Supernet, save_supernet
from archsearch.train.subnets import extreme
from archsearch.train.supernet import SupernetTask, first_supernet

OnEvent = Callable[[str, dict[str, Any]], None]
SUPERNET = "supernet"  # the name of its training in records, beside those of sub-nets trained alone
MEDIAN_OF = 401  # random architectures whose median by MACs stands for the space


# ------------------------------------------------------------------------------------------------------ chosen sub-nets


def landmarks(space: Space[Arch], count: int) -> dict[str, Arch]:
    """``smallest``, ``median`` and ``largest`` of a space by MACs, and ``count`` random ones.

    The largest has the maximum of every hole, the smallest the minimum; of named alternatives that with the most or
    the fewest MACs. The median is that of random ones.
    """
    rng = np.random.default_rng(0)
    costs = CostModel(space)
    drawn = sorted((space.sample(rng) for _ in range(MEDIAN_OF)), key=lambda arch: costs(arch).macs)
    named = max((len(hole.options) for hole in space.holes if isinstance(hole.options[0], str)), default=1)

    def ends(largest: bool) -> list[Arch]:
        def pick(path: str, options: tuple[Any, ...], turn: int) -> Any:
            is_named = isinstance(options[0], str)
            return options[turn % len(options)] if is_named else extreme(options, largest=largest)

        return [space.fill(partial(pick, turn=turn)) for turn in range(named)]

    found = {
        "smallest": min(ends(largest=False), key=lambda arch: costs(arch).macs),
        "median": drawn[MEDIAN_OF // 2],
        "largest": max(ends(largest=True), key=lambda arch: costs(arch).macs),
    }
    rng = np.random.default_rng(1)
    return {**found, **{f"random{k}": space.sample(rng) for k in range(count)}}


# ---------------------------------------------------------------------------------------------------------------- runs


def run_supernet(study: SupernetStudy, run: Run, *, on_event: OnEvent, should_stop: Callable[[], bool]) -> bool:
    """Carry out the study in its run's folder; False where it was stopped before its end.

    Raises ``ValueError`` with one line on bad input.
    """
    device = choose_device(study.device)
    study = checked(study, run, None)
    on_event("data", {"stage": "data"})
    train_set, _ = load_data(study.data, cache=cache_folder(), workers=cores())
    if not run.records("trained"):
        count = study.processes
        assert count is not None
        meeting = run.folder("checkpoints") / "meeting"
        meeting.unlink(missing_ok=True)
        plain = study.model_dump(mode="json")
        members = [Member(run.path, plain, Processes(rank, count), str(device)) for rank in range(count)]
        results = run_jobs(
            train_member, members, workers=count,
            on_message=lambda _, message: on_event("supernet", message), should_stop=should_stop,
        )  # fmt: skip
        if not all(results):
            return False
    archs = landmarks(study.searched(len(train_set.skeleton)), study.subnets)
    return _evaluate(study, run, archs, device, on_event, should_stop)


def _evaluate(
    study: SupernetStudy, run: Run, archs: dict[str, Arch], device: torch.device, on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> bool:  # fmt: skip
    """What comes after training: estimates of sub-nets, and the three landmarks trained alone."""
    workers = usual_workers(device)
    found = estimate_all(
        run, run.path / FOLDER, list(archs.values()), study.data, study.train, study.estimate, device=str(device),
        workers=workers, on_event=on_event, should_stop=should_stop,
    )  # fmt: skip
    if found is None:
        return False
    named = {record["name"] for record in run.records("landmark")}
    for name in (name for name in archs if name not in named):
        run.record("landmark", name=name, fingerprint=fingerprint(archs[name]))
    if not study.alone:
        return True
    done = {record["config"] for record in run.records("result")}
    settings = study.train.model_copy(update={"evaluations": 1})
    jobs = [
        job_for(run, name, study.seed, archs[name], study.data, settings, str(device), 1000, HEIGHT_EDGES_PX)
        for name in ("largest", "median", "smallest")
        if name not in done
    ]
    results = run_jobs(
        run_job, jobs, workers=workers, place=on_own_gpu,
        on_message=lambda index, message: on_event(f"{jobs[index].name} alone", message), should_stop=should_stop,
    )  # fmt: skip
    return all(result is not None for result in results)


# ------------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Member:
    """One of the processes that train a supernet together."""

    run: Path  # the run's folder
    study: dict[str, Any]
    processes: Processes
    device: str


def train_member(member: Member, talk: Talk) -> bool:
    """A process's part of the training; False where the parent asked to stop."""
    meeting = member.run / "checkpoints" / "meeting"
    device = own_device(choose_device(member.device), member.processes)
    study = SupernetStudy.model_validate(member.study)
    with group(device, member.processes, meeting) as processes:
        return train_shared(study, Run(member.run), processes, device, talk.send, talk.should_stop)


def train_under_torchrun(
    study: SupernetStudy, run: Run | None, send: Callable[[dict[str, Any]], None], should_stop: Callable[[], bool]
) -> bool:
    """The part of this process, one of those that ``torchrun`` started; False where the training was stopped.

    ``run``: the run's folder in the first process, None in the others, which learn of it.
    """
    member = under_torchrun()
    assert member is not None
    device = own_device(choose_device(study.device), member)
    torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
    with group(device, None if member.count > 1 else ALONE, Path()) as processes:
        run = Run(Path(processes.told(None if run is None else str(run.path))))
        if processes.any(bool(run.records("trained")), device):  # one machine may not see what another wrote
            return True
        return train_shared(study, run, processes, device, send, should_stop)


def train_shared(
    study: SupernetStudy, run: Run, processes: Processes, device: torch.device,
    send: Callable[[dict[str, Any]], None], should_stop: Callable[[], bool],
) -> bool:  # fmt: skip
    """Train in a process group that was joined; the first process records, evaluates and keeps the supernet.

    Gives back False where the training was stopped, or failed in another process. Raises ``TrainingDiverged`` where the
    loss is not finite.
    """
    train_set, val_set = load_data(study.data, cache=cache_folder())
    joints, settings = len(train_set.skeleton), study.train
    space = study.searched(joints)
    steps = settings.steps(len(train_set))
    task = SupernetTask(
        train_set, space, study.supernet, settings.augmentation, settings.loss, study.seed, steps
    )  # fmt: skip
    begins = study.supernet.model_copy(update={"weights": None}) if has_begun(run) else study.supernet
    net = first_supernet(space, joints, settings, begins, study.seed)
    ends = {name: arch for name, arch in landmarks(space, 0).items() if name != "median"}
    is_first = processes.rank == 0

    def on_step(progress: Progress) -> None:
        if progress.reported and is_first:
            send({"stage": "train", **progress.record()})
            run.record("step", config=SUPERNET, seed=study.seed, **progress.record())

    def on_evaluation(averaged: nn.Module, progress: Progress) -> None:
        supernet = Supernet(averaged, space, val_set.skeleton, settings.decode)
        found = Estimator(supernet, train_set, val_set, settings, study.estimate, device)
        for name, arch in ends.items():
            ap = found.scores(arch).ap
            run.record("evaluation", config=SUPERNET, subnet=name, seed=study.seed, ap=ap, **progress.record())
            send({"stage": "evaluation", "ap": ap, **progress.record()})

    try:
        averaged, progress = train(
            net,
            task,
            settings,
            seed=study.seed,
            folder=run.folder(CHECKPOINTS),
            device=device,
            on_step=on_step,
            on_evaluation=on_evaluation,
            should_stop=should_stop,
            rearrange=task.rearrange,
        )
    except (Stopped, OtherFailed):  # the one that failed says why
        return False
    if is_first:
        save_supernet(run.path / FOLDER, Supernet(averaged, space, val_set.skeleton, settings.decode))
        run.record(
            "trained", images_seen=progress.images_seen, train_s=progress.train_s, processes=processes.count,
            device=str(device), space_size=str(space.size),
        )  # fmt: skip
        shutil.rmtree(run.path / CHECKPOINTS)
    return True
