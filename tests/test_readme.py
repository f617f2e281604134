"""What the README says is run: its Python as it stands, its commands as far as they are quick."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archsearch.cli import app

README = (Path(__file__).parent.parent / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_of_the_readme_runs() -> None:
    code = "\n".join(_blocks("python"))
    assert "archsearch.extract" in code
    exec(compile(code, "README.md", "exec"), {})


def _commands() -> list[list[str]]:
    lines = [line.partition("#")[0].split() for block in _blocks("sh") for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "archsearch"]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_every_command_of_the_readme_exists_with_its_options(words: list[str]) -> None:
    count = 2 if words[0] == "data" else 1
    shown = CliRunner().invoke(app, [*words[:count], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


@pytest.mark.parametrize("words", [w for w in _commands() if w[0] in ("profile", "models")], ids=" ".join)
def test_quick_commands_of_the_readme_run(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


def test_pictures_of_the_readme_are_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parent.parent / path).is_file(), path
