"""A sub-net of a supernet as a model of its own: what ``archsearch extract`` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archsearch.experiments.candidates import EstimateSettings, estimator, supernet_folder, supernet_study
from archsearch.experiments.search.records import candidates
from archsearch.experiments.search.run import TRAINING
from archsearch.experiments.supernet import landmarks
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError, read_yaml
from archsearch.nets.zoo import Arch, as_arch, load_arch
from archsearch.runs import Run
from archsearch.train.stored import Supernet, load_supernet


@dataclass(frozen=True, eq=False)
class Extracted:
    """A stand-alone network and the supernet that it came from."""

    net: nn.Module
    supernet: Supernet


def supernet_of(run: Path) -> Path:
    """The supernet's folder of a run that trained it, or searched it. Raises ``InputError`` where there is none."""
    if (run / TRAINING).is_dir():
        return supernet_folder(run / TRAINING)
    score = _score(run)
    if score and score["kind"] != "supernet":
        raise InputError(f"{run}: a search by {score['kind']} has no supernet; models it trained are in {run}/models")
    given = score.get("run")
    return supernet_folder(run if given is None else Path(given))


def _score(run: Path) -> dict[str, Any]:
    """What a search says of its score; nothing where the run is not one."""
    study = read_yaml(run / "study.yaml") if (run / "study.yaml").exists() else {}
    return dict(study.get("score", {})) if study.get("kind") == "search" else {}


def chosen_arch(run: Path, folder: Path, arch: str | None, trial: int | None) -> Arch:
    """The architecture that is asked for, with the supernet's joints.

    Raises ``InputError`` where not one of both is given, or it is not there or not of the supernet's space.
    """
    if (arch is None) == (trial is None):
        raise InputError("name the architecture: either --arch or --trial")
    space = load_supernet(folder).space
    if trial is not None:
        known = {record["trial"]: record for record in candidates(Run(run))}
        if trial not in known:
            raise InputError(f"--trial {trial}: {run} has {len(known)} trials on record, that one is not among them")
        return as_arch(known[trial]["arch"])
    if arch in ("smallest", "largest"):
        return landmarks(space, 0)[str(arch)]
    picked = replace(load_arch(str(arch)), joints=space.smallest().joints)
    if picked not in space:
        raise InputError(f"--arch {arch}: not an architecture of the space {space.name}, which {folder} is of")
    return picked


def recalibrated(run: Path, folder: Path, arch: Arch, device: torch.device) -> Extracted:
    """The sub-net with statistics of its own, from the supernet's training images, as many as the run's AP is of."""
    study = SupernetStudy.model_validate(supernet_study(folder))
    given = _score(run).get("estimate")
    estimate = study.estimate if given is None else EstimateSettings.model_validate(given)
    found = estimator(folder, study.data, study.train, estimate, device)
    return Extracted(found.network(arch), found.supernet)
