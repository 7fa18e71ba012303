"""Deep features of the denoising UNet reused over neighbouring steps (DeepCache, Ma et al., arXiv 2312.00858): faster, and approximate.

From one step to the next the deep blocks' features hardly change. Every ``steps``-th noise prediction of a run computes everything; the
ones between run only the outermost blocks of the UNet and of the Temporal ControlNet and take the rest from there, as well as the
appearance features.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import comfy.model_management
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from . import injection
from .appearance import transformers
from .maths.windows import window_frames

KEY = "tcan_reuse"
OUTER = 2  # blocks on each side that run in every prediction; about a fifth of SD1.5's operations at 512x512


class Run:
    """What one sampling run keeps. The parts of TCAN find it in ``transformer_options`` with `run_of`."""

    def __init__(self, steps: int):
        self.steps = steps
        self.predictions = 0
        self.is_full = True
        self.sigmas: torch.Tensor | None = None  # of the latest full prediction
        self._calls: Counter[tuple] = Counter()  # of the model in this prediction
        self._features: dict[tuple, torch.Tensor] = {}
        self._next_sigmas: torch.Tensor | None = None
        self._lock = threading.Lock()

    def announce(self, sigmas: torch.Tensor) -> None:
        """A prediction may follow. The host's LazyCache can skip it: it counts once a network is asked (`begin`)."""
        self._next_sigmas = sigmas

    def begin(self) -> None:
        """Begin the announced prediction, at the first of its calls; on several GPUs these come from several threads."""
        with self._lock:
            sigmas, self._next_sigmas = self._next_sigmas, None
            if sigmas is None:
                return
            self.is_full = self.predictions % self.steps == 0
            self.predictions += 1
            self._calls.clear()
            if self.is_full:
                self.sigmas = sigmas
                self._features.clear()

    def next_call(self, x: torch.Tensor, options: dict) -> tuple | None:
        """Which window and prompts the coming call ``x [conds * frames, 4, height, width]`` is about, and for which time in a prediction.

        Guidance such as Perturbed-Attention Guidance asks several times. Prompts have a new id in each run; None where a host says none.
        """
        prompts = options.get("uuids")
        if not prompts:
            return None
        frames = x.shape[0] // len(options.get("cond_or_uncond") or [0])
        call = (tuple(window_frames(options, frames)), tuple(prompts), x.shape)
        return (*call, self._calls[call])

    def end_call(self, call: tuple | None) -> None:
        if call is not None:
            self._calls[call[:-1]] += 1

    def is_between(self, x: torch.Tensor, options: dict) -> bool:
        """Whether the features of the coming call are there to be reused."""
        return not self.is_full and self.next_call(x, options) in self._features

    def keep(self, call: tuple | None, features: torch.Tensor) -> None:
        """Keep a call's features: the latest window's on the device, those of the windows before it in the host's memory."""
        if call is None:
            return
        for other, before in list(self._features.items()):  # on several GPUs another thread may add its own
            self._features[other] = before.to(comfy.model_management.intermediate_device())
        self._features[call] = features.clone()

    def features(self, call: tuple, device: torch.device) -> torch.Tensor:
        """A copy, which other patches may write into."""
        return self._features[call].to(device, copy=True)


def run_of(options: dict) -> Run | None:
    """The run that a call of the host belongs to, where features are reused."""
    run = options.get(KEY)
    if run is not None:
        run.begin()
    return run


class Reuse:
    """The host's wrappers around a sampling run, its noise predictions and their calls of the model."""

    def __init__(self, steps: int):
        self.steps = steps
        self.run: Run | None = None

    def around_run(self, executor, *args, **kwargs):
        outer, self.run = self.run, Run(self.steps)
        try:
            return executor(*args, **kwargs)
        finally:
            self.run = outer

    def around_prediction(self, executor, x, timestep, model_options=None, seed=None):
        model_options = {} if model_options is None else model_options
        if self.run is None:
            return executor(x, timestep, model_options, seed)
        self.run.announce(timestep[:1])
        options = model_options.setdefault("transformer_options", {})
        options[KEY] = self.run
        try:
            return executor(x, timestep, model_options, seed)
        finally:
            options.pop(KEY, None)

    def around_call(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        options = transformer_options if transformer_options is not None else {}
        network, run = executor.class_obj.diffusion_model, run_of(options)
        if run is None:
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        call = run.next_call(x, options)
        if run.is_between(x, options):
            outer = outer_unet(network, lambda: run.features(call, x.device), options)
            control = control and _outer_control(control, len(network.output_blocks))
        else:
            outer = _watched(network, lambda features: run.keep(call, features))
        with outer:
            out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        run.end_call(call)
        return out


class _Layer(nn.Module):
    """A function in the place of a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@contextmanager
def _watched(network: UNetModel, keep) -> Iterator[None]:
    """The UNet calls ``keep(features)`` with what reaches its last ``OUTER`` output blocks."""

    def look(x: torch.Tensor) -> torch.Tensor:
        keep(x)
        return x

    block = network.output_blocks[-OUTER - 1]
    with injection.layers(block, {**block._modules, KEY: _Layer(look)}):
        yield


@contextmanager
def outer_unet(network: UNetModel, features, options: dict) -> Iterator[None]:
    """The UNet without its inner blocks: ``features()`` stands for what they would give to the outer ones.

    The blocks keep their places and numbers, by which other patches find them. An inner block passes one channel on.
    """

    def passing(block: nn.Module) -> _Layer:
        skipped = len(transformers(block))

        def one_channel(x: torch.Tensor) -> torch.Tensor:
            options["transformer_index"] = options.get("transformer_index", 0) + skipped
            return x[:, :1]

        return _Layer(one_channel)

    inner = [*network.input_blocks[OUTER:], network.middle_block, *network.output_blocks[:-OUTER]]
    with ExitStack() as undo:
        replaced = [{KEY: passing(block)} for block in inner]
        replaced[-1][f"{KEY}_features"] = _Layer(lambda _: features())
        for block, modules in zip(inner, replaced, strict=True):
            undo.enter_context(injection.layers(block, modules))
        yield


@contextmanager
def outer_control_net(network: nn.Module) -> Iterator[None]:
    """A ControlNet of the host that ends behind its first ``OUTER`` blocks; its middle residual then means nothing."""
    kept = {name: block for name, block in network.input_blocks._modules.items() if int(name) < OUTER}
    with ExitStack() as undo:
        undo.enter_context(injection.layers(network.input_blocks, kept))
        for block in (network.middle_block, network.middle_block_out):
            undo.enter_context(injection.layers(block, {}))
        yield


def _outer_control(control: dict[str, list], blocks: int) -> dict[str, list]:
    """Residuals for the outer blocks alone; the host takes them from the lists' ends, in the order of the blocks."""
    outputs, inputs = control.get("output") or [], control.get("input") or []
    inner = [None] * max(0, len(inputs) - OUTER)
    return {
        "output": [*outputs[:OUTER], *[None] * (blocks - len(outputs[:OUTER]))],
        "middle": [],
        "input": [*inner, *inputs[len(inner) :]],
    }
