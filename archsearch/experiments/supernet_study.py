"""What a supernet study file says, and with how many processes it is carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from archsearch.data.sources import DataSettings, SceneData
from archsearch.environment import choose_device, cores
from archsearch.experiments.candidates import EstimateSettings
from archsearch.experiments.standalone import NAME, Seed
from archsearch.files import InputError, read_yaml
from archsearch.nets.spaces import check_shared
from archsearch.nets.zoo import Arch, is_bottom_up, load_space
from archsearch.runs import Run
from archsearch.settings import Settings
from archsearch.space import Space
from archsearch.train.loop import STATE, begun_with
from archsearch.train.pretrained import weights_file
from archsearch.train.processes import Processes
from archsearch.train.settings import TrainSettings
from archsearch.train.subnets import RESOLUTIONS, SupernetSettings, check_settings
from archsearch.train.supernet import of_joints

CHECKPOINTS = "checkpoints/supernet"  # of a run: where its training goes on
LEAST = 8  # images that each of several processes normalises over, where nobody says how many processes


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
            Processes(0, self.processes).share(self.train.batch)
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
    plain = study.model_copy(update={"processes": processes}).model_dump(mode="json")
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
    if weights is not None and (begun is None or not has_begun(begun)):
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
        if begun is not None and has_begun(begun):  # it cannot go on with another number
            Processes(0, count).share(study.train.batch)
            return study.model_copy(update={"processes": count})
        return study.trained_by(count)
    except ValueError as error:
        raise InputError(str(error)) from None


def has_begun(run: Run) -> bool:
    """Whether the first weights are of no more use: there is a checkpoint, or the training has ended."""
    return (run.path / CHECKPOINTS / STATE).exists() or bool(run.records("trained"))
