"""What the README says is run: its Python as it stands, its commands on less data and for less time.

Of the guides in ``docs/`` every command and option must exist, and Python must compile and find what it imports.
"""

import ast
import functools
import importlib
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from archsearch.cli import app
from archsearch.experiments.rank import RankStudy
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.shrink import ShrinkStudy
from archsearch.experiments.single import parse_study
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.settings import find_study, parse, read_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)```", text, re.DOTALL | re.MULTILINE)


def test_the_python_of_the_readme_runs() -> None:
    code = "\n".join(_blocks("python"))
    assert "archsearch.extract" in code
    exec(compile(code, "README.md", "exec"), {})


def _commands(text: str = README) -> list[list[str]]:
    lines = [line.partition("#")[0].split() for block in _blocks("sh", text) for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "archsearch"]


def _mentioned(text: str) -> list[list[str]]:
    """Commands between backticks, or behind another program's words there; a line may end within."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    found = [re.search(r"(?:^|-m )archsearch ([a-z].*)", span) for span in spans]
    return [match.group(1).split() for match in found if match]


STUDIES = {
    "shrink": partial(parse, ShrinkStudy),
    "supernet": partial(parse, SupernetStudy),
    "rank": partial(parse, RankStudy),
    "search": partial(parse, SearchStudy),
    "train": parse_study,
}


@functools.cache
def _tree() -> TyperGroup:
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    return found


def _check(words: list[str]) -> None:
    """A command exists with the options that follow it; a group alone may be named, too."""
    commands, rest = _tree().commands, list(words)
    assert rest[0] in commands, f"no command {words[0]}"
    command = commands[rest.pop(0)]
    if isinstance(command, TyperGroup) and rest:
        if words[0] == "supernet" and rest[0] not in command.commands:  # a study stands where others have a command
            assert all("=" in word or word.startswith("-") for word in rest[1:2]), f"no command {' '.join(words)}"
            rest.insert(0, "train")
        assert rest[0] in command.commands, f"no command {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for word in rest:
        assert not word.startswith("-") or word.partition("=")[0] in {*known, "--help"}, f"{word} in {' '.join(words)}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_guide_exists_with_its_options(guide: Path) -> None:
    text = guide.read_text()
    for words in (*_commands(text), *_mentioned(text)):
        _check(words)


def test_commands_are_found_and_wrong_ones_noticed() -> None:
    text = "Say `archsearch space\ncount NAME`, `torchrun -m archsearch supernet STUDY`, `archsearch/`."
    assert _mentioned(text) == [["space", "count", "NAME"], ["supernet", "STUDY"]]
    for words in _mentioned(text):
        _check(words)
    wrong = [
        "profil x",
        "latency measured x",
        "profile x --chek",
        "latency map --arch-list x",
        "data x",
        "supernet x RUN",
    ]
    for line in wrong:
        with pytest.raises(AssertionError):
            _check(line.split())
    assert len([words for guide in GUIDES for words in _commands(guide.read_text())]) > 40
    named = {tuple(words[:2]) for words in _commands((ROOT / "docs" / "cost.md").read_text())}
    assert {("latency", name) for name in ("measure", "table", "predict", "map")} <= named


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_of_a_guide_compiles_and_finds_what_it_imports(guide: Path) -> None:
    for block in _blocks("python", guide.read_text()):
        for node in ast.walk(ast.parse(block, guide.name)):
            for alias in node.names if isinstance(node, ast.Import) else ():
                importlib.import_module(alias.name)
            if isinstance(node, ast.ImportFrom):
                assert node.module is not None
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_guide_links_to_is_there(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", guide.read_text()):
        assert "://" in target or (guide.parent / target).exists(), target


SHOWN = [block for block in _blocks("text") if block.startswith("$ ")]


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.partition("\n")[0])
def test_what_the_readme_shows_is_what_is_printed(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command, _, shown = block.partition("\n")
    words = command.removeprefix("$ archsearch ").split()
    assert any(words == known for known in _commands())
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    printed = " ".join(re.sub("[┏┓┗┛┡┩└┘┠┨┳┻╇┴━─┃│]", " ", done.output).split())
    for line in shown.splitlines():
        assert " ".join(line.split()) in printed, line


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
