"""Several processes that train one network together: ``torchrun``, or the processes a study starts itself.

Each takes its share of every batch; gradients are averaged once, after the step's last backward pass. (The reducer of
``DistributedDataParallel`` leaves alone what the last backward did not use, so the gradients that a sub-net left in an
earlier pass of the step would stay unsynchronised.)
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = datetime.timedelta(hours=2)  # others wait this long, as while the first one evaluates


@dataclass(frozen=True)
class Processes:
    """This process, ``rank``, among ``count``; alone unless :func:`joined` says otherwise."""

    rank: int = 0
    count: int = 1

    def share(self, total: int) -> tuple[int, int]:
        """The first position and the number of this process's part of ``total`` samples.

        Raises ``ValueError`` where they cannot be shared equally.
        """
        if total % self.count:
            raise ValueError(f"batch {total} cannot be shared equally by {self.count} processes")
        part = total // self.count
        return self.rank * part, part

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes, without gradient; the tensor itself where there is one."""
        if self.count == 1:
            return value
        shared = value.detach().clone()
        dist.all_reduce(shared)
        return shared / self.count

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says so: what all of them must agree on."""
        if self.count == 1:
            return flag
        shared = torch.tensor(float(flag), device=device)
        dist.all_reduce(shared)
        return shared.item() > 0

    def bounds(self, value: int, device: torch.device) -> tuple[int, int]:
        """The smallest and the largest of the processes' values."""
        if self.count == 1:
            return value, value
        shared = torch.tensor([-value, value], device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        least, most = shared.tolist()
        return -least, most

    def told(self, text: str | None) -> str:
        """What the first process says, in every process."""
        said: list[Any] = [text]
        if self.count > 1:
            dist.broadcast_object_list(said)
        return str(said[0])

    @torch.no_grad()
    def average_gradients(self, net: nn.Module, scalars: Tensor) -> Tensor:
        """Replace every gradient by its mean over the processes, in one all-reduce; the means of ``scalars`` (S,).

        All processes ran the same sub-nets, so the same parameters have gradients everywhere.
        """
        if self.count == 1:
            return scalars
        tensors = [p.grad for p in net.parameters() if p.grad is not None]
        flat = torch.cat([t.reshape(-1) for t in (*tensors, scalars)])
        dist.all_reduce(flat)
        flat /= self.count
        *means, shared = torch.split(flat, [t.numel() for t in (*tensors, scalars)])
        for gradient, mean in zip(tensors, means, strict=True):
            gradient.copy_(mean.view(gradient.shape))
        return shared


ALONE = Processes()


def joined() -> Processes:
    """The processes of the group that this one has joined; itself alone where it has not."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Processes(dist.get_rank(), dist.get_world_size())


def under_torchrun() -> Processes | None:
    """This process among those that ``torchrun`` started; None where it did not start this one."""
    if not {"LOCAL_RANK", "RANK", "WORLD_SIZE"} <= set(os.environ):
        return None
    return Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def own_device(device: torch.device, member: Processes) -> torch.device:
    """The GPU of one of several processes on a machine; a processor is shared by all."""
    if str(device) != "cuda":
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", member.rank)) % torch.cuda.device_count())


@contextmanager
def group(device: torch.device, member: Processes | None, meeting: Path) -> Iterator[Processes]:
    """The process group, joined for the duration: gloo on processors, NCCL on GPUs.

    ``member``: which of how many processes on one machine this is; they find each other by the file ``meeting``, which
    must not exist before. None under ``torchrun``, which says it itself.
    """
    if member == ALONE:
        yield ALONE
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if member is None:
        dist.init_process_group(backend, timeout=PATIENCE)
    else:
        uri = meeting.absolute().as_uri()
        dist.init_process_group(backend, init_method=uri, rank=member.rank, world_size=member.count, timeout=PATIENCE)
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # NCCL sends Python objects through the current one
        yield joined()
    finally:
        dist.destroy_process_group()
