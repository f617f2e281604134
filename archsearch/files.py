"""Reading and writing files: one clear line when an input is wrong, never a half-written output."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


class InputError(ValueError):
    """Something the user gave is wrong. The message is one line: the file, the field and the value.

    The command line prints it and exits with code 2; in Python it is an ordinary ``ValueError``.
    """


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an exception.

    A reader sees the old file or the new one, never half of either, and the bytes are on disk before the name is.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8) in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_jsonl(path: Path | str, records: Iterable[dict[str, Any]]) -> None:
    """Replace ``path`` by these records, one JSON object a line, in one step."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def read_text(path: Path | str) -> str:
    """The text of a file. Raises ``InputError`` where it is missing or not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, a file is needed") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None


def read_json(path: Path | str) -> Any:
    """The value in a JSON file. Raises ``InputError`` with the line and column of a syntax error."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON, line {error.lineno} column {error.colno}: {error.msg}") from None
    except ValueError as error:  # a number with too many digits
        raise InputError(f"{path}: not JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: JSON nested too deeply") from None


def read_yaml(path: Path | str) -> Any:
    """The value in a YAML file (safe subset). Raises ``InputError`` with the line of a syntax error."""
    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}: not YAML{where}: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise InputError(f"{path}: YAML nested too deeply") from None
    except ValueError as error:  # a date that does not exist
        raise InputError(f"{path}: not YAML: {error}") from None


def append_jsonl(path: Path | str, record: dict[str, Any]) -> None:
    """Append one record as a line. A line is written whole or, after a kill, dropped by :func:`read_jsonl`."""
    with open(path, "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line cut short by a kill: start a new one
                file.write(b"\n")
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """The records of a JSONL file, without lines that a kill cut short; an absent file has none."""
    path = Path(path)
    if not path.exists():
        return []
    records = []
    for line in read_text(path).splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


@contextmanager
def locked(path: Path | str, taken: str) -> Iterator[None]:
    """Within the block no other process holds this file, which is made where it is not there.

    Raises ``InputError`` with the words ``taken`` where another process holds it; a killed one holds nothing.
    """
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(taken) from None
        yield


def resources(kind: str) -> Path:
    """The folder of files that archsearch ships: ``search_spaces`` or ``studies``.

    In an installed package they lie inside it, in a checkout beside it.
    """
    inside = Path(__file__).parent / kind
    return inside if inside.is_dir() else Path(__file__).parent.parent / kind


def cache_folder() -> Path:
    """Where drawn scenes are kept between runs: ``$ARCHSEARCH_CACHE``, else ``archsearch`` in the user's cache."""
    chosen = os.environ.get("ARCHSEARCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archsearch"
