"""What the papers print of their models on CrowdPose and COCO, and what the same networks cost in any convention.

The figures are data: ``search_spaces/published.csv``, a row a model and data set, each with its source. ``macs`` is in
the unit of its convention (:data:`UNITS`); ``width``, ``kernel`` and ``fusion`` say in what a model differs from the
architecture ``arch``. Input size and joints are those of the row.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
from dataclasses import dataclass

from archsearch.costs.macs import Cost, cost
from archsearch.files import read_text, resources
from archsearch.nets.hrnet import HRNet
from archsearch.nets.litepose import LitePose
from archsearch.nets.zoo import Arch, load_arch

JOINTS = {"crowdpose": 14, "coco": 17}
DATASETS = {"crowdpose": "CrowdPose", "coco": "COCO"}
UNITS = {"hrnet_gi": ("Gi", 2**30), "torchstat_mi": ("Mi", 2**20)}  # the other conventions count in G, 10^9


@dataclass(frozen=True)
class Published:
    """One model on one data set, as its source prints it. None: not printed."""

    model: str
    series: str  # the models that it is drawn with
    label: str  # its short name within the series
    dataset: str
    split: str
    protocol: str  # bottom-up; top-down: MACs are of one person's box, without the detector
    input_hw: tuple[int, int]
    params_m: str
    macs: str
    convention: str
    ap: float  # 0 to 1, and so below
    ap50: float | None
    ap75: float | None
    latency_ms: float | None
    device: str
    arch: Arch | None  # with the row's input and joints; None: archsearch has no such network
    source: str
    note: str

    @property
    def printed_macs(self) -> str:
        """MACs as they are printed, with their unit."""
        return f"{self.macs} {unit(self.convention)[0]}"


def unit(convention: str) -> tuple[str, int]:
    """The unit that a convention counts in, and how many multiply-accumulates it is."""
    return UNITS.get(convention, ("G", 10**9))


@functools.cache
def published(dataset: str) -> tuple[Published, ...]:
    """The models with a published AP on ``crowdpose`` or ``coco``. Raises ``ValueError`` on another name."""
    if dataset not in DATASETS:
        raise ValueError(f"--published {dataset}: one of {', '.join(DATASETS)} is needed")
    text = read_text(resources("search_spaces") / "published.csv")
    return tuple(_model(row) for row in csv.DictReader(io.StringIO(text)) if row["dataset"] == dataset)


@functools.cache
def true_cost(model: Published) -> Cost | None:
    """What the model costs at its own input and joints, in every convention; None where its network is not known."""
    return None if model.arch is None else cost(model.arch)


def _model(row: dict[str, str]) -> Published:
    height, width = map(int, row["input"].split("x"))
    same = ("model", "series", "label", "dataset", "split", "protocol", "params_m", "macs", "convention", "device")
    return Published(
        **{name: row[name] for name in (*same, "source", "note")},
        input_hw=(height, width),
        ap=_percent(row["ap"]) or 0.0,
        ap50=_percent(row["ap50"]),
        ap75=_percent(row["ap75"]),
        latency_ms=float(row["latency_ms"]) if row["latency_ms"] else None,
        arch=_arch(row, (height, width)) if row["arch"] else None,
    )


def _percent(text: str) -> float | None:
    return float(text) / 100 if text else None


def _arch(row: dict[str, str], input_hw: tuple[int, int]) -> Arch:
    """The architecture of a row: a known one with the row's changes, input and joints."""
    arch, joints = load_arch(row["arch"]), JOINTS[row["dataset"]]
    if isinstance(arch, LitePose):
        if row["kernel"]:
            kernel = int(row["kernel"])
            blocks = [tuple(dataclasses.replace(b, kernel=kernel) for b in stage.blocks) for stage in arch.stages]
            stages = (dataclasses.replace(s, blocks=b) for s, b in zip(arch.stages, blocks, strict=True))
            arch = dataclasses.replace(arch, stages=tuple(stages))
        head = dataclasses.replace(arch.head, fusion=arch.head.fusion and row["fusion"] != "no")
        return dataclasses.replace(arch, head=head, resolution=input_hw[0], joints=joints)
    if isinstance(arch, HRNet) and row["width"]:
        ratio = int(row["width"]) / arch.widths[0]  # all channels keep their ratio, as in the shrinking study
        stem = dataclasses.replace(arch.stem, planes=round(arch.stem.planes * ratio))
        arch = dataclasses.replace(arch, widths=tuple(round(w * ratio) for w in arch.widths), stem=stem)
    return dataclasses.replace(arch, input_hw=input_hw, joints=joints)
