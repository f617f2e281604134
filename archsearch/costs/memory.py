"""Running out of memory as one clear line. Torch, CUDA's libraries and onnxruntime each say it in their own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

# What allocators say in errors that have no class of their own; sizes that overflow are beyond any memory.
WORDS = (
    "out of memory", "allocate memory", "not enough memory", "bad_alloc", "bad allocation", "alloc_failed",
    "defaultcpuallocator", "storage size calculation overflowed", "integer multiplication overflow",
)  # fmt: skip


class OutOfMemory(ValueError):
    """What was to be run does not fit into memory."""


@contextmanager
def fits(name: str, shape: Sequence[int], device_name: str) -> Iterator[None]:
    """Within the block a network or block runs on an input of this (N, C, H, W).

    Raises ``OutOfMemory`` with its name, batch and size where an allocator gives up.
    """
    try:
        yield
    except Exception as error:
        if not _of_memory(error):
            raise
        size = "x".join(map(str, shape[2:]))
        raise OutOfMemory(f"{name}: batch {shape[0]} at {size} does not fit into the memory of {device_name}") from None


def _of_memory(error: Exception) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (not isinstance(error, ValueError) and any(words in str(error).lower() for words in WORDS))
