"""The table of the architectures that archsearch knows, for its documentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archsearch.costs.macs import Cost, cost
from archsearch.files import InputError, read_text, write_text
from archsearch.nets.zoo import load_arch, models
from archsearch.report.published import UNITS

BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"


@dataclass(frozen=True)
class Paper:
    """Where architectures come from: those whose names begin with ``prefix``, the longest that fits."""

    prefix: str
    title: str
    convention: str  # in which MACs are printed there; see costs.macs


_LITEPOSE = "LitePose, CVPR 2022"
_LITE_HRNET = "Lite-HRNet, CVPR 2021"
PAPERS = (
    Paper("litepose-", _LITEPOSE, "ptflops_0_6"),
    Paper("higherhrnet-", "HigherHRNet, CVPR 2020", "hrnet_summary"),
    Paper("higherhrnet-w16-baseline", f"gradual shrinking, {_LITEPOSE}", "ptflops_0_6"),
    Paper("higherhrnet-w16-shrink", f"gradual shrinking, {_LITEPOSE}", "ptflops_0_6"),
    Paper("higherhrnet-w18-", f"gradual shrinking, {_LITEPOSE}", "ptflops_0_6"),
    Paper("hrnet-", "HRNet, CVPR 2019", "hrnet_gi"),
    Paper("litehrnet-", _LITE_HRNET, "torchstat_mi"),
    Paper("naive-litehrnet-", _LITE_HRNET, "torchstat_mi"),
    Paper("wider-naive-litehrnet-", _LITE_HRNET, "torchstat_mi"),
    Paper("small-hrnet-", f"baseline of {_LITE_HRNET}", "torchstat_mi"),
    Paper("efficienthrnet-", "EfficientHRNet, JRTIP 2021", "ptflops_0_6"),
)

# What the READMEs and slides of these papers print at the input size of the table (LitePose slides p. 10 for the
# gradual shrinking; LitePose README for EfficientHRNet on COCO).
PRINTED = {
    "litepose-xs": "1.2 G",
    "litepose-s": "5.0 G",
    "litepose-m": "7.8 G",
    "litepose-l": "13.7 G",
    "litepose-prune-s": "4.69 G",
    "higherhrnet-w16-baseline": "12.50 G",
    "higherhrnet-w16-shrink1": "10.12 G",
    "higherhrnet-w18-shrink2": "10.02 G",
    "higherhrnet-w18-shrink3": "9.15 G",
    "higherhrnet-w32": "47.9 G",
    "higherhrnet-w48": "154.3 G",
    "hrnet-w32": "7.1 Gi",
    "hrnet-w48": "14.6 Gi",
    "litehrnet-18": "205.2 Mi",
    "litehrnet-30": "319.2 Mi",
    "naive-litehrnet-18": "194.8 Mi",
    "wider-naive-litehrnet-18": "311.1 Mi",
    "small-hrnet-w16": "0.54 Gi",
    "efficienthrnet-h1": "14.4 G",
}


def paper(name: str) -> Paper:
    """The paper of a known architecture. Raises ``ValueError`` where none is on record."""
    fitting = [p for p in PAPERS if name.startswith(p.prefix)]
    if not fitting:
        raise ValueError(f"no paper is on record for {name}")
    return max(fitting, key=lambda p: len(p.prefix))


def figure(found: Cost, convention: str, digits: int) -> str:
    """MACs in a convention as papers write them, with ``digits`` behind the point: ``4.981 G``, ``7.1 Gi``."""
    value = found.macs_by_convention[convention]
    in_binary = UNITS.get(convention)  # such counts come in their unit already
    return f"{value if in_binary else value / 1e9:.{digits}f} {in_binary[0] if in_binary else 'G'}"


def models_table() -> str:
    """A Markdown table, a row for each known architecture at its own input and number of joints.

    MACs are the true count, then the count in the convention of the architecture's paper, then what is printed there.
    """
    head = ("name", "paper", "input", "joints", "parameters", "MACs", "as the paper counts", "the paper prints")
    rows = ["| " + " | ".join(head) + " |", "|---|---|---|--:|--:|--:|--:|--:|"]
    for name in models():
        arch, source = load_arch(name), paper(name)
        found = cost(arch)
        height, width = arch.input_hw
        counted = f"{figure(found, source.convention, 3)} `{source.convention}`"
        rows.append(
            f"| `{name}` | {source.title} | {height}x{width} | {arch.joints} | {found.params:,} "
            f"| {figure(found, 'true', 3)} | {counted} | {PRINTED.get(name, '')} |"
        )
    return "\n".join(rows) + "\n"


def put_table(path: Path) -> None:
    """Replace what is between the marks in a Markdown file by the table. Raises ``InputError`` without the marks."""
    before, begin, rest = read_text(path).partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"{path}: no {BEGIN} and {END} to put the table between")
    write_text(path, f"{before}{BEGIN}\n{models_table()}{END}{after}")
