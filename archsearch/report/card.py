"""A model card as Markdown: what a model is, what it reaches on which data, what it costs, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.files import read_json
from archsearch.runs import Run

NAMES = {
    "true": "true (weight elements times output positions)",
    "fvcore": "fvcore",
    "thop": "thop 0.1.1",
    "ptflops_0_6": "ptflops 0.6, as LitePose counts",
    "hrnet_summary": "HigherHRNet's summary",
    "hrnet_gi": "HRNet's, in units of 2^30",
    "torchstat_mi": "torchstat, as Lite-HRNet counts, in units of 2^20",
}


def card(package: Mapping[str, Any], label: str, data: str, run: Run) -> str:
    """The card of one package of a search."""
    height, width = package["arch_hw"]
    lines = [
        f"# {package['name'].upper()}: architecture {package['fingerprint']}",
        "",
        f"Found by `archsearch search` ({run.path.parent.name}, trial {package['trial']}) as the best architecture "
        f"with {package['budget_of']} up to {package['budget']:,.6g}.",
        "",
        "## Accuracy",
        "",
        f"- {label}: **{package['ap']:.3f}**{_interval(package)}",
        f"- Data: {data}",
        f"- Training: {_training(package)}",
        f"- In the search, before: {package['search_ap']:.3f}",
        "",
        "## Cost",
        "",
        f"For one image of {height} x {width} pixels.",
        "",
        "| what | value |",
        "|---|---|",
        f"| parameters | {package['params']:,} |",
    ]
    for name, value in package["macs_by_convention"].items():
        number = f"{value:,.6g}" if value < 1e5 else f"{value:,.0f}"
        lines.append(f"| MACs, {NAMES[name]} | {number} |")
    latency = package["latency"]
    if latency is not None:
        threads = f"{latency['threads']} thread{'s' if latency['threads'] != 1 else ''}"
        lines.append(
            f"| latency, median of {latency['repeats']} ({latency['device']}, {latency['runtime']}, batch "
            f"{latency['batch']}, {threads}) | {latency['median_ms']:.2f} ms, IQR {latency['iqr_ms']:.2f} ms |"
        )
    lines += [
        "",
        "## Files",
        "",
        "- `arch.yaml`: the architecture",
        "- `weights.safetensors`: weights, joints, decoding",
    ]
    if package["onnx"] is not None:
        shape = "x".join(map(str, package["onnx"]["input"]))
        lines.append(
            f"- `model.onnx`: input {shape}; onnxruntime differs from torch by at most "
            f"{package['onnx']['relative_difference']:.1e} of the largest value"
        )
    lines += [
        "",
        "## Use",
        "",
        "```sh",
        "archsearch predict . PHOTOS --out drawn/",
        "archsearch profile arch.yaml",
        "```",
    ]
    lines += ["", "## Origin", "", f"- seed {package['seed']}", f"- commit {package['commit'] or 'not on record'}"]
    path = run.path / "environment.json"
    if path.exists():
        found = read_json(path)
        versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
        lines.append(f"- {found['cpu']}{'' if not found['gpu'] else ', ' + found['gpu']}; {versions}")
    return "\n".join(lines) + "\n"


def _interval(package: Mapping[str, Any]) -> str:
    if package["ap_low"] is None:
        return ""
    return f", 95 % by bootstrap over the validation images {package['ap_low']:.3f} to {package['ap_high']:.3f}"


def _training(package: Mapping[str, Any]) -> str:
    alone = package.get("source") == "alone"
    if not package["fine_tuned"]:
        return "alone, as the search evaluated it" if alone else "none of its own: the supernet's weights, recalibrated"
    begin = "those of its training alone in the search" if alone else "the supernet's"
    return f"fine-tuned on {package['images_seen']:,} images; the weights to begin with were {begin}"
