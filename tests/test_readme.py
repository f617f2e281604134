"""What the README says is run: its Python as it stands, its commands on less data and for less time."""

import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archsearch.cli import app
from archsearch.experiments.rank import RankStudy
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.shrink import ShrinkStudy
from archsearch.experiments.single import parse_study
from archsearch.experiments.supernet import SupernetStudy
from archsearch.settings import find_study, parse, read_study

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


STUDIES = {
    "shrink": partial(parse, ShrinkStudy),
    "supernet": partial(parse, SupernetStudy),
    "rank": partial(parse, RankStudy),
    "search": partial(parse, SearchStudy),
    "train": parse_study,
}


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_every_command_of_the_readme_exists_with_its_options(words: list[str]) -> None:
    count = 2 if words[0] == "data" else 1
    shown = CliRunner().invoke(app, [*words[:count], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


@pytest.mark.parametrize("words", [w for w in _commands() if w[0] in STUDIES], ids=" ".join)
def test_studies_of_the_readme_take_their_settings(words: list[str]) -> None:
    path = find_study(words[1])
    STUDIES[words[0]](read_study(path, [word for word in words[2:] if "=" in word]), path)


@pytest.mark.parametrize("words", [w for w in _commands() if w[0] in ("profile", "models", "space")], ids=" ".join)
def test_quick_commands_of_the_readme_run(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


def test_a_study_of_the_readme_runs_goes_on_and_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = [
        "data.train=16", "data.val=6", "train.images=16", "train.evaluations=1", "latency.repeats=3", "bootstrap=20"
    ]  # fmt: skip
    _run(["shrink", "gradual_shrinking"], tiny)
    _run(["shrink", "gradual_shrinking", "--resume"], tiny)
    (run,) = (tmp_path / "runs" / "gradual_shrinking").iterdir()
    for words in (w for w in _commands() if w[0] == "pareto"):
        shutil.rmtree(tmp_path / "figures", ignore_errors=True)
        _run([word.replace("<time>", run.name) for word in words], given=words)
        assert (tmp_path / "figures" / "pareto.html").exists()


def test_own_photos_of_the_readme_are_trained_on_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = [w for w in _commands() if w[:2] == ["data", "scenes"] or w[0] in ("train", "eval", "predict")]
    assert [words[0] for words in own] == ["data", "train", "eval", "predict"]
    scenes, train, evaluate, predict = own
    _run([{"500": "4", "256": "96"}.get(word, word) for word in scenes], given=scenes)
    shutil.copy("scenes/annotations.json", "my_keypoints.json")
    shutil.copytree("scenes/images", "my_photos")
    shutil.copy(next(Path("my_photos").iterdir()), "holiday.jpg")
    _run(train, ["train.images=8", "train.evaluations=1", "arch.input_hw=[96,96]"])
    (run,) = Path("runs/overfit_photos").iterdir()
    for words in (evaluate, predict):
        _run([str(run) if word == "RUN" else word for word in words], given=words)
    assert Path("drawn/holiday.png").exists()


def _run(words: list[str], more: Sequence[str] = (), *, given: list[str] | None = None) -> None:
    """Run a command; ``given``, or itself, stands in the README."""
    assert (given or words) in _commands()
    done = CliRunner().invoke(app, [*words, *more])
    assert done.exit_code == 0, (done.output, done.exception)


def test_pictures_of_the_readme_are_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parent.parent / path).is_file(), path
