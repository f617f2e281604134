"""Where the trials of a search are kept, so that any number of workers share them and none needs to live on.

A URL names the storage: ``sqlite:///FILE`` (one machine), ``postgresql://...`` (many), ``journal:FILE`` (many on one
file system). Optuna's own classes do the work, and ``optuna-dashboard`` opens all three.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._rdb.models import TrialParamModel
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from archsearch.files import InputError

Result = TypeVar("Result")
OUTAGES = (StorageInternalError, SQLAlchemyError, ConnectionError)  # what a server that is away looks like
CONNECT = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}  # seconds
BUSY_S = 60.0  # that SQLite waits for another process's write
FACTS = "archsearch"  # the study's attribute that says what is searched


class Stopped(Exception):
    """Waiting for a storage that is away was ended from outside."""


def open_storage(
    url: str, patience_s: float = 0.0, *, create: bool = True, should_stop: Callable[[], bool] = lambda: False
) -> BaseStorage:
    """The storage at ``url``, waited for where it is away, for ``patience_s`` at most.

    ``create``: make its file where it is one and is not there. Raises ``InputError`` where it is of no known kind, is
    not there, or cannot be opened, ``Stopped`` as :func:`patiently`.
    """
    kind, colon, rest = url.partition(":")
    if not colon or kind not in ("sqlite", "postgresql", "postgres", "journal") or not rest.strip("/"):
        raise InputError(f"storage {hidden(url)}: sqlite:///FILE, postgresql://USER@HOST/NAME or journal:FILE needed")
    if kind in ("postgresql", "postgres") and find_spec("psycopg") is None:
        raise InputError(f"storage {hidden(url)}: psycopg is needed: pip install 'archsearch[postgres]'")
    file = file_of(url)
    if file is not None and not (file.parent.is_dir() if create else file.is_file()):
        raise InputError(f"storage {hidden(url)}: there is no {file.parent if create else file}")
    try:
        return patiently(lambda: _opened(kind, rest), patience_s, should_stop=should_stop)
    except (*OUTAGES, ValueError) as error:  # ValueError: a port that is no number
        raise InputError(f"storage {hidden(url)}: {first_line(error)}") from None
    except OSError as error:
        raise InputError(f"storage {hidden(url)}: {error.strerror or error}") from None


def file_of(url: str) -> Path | None:
    """The file that a URL names; None of a server."""
    kind, _, rest = url.partition(":")
    return {"sqlite": Path(rest.removeprefix("///")), "journal": Path(rest)}.get(kind)


def _opened(kind: str, rest: str) -> BaseStorage:
    if kind == "journal":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return JournalStorage(_Journal(rest))
    if kind == "sqlite":
        return _sqlite(f"sqlite:{rest}")
    waits = {"pool_pre_ping": True, "connect_args": {**CONNECT}}
    return optuna.storages.get_storage(RDBStorage(f"postgresql+psycopg:{rest}", engine_kwargs=waits))


class _Journal(JournalFileBackend):
    """A journal whose last line may be torn, by a full disk or a power cut: what is written next begins a new one."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """As Optuna's."""
        with get_lock_file(self._lock), open(self._file_path, "rb+") as file:
            if size := file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read(size).rfind(b"\n") + 1)
        super().append_logs(logs)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """As Optuna's; raises ``InputError`` that names the file where it is no journal."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise InputError(f"storage journal:{self._file_path}: not a journal: {error}") from None


def _sqlite(url: str) -> BaseStorage:
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_S}})
    # Readers do not wait for the writer, and a commit does not wait for the disk: what a power cut can take is the last
    # trials, never the file.
    sqlalchemy.event.listen(storage.engine, "connect", _without_waiting)
    storage.engine.dispose()
    return optuna.storages.get_storage(storage)


def _without_waiting(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}").close()


def set_params(
    storage: BaseStorage, trial_id: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> dict[str, Any]:
    """Write all parameters of a running trial that has none, in a data base in one transaction; what is stored then.

    Optuna takes a transaction for each of them, which costs more than the proposal itself. What was stored meanwhile,
    by another worker that took the trial or before an outage, stays. Raises ``UpdateFinishedTrialError`` where the
    trial has ended.
    """
    backend = getattr(storage, "_backend", storage)
    values = {name: chosen.to_internal_repr(params[name]) for name, chosen in distributions.items()}
    storage.check_trial_is_updatable(trial_id, storage.get_trial(trial_id).state)
    if isinstance(backend, RDBStorage) and _inserted(backend, trial_id, values, distributions):
        return dict(params)
    for name, value in values.items():
        if name not in storage.get_trial(trial_id).params:
            storage.set_trial_param(trial_id, name, value, distributions[name])
    return dict(storage.get_trial(trial_id).params)


def _inserted(
    backend: RDBStorage, trial_id: int, values: Mapping[str, float], distributions: Mapping[str, BaseDistribution]
) -> bool:
    """All parameters at once; False where there are some."""
    rows = [
        {"trial_id": trial_id, "param_name": name, "param_value": value,
         "distribution_json": distribution_to_json(distributions[name])}
        for name, value in values.items()
    ]  # fmt: skip
    try:
        with backend.engine.begin() as connection:
            connection.execute(sqlalchemy.insert(TrialParamModel.__table__), rows)
    except IntegrityError:
        return False
    return True


def absolute(url: str) -> str:
    """The URL with the whole path where it is of a file."""
    kind, _, rest = url.partition(":")
    if kind == "sqlite" and rest.startswith("///"):
        return f"sqlite:///{Path(rest[3:]).resolve()}"
    return f"journal:{Path(rest).resolve()}" if kind == "journal" and rest else url


def close_storage(storage: BaseStorage) -> None:
    """Let go of a storage's connections."""
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, RDBStorage):
        backend.remove_session()
        backend.engine.dispose()


