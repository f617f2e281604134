"""A tabular benchmark: what a supernet says of every architecture of a small space, to try searches on in seconds.

In the manner of NAS-Bench-101 (Ying et al., ICML 2019). Every evaluation is a ``candidate`` record of the run, so a
table that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from archsearch.experiments.candidates import EstimateSettings, Record, estimate_all, supernet_folder, supernet_study
from archsearch.experiments.rank import benchmark_row
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError
from archsearch.nets.zoo import Arch
from archsearch.runs import Run
from archsearch.space import Space, fingerprint
from archsearch.train.stored import load_supernet, weights_sha256
from archsearch.train.supernet import of_joints

MOST = 50_000  # architectures in a table


def every(space: Space[Arch]) -> list[Arch]:
    """All architectures of a space, each once. Raises ``InputError`` where there are too many to go through."""
    if space.size > MOST:
        raise InputError(f"{space.name}: {space.size:,} architectures, a table has {MOST:,} at most")
    return list(space.every())


def source(space: Space[Arch], given: Path, estimate: EstimateSettings) -> Record:
    """Where a table comes from, as its first line says it: data, supernet and how its sub-nets were evaluated."""
    folder = supernet_folder(given)
    study = SupernetStudy.model_validate(supernet_study(folder))
    (trained,) = Run(folder.parent).records("trained")[-1:]
    return {
        "space": space.name,
        "data": study.data.model_dump(mode="json"),
        "supernet": {
            "study": study.name, "run": folder.parent.name, "images_seen": trained["images_seen"], "seed": study.seed,
            "settings": study.supernet.model_dump(mode="json", exclude={"weights"}),
            "weights_sha256": weights_sha256(folder),
        },
        "estimate": estimate.model_dump(mode="json"),
    }  # fmt: skip


def run_table(
    space: Space[Arch], given: Path, estimate: EstimateSettings, run: Run, *, device: str, workers: int,
    on_event: Callable[[str, Record], None], should_stop: Callable[[], bool],
) -> list[dict[str, Any]] | None:  # fmt: skip
    """The lines of the table of ``space`` by the supernet ``given``, by rising MACs; None where it was stopped.

    Raises ``InputError`` where the supernet does not hold one of the architectures.
    """
    folder = supernet_folder(given)
    study = SupernetStudy.model_validate(supernet_study(folder))
    supernet = load_supernet(folder)
    space = of_joints(space, len(supernet.skeleton))
    archs = every(space)
    for arch in archs:
        try:
            supernet.space.choices(arch)
        except ValueError as error:
            raise InputError(f"{space.name}: not within the supernet's space: {error}") from None
    found = estimate_all(
        run, folder, archs, study.data, study.train, estimate, device=device, workers=workers, on_event=on_event,
        should_stop=should_stop,
    )  # fmt: skip
    if found is None:
        return None
    records = [(found[fingerprint(arch)], arch) for arch in archs]
    rows = [
        benchmark_row(r["fingerprint"], space.choices(arch), r["ap"], (), r["macs"], r["params"]) for r, arch in records
    ]
    return sorted(rows, key=lambda row: (row["macs"], row["fingerprint"]))
