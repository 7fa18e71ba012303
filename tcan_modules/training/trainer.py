"""The training loop that every stage shares: accelerate, AdamW, clipping, EMA, exact resume, curves.

All randomness of a step is a function of the seed, the step's number and the process: batches are numbered, and noise comes from a
generator seeded for the step. A resumed run is therefore bit for bit the run that was never stopped.
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
from .state import group, load_tensors, optimizer_tensors, restore_optimizer, save_tensors


@dataclass
class Options:
    """What every stage can be told; the defaults are the authors' (``configs/train``)."""

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
    """Rate of a step (counted from 0): a linear warm-up, then constant, or a half cosine down to nothing at the last step."""
    rate = options.lr * min(1.0, (step + 1) / max(1, options.warmup))
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps)))
    return rate


class Trainer:
    """Trains the parameters of a module that want gradients.

    Args:
        module: ``module(batch, generator)`` gives the loss of a batch; the generator draws everything random in it.
        dataset: ``dataset[number]`` gives sample number 0, 1, 2, … without end, as a dict of tensors.
        export: called with the folder and the learned tensors (EMA where it is on) at every save; writes what others load.
        validate: called with the folder and the step every ``validate_every`` steps, with the EMA weights in place.
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
            # the appearance UNet's last layers have no part in the loss
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
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
        return self.accelerator.is_main_process

    def run(self) -> bool:
        """Train up to the last step, or until the minutes are over; whether the last step was reached."""
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
        progress.close()
        if writer is not None:
            writer.close()
        if self.losses:
            log.info("%s: step %d of %d, loss %.4f", self.title, self.step, options.steps, smooth(np.array(self.losses), 200)[-1])
        self.accelerator.wait_for_everyone()  # what the main process has written is there for all
        return self.step >= options.steps

    def _anyone(self, wish: bool) -> bool:
        """Whether any process wishes it: clocks differ, and a process that stops alone would leave the others waiting."""
        if self.accelerator.num_processes == 1:
            return wish
        return bool(self.accelerator.reduce(torch.tensor(float(wish), device=self.accelerator.device), "sum").item())

    def _batches(self) -> DataLoader:
        """Batches from where the run stands; each process takes its own share of the numbers."""
        options, world, rank = self.options, self.accelerator.num_processes, self.accelerator.process_index

        def numbers():
            micro = self.step * options.accumulate
            while True:
                first = (micro * world + rank) * options.batch
                yield list(range(first, first + options.batch))
                micro += 1

        return DataLoader(
            self.dataset, batch_sampler=numbers(), num_workers=options.workers, pin_memory=self.accelerator.device.type == "cuda"
        )

    def _one_step(self, batches) -> float:
        options, accelerator = self.options, self.accelerator
        rate = learning_rate(options, self.step)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        total = 0.0
        for micro in range(options.accumulate):
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in next(batches).items()}
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
                f"The loss of step {self.step + 1} is {total}: lower the learning rate, or train without mixed precision. The last"
                f" checkpoint in {options.out} is still good."
            )
        if self.ema:
            decay = min(options.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.learned.values()], 1 - decay)
        return total

    def save(self) -> None:
        """Write the state (atomically), what the stage exports, and the curve."""
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
        if self.export:
            self.export(self.options.out, self.learned_tensors())
        draw_curve(np.array(self.losses), self.options.out / "loss.png", self.title)

    def learned_tensors(self) -> dict[str, torch.Tensor]:
        """What the run has learned so far: the averaged weights where EMA is on."""
        return self.ema or {name: parameter.detach() for name, parameter in self.learned.items()}

    def validate_now(self) -> None:
        """Call the stage's validation with the EMA weights in place of those that learn."""
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
        tensors, metadata = load_tensors(self.state_path)
        if metadata["seed"] != self.options.seed or metadata["title"] != self.title:
            raise ValueError(
                f"{self.state_path} belongs to another run ({metadata['title']}, seed {metadata['seed']}): choose another folder for --out,"
                " or the same stage and seed."
            )
        weights, ema = group(tensors, "weights/"), group(tensors, "ema/")
        if set(weights) != set(self.learned):
            raise ValueError(f"{self.state_path} holds other tensors than this run trains: choose another folder for --out.")
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
