"""SD1.5 at 512x512 in float16 on tensors without data: operations and peak bytes.

What a fused attention kernel holds beyond its result does not count, nor do workspaces of convolutions.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula, sdpa_flop_count

from tests.benchmarks.models import SD15, random_checkpoint
from tests.helpers.allocations import Allocations
from tests.helpers.host import Host

FRAMES, SIZE, TOKENS, WIDTH, STEPS = 16, 64, 77, 768, 25
GIB = 2**30


@torch.library.custom_op("tcan_benchmarks::attention", mutates_args=())
def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(query)


@_attention.register_fake
def _(query, key, value):
    return torch.empty_like(query)


@register_flop_formula(torch.ops.tcan_benchmarks.attention)
def _attention_operations(query, key, value, *, out_shape=None, **_) -> int:
    # the heads' products together are as long as one head of all channels
    return sdpa_flop_count(*((rows, 1, tokens, channels) for rows, tokens, channels in (query, key, value)))


def _fused(query, key, value, heads, *_, **__):
    return _attention(query, key, value)


class Meta:
    """Networks of a whole checkpoint on the meta device, with inputs for one window and both conds of guidance."""

    def __init__(self, host: Host):
        self.host = host
        models = host.pack_module("tcan_modules.networks.host_models")
        with torch.device("meta"):
            checkpoint = random_checkpoint(SD15, dtype=torch.float16)
        half = patch.object(models, "_dtypes", lambda *_: (torch.float16, None))  # as on a GPU
        with half, patch.object(models, "_offload_device", lambda: torch.device("meta")):
            tcan = models.TCANModels(checkpoint)
            self.unet, self.appearance = tcan.unet.model.diffusion_model, tcan.appearance.model
            self.control = tcan.control_net.control_model
            self.layers = tcan.temporal("unet_temporal", self.unet.num_res_blocks).model
            self.control_layers = tcan.temporal("controlnet_temporal", self.control.num_res_blocks).model

    def inputs(self, entries: int) -> dict:
        """Inputs of a network for a batch of this many entries."""
        return {
            "x": self.empty(entries, 4, SIZE, SIZE),
            "timesteps": torch.empty(entries, device="meta"),
            "context": self.empty(entries, TOKENS, WIDTH),
        }

    def empty(self, *shape: int) -> torch.Tensor:
        """A float16 tensor without data."""
        return torch.empty(shape, dtype=torch.float16, device="meta")

    def weights(self) -> int:
        """Bytes of all networks."""
        networks = (self.unet, self.appearance, self.control, self.layers, self.control_layers)
        return sum(tensor.nbytes for network in networks for tensor in network.state_dict().values())

    def bare_unet(self) -> None:
        """The host's UNet on both conds."""
        self.unet(**self.inputs(2 * FRAMES))

    def whole_unet(self, conds: tuple[int, ...] = (1, 0)) -> None:
        """The UNet's call of a step with all of TCAN, for these ``conds``; 0 is the positive."""
        control = self.residuals(len(conds) * FRAMES)
        with self._animated(conds, self._features()):
            self.unet(**self.inputs(len(conds) * FRAMES), control=control, transformer_options={"cond_or_uncond": [*conds]})

    def between(self) -> None:
        """A step that reuses deep features (TCAN Speed-ups): the outer blocks of both networks."""
        deep_cache = self._module("patching.deep_cache")
        deep = self.empty(2 * FRAMES, SD15[0], SIZE, SIZE)
        features = {block: self.empty(1, 1, channels) for block, channels in self.appearance.feature_channels().items()}
        options = {"cond_or_uncond": [1, 0]}
        with self._animated((1, 0), features), deep_cache.outer_unet(self.unet, lambda: deep, options):
            self.unet(**self.inputs(2 * FRAMES), transformer_options=options)
        self.control_net(deep_cache.outer_control_net(self.control))

    def _features(self) -> dict:
        return self.appearance.features(self.empty(1, 4, SIZE, SIZE), torch.empty(1, device="meta"), self.empty(1, TOKENS, WIDTH))

    @contextmanager
    def _animated(self, conds: tuple[int, ...], features: dict) -> Iterator[None]:
        attention = self._module("patching.reference_attention")
        references = [
            attention.Reference(self.empty(1, TOKENS, WIDTH), features, dict.fromkeys(features)) if cond == 0 else None
            for cond in conds
        ]
        chunks = self._chunks(self.unet)
        temporal = self._module("patching.temporal_layers").TemporalPatch(self.unet, self.layers).applied(FRAMES)
        with (
            attention.ReferenceAttention(self.unet, chunks).applied(references, {}),
            chunks.applied(len(conds)),
            temporal,
        ):
            yield

    def _chunks(self, network):
        return self._module("patching.transformer_chunks").TransformerChunks(network)

    def _module(self, name: str):
        return self.host.pack_module(f"tcan_modules.{name}")

    def control_net(self, outer: AbstractContextManager | None = None) -> None:
        temporal = self._module("patching.temporal_layers").TemporalPatch(self.control, self.control_layers).applied(FRAMES)
        with temporal, self._chunks(self.control).applied(1), outer or nullcontext():
            self.control(hint=self.empty(FRAMES, 3, 8 * SIZE, 8 * SIZE), **self.inputs(FRAMES))

    def residuals(self, entries: int) -> dict[str, list[torch.Tensor]]:
        """The ControlNet's residuals for a batch of this size."""
        outputs, channels, side = [], SD15[0], SIZE
        for block in self.control.input_blocks:
            layer = block[0]
            channels = getattr(layer, "out_channels", channels)
            side = side // 2 if type(layer).__name__ == "Downsample" else side
            outputs.append(self.empty(entries, channels, side, side))
        return {"middle": [self.empty(entries, channels, side, side)], "output": outputs}


