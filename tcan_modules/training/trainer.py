"""The training loop of all stages: accelerate, AdamW, clipping, EMA, exact resume, curves.

The randomness of a step depends only on the seed, the step's number and the process: batches are numbered, and noise comes from a
generator seeded for the step. A resumed run is therefore bit for bit equal to an uninterrupted one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..log import log
from .curve import draw_curve, smooth, tensorboard
from .faults import Guarded, collate, raised
from .files import locked, sweep
from .state import group, load_state, optimizer_tensors, restore_optimizer, save_tensors


@dataclass
class Options:
    """The options of a run; defaults are the authors' (``configs/train``)."""

    out: Path
    steps: int
    batch: int = 1
    accumulate: int = 1
    lr: float = 1e-5
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float = 1.0
    schedule: str = "constant"
    warmup: int = 0
    ema: float = 0.0
    mixed_precision: str = "no"
    seed: int = 0
    save_every: int = 1000
    validate_every: int = 0
    workers: int = 0
    minutes: float = math.inf


def learning_rate(options: Options, step: int) -> float:
    """The learning rate of a step (counted from 0).

    A linear warm-up, then constant, or multiplied by half a cosine that reaches 0 at the last step.
    """
    rate = options.lr * min(1.0, (step + 1) / max(1, options.warmup))
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps)))
    return rate


