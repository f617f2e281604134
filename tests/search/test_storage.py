"""Opening storages, refusing what does not fit, and waiting while a server is away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from search import problems

from archsearch.files import InputError
from archsearch.search.storage import Stopped, absolute, hidden, open_storage, open_study, patiently, set_params


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_a_search_in_a_file_is_found_again(kind: str, tmp_path: Path) -> None:
    url = f"{kind}{tmp_path / 'trials'}"
    found = problems.problem()
    problems.searched(found, "random", 0, 4, url)
    again = problems.study(found, "random", 0, url)
    assert [t.number for t in again.trials if t.state.name == "COMPLETE"] == [0, 1, 2, 3]
    assert again.metric_names == ["ap", "macs"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "sqlite:///FILE, postgresql://USER@HOST/NAME or journal:FILE needed"),
        ("mysql://me@host/db", "storage mysql://me@host/db: sqlite:///FILE"),
        ("sqlite:///", "needed"),
        ("sqlite:////no/such/folder/x.db", "storage sqlite:////no/such/folder/x.db: there is no /no/such/folder"),
        ("journal:/no/such/folder/x", "there is no /no/such/folder"),
        ("postgresql://me:secret@127.0.0.1:port/db", "storage postgresql://me@127.0.0.1:port/db: .*port"),
        ("postgresql://me:secret@127.0.0.1:9/db", "storage postgresql://me@127.0.0.1:9/db: .*refused"),
    ],
)
def test_a_storage_that_is_not_there_is_one_line(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_whoever_joins_makes_no_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .*trials"):
        open_storage(f"{kind}{tmp_path / 'trials'}", create=False)
    assert not list(tmp_path.iterdir())


def test_passwords_are_hidden() -> None:
    assert hidden("postgresql://me:s3:c@host/db") == "postgresql://me@host/db"
    assert hidden("postgresql://me@host/db") == "postgresql://me@host/db"
    assert hidden("sqlite:///a.db") == "sqlite:///a.db"


def test_another_search_of_the_same_name_is_refused_with_what_differs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    problems.study(problems.problem(), "random", 0, url)
    storage = open_storage(url)
    with pytest.raises(InputError, match="search test: it was begun with space 'tiny', here it is 'other'"):
        open_study(storage, "test", ["maximize", "minimize"], ["ap", "macs"], {"space": "other"}, create=True)
    with pytest.raises(InputError, match="no search named nothing"):
        open_study(storage, "nothing", ["maximize", "minimize"], ["ap", "macs"], {}, create=False)
    assert optuna.get_all_study_names(storage) == ["test"]


def test_patience_waits_for_a_server_and_ends() -> None:
    calls: list[int] = []
    told: list[str] = []

    def flaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise StorageInternalError("gone") from ConnectionError("connection refused")
        return "back"

    assert patiently(flaky, 30.0, told.append) == "back"
    assert told == ["connection refused"] * 2

    def away() -> None:
        raise ConnectionError("still gone")

    with pytest.raises(InputError, match=r"storage is away for 0\.1 s: still gone"):
        patiently(away, 0.1)
    with pytest.raises(KeyError):
        patiently(lambda: {}["x"], 30.0)  # not an outage


def test_waiting_ends_when_it_is_told_to_stop() -> None:
    def away() -> None:
        raise StorageInternalError("gone")

    with pytest.raises(Stopped):
        patiently(away, 60.0, should_stop=lambda: True)


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_parameters_are_written_once(kind: str, tmp_path: Path) -> None:
    """Two workers that both propose for one trial, as after an outage, evaluate what the first one stored."""
    found = problems.problem()
    study = problems.study(found, "random", 0, f"{kind}{tmp_path / 'trials'}")
    rng = np.random.default_rng(0)
    first, second = (found.parameters.of(arch, rng) for arch in (found.space.smallest(), found.space.largest()))
    trial = study.ask()
    wanted = found.parameters.distributions
    assert set_params(study._storage, trial._trial_id, first, wanted) == first
    assert set_params(study._storage, trial._trial_id, second, wanted) == first
    assert study.trials[0].params == first
    assert study.trials[0].distributions == wanted
    study.tell(trial, [0.5, 1.0])
    with pytest.raises(UpdateFinishedTrialError):
        set_params(study._storage, trial._trial_id, second, wanted)


def test_a_torn_last_line_of_a_journal_does_no_harm(tmp_path: Path) -> None:
    """What a full disk or a power cut leaves behind."""
    found = problems.problem()
    url, path = f"journal:{tmp_path / 'trials'}", tmp_path / "trials"
    study = problems.study(found, "random", 0, url)
    trial = study.ask(found.parameters.distributions)
    with path.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"x","tri')
    study.tell(trial, [0.5, 1.0])
    again = problems.study(found, "random", 0, url)
    assert again.trials[0].values == [0.5, 1.0]
    path.write_bytes(b"no journal\nat all\n")
    with pytest.raises(InputError, match=f"storage journal:{path}: not a journal"):
        problems.study(found, "random", 0, url)


def test_a_file_has_one_url_from_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert absolute("journal:b.log") == f"journal:{tmp_path}/b.log"
    for url in ("sqlite:////a/b.db", "postgresql://me@host/db", ""):
        assert absolute(url) == url
