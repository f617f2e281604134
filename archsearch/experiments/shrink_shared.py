"""The gradual-shrinking experiment without training: every configuration taken from one supernet.

Records of kind ``shared``: what the supernet says of each configuration, beside the ``result`` of its own training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from archsearch.environment import choose_device
from archsearch.experiments.candidates import estimate_all, supernet_folder, supernet_study
from archsearch.experiments.shrink import ShrinkStudy
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError
from archsearch.jobs import usual_workers
from archsearch.nets.hrnet import HRNet
from archsearch.runs import Run
from archsearch.space import fingerprint
from archsearch.train.stored import load_supernet

OnEvent = Callable[[str, dict[str, Any]], None]


def check_supernet(study: ShrinkStudy, given: Path) -> tuple[Path, SupernetStudy, dict[str, HRNet]]:
    """The supernet's folder, its study and the configurations as it holds them.

    Raises ``InputError`` where the supernet learned from other data or does not hold a configuration.
    """
    folder = supernet_folder(given)
    trained = SupernetStudy.model_validate(supernet_study(folder))
    if trained.data != study.data:
        raise InputError(
            f"{folder}: trained on other data than {study.name}: its AP could not be compared "
            f"(data: {trained.data.model_dump(mode='json')})"
        )
    space = load_supernet(folder).space
    joints = space.largest().joints
    archs = study.architectures(joints)
    for name, arch in archs.items():
        try:
            space.choices(arch)
        except ValueError as error:
            raise InputError(f"{folder}: configuration {name} is not in its space: {error}") from None
    return folder, trained, archs


def run_shared(
    study: ShrinkStudy, run: Run, given: Path, *, on_event: OnEvent, should_stop: Callable[[], bool]
) -> bool:
    """Estimate every configuration from the supernet; False where it was stopped.

    Raises ``InputError`` as :func:`check_supernet` does.
    """
    folder, trained, archs = check_supernet(study, given)
    before = {record["supernet"] for record in run.records("shared")} - {str(folder)}
    if before:
        raise InputError(f"{run.path}: its estimates are from {before.pop()}, not from {folder}")
    device = choose_device(study.device)
    estimate = trained.estimate.model_copy(update={"bootstrap": study.bootstrap, "val_images": None})
    found = estimate_all(
        run, folder, list(archs.values()), study.data, trained.train, estimate, device=str(device),
        workers=usual_workers(device), on_event=on_event, should_stop=should_stop,
    )  # fmt: skip
    if found is None:
        return False
    done = {record["config"] for record in run.records("shared")}
    images = Run(folder.parent).records("trained")[-1]["images_seen"]
    for name, arch in archs.items():
        if name not in done:
            record = found[fingerprint(arch)]
            run.record(
                "shared", config=name, ap=record["ap"], ap_low=record["ap_low"], ap_high=record["ap_high"],
                macs=record["macs"], fingerprint=record["fingerprint"], supernet=str(folder), supernet_images=images,
            )  # fmt: skip
    return True
