"""The training loop. What it computes depends on the network, the data, the settings and the seed only.

A run that was killed and goes on from its last checkpoint ends with the weights of an undisturbed one, bit for bit on
a processor: batches and augmentation are drawn from (seed, step), so there is no random state to lose.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data.batches import indices_at
from archsearch.environment import cores
from archsearch.files import InputError
from archsearch.nets.sorting import Orders, moments, reorder
from archsearch.pose.losses import LossParts
from archsearch.train.checkpoint import load_tensors, save_tensors
from archsearch.train.processes import joined
from archsearch.train.settings import LoopSettings
from archsearch.train.task import Place, Task

STATE = "state.safetensors"  # the checkpoint in its folder
AHEAD = 2  # batches of photos, or on a GPU of anything, that are prepared while the network computes


class TrainingDiverged(ValueError):
    """The loss or the gradient is not finite; the message says where, and what may help."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    step: int  # steps done
    steps: int  # steps in all
    images_seen: int
    train_s: float  # seconds of training, without evaluations and pauses; one thread on a processor: its own seconds
    loss: float  # of the last step, nan before the first and, on a GPU, where it was not looked at
    reported: bool = False  # one of the steps to be put on record

    def record(self) -> dict[str, Any]:
        """What goes on record: numbers that JSON has."""
        fields = dataclasses.asdict(self)
        del fields["reported"]
        return {name: None if value != value else value for name, value in fields.items()}


class Stopped(Exception):
    """The caller asked the training to stop; its checkpoint is written."""


class OtherFailed(RuntimeError):
    """Another process of the group failed; that one says why."""


def train(
    net: nn.Module,
    task: Task,
    settings: LoopSettings,
    *,
    seed: int,
    folder: Path,
    device: torch.device | str = "cpu",
    on_step: Callable[[Progress], None] = lambda _: None,
    on_evaluation: Callable[[nn.Module, Progress], None] = lambda _, __: None,
    should_stop: Callable[[], bool] = lambda: False,
    rearrange: Callable[[nn.Module, int], Orders | None] = lambda _, __: None,
) -> tuple[nn.Module, Progress]:
    """Train ``net`` in place; returns the averaged network (``net`` itself without EMA) and where it ended.

    Goes on from ``folder/state.safetensors`` where there is one. ``on_evaluation`` is called with the averaged network
    ``settings.evaluations`` times, evenly spaced, the last time at the end, and again after a resume for one that a
    kill interrupted. Raises ``Stopped`` after a checkpoint when ``should_stop()`` says so, ``TrainingDiverged`` where
    the loss is not finite.

    Of several processes that joined a group each calls this with the same arguments and takes its share of every
    batch; only the first one evaluates and writes checkpoints, and the stop of any stops all. Where evaluation or
    writing fails, the first process raises what failed and the others ``OtherFailed``. Raises ``InputError`` where the
    checkpoint is of another number of processes, and in all of them where they would not go on at the same step.

    ``rearrange(net, step)`` is called before every step; where it sorts the channels of ``net`` and returns their
    orders, the averaged weights and the optimizer's moments follow.
    """
    run = _Run(net, task, settings, seed=seed, folder=folder, device=torch.device(device))
    run.resume()
    evaluate_at = {math.ceil(run.steps * (k + 1) / settings.evaluations) for k in range(settings.evaluations)}
    with run.batches() as next_batch:
        saved_s = time.monotonic()
        while run.step < run.steps:
            run.follow(rearrange(net, run.step))
            stop = run.advance(next_batch(), should_stop())
            on_step(run.progress())
            due = run.step in evaluate_at
            if due:
                run.check_finite()
            if run.is_first and (due or stop or time.monotonic() - saved_s >= settings.checkpoint_s):
                with run.sharing_failure():
                    if due:
                        on_evaluation(run.averaged(), run.progress())
                    run.save()
                saved_s = time.monotonic()
            if stop and run.step < run.steps:
                run.check_others()
                raise Stopped
    run.check_others()
    return run.averaged(), run.progress()


def begun_with(folder: Path) -> int | None:
    """How many processes train what the checkpoint in ``folder`` is of; None where there is none."""
    path = folder / STATE
    return load_tensors(path)[1].get("processes") if path.exists() else None


