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
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from archsearch.costs.fast import CostModel
from archsearch.data.sources import DataSettings, SceneData, load_data
from archsearch.environment import choose_device, cores
from archsearch.experiments.candidates import FOLDER, EstimateSettings, Estimator, estimate_all
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, NAME, Seed, job_for, run_job
from archsearch.files import InputError, cache_folder, read_yaml
from archsearch.jobs import Talk, on_own_gpu, run_jobs, usual_workers
from archsearch.nets.spaces import check_shared
from archsearch.nets.zoo import Arch, is_bottom_up, load_space
from archsearch.runs import Run
from archsearch.settings import Settings
from archsearch.space import Space, fingerprint
from archsearch.train.loop import STATE, OtherFailed, Progress, Stopped, begun_with, train
from archsearch.train.pretrained import weights_file
from archsearch.train.processes import ALONE, Processes, group, own_device, under_torchrun
from archsearch.train.settings import TrainSettings
from archsearch.train.stored import Supernet, save_supernet
from archsearch.train.subnets import RESOLUTIONS, SupernetSettings, check_settings, extreme
from archsearch.train.supernet import SupernetTask, first_supernet, of_joints

OnEvent = Callable[[str, dict[str, Any]], None]
SUPERNET = "supernet"  # the name of its training in records, beside those of sub-nets trained alone
CHECKPOINTS = "checkpoints/supernet"  # of a run: where its training goes on
LEAST = 8  # images that each of several processes normalises over, where nobody says how many processes
MEDIAN_OF = 401  # random architectures whose median by MACs stands for the space


class SupernetStudy(Settings):
    """A study file of ``archsearch supernet``."""

    kind: Literal["supernet"]
    name: str = Field(pattern=NAME)
    question: str = ""
    space: Any  # a known space's name, its file, or the space itself
    data: DataSettings
    train: TrainSettings
    supernet: SupernetSettings = Field(default_factory=lambda: SupernetSettings.model_validate({}))
    estimate: EstimateSettings = Field(default_factory=lambda: EstimateSettings.model_validate({}))
    subnets: int = Field(8, ge=0)  # random sub-nets evaluated at the end, besides smallest, median and largest
    alone: bool = False  # whether smallest, median and largest are also trained alone, on as many images
    seed: Seed = 0
    device: str = "auto"  # auto, cpu or cuda
    processes: int | None = Field(None, gt=0)  # that train together; None: see usual_processes

    @field_validator("space", mode="after")
    @classmethod
    def _is_space(cls, space: Any) -> Any:
        _space(space)
        return space

    @model_validator(mode="after")
    def _fits(self) -> SupernetStudy:
        space = _space(self.space)
        check_settings(space, self.supernet)
        if not is_bottom_up(space.largest()):
            raise ValueError(f"space {space.name} is top-down: supernets are trained bottom-up")
        largest = max(space.largest().input_hw)
        if self.processes is not None:
            self._check_share(self.processes)
        sizes = next((hole.options for hole in space.holes if hole.path in RESOLUTIONS), (space.largest().input_hw,))
        oblong = [size for size in sizes if not isinstance(size, int) and size[0] != size[1]]
        if oblong:
            raise ValueError(f"space {space.name} has input_hw {list(oblong[0])}: bottom-up training takes squares")
        if isinstance(self.data, SceneData) and largest > self.data.size_px:
            raise ValueError(f"space {space.name} takes {largest} px images, data.size_px draws {self.data.size_px}")
        return self

    def _check_share(self, processes: int) -> None:
        _, share = Processes(0, processes).share(self.train.batch)
        if share == 1 < processes and not self.supernet.sync_batch_norm:
            raise ValueError(
                f"processes {processes}: of batch {self.train.batch} each would normalise one image by itself; fewer "
                "processes or supernet.sync_batch_norm are needed"
            )

    def trained_by(self, processes: int) -> SupernetStudy:
        """The study with this number of processes. Raises ``ValueError`` where they cannot share a batch."""
        self._check_share(processes)
        return self.model_copy(update={"processes": processes})

    def searched(self, joints: int) -> Space[Arch]:
        """The space, for ``joints`` joints."""
        return of_joints(_space(self.space), joints)


def _space(given: Any) -> Space[Arch]:
    if isinstance(given, str | Path):
        return load_space(given)
    if not isinstance(given, dict):
        raise ValueError(f"space {given!r} is not a name, a file or a mapping")
    space: Space[Arch] = Space(Arch, given.get("tree", given), given.get("name", "space"))
    check_shared(space)
    return space


def resolved(study: SupernetStudy) -> dict[str, Any]:
    """The study with every preset, default, the space and the number of processes written out, for the run's folder.

    Elsewhere the run is the same experiment then: normalisation sees as many images. Raises ``ValueError`` where the
    study's device is not there.
    """
    space, processes = _space(study.space), study.processes or usual_processes(study)
    plain = study.trained_by(processes).model_dump(mode="json")
    return {**plain, "space": {"name": space.name, "tree": space.plain}}


def usual_processes(study: SupernetStudy) -> int:
    """How many processes this machine trains with: one a core or GPU, as far as they share a batch equally.

    Without synchronised normalisation each has ``LEAST`` images or more; fewer would make another network.
    """
    device, batch = choose_device(study.device), study.train.batch
    most = torch.cuda.device_count() if device.type == "cuda" else cores()
    if not study.supernet.sync_batch_norm:
        most = min(most, batch // LEAST)
    return next((n for n in range(most, 0, -1) if batch % n == 0), 1)


def begun_processes(run: Run) -> int | None:
    """How many processes train the supernet of a run that has begun; None where that is nowhere on record."""
    path = run.path / "study.yaml"
    plain = read_yaml(path) if path.exists() else {}
    if isinstance(plain, dict) and plain.get("processes") is not None:
        return int(plain["processes"])
    trained = run.records("trained")
    return int(trained[-1]["processes"]) if trained else begun_with(run.path / CHECKPOINTS)


def checked(study: SupernetStudy, begun: Run | None, processes: int | None) -> SupernetStudy:
    """The study as its run goes on or begins, with its number of processes.

    ``begun``: the run that goes on; ``processes``: those that ``torchrun`` started, None where it did not. Raises
    ``InputError`` where the number is another one than the study's or the run's, or they cannot share a batch, or the
    weights to begin from are not there.
    """
    weights = study.supernet.weights
    if weights is not None and (begun is None or not _has_begun(begun)):
        try:
            weights_file(weights)
        except InputError as error:
            raise InputError(f"supernet.weights: {error}") from None
    known = None if begun is None else begun_processes(begun)
    if processes is not None and processes != (study.processes or known or processes):
        where = f"{begun.path / 'study.yaml'}: " if begun is not None and study.processes is None else ""
        raise InputError(f"{where}processes is {study.processes or known}, torchrun started {processes}")
    count = study.processes or known or processes or usual_processes(study)
    try:
        return study.trained_by(count)
    except ValueError as error:
        raise InputError(str(error)) from None


def _has_begun(run: Run) -> bool:
    """Whether the first weights are of no more use: there is a checkpoint, or the training has ended."""
    return (run.path / CHECKPOINTS / STATE).exists() or bool(run.records("trained"))


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
    begins = study.supernet.model_copy(update={"weights": None}) if _has_begun(run) else study.supernet
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
