"""What a supernet says of an architecture: extracted, recalibrated, evaluated; each architecture once in a run.

Every evaluation is a record of kind ``candidate``, found again by the architecture's fingerprint, so work that was
stopped goes on where it was and nothing is evaluated twice. Its ``ap_draws`` are AP in bootstrap samples of the
validation images, the same samples for all: differences of two candidates' draws are those of a paired bootstrap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, TypeAdapter
from torch import nn

from archsearch.costs.fast import CostModel
from archsearch.data.dataset import Dataset, first_images
from archsearch.data.sources import CocoData, DataSettings, SceneData, load_data
from archsearch.environment import choose_device
from archsearch.files import InputError, cache_folder, read_yaml
from archsearch.jobs import Talk, on_own_gpu, run_jobs
from archsearch.nets.zoo import Arch, extract
from archsearch.pose.bottomup import predict
from archsearch.pose.evaluate import Scores, ap_draws, bootstrap, evaluate
from archsearch.runs import Run
from archsearch.settings import Settings
from archsearch.space import fingerprint, from_plain, to_plain
from archsearch.train.calibrate import recalibrate
from archsearch.train.settings import TrainSettings
from archsearch.train.stored import SPACE, Supernet, load_supernet, weights_sha256

Record = dict[str, Any]
FOLDER = "supernet"  # of a run: where its supernet is kept


class EstimateSettings(Settings):
    """How a candidate is evaluated."""

    calibration_images: int = Field(320, gt=0)  # training images that the normalisation's statistics are taken from
    val_images: int | None = Field(None, gt=0)  # the first so many validation images; None: all
    bootstrap: int = Field(200, ge=10)  # resamples of the validation images for the interval of AP


@dataclass(frozen=True, eq=False)
class Estimator:
    """Evaluates architectures of one supernet on one pair of data sets. The supernet is never changed or copied.

    Of the validation images ``val_set`` keeps as many as ``estimate.val_images`` says, the first ones.
    """

    supernet: Supernet
    train_set: Dataset
    val_set: Dataset
    settings: TrainSettings
    estimate: EstimateSettings
    device: torch.device

    def __post_init__(self) -> None:
        if self.estimate.val_images is not None:
            object.__setattr__(self, "val_set", first_images(self.val_set, self.estimate.val_images))

    def network(self, arch: Arch) -> nn.Module:
        """The stand-alone network of ``arch`` with the supernet's weights and statistics of its own."""
        net = extract(self.supernet.net, arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recalibrate(
            net,
            self.train_set,
            size_px=min(arch.input_hw),
            images=self.estimate.calibration_images,
            augmentation=self.settings.augmentation,
            device=self.device,
        )
        return net  # type: ignore[no-any-return]

    def scores(self, arch: Arch, on_image: Callable[[int], None] = lambda _: None) -> Scores:
        """AP and its kin of ``arch`` on the validation images."""
        workers = 1 if self.device.type == "cpu" else 8
        results = predict(
            self.network(arch), self.val_set, self.supernet.decode, size_px=min(arch.input_hw), device=self.device,
            workers=workers, on_image=on_image,
        )  # fmt: skip
        return evaluate(self.val_set.annotations, results, self.val_set.skeleton)


def estimator(
    folder: Path, data: SceneData | CocoData, settings: TrainSettings, estimate: EstimateSettings, device: torch.device
) -> Estimator:
    """An estimator from a supernet's folder and settings. Raises ``InputError`` where they do not fit together."""
    supernet = load_supernet(folder, device)
    train_set, val_set = load_data(data, cache=cache_folder())
    if val_set.skeleton.joints != supernet.skeleton.joints:
        raise InputError(
            f"{folder}: a supernet for {len(supernet.skeleton)} joints, the data have other ones "
            f"({len(val_set.skeleton)})"
        )
    return Estimator(supernet, train_set, val_set, settings, estimate, device)


@dataclass(frozen=True)
class _Job:
    run: Path
    folder: Path
    archs: list[dict[str, Any]]
    data: dict[str, Any]
    train: dict[str, Any]
    estimate: EstimateSettings
    device: str
    weights_sha256: str


def estimate_all(
    run: Run,
    folder: Path,
    archs: Sequence[Arch],
    data: SceneData | CocoData,
    settings: TrainSettings,
    estimate: EstimateSettings,
    *,
    device: str,
    workers: int,
    on_event: Callable[[str, Record], None],
    should_stop: Callable[[], bool],
) -> dict[str, Record] | None:
    """The ``candidate`` records of ``archs`` by fingerprint, those on record already included; None where stopped."""
    digest = weights_sha256(folder)
    known = _known(run, folder, digest, estimate)
    todo = {fingerprint(arch): to_plain(arch) for arch in archs if fingerprint(arch) not in known}
    plain = list(todo.values())
    total = len({fingerprint(arch) for arch in archs})
    done = total - len(plain)

    def on_message(_: int, message: Record) -> None:
        nonlocal done
        done += 1
        on_event("sub-nets", {"stage": f"AP {message['ap']:.3f}", "step": done, "steps": total})

    if plain:
        on_event("sub-nets", {"stage": "", "step": done, "steps": total})
        jobs = [
            _Job(run.path, folder, plain[k::workers], data.model_dump(mode="json"), settings.model_dump(mode="json"),
                 estimate, device, digest)
            for k in range(min(workers, len(plain)))
        ]  # fmt: skip
        results = run_jobs(
            _work, jobs, workers=workers, place=on_own_gpu, on_message=on_message, should_stop=should_stop
        )  # fmt: skip
        if not all(results):
            return None
        known = _known(run, folder, digest, estimate)
    return {fingerprint(arch): known[fingerprint(arch)] for arch in archs}


def _known(run: Run, folder: Path, digest: str, estimate: EstimateSettings) -> dict[str, Record]:
    """What is on record of this supernet, evaluated as now; another says other things of the same architectures.

    A supernet is known by its weights, wherever the run was begun from; older records name its folder only.
    """

    def is_ours(record: Record) -> bool:
        if "weights_sha256" in record:
            return bool(record["weights_sha256"] == digest)
        return Path(record.get("supernet", folder)).resolve() == folder.resolve()

    now = {"calibration_images": estimate.calibration_images, "val_images": estimate.val_images}
    return {
        r["fingerprint"]: r
        for r in run.records("candidate")
        if is_ours(r) and all(r.get(name, value) == value for name, value in now.items())
    }


class _Interrupted(Exception):
    pass


def _work(job: _Job, talk: Talk) -> bool:
    """A worker's share of the architectures; False where it was stopped."""
    run = Run(job.run)
    data: SceneData | CocoData = TypeAdapter(DataSettings).validate_python(job.data)
    settings = TrainSettings.model_validate(job.train)
    found = estimator(job.folder, data, settings, job.estimate, choose_device(job.device))
    costs = CostModel(found.supernet.space.largest())

    def on_image(_: int) -> None:
        if talk.should_stop():
            raise _Interrupted

    for plain in job.archs:
        arch: Arch = from_plain(Arch, plain)
        started = time.monotonic()
        try:
            scores = found.scores(arch, on_image)
        except _Interrupted:
            return False
        interval = bootstrap(scores, samples=job.estimate.bootstrap)
        draws = ap_draws(scores, job.estimate.bootstrap)
        cost = costs(arch)
        record = {
            "fingerprint": fingerprint(arch), "arch": plain, "choices": found.supernet.space.choices(arch),
            "ap": scores.ap, "ap_low": interval.low, "ap_high": interval.high,
            "ap_draws": [None if ap != ap else round(ap, 4) for ap in draws.tolist()],
            "macs": cost.macs, "params": cost.params, "source": "supernet", "supernet": str(job.folder),
            "weights_sha256": job.weights_sha256, "images": len(found.val_set),
            "val_images": job.estimate.val_images, "calibration_images": job.estimate.calibration_images,
            "device": str(found.device), "seconds": time.monotonic() - started,
        }  # fmt: skip
        run.record("candidate", **record)
        talk.send({"ap": scores.ap})
    return True


def supernet_folder(given: Path) -> Path:
    """The supernet of a run, of the newest run in a study's folder, or the folder itself.

    Raises ``InputError`` where there is none.
    """
    for folder in (given, given / FOLDER, *sorted(given.glob(f"*/{FOLDER}"), reverse=True)):
        if (folder / SPACE).exists():
            return folder.resolve()
    hint = " (its training has not ended)" if (given / "study.yaml").exists() else ""
    raise InputError(f"{given}: no supernet{hint}; `archsearch supernet STUDY` trains one")


def supernet_study(folder: Path) -> Record:
    """The resolved study that trained the supernet in ``folder``. Raises ``InputError`` where it is none."""
    path = folder.parent / "study.yaml"
    if not path.exists():
        raise InputError(f"{path}: not there; a supernet is used from the run's folder that trained it")
    study = read_yaml(path)
    if not isinstance(study, dict) or study.get("kind") != "supernet":
        raise InputError(f"{path}: kind {study.get('kind') if isinstance(study, dict) else study!r} is not supernet")
    if not Run(folder.parent).records("trained"):
        raise InputError(f"{folder.parent}: its training has not ended; go on with: archsearch supernet --resume")
    return study
