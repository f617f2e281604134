"""Networks as ONNX files, each compared with the network that it came from before it is kept.

Shapes: N batch, H and W height and width of the network's input.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch.files import InputError, replacing

INPUT = "images"  # its name in the file; outputs are maps_0, maps_1, ... in the network's order
TOLERANCE = 1e-4  # of the relative difference that a file may show
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(net: nn.Module, input_hw: tuple[int, int], path: Path | str, *, batch: int = 1) -> float:
    """Write ``net`` in evaluation mode and float32 as one ONNX file for inputs (batch, 3, H, W), ``images``.

    Gives back the largest relative difference between onnxruntime and torch, of each output
    max |ours - theirs| / max |ours|, on random images. Raises ``InputError`` where the packages of the ``onnx`` extra
    are missing, ``ValueError`` where sizes do not fit or the difference is over ``TOLERANCE``; there is no new file
    then.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"exporting needs {', '.join(missing)}: pip install 'archsearch[onnx]'")
    stride = net.arch.stride
    if batch < 1 or any(n < stride or n % stride for n in input_hw):  # type: ignore[operator]
        height, width = input_hw
        raise ValueError(f"input {batch}x3x{height}x{width}: a batch from 1 and multiples of {stride} are needed")
    net = copy.deepcopy(net).cpu().float().eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    images = torch.randn(batch, 3, *input_hw, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = net(images)
    with replacing(path) as temporary:
        with _silence():
            names = [f"maps_{i}" for i in range(len(ours))]
            program = torch.onnx.export(
                net, (images,), dynamo=True, verbose=False, input_names=[INPUT], output_names=names
            )
            assert program is not None
            for node in program.model.graph:
                node.metadata_props.clear()  # stack traces with this machine's paths, most of a small file
            program.save(str(temporary), external_data=False)  # weights in the file itself
        difference = compare_onnx(temporary, images, ours)
        if not difference <= TOLERANCE:  # nan too
            raise ValueError(
                f"{path}: onnxruntime differs from torch by {difference:.2g} of the largest value, more than "
                f"{TOLERANCE:g}; the file is not kept"
            )
    return difference


def compare_onnx(path: Path | str, images: Tensor, expected: list[Tensor]) -> float:
    """The largest over all outputs of max |ours - theirs| / max |ours|, where onnxruntime runs the file; inf where the
    shapes differ."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {INPUT: images.numpy()})
    if [tuple(f.shape) for f in found] != [tuple(e.shape) for e in expected]:
        return float("inf")
    return float(np.max([_difference(e.numpy(), f) for e, f in zip(expected, found, strict=True)]))  # nan stays nan


def _difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    largest = np.max(np.abs(ours))
    return float(np.max(np.abs(ours - theirs)) / np.maximum(largest, np.finfo(np.float32).tiny))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what the exporter prints, logs and warns of: none of it is about the network."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
