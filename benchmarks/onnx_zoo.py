"""Every known network as ONNX at its own input: nodes, size, and how far onnxruntime is from torch.

Run: python benchmarks/onnx_zoo.py [NAME ...]        (minutes; most of the time is torch's exporter)

The difference is the largest over outputs of max |torch - onnxruntime| / max |torch| on random images with initial
weights; a network over 1e-4 is an error.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import onnx
import onnxruntime
import torch

from archsearch.environment import cpu_name
from archsearch.nets.onnx import export_onnx
from archsearch.nets.zoo import build, load_arch, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=models())
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    print(f"{cpu_name()}, {versions}")
    print(f"{'network':26}{'input':>9}{'nodes':>7}{'MB':>8}{'relative difference':>21}{'seconds':>9}")
    for name in options.names:
        torch.manual_seed(0)
        height, width = load_arch(name).input_hw
        with tempfile.TemporaryDirectory() as folder:
            path, start = Path(folder) / "net.onnx", time.perf_counter()
            difference = export_onnx(build(name), (height, width), path)
            taken_s = time.perf_counter() - start
            nodes, size = len(onnx.load(path).graph.node), path.stat().st_size
        shape = f"{height}x{width}"
        print(f"{name:26}{shape:>9}{nodes:7}{size / 1e6:8.1f}{difference:21.1e}{taken_s:9.1f}", flush=True)


if __name__ == "__main__":
    main()
