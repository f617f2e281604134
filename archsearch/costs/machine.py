"""What a latency was measured on: names, versions, and on a GPU its clocks and power."""

from __future__ import annotations

import csv
import subprocess
from typing import Any

import torch

from archsearch.costs.runtimes import ONNX, Setting
from archsearch.environment import choose_device, environment

_ASKED = ("name", "uuid", "index", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm",
          "power.draw", "power.limit", "temperature.gpu", "utilization.gpu")  # fmt: skip


def machine(setting: Setting) -> dict[str, Any]:
    """The environment, onnxruntime's version where it runs, and the GPU's state where it is a GPU. JSON values."""
    found = {**environment(), "setting": {**vars(setting)}}
    if setting.runtime == ONNX:
        import onnxruntime

        found["packages"] = {**found["packages"], "onnxruntime": onnxruntime.__version__}
    if choose_device(setting.device).type == "cuda":
        found["gpu_used"] = gpu_used()
        found["gpu_state"] = gpu_state()
    return found


def gpu_used() -> dict[str, Any]:
    """Which of the GPUs computes, and what of torch's own settings changes how: JSON values.

    ``index`` is torch's, among those that CUDA_VISIBLE_DEVICES shows; ``uuid`` is the hardware's, as in
    :func:`gpu_state`.
    """
    index = torch.cuda.current_device()
    return {
        "index": index,
        "uuid": f"GPU-{torch.cuda.get_device_properties(index).uuid}",
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def gpu_state() -> list[dict[str, str]] | None:
    """Clocks (MHz), power (W) and temperature (C) of every GPU as ``nvidia-smi`` says now; None where it is absent."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return [dict(zip(_ASKED, row, strict=False)) for row in rows]