def counted(meta: Meta, call: Callable[[], object]) -> tuple[int, int]:
    """Operations and peak bytes of a call."""
    import comfy.ldm.modules.attention as attention

    chunks = meta.host.pack_module("tcan_modules.patching.transformer_chunks")
    with ExitStack() as undo:
        undo.enter_context(torch.inference_mode())
        # all frames have the same prompt, but tensors without data cannot be compared
        undo.enter_context(patch.object(chunks, "has_equal_frames", lambda *_: True))
        for name in ("optimized_attention", "optimized_attention_masked"):
            undo.enter_context(patch.object(attention, name, _fused))
        # in this order: the counter of operations decomposes some of them into others, which hold more
        operations = undo.enter_context(FlopCounterMode(display=False))
        bytes_ = undo.enter_context(Allocations())
        call()
    return operations.get_total_flops(), bytes_.peak


def arithmetic(host: Host) -> dict:
    """Print and return the figures."""
    meta, figures = Meta(host), {}
    calls: dict[str, Callable[[], object]] = {
        "bare UNet": meta.bare_unet,
        "ControlNet": meta.control_net,
        "UNet with all of TCAN": meta.whole_unet,
        "the same, a row of guidance at once": lambda: meta.whole_unet((0,)),
        "both, with deep features reused": meta.between,
    }
    for name, call in calls.items():
        operations, peak = counted(meta, call)
        figures[name] = {"operations": operations, "peak_bytes": peak}
        ratio = peak / figures["bare UNet"]["peak_bytes"]
        sys.stdout.write(f"{name:36}{operations / 1e12:8.2f} TFLOP {peak / GIB:7.2f} GiB {ratio:6.2f}x the bare UNet's\n")
    full = figures["ControlNet"]["operations"] + figures["UNet with all of TCAN"]["operations"]
    for every in (2, 3, 4, 5):
        fulls = -(-STEPS // every)
        run = fulls * full + (STEPS - fulls) * figures["both, with deep features reused"]["operations"]
        figures[f"reuse_steps {every}"] = STEPS * full / run
        sys.stdout.write(f"{STEPS} steps, reuse_steps {every}: {STEPS * full / run:.2f} times fewer operations\n")
    figures["weights"] = meta.weights()
    sys.stdout.write(f"{'weights of all networks':36}{'':15}{figures['weights'] / GIB:7.2f} GiB\n")
    return figures
