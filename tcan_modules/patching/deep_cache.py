"""DeepCache (Ma et al., arXiv 2312.00858): deep features reused over neighbouring steps.

Faster, and approximate. The deep blocks' features hardly change from one step to the next. Every ``steps``-th noise prediction of a run
computes everything; the others compute only the outermost blocks of the UNet and of the Temporal ControlNet, and take the deep features
and the reference tokens from the last full prediction.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import comfy.model_management
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from ..networks.appearance import transformers
from .batch import Batch, batch_of
from .swap import swapped_modules

KEY = "tcan_deep_cache"
OUTER = 2  # blocks on each side that every prediction computes; about a fifth of SD1.5's operations at 512x512


class FeatureCache:
    """Deep features of one sampling run. The other patches find it with `feature_cache_of`."""

    def __init__(self, steps: int):
        self.steps = steps
        self.predictions = 0
        self.is_full = True
        self.sigmas: torch.Tensor | None = None  # of the latest full prediction, [1]
        self._calls: Counter[tuple] = Counter()  # of the model in this prediction
        self._features: dict[tuple, torch.Tensor] = {}
        self._next_sigmas: torch.Tensor | None = None
        self._lock = threading.Lock()

    def announce(self, sigmas: torch.Tensor) -> None:
        """Expect a prediction at ``sigmas [1]``.

        It counts only once a network is called (`begin`), because the host's LazyCache can skip it.
        """
        self._next_sigmas = sigmas

    def begin(self) -> None:
        """Begin the announced prediction, at the first of its calls.

        On several GPUs these come from several threads.
        """
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

    def next_call(self, batch: Batch, x: torch.Tensor) -> tuple | None:
        """A key for the coming call of the model: its window, prompts, shape, and number.

        Guidance such as Perturbed-Attention Guidance calls the model several times. Prompts have new ids in each run.

        Args:
            x: ``[conds * frames, 4, height, width]``.

        Returns:
            None if the host names no prompts.
        """
        if batch.uuids is None:
            return None
        call = (tuple(batch.indices), tuple(batch.uuids), x.shape)
        return (*call, self._calls[call])

    def end_call(self, call: tuple | None) -> None:
        """Count a call that is over."""
        if call is not None:
            self._calls[call[:-1]] += 1

    def has(self, call: tuple | None) -> bool:
        """Whether this prediction reuses the features of a call."""
        return not self.is_full and call in self._features

    def put(self, call: tuple | None, features: torch.Tensor) -> None:
        """Keep a call's features ``[conds * frames, channels, height, width]`` on their device.

        Those of earlier windows move to the host's memory.
        """
        if call is None:
            return
        for other, before in list(self._features.items()):  # on several GPUs another thread may add its own
            self._features[other] = before.to(comfy.model_management.intermediate_device())
        self._features[call] = features.clone()

    def get(self, call: tuple, device: torch.device) -> torch.Tensor:
        """A copy of a call's features, which other patches may write into."""
        return self._features[call].to(device, copy=True)


def feature_cache_of(options: dict) -> FeatureCache | None:
    """The cache of the sampling run that a call belongs to; None without DeepCache."""
    cache = options.get(KEY)
    if cache is not None:
        cache.begin()
    return cache


class DeepCache:
    """The host's wrappers around a sampling run, its predictions and their calls of the model."""

    def __init__(self, steps: int):
        self.steps = steps
        self.cache: FeatureCache | None = None  # of the current run

    def around_run(self, executor, *args, **kwargs):
        """OUTER_SAMPLE: a run has its own cache."""
        outer, self.cache = self.cache, FeatureCache(self.steps)
        try:
            return executor(*args, **kwargs)
        finally:
            self.cache = outer

    def around_prediction(self, executor, x, timestep, model_options=None, seed=None):
        """PREDICT_NOISE: put the cache into the options; ``timestep [frames]`` holds sigmas."""
        model_options = {} if model_options is None else model_options
        if self.cache is None:
            return executor(x, timestep, model_options, seed)
        self.cache.announce(timestep[:1])
        options = model_options.setdefault("transformer_options", {})
        options[KEY] = self.cache
        try:
            return executor(x, timestep, model_options, seed)
        finally:
            options.pop(KEY, None)

    def around_call(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """APPLY_MODEL: compute the whole UNet, or its outer blocks only.

        Args:
            x: ``[conds * frames, 4, height, width]``.
        """
        options = transformer_options if transformer_options is not None else {}
        network, cache = executor.class_obj.diffusion_model, feature_cache_of(options)
        if cache is None:
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        call = cache.next_call(batch_of(x, options), x)
        if cache.has(call):
            patched = outer_unet(network, lambda: cache.get(call, x.device), options)
            control = control and _outer_control(control, len(network.output_blocks))
        else:
            patched = _observed(network, lambda features: cache.put(call, features))
        with patched:
            out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        cache.end_call(call)
        return out


class _Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@contextmanager
def _observed(network: UNetModel, keep: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """The UNet calls ``keep(features)`` with the input of its last ``OUTER`` output blocks."""

    def look(x: torch.Tensor) -> torch.Tensor:
        keep(x)
        return x

    block = network.output_blocks[-OUTER - 1]
    with swapped_modules(block, {**block._modules, KEY: _Layer(look)}):
        yield


@contextmanager
def outer_unet(network: UNetModel, features: Callable[[], torch.Tensor], options: dict) -> Iterator[None]:
    """The UNet without its inner blocks; ``features()`` replaces their output.

    The blocks keep their places and numbers, by which other patches find them. An inner block passes one channel on.

    Args:
        features: gives ``[conds * frames, channels, height, width]``.
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
            undo.enter_context(swapped_modules(block, modules))
        yield


@contextmanager
def outer_control_net(network: nn.Module) -> Iterator[None]:
    """A ControlNet of the host that ends after its first ``OUTER`` blocks.

    Its middle residual then means nothing.
    """
    kept = {name: block for name, block in network.input_blocks._modules.items() if int(name) < OUTER}
    with ExitStack() as undo:
        undo.enter_context(swapped_modules(network.input_blocks, kept))
        for block in (network.middle_block, network.middle_block_out):
            undo.enter_context(swapped_modules(block, {}))
        yield


def _outer_control(control: dict[str, list], blocks: int) -> dict[str, list]:
    """Residuals for the outer blocks; the host takes them from the lists' ends, in the order of the blocks."""
    outputs, inputs = control.get("output") or [], control.get("input") or []
    inner = [None] * max(0, len(inputs) - OUTER)
    return {
        "output": [*outputs[:OUTER], *[None] * (blocks - len(outputs[:OUTER]))],
        "middle": [],
        "input": [*inner, *inputs[len(inner) :]],
    }