def learning_rate(settings: LoopSettings, step: int, steps: int) -> float:
    """The learning rate of step ``step`` (from 0) of ``steps``: a linear warm-up, then the schedule."""
    warmup = settings.warmup * steps
    if step + 1 <= warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "steps":
        return settings.lr * 0.1 ** sum(step >= m * steps for m in settings.milestones)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def reported_steps(steps: int) -> frozenset[int]:
    """About 200 evenly spaced steps, the last one among them: those whose loss goes on record."""
    every = max(1, steps // 200)
    return frozenset((*range(every, steps + 1, every), steps))


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on weights, not on one-dimensional parameters (biases, batch normalisation)."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


class _Run:
    """The state of one training."""

    def __init__(
        self,
        net: nn.Module,
        task: Task,
        settings: LoopSettings,
        *,
        seed: int,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.task, self.settings, self.seed, self.device = task, settings, seed, device
        self.processes = joined()
        self.is_first = self.processes.rank == 0
        self.first, self.share = self.processes.share(settings.batch)
        self.path = folder / STATE
        self.ema = copy.deepcopy(self.net).requires_grad_(False) if settings.ema else None
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
        groups = parameter_groups(self.net, settings.weight_decay)
        self.optimizer = kind(groups, lr=settings.lr, fused=device.type == "cuda")
        self.steps = settings.steps(len(task))
        self.step = 0
        self.train_s = 0.0
        self.loss: Tensor = torch.tensor(math.nan)
        self.known_loss = math.nan
        self.failure: Exception | None = None  # of what this process alone does; the others learn of it
        self.reported = reported_steps(self.steps)
        # A single-threaded process on a processor counts its own seconds there, whatever else the machine does.
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self.clock = time.process_time if alone else time.perf_counter
        mixed = settings.precision == "bfloat16" and device.type == "cuda"
        self.place = Place(device, mixed=mixed, processes=self.processes)
        pixels_NHWC = task.dataset.pixels_NHWC
        if device.type == "cuda" and pixels_NHWC is not None:
            self.place = dataclasses.replace(self.place, pixels_NHWC=torch.from_numpy(pixels_NHWC).to(device))

    def progress(self) -> Progress:
        seen = self.step * self.settings.batch
        return Progress(self.step, self.steps, seen, self.train_s, self.known_loss, self.step in self.reported)

    # ------------------------------------------------------------------------------------------------------- one step

    def advance(self, batch: Any, stop: bool) -> bool:
        """One step of the optimizer; whether any process was asked to ``stop``."""
        start = self.clock()
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, self.step, self.steps)
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.task.backward(self.net, batch, self.place, self.step)
        loss = parts.total.detach()
        said = (torch.full_like(loss, stop), torch.full_like(loss, self.failure is not None))
        shared = self.processes.average_gradients(self.net, torch.stack((loss, *said)))
        if self.processes.count > 1:
            stop = shared[1].item() > 0
            self._end_together(shared[2].item() > 0)
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), settings.clip_norm or math.inf)
        self.loss = shared[0] + 0 * norm  # not finite if either is not
        look = self.device.type == "cpu" or self.step + 1 in self.reported  # on a GPU looking means waiting for it
        if look:
            self.check_finite(parts)
        self.optimizer.step()
        self.step += 1
        self._average()
        self.known_loss = self.loss.item() if look else math.nan
        self.train_s += self.clock() - start
        return stop

    @contextlib.contextmanager
    def sharing_failure(self) -> Iterator[None]:
        """What one process does while others go on: where it fails, all end at their next meeting."""
        try:
            yield
        except Exception as error:
            if self.processes.count == 1:
                raise
            self.failure = error

    def check_others(self) -> None:
        """Raise where a process failed; all of them call this."""
        self._end_together(self.processes.any(self.failure is not None, self.device))

    def _end_together(self, failed: bool) -> None:
        if failed:
            raise self.failure or OtherFailed("another process of this training failed, and says why")

    @torch.no_grad()
    def follow(self, orders: Orders | None) -> None:
        """Put what is kept beside the network into the orders of its channels."""
        if orders is None:
            return
        if self.ema is not None:
            reorder(orders, self.ema.state_dict())
        for kept in moments(self.net, self.optimizer):
            reorder(orders, kept)

    def check_finite(self, parts: LossParts | None = None) -> None:
        """Raise ``TrainingDiverged`` where the last loss or gradient was not finite."""
        if math.isfinite(self.loss.item()):
            return
        detail = ""
        if parts is not None:
            maps = ", ".join(f"{value.item():.3g}" for value in parts.heatmaps)
            detail = f" (heatmaps {maps}; pull {parts.pull.item():.3g}, push {parts.push.item():.3g})"
        lr = learning_rate(self.settings, self.step, self.steps)
        raise TrainingDiverged(
            f"loss or gradient is not finite at step {self.step} of {self.steps}{detail}, lr {lr:.3g}: "
            "try a lower lr, a longer warmup or clip_norm=1"
        )

    @torch.no_grad()
    def _average(self) -> None:
        if self.ema is None:
            return
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))  # early weights are soon forgotten
        ours, theirs = _floats(self.ema), _floats(self.net)
        torch._foreach_lerp_(ours, theirs, 1 - decay)

    def averaged(self) -> nn.Module:
        """The network that is evaluated and kept, in evaluation mode."""
        net: nn.Module = self.net if self.ema is None else self.ema
        return net.eval()

    # --------------------------------------------------------------------------------------------------------- batches

    @contextlib.contextmanager
    def batches(self) -> Iterator[Callable[[], Any]]:
        """Gives a function for the next batch; photos and GPU batches are prepared while the network computes."""
        photos = self.task.dataset.pixels_NHWC is None
        ahead = self.device.type == "cuda" or photos
        if not ahead:
            yield lambda: self._timed_batch(self.step)
            return
        with ThreadPoolExecutor(AHEAD) as executor, ThreadPoolExecutor(min(cores(), 16)) as readers:
            place = dataclasses.replace(self.place, pool=readers if photos else None)
            following: dict[int, Future[Any]] = {}

            def next_batch() -> Any:
                start = self.clock()
                for step in range(self.step, min(self.step + 1 + AHEAD, self.steps)):
                    if step not in following:
                        following[step] = executor.submit(self._batch, step, place)
                ready = following.pop(self.step).result()
                self.train_s += self.clock() - start
                return ready

            yield next_batch

    def _timed_batch(self, step: int) -> Any:
        start = self.clock()
        batch = self._batch(step, self.place)
        self.train_s += self.clock() - start
        return batch

    def _batch(self, step: int, place: Place) -> Any:
        indices = indices_at(self.seed, step, self.settings.batch, len(self.task))
        ours = indices[self.first : self.first + self.share]
        return self.task.batch(ours, place, seed=self.seed, step=step, first=self.first)

    # ----------------------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Replace the checkpoint."""
        self.check_finite()
        tree: dict[str, Any] = {"net": self.net.state_dict(), "optimizer": {}}
        if self.ema is not None:
            tree["ema"] = self.ema.state_dict()
        for index, state in self.optimizer.state_dict()["state"].items():
            tree["optimizer"][str(index)] = dict(state)
        meta = {"step": self.step, "train_s": self.train_s, "loss": self.loss.item()}
        save_tensors(self.path, tree, {**meta, "processes": self.processes.count})

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises ``InputError`` where other processes began than go on, or where not all of them see the same checkpoint.
        """
        self._load()
        first, last = self.processes.bounds(self.step, self.device)
        if first != last:
            raise InputError(
                f"{self.path}: some processes would go on at step {first}, others at step {last}: all machines need "
                "one shared folder for their runs"
            )

    def _load(self) -> None:
        for unfinished in self.path.parent.glob(f".{self.path.name}.*"):  # of a save that was killed
            unfinished.unlink(missing_ok=True)  # other processes of the group do the same
        if not self.path.exists():
            return
        tree, meta = load_tensors(self.path, self.device)
        if meta.get("processes", self.processes.count) != self.processes.count:
            raise InputError(
                f"{self.path}: this training began with {meta['processes']} processes and cannot go on with "
                f"{self.processes.count}: normalisation would see other shares of a batch"
            )
        self.net.load_state_dict(tree["net"])
        if self.ema is not None:
            self.ema.load_state_dict(tree["ema"])
        state = self.optimizer.state_dict()
        state["state"] = {int(index): values for index, values in tree["optimizer"].items()}
        self.optimizer.load_state_dict(state)
        for parameter, kept in self.optimizer.state.items():
            for name, value in kept.items():
                if value.shape == parameter.shape:  # the parameter's memory layout, which the file does not keep
                    kept[name] = torch.empty_like(parameter).copy_(value)
        self.step, self.train_s = int(meta["step"]), float(meta["train_s"])
        self.loss = torch.tensor(meta["loss"], device=self.device)


def _floats(net: nn.Module) -> list[Tensor]:
    return [t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()]