def hidden(url: str) -> str:
    """The URL without a password."""
    url = url.partition("?")[0]
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}@{tail}" if at and slashes else url


def first_line(error: BaseException) -> str:
    """What went wrong, without the statement that SQLAlchemy shows with it."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None)
    lines = str(original if original is not None else error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def open_study(
    storage: BaseStorage, name: str, directions: Sequence[Literal["maximize", "minimize"]], metrics: Sequence[str],
    facts: Mapping[str, Any], *, create: bool,
) -> optuna.Study:  # fmt: skip
    """The study of that name. ``facts``: what must be the same for everyone who works on it.

    Raises ``InputError`` where it is not there and not to be made, or its facts are others.
    """
    try:
        with quiet():
            if create:
                study = optuna.create_study(
                    storage=storage, study_name=name, directions=list(directions), load_if_exists=True
                )
            else:
                study = optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        raise InputError(
            f"no search named {name} in that storage yet; `archsearch search STUDY --storage URL` begins one"
        ) from None
    known = study.user_attrs.get(FACTS)
    if known is None and create:
        study.set_user_attr(FACTS, dict(facts))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(metrics))
    elif known != dict(facts):
        for key in dict.fromkeys((*(known or {}), *facts)):
            there, here = (known or {}).get(key), facts.get(key)
            if there != here:
                raise InputError(f"search {name}: it was begun with {key} {there!r}, here it is {here!r}")
    return study


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block Optuna tells of errors only."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def patiently(
    call: Callable[[], Result], patience_s: float, on_outage: Callable[[str], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:  # fmt: skip
    """``call()``, tried again while the storage is away, for ``patience_s`` at most.

    What is tried twice may have been done twice, so it must not matter. Raises ``InputError`` when patience ends, and
    ``Stopped`` where it was told to stop meanwhile; with no patience, the exception itself.
    """
    began: float | None = None
    pause = 0.2
    while True:
        try:
            return call()
        except OUTAGES as error:
            if not patience_s:
                raise
            began = time.monotonic() if began is None else began
            if time.monotonic() - began > patience_s:
                raise InputError(f"storage is away for {patience_s:g} s: {first_line(error)}") from None
            on_outage(first_line(error))
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if should_stop():
                    raise Stopped from None
                time.sleep(min(0.2, pause))
            pause = min(2 * pause, 5.0)
