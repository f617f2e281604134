import json
import os
from pathlib import Path

import pytest

from archsearch.files import (
    InputError,
    append_jsonl,
    read_json,
    read_jsonl,
    read_yaml,
    replacing,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "text")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_records_survive_a_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"n": 1})
    with open(path, "ab") as file:
        file.write(b'{"n": 2, "ha')
    append_jsonl(path, {"n": 3})
    assert [r["n"] for r in read_jsonl(path)] == [1, 3]
    assert read_jsonl(tmp_path / "absent.jsonl") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON, line 1 column 2"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_a_bad_json_is_one_line_that_names_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_yaml_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("a: 1\nb: [1, 2\n")
    with pytest.raises(InputError, match=r"bad\.yaml: not YAML, line 3"):
        read_yaml(path)
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    assert json.dumps(read_yaml(_written(tmp_path, "x: [1]"))) == '{"x": [1]}'


def _written(folder: Path, text: str) -> Path:
    write_text(folder / "good.yaml", text)
    return folder / "good.yaml"


@pytest.mark.parametrize("text", ["a: 2024-99-99\n", "[" * 3000])
def test_yaml_that_cannot_be_a_value_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(InputError, match=r"odd\.yaml: ") as caught:
        read_yaml(tmp_path / "odd.yaml")
    assert "\n" not in str(caught.value)
