"""MACs against latency: the plot, and the command that draws it of what it measures."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from archsearch.costs import records as records_module
from archsearch.costs.runtimes import Setting
from archsearch.files import append_jsonl, read_jsonl
from archsearch.nets.heads import Block, BottomUp, Deconv
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.zoo import arch_yaml
from archsearch.report.latency_map import latency_map
from archsearch.report.style import style


def record(runtime: str, by: str, name: str, macs: int, ms: float) -> dict[str, Any]:
    return {"runtime": runtime, by: name, "macs": macs, "median_ms": ms}


def test_every_point_is_in_sight_and_a_group_looks_the_same_in_every_panel() -> None:
    """The second runtime is a hundred times as fast: limits that were taken from the first would hide all of it."""
    networks = [record("torch-eager", "group", name, 10**9 * i, 100.0 * i) for i in (1, 2) for name in ("zoo", "a")]
    networks += [record("onnxruntime", "group", "zoo", 10**9 * i, 1.0 * i) for i in (1, 2)]
    blocks = [record(n["runtime"], "module", "Basic", n["macs"] // 100, n["median_ms"] / 100) for n in networks]
    with style():
        figure = latency_map(networks, blocks)
        figure.draw_without_rendering()
    assert len(figure.axes) == 4
    colors: dict[str, set[Any]] = {}
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_linestyle() == "None"]
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        assert points
        for line in points:
            assert all(left < x < right for x in line.get_xdata())
            assert all(low < y < high for y in line.get_ydata())
        legend = ax.get_legend()
        assert legend is not None
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            colors.setdefault(text.get_text().partition(":")[0], set()).add(handle.get_color())
    assert {name: len(found) for name, found in colors.items()} == {"zoo": 1, "a": 1, "Basic": 1}
    first, second = (ax.get_legend() for ax in figure.axes[:2])
    assert first is not None
    assert second is not None
    assert "10 GMACs/s" in first.get_texts()[0].get_text()
    assert "1000 GMACs/s" in second.get_texts()[0].get_text()
    assert figure.axes[0].get_title() == "networks, torch-eager: Kendall's tau 1.00"


def test_networks_alone() -> None:
    with style():
        assert len(latency_map([record("torch-eager", "group", "zoo", 5, 1.0)] * 2, []).axes) == 1


@pytest.mark.parametrize("span", [3, 5000])
def test_ticks_are_plain_numbers(span: int) -> None:
    with style():
        figure = latency_map([record("r", "group", "zoo", 10**6 * i, float(i)) for i in (1, span)], [])
        figure.draw_without_rendering()
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "1" in shown
    assert not any("$" in text for text in shown)


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def run(run: Any) -> Any:
    """``archsearch latency map`` of two small networks into ``out``: its exit code, output and error."""
    one = (Block(),)
    for name, width in (("a", 4), ("b", 6)):
        head = BottomUp(deconvs=(Deconv(4, one),))
        arch = HRNet("hrnet", (64, 64), (width, 8), Stem(4, 2, one), (Stage(1, (one, one)),), head)
        Path(f"{name}.yaml").write_text(arch_yaml(arch))

    words = ("--zoo", "a.yaml", "--zoo", "b.yaml", "--repeats", 1, "--out", "out")
    return partial(run, "latency", "map", *words)


LOG = Path("out/latency.jsonl")


def test_the_same_command_goes_on(run: Any) -> None:
    code, out, err = run("--json")
    assert code == 0, err
    before = LOG.read_text()
    assert len(before.splitlines()) == 2
    append_jsonl(LOG, {"kind": "latency", "name": "of latency measure", "threads": 7, "runtime": "torch-eager"})
    code, again, err = run("--json")
    assert code == 0, err
    assert again == out
    assert LOG.read_text().startswith(before)
    assert len(read_jsonl(LOG)) == 3


@pytest.mark.parametrize(
    ("field", "there", "args"), [("threads", 1, ("--threads", 2)), ("dtype", "bfloat16", ()), ("device", "Old", ())]
)
def test_another_setting_is_refused(run: Any, field: str, there: Any, args: tuple[object, ...]) -> None:
    assert run()[0] == 0
    LOG.write_text("".join(json.dumps({**record, field: there}) + "\n" for record in read_jsonl(LOG)))
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    code, _, err = run(*args)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {LOG}: {field}: its torch-eager records are of {there}, these would be of ")
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_two_settings_of_one_runtime_are_refused(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As cpu and cuda are, which both have torch-eager."""
    monkeypatch.setattr(records_module, "settings_for", lambda name, threads: [Setting(threads=len(name))])
    code, _, err = run("--device", "cpu", "--device", "cuda")
    assert code == 2
    assert "both measured in torch-eager" in err
    assert not Path("out").exists()


def test_blocks_of_another_network_are_measured(run: Any) -> None:
    def names() -> list[str]:
        return [record["name"] for record in read_jsonl(LOG) if record["kind"] == "block_latency"]

    assert run("--blocks-of", "a.yaml")[0] == 0
    first = names()
    assert first
    assert set(first) == {"a.yaml"}
    code, out, err = run("--blocks-of", "a.yaml", "--blocks-of", "b.yaml", "--json")
    assert code == 0, err
    assert names()[: len(first)] == first
    assert set(names()[len(first) :]) == {"b.yaml"}
    assert sum(kind["blocks"] for kind in json.loads(out)["blocks"]) == len(names())
    code, _, err = run("--blocks-of", "a.yaml", "--threads", 2)
    assert code == 2
    assert "threads" in err
