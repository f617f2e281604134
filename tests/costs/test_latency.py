from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from archsearch.costs.latency import measure
from archsearch.costs.records import check_setting, measure_and_append, setting_text, settings_for
from archsearch.costs.runtimes import ONNX, Setting
from archsearch.files import InputError
from archsearch.nets.heads import Block, BottomUp, Deconv
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.report.pareto.points import read_latencies
from archsearch.space import fingerprint

ONE = (Block(),)
ARCH = HRNet("hrnet", (64, 64), (4, 6), Stem(4, 2, ONE), (Stage(1, (ONE, ONE)),), BottomUp(deconvs=(Deconv(4, ONE),)))


class Sleepless(nn.Module):
    """Work in proportion to ``rounds``."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.conv = nn.Conv2d(3, 64, 3, padding=1)
        self.again = nn.Conv2d(64, 64, 3, padding=1)
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        x = self.conv(x)
        for _ in range(self.rounds):
            x = self.again(x)
        return x


def test_more_work_takes_longer_and_every_round_counts() -> None:
    nets = {"small": Sleepless(1), "large": Sleepless(8)}
    rounds: list[int] = []
    found = measure(nets, [(64, 64), (64, 64)], warmup=2, repeats=9, on_round=rounds.append)
    assert found["large"].median_ms > 2 * found["small"].median_ms
    assert rounds == list(range(1, 12))
    assert [len(net.modes) for net in nets.values()] == [11, 11]
    assert not any(nets["small"].modes)
    one = found["small"]
    assert (one.repeats, one.batch, one.threads, one.runtime) == (9, 1, 1, "torch-eager")
    assert one.iqr_ms >= 0
    assert one.median_ms <= one.p95_ms
    assert one.device


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    measure({"a": Sleepless(1)}, [(8, 8)], threads=1, warmup=0, repeats=1)
    assert torch.get_num_threads() == before


def test_numbers_must_be_positive() -> None:
    for name, value, least in (("repeats", 0, 1), ("warmup", -1, 0), ("batch", 0, 1), ("threads", -3, 1)):
        options: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=f"^{name} {value} is less than {least}$"):
            measure({"a": Sleepless(1)}, [(8, 8)], **options)


# -------------------------------------------------------------------------------------------------------------- records


def test_memory_formats_are_two_readings(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    for channels_last in (True, False):
        settings = settings_for("cpu", channels_last=channels_last)
        measure_and_append(path, {"a": ARCH}, settings, warmup=0, repeats=1)
    first, second = read_latencies([path])[fingerprint(ARCH)]
    assert second.setting == f"{first.setting}, contiguous"


def test_only_torch_has_a_memory_format() -> None:
    record = {"device": "A processor", "batch": 1, "threads": 2, "channels_last": False}
    assert setting_text({**record, "runtime": ONNX}) == "A processor, onnxruntime, batch 1, 2 threads"
    compiled = setting_text({**record, "runtime": "torch-compile", "dtype": "bfloat16"})
    assert compiled == "A processor, torch-compile, batch 1, 2 threads, bfloat16, contiguous"


@pytest.mark.parametrize("device", ["tpu", "tpu:0", "mps", "CPU"])
def test_a_device_that_is_not_known_is_told_all_that_are(device: str) -> None:
    with pytest.raises(ValueError, match=f"device '{device}' is not one of auto, cpu, cuda, onnxruntime"):
        settings_for(device)


@pytest.mark.parametrize(
    ("field", "value"),
    [("device", "Another"), ("threads", 3), ("batch", 2), ("dtype", "bfloat16"), ("channels_last", False)],
)
def test_records_of_another_setting_are_told_apart(tmp_path: Path, field: str, value: Any) -> None:
    setting = Setting()
    record = {"runtime": "torch-eager", "device": setting.device_name, "threads": 1, "batch": 1, "dtype": "float32",
              "channels_last": True}  # fmt: skip
    check_setting(tmp_path, [record], setting)
    check_setting(tmp_path, [{**record, field: value, "runtime": ONNX}], setting)
    with pytest.raises(InputError, match=f"{tmp_path}: {field}: its torch-eager records are of {value}, these would"):
        check_setting(tmp_path, [record, {**record, field: value}], setting)