class Trainer:
    """Trains the parameters of a module that require gradients.

    Args:
        module: ``module(batch, generator)`` returns the loss of a batch; everything random comes from the generator.
        dataset: ``dataset[number]`` returns sample 0, 1, 2, … without end, a dict of tensors.
        options: of the run.
        title: name of the run in the state file, the log and the curve.
        export: called at every save with the folder and the trained tensors (averaged if EMA is on); writes files for other programs.
        validate: called every ``validate_every`` steps with the folder and the step, while the EMA weights are in place.
    """

    def __init__(
        self,
        module: nn.Module,
        dataset,
        options: Options,
        *,
        title: str,
        export: Callable[[Path, dict], None] | None = None,
        validate: Callable[[Path, int], None] | None = None,
    ):
        from accelerate import Accelerator, DistributedDataParallelKwargs

        self.options, self.title, self.export, self.validate = options, title, export, validate
        self.accelerator = Accelerator(
            mixed_precision=options.mixed_precision,
            gradient_accumulation_steps=options.accumulate,
            # the loss does not depend on the appearance UNet's last layers
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.exported: int | None = None  # the step of the exported files, once this run has written them
        self.lock = locked(options.out) if self.main else None
        try:
            if self.lock is not None and self.lock.is_locked:
                sweep(options.out)
            self._prepare(module, dataset)
        except BaseException:
            self._unlock()
            raise

    def _prepare(self, module: nn.Module, dataset) -> None:
        options = self.options
        self.learned = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.optimizer = torch.optim.AdamW(
            list(self.learned.values()), lr=options.lr, betas=options.betas, eps=options.eps, weight_decay=options.weight_decay
        )
        self.module, self.optimizer = self.accelerator.prepare(module, self.optimizer)
        self.dataset = dataset
        self.step, self.losses = 0, []
        self.ema = {name: parameter.detach().clone() for name, parameter in self.learned.items()} if options.ema else None
        self.state_path = options.out / "state.safetensors"
        if self.state_path.exists():
            self._resume()

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.accelerator.is_main_process

    def _unlock(self) -> None:
        if self.lock is not None:
            self.lock.release()

    def run(self) -> bool:
        """Train to the last step or the time limit, and return whether the last step is reached.

        Afterwards the folder holds state and export of the step that was reached, also if an earlier run was killed between the two.
        """
        try:
            return self._run()
        finally:
            self._unlock()

    def _run(self) -> bool:
        options, deadline = self.options, time.monotonic() + 60 * self.options.minutes
        writer = tensorboard(options.out / "tensorboard", self.step) if self.main else None
        batches = iter(self._batches())
        progress = tqdm(total=options.steps, initial=self.step, desc=self.title, disable=not self.main, mininterval=5)
        saved = self.step
        while self.step < options.steps and not self._anyone(time.monotonic() >= deadline):
            loss = self._one_step(batches)
            self.step += 1
            self.losses.append(loss)
            progress.update()
            if self.step % 20 == 0:
                progress.set_postfix(loss=f"{np.mean(self.losses[-200:]):.4f}", refresh=False)
            if writer is not None:
                writer.add_scalar("loss", loss, self.step)
            if self.step % options.save_every == 0:
                self.save()
                saved = self.step
            if self.validate and options.validate_every and self.step % options.validate_every == 0:
                self.validate_now()
        if saved != self.step:
            self.save()
        elif self.exported != self.step:
            self.save_export()
        progress.close()
        if writer is not None:
            writer.close()
        if self.losses:
            log.info("%s: step %d of %d, loss %.4f", self.title, self.step, options.steps, smooth(np.array(self.losses), 200)[-1])
        self.accelerator.wait_for_everyone()  # all processes find the main process's files
        return self.step >= options.steps

    def _anyone(self, condition: bool) -> bool:
        """Whether it is true in any process: clocks differ, and one that stops early would block the others."""
        if self.accelerator.num_processes == 1:
            return condition
        return bool(self.accelerator.reduce(torch.tensor(float(condition), device=self.accelerator.device), "sum").item())

    def _batches(self) -> DataLoader:
        """Batches from the current step on; each process takes a different share of the samples."""
        options, world, rank = self.options, self.accelerator.num_processes, self.accelerator.process_index

        def numbers():
            micro = self.step * options.accumulate
            while True:
                first = (micro * world + rank) * options.batch
                yield list(range(first, first + options.batch))
                micro += 1

        return DataLoader(
            Guarded(self.dataset),
            batch_sampler=numbers(),
            num_workers=options.workers,
            collate_fn=collate,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def _one_step(self, batches) -> float:
        options, accelerator = self.options, self.accelerator
        rate = learning_rate(options, self.step)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        total = 0.0
        for micro in range(options.accumulate):
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in raised(batches).items()}
            generator = torch.Generator().manual_seed(
                int(np.random.SeedSequence([options.seed, self.step, micro, accelerator.process_index]).generate_state(1)[0])
            )
            with accelerator.accumulate(self.module), accelerator.autocast():
                loss = self.module(batch, generator)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.learned.values(), options.clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += accelerator.reduce(loss.detach(), "mean").item() / options.accumulate
        if not math.isfinite(total):
            raise FloatingPointError(
                f"The loss of step {self.step + 1} is {total}: lower the learning rate or turn mixed precision off, then resume from the"
                f" last checkpoint in {options.out}."
            )
        if self.ema:
            decay = min(options.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.learned.values()], 1 - decay)
        return total

    def save(self) -> None:
        """Write the state as a whole, then the stage's export and the loss curve."""
        if not self.main:
            return
        tensors = {f"weights/{name}": parameter for name, parameter in self.learned.items()}
        tensors |= {f"ema/{name}": tensor for name, tensor in (self.ema or {}).items()}
        states = optimizer_tensors(self.optimizer, list(self.learned))
        tensors |= {f"optimizer/{name}": tensor for name, tensor in states.items()}
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        metadata = {"step": self.step, "seed": self.options.seed, "title": self.title}
        if self.accelerator.scaler is not None:
            metadata["scaler"] = self.accelerator.scaler.state_dict()
        save_tensors(self.state_path, tensors, metadata)
        self.save_export()

    def save_export(self) -> None:
        """Write the stage's export and the loss curve of the current step."""
        if not self.main:
            return
        if self.export:
            self.export(self.options.out, self.learned_tensors())
        self.exported = self.step
        draw_curve(np.array(self.losses), self.options.out / "loss.png", self.title)

    def learned_tensors(self) -> dict[str, torch.Tensor]:
        """The trained tensors so far; the averaged ones if EMA is on."""
        return self.ema or {name: parameter.detach() for name, parameter in self.learned.items()}

    def validate_now(self) -> None:
        """Call ``validate`` with the EMA weights in place of the trained ones."""
        if not (self.main and self.validate):
            return
        kept = {name: parameter.detach().clone() for name, parameter in self.learned.items()} if self.ema else {}
        with torch.no_grad():
            for name in kept:
                self.learned[name].copy_(self.ema[name])
            self.validate(self.options.out, self.step)
            for name, tensor in kept.items():
                self.learned[name].copy_(tensor)

    def _resume(self) -> None:
        tensors, metadata = load_state(self.state_path, self.title, self.options.seed, self.learned)
        weights, ema = group(tensors, "weights/"), group(tensors, "ema/")
        with torch.no_grad():
            for name, parameter in self.learned.items():
                parameter.copy_(weights[name])
                if self.ema:
                    self.ema[name].copy_(ema.get(name, weights[name]))
        restore_optimizer(self.optimizer, list(self.learned), group(tensors, "optimizer/"))
        if self.accelerator.scaler is not None and "scaler" in metadata:
            self.accelerator.scaler.load_state_dict(metadata["scaler"])
        self.step, self.losses = metadata["step"], tensors["losses"].tolist()
        log.info("%s: resumed at step %d from %s", self.title, self.step, self.state_path)
