"""Jobs side by side: one single-threaded process each, which report what they do and stop when they are told to.

One single-threaded process per core trains small networks faster than one process with several threads. A job's
process ends when its parent does, however the parent ends.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import torch  # imported where it is used: the command line reads this module for whatever it does


class JobFailed(Exception):
    """A job raised an exception or its process died; the message says which and why."""


class Talk:
    """A job's side: ``send`` reports to the parent, ``should_stop`` tells whether it is time to stop."""

    def __init__(self, connection: Connection, stop: Event) -> None:
        self._connection, self._stop = connection, stop

    def send(self, message: Any) -> None:
        """Give the parent a message (picklable)."""
        self._connection.send(("message", message))

    def should_stop(self) -> bool:
        """Whether the parent wants the job to save and return."""
        return self._stop.is_set()


@dataclass
class _Running:
    index: int
    process: BaseProcess
    connection: Connection
    slot: int  # its place among those that run side by side, from 0


class OnDevice(Protocol):
    """A payload that says where it is computed: a dataclass with a ``device`` as ``choose_device`` takes it."""

    @property
    def device(self) -> str:
        """``cpu``, ``cuda`` or ``cuda:1``."""


OnDeviceT = TypeVar("OnDeviceT", bound=OnDevice)


def usual_workers(device: torch.device) -> int:
    """How many jobs go side by side where nobody says it: one a core, or one a GPU."""
    import torch

    from archsearch.environment import cores

    if device.type == "cpu":
        return cores()
    return torch.cuda.device_count() if device.index is None else 1


def on_own_gpu(payload: OnDeviceT, slot: int) -> OnDeviceT:
    """The payload on the GPU of its slot, where it may be computed on any."""
    if payload.device != "cuda":
        return payload
    import torch

    own = f"cuda:{slot % torch.cuda.device_count()}"
    return dataclasses.replace(payload, device=own)  # type: ignore[type-var]


def run_jobs(
    function: Callable[[Any, Talk], Any],
    payloads: Sequence[Any],
    *,
    workers: int,
    threads: int = 1,
    restarts: int = 0,
    place: Callable[[Any, int], Any] = lambda payload, _: payload,
    on_message: Callable[[int, Any], None] = lambda _, __: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """``function(payload, talk)`` for every payload, ``workers`` at a time; the results in the payloads' order.

    ``function`` is a module's own function, since each job is a fresh process; it is given ``place(payload, slot)``,
    where of ``workers`` slots (from 0) each has one running job, as :func:`on_own_gpu` wants it.
    ``on_message(index, message)`` gets what a job sends. When ``should_stop()`` says so, running jobs are asked to
    stop, and what they return is kept; the result of a job that never began is None. A job whose process dies (is
    killed, runs out of memory) is begun anew, ``restarts`` times in all. Raises ``ValueError`` with a job's own message
    where it raised one, ``JobFailed`` where it failed otherwise; the other jobs are stopped first and keep their
    checkpoints.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    results: list[Any] = [None] * len(payloads)
    waiting = list(range(len(payloads)))
    running: list[_Running] = []
    failure: Exception | None = None
    try:
        while running or (waiting and not stop.is_set()):
            while waiting and len(running) < workers and not stop.is_set():
                index = waiting.pop(0)
                slot = min({*range(workers)} - {job.slot for job in running})
                payload = place(payloads[index], slot)
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(function, payload, theirs, stop, threads))
                with _uninterrupted():
                    process.start()
                theirs.close()
                running.append(_Running(index, process, ours, slot))
            ready = wait([job.connection for job in running], timeout=0.2)
            for job in [job for job in running if job.connection in ready]:
                kind, value = _receive(job)
                if kind == "message":
                    on_message(job.index, value)
                    continue
                running.remove(job)
                job.process.join()
                if kind == "died" and restarts > 0:
                    restarts -= 1
                    waiting.append(job.index)
                elif kind == "result":
                    results[job.index] = value
                elif failure is None:
                    failure = value
                    stop.set()
            if should_stop():
                stop.set()
    finally:
        for job in running:
            job.process.terminate()
            job.process.join()
    if failure is not None:
        raise failure
    return results


def _receive(job: _Running) -> tuple[str, Any]:
    try:
        kind, value = job.connection.recv()
    except (EOFError, OSError, pickle.UnpicklingError):
        job.process.join()
        return "died", JobFailed(f"job {job.index} ended without a result (exit code {job.process.exitcode})")
    if kind == "value_error":
        return "failure", ValueError(value)
    if kind == "error":
        return "failure", JobFailed(value)
    return kind, value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, not even while they import."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(
    function: Callable[[Any, Talk], Any], payload: Any, connection: Connection, stop: Event, threads: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which asks jobs to stop
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        result = function(payload, Talk(connection, stop))
        connection.send(("result", result))
    except ValueError as error:
        connection.send(("value_error", str(error)))
    except BaseException:
        connection.send(("error", traceback.format_exc()))
    finally:
        connection.close()
        sys.stdout.flush()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
