"""``archsearch space``, called in this process."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import archsearch
from archsearch import cli
from archsearch.costs import spaces
from archsearch.costs.spaces import culprits
from archsearch.nets.zoo import Arch, load_arch, load_space
from archsearch.space import Space, fingerprint, to_plain

BLOCK = {"kernel": {"choice": [3, 5]}, "expand": 2}
SMALL: dict[str, Any] = {
    "kind": "litepose",
    "resolution": {"choice": [32, 64]},
    "stem": {"choice": [4, 8]},
    "stages": [
        {"width": 4, "stride": 2 - i // 3, "blocks": {"repeat": BLOCK, "times": [1, 2]}} for i in range(4)
    ],
    "head": {"filters": [4, 4, 4]},
}  # fmt: skip
SIZE = 2 * 2 * (2 + 4) ** 4
KINDS: dict[str, Any] = {
    "kind": "hrnet",
    "input_hw": [32, 32],
    "widths": [4, {"choice": [4, 8]}],
    "stem": {"width": 4, "planes": 2, "blocks": [{"kernel": 3}]},
    "stages": [{"modules": 1, "kind": {"choice": ["basic", "shuffle"]}, "branches": [[], [{"kernel": 3}]]}],
    "head": {"kind": "top_down"},
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A command's exit code, standard output and standard error."""

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["archsearch", "space", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            cli.main()
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path, SMALL)


def written(folder: Path, plain: Any, name: str = "small") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path


