"""One folder a run: ``runs/<study>/<time>/`` with the settings, the environment, the records and what was made.

study.yaml          the study, resolved: every preset and override written out
environment.json    versions, processor, GPU, commit, digests of the files that AP is of
metrics.jsonl       records, append-only: one JSON object a line, told apart by ``kind``
checkpoints/ models/ predictions/ plots/ results.csv report.html
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archsearch import files
from archsearch.environment import environment
from archsearch.files import InputError, append_jsonl, read_json, read_jsonl, read_yaml, write_json, write_text


@dataclass(frozen=True)
class Run:
    """A run's folder and its records."""

    path: Path

    @property
    def metrics(self) -> Path:
        """The append-only records."""
        return self.path / "metrics.jsonl"

    def record(self, kind: str, **fields: Any) -> None:
        """Append one record. Processes may append side by side."""
        append_jsonl(self.metrics, {"kind": kind, **fields})

    def records(self, kind: str) -> list[dict[str, Any]]:
        """All records of a kind, oldest first."""
        return [record for record in read_jsonl(self.metrics) if record.get("kind") == kind]

    def folder(self, name: str) -> Path:
        """A folder of the run, made if it is not there."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def start(name: str, study: dict[str, Any], root: Path) -> Run:
    """A new run of the study ``name`` with these resolved settings, under ``root/<name>/<time>``."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    (root / name).mkdir(parents=True, exist_ok=True)
    for count in itertools.count():
        path = root / name / (stamp if count == 0 else f"{stamp}-{count:03d}")
        with contextlib.suppress(FileExistsError):  # another one that started in this second
            path.mkdir()
            break
    write_beginning(path, study)
    return Run(path)


def write_beginning(path: Path, study: dict[str, Any]) -> None:
    """What a run's folder holds before its first record: the environment and the resolved study."""
    digests = _digests(study)
    write_json(path / "environment.json", {**environment(), **({"data": digests} if digests else {})})
    write_text(path / "study.yaml", study_text(study))


def validation_files(study: Mapping[str, Any]) -> dict[str, Path]:
    """The files that decide what a study's AP is of, by their field; embedded scenes have none."""
    data = study.get("data") or {}
    root = Path(str(data.get("root", ".")))
    named = {name: data[name] for name in ("val_annotations", "val_heads") if data.get(name) is not None}
    found = {name: root / str(value) for name, value in named.items()}
    if study.get("detections") is not None:
        found["detections"] = Path(str(study["detections"]))
    return found


def recorded_digests(run: Run) -> dict[str, str]:
    """SHA-256 of the run's :func:`validation_files` when it began, by field; older runs have none on record."""
    path = run.path / "environment.json"
    if not path.exists():
        return {}
    found = read_json(path).get("data", {})
    return {name.removesuffix("_sha256"): digest for name, digest in found.items()}


def _digests(study: Mapping[str, Any]) -> dict[str, str]:
    """As ``environment.json`` holds them; without files that cannot be read, which is told where they are loaded."""
    if (study.get("score") or {}).get("kind") == "table":
        return {}  # looked up: what the files hold today says nothing of the AP in the table
    found = {}
    for name, path in validation_files(study).items():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            found[f"{name}_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Only one process at a time works on a run. Raises ``InputError`` where another one does."""
    with files.locked(run.path / ".lock", f"{run.path}: another process works on this run"):
        yield


def discard(run: Run, root: Path) -> None:
    """Remove a run that recorded nothing, and the folders above it that this leaves empty, up to ``root``."""
    shutil.rmtree(run.path)
    for folder in (run.path.parent, root):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def latest(name: str, root: Path) -> Run:
    """The newest run of a study. Raises ``InputError`` where there is none."""
    found = sorted(path.parent for path in (root / name).glob("*/study.yaml"))
    if not found:
        raise InputError(f"{root / name}: no run to resume; start one without --resume")
    return Run(found[-1])


def reopen(path: Path, study: dict[str, Any], may_differ: Sequence[str] = ()) -> Run:
    """An existing run that goes on with the same settings; those that ``may_differ`` are taken over into its study.

    Raises ``InputError`` naming another field that differs, or a file of the validation data that changed since.
    """
    if not (path / "study.yaml").exists():
        raise InputError(f"{path}: not a run's folder, it has no study.yaml")
    before = read_yaml(path / "study.yaml")
    now = yaml.safe_load(study_text(study))
    kept = {**before, **{name: now[name] for name in may_differ if name in now}} if isinstance(before, dict) else before
    difference = _difference(kept, now, "")
    if difference:
        raise InputError(f"{path}/study.yaml: the run was started with other settings: {difference}")
    digests = _digests(now)
    for name, digest in recorded_digests(Run(path)).items():
        if digests.get(f"{name}_sha256", digest) != digest:
            raise InputError(f"{path}: {name} {validation_files(now)[name]} is not the file that the run began with")
    if kept != before:
        write_text(path / "study.yaml", study_text(now))
    return Run(path)


def study_text(study: dict[str, Any]) -> str:
    """A resolved study as YAML."""
    return yaml.safe_dump(study, sort_keys=False, width=110)


def _difference(before: Any, now: Any, path: str) -> str:
    """The first field in which two trees differ, as text; empty where they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(k for k in now if k not in before)]:
            found = _difference(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return ""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (a, b) in enumerate(zip(before, now, strict=True)):
            found = _difference(a, b, f"{path}.{i}")
            if found:
                return found
        return ""
    return "" if before == now else f"{path} was {before!r}, is {now!r}"