def answer(run: Any, *args: object) -> Any:
    code, out, err = run(*args, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_every_command_has_an_example(run: Any) -> None:
    for name in ("show", "count", "sample", "validate"):
        code, out, _ = run(name, "--help")
        assert code == 0
        assert f"Example: archsearch space {name}" in out
        assert "--json" in out


def test_show(run: Any, small: Path) -> None:
    found = answer(run, "show", small)
    assert found["name"] == "small"
    assert found["size"] == SIZE
    assert found["holes"] == [
        {"hole": "/resolution", "options": [32, 64], "how_many": 1},
        {"hole": "/stem", "options": [4, 8], "how_many": 1},
        {"hole": "/stages/0-3/blocks/times", "options": [1, 2], "how_many": 4},
        {"hole": "/stages/0-3/blocks/0-1/kernel", "options": [3, 5], "how_many": 8},
    ]
    space = load_space(small)
    for end, arch in zip(found["ends"], (space.smallest(), space.largest()), strict=True):
        cost = archsearch.cost(arch)
        assert (end["macs"], end["params"]) == (cost.macs, cost.params)
    assert found["supernet_params"] == archsearch.cost(space.largest()).params
    code, out, _ = run("show", small)
    assert code == 0
    for words in (f"small: {SIZE:,} (10^3.71) architectures in 14 holes", "/stages/0-3/blocks/0-1/kernel", "smallest"):
        assert words in out


def test_alternatives_are_shown_one_by_one(run: Any, tmp_path: Path) -> None:
    """The network of the largest architecture holds both kinds; none can run as both."""
    path = written(tmp_path, KINDS)
    found = answer(run, "show", path)
    names = ["smallest, basic", "smallest, shuffle", "largest, basic", "largest, shuffle"]
    assert [end["name"] for end in found["ends"]] == names
    for end in found["ends"]:
        extreme, kind = end["name"].split(", ")
        arch = load_space(path).build({"/widths/1": {"smallest": 4, "largest": 8}[extreme], "/stages/0/kind": kind})
        assert end["macs"] == archsearch.cost(arch).macs
    assert found["supernet_params"] > max(end["params"] for end in found["ends"])


def test_count(run: Any, small: Path) -> None:
    assert run("count", "litepose")[1] == "245,760 (10^5.39)\n"
    assert answer(run, "count", small) == {"name": "small", "size": SIZE, "log10": math.log10(SIZE)}
    found = answer(run, "count", "litepose_wide")
    assert found["size"] == load_space("litepose_wide").size > 10**42


def test_samples_are_files_of_architectures(run: Any, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "archs"
    code, printed, _ = run("sample", small, "--count", 5, "--seed", 3, "--out", out)
    assert code == 0
    files = sorted(out.iterdir())
    archs = [load_arch(path) for path in files]
    assert len(set(archs)) == 5
    assert [path.stem for path in files] == [fingerprint(arch) for arch in archs]
    assert all(path.name in printed and arch in load_space(small) for path, arch in zip(files, archs, strict=True))
    assert files[0].read_text().startswith(f"# small, seed 3: {archsearch.cost(archs[0]).macs:,} MACs\n")

    listed = answer(run, "sample", small, "--count", 5, "--seed", 3)
    assert {one["name"] for one in listed} == {path.stem for path in files}
    assert all(one["arch"] == to_plain(load_arch(out / f"{one['name']}.yaml")) for one in listed)
    assert {one["name"] for one in answer(run, "sample", small, "--count", 5)} != {one["name"] for one in listed}

    documents = list(yaml.safe_load_all(run("sample", small, "--count", 5, "--seed", 3)[1]))
    assert len(documents) == 5
    assert [load_arch(written(tmp_path, d, f"again{i}")) for i, d in enumerate(documents)] == [
        load_arch(out / f"{one['name']}.yaml") for one in listed
    ]


def test_samples_within_a_budget(run: Any, small: Path) -> None:
    model = spaces.CostModel(load_space(small))
    limit = 1.2 * model(load_space(small).smallest()).macs
    found = answer(run, "sample", small, "--count", 10, "--max-macs", limit)
    assert len({one["name"] for one in found}) == 10
    assert max(one["macs"] for one in found) <= limit
    free = answer(run, "sample", small, "--count", 10)
    assert max(one["macs"] for one in free) > limit


def test_validate(run: Any, small: Path, tmp_path: Path) -> None:
    found = answer(run, "validate", small, "--samples", 20)
    assert found["options"] == 2 * 14
    assert found["samples"] == 20
    assert found["size"] == SIZE
    assert found["lowest_macs"] == archsearch.cost(load_space(small).smallest()).macs
    assert found["highest_macs"] == archsearch.cost(load_space(small).largest()).macs
    code, out, _ = run("validate", small, "--samples", 20)
    assert code == 0
    assert "28 options one by one, 20 random architectures" in out
    only = written(tmp_path, to_plain(load_space(small).smallest()), "only")
    assert answer(run, "validate", only, "--samples", 3)["size"] == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["show", "litepos"], "litepos is neither a file nor one of embedded_"),
        (["validate", "none.yaml"], "none.yaml: no such file"),
        (["sample", "SMALL", "--count", "0"], "count 0: a positive whole number is needed"),
        (["sample", "SMALL", "--count", SIZE + 1], f"{SIZE + 1} architectures of small, which has {SIZE}"),
        (["sample", "SMALL", "--max-macs", "1e3"], "0 of 1 architectures of small of at most 1000 MACs found"),
        (["sample", "SMALL", "--json", "--out", "archs"], "--out and --json"),
    ],
)
def test_bad_input_is_one_clear_line(
    run: Any, small: Path, args: list[object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "QUIET", 50)
    code, out, err = run(*[small if arg == "SMALL" else arg for arg in args])
    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert list(small.parent.iterdir()) == [small]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stem": {"choice": []}}, "small.yaml: choice [] is not a list of options at /stem"),
        ({"resolution": {"choice": [32, 33, 64]}}, "small.yaml: resolution 33 is not a multiple of 16"),
        ({"joints": {"choice": [2, 3]}}, "small.yaml: a hole at /joints: one network has one number of joints"),
        ({"kind": "lightpose"}, "small.yaml: kind 'lightpose' is not one of hrnet, litepose, efficient_hrnet at /"),
    ],
)
def test_validate_refuses_what_does_not_load(run: Any, tmp_path: Path, change: Any, words: str) -> None:
    code, out, err = run("validate", written(tmp_path, {**SMALL, **change}))
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_validate_names_the_holes_of_what_the_network_does_not_hold(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that cannot run two of its options together: found by random ones, and only those two are named."""
    path = written(tmp_path, SMALL)
    real = spaces.CostModel.__call__

    def refuses(model: Any, arch: Any, input_hw: Any = None) -> Any:
        if arch.stem == 8 and len(arch.stages[2].blocks) == 1:
            raise ValueError("no such network")
        return real(model, arch, input_hw)

    monkeypatch.setattr(spaces.CostModel, "__call__", refuses)
    code, out, err = run("validate", path)
    assert (code, out) == (2, "")
    assert err == f"error: {path}: no such network, with /stem = 8, /stages/2/blocks/times = 1\n"


def test_culprits() -> None:
    base = {"a": 1, "b": 1, "c": 1}
    assert culprits(lambda c: c["a"] + c["b"] == 4, base, {"a": 2, "b": 2, "c": 5}) == {"a": 2, "b": 2}
    assert culprits(lambda c: c["b"] > 1, base, {"a": 2, "b": 2}) == {"b": 2}


def test_a_space_of_one_architecture(run: Any, tmp_path: Path) -> None:
    space: Space[Arch] = load_space(written(tmp_path, to_plain(load_arch("litepose-xs")), "xs"))
    assert space.size == 1
    assert answer(run, "sample", tmp_path / "xs.yaml")[0]["name"] == fingerprint(load_arch("litepose-xs"))
    assert answer(run, "show", tmp_path / "xs.yaml")["holes"] == []
