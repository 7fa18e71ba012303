"""Spatial transformers in chunks of frames, and cross-attention with one copy of the text.

A spatial transformer treats every frame alone. Large fresh buffers set the memory peak of any device and cost a CPU more than the
arithmetic in them, so a chunk of frames goes through a whole transformer at a time. All frames of a cond share its text: their queries
attend to one set of keys and values, which the host would compute for each frame.
"""

import functools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, CrossAttention, FeedForward, SpatialTransformer
from torch import nn

from ..maths.feed_forward_chunks import chunk_length, in_chunks
from .batch import options_of_cond
from .swap import swapped_forward


class TransformerChunks:
    """The spatial transformers of one network, in chunks.

    Made once for a network and applied to every call, because torch.compile recognises layers by their identity.
    """

    def __init__(self, network: nn.Module):
        self.cond: int | None = None  # the cond whose frames are being computed; None: all conds
        self._conds = 1
        # the latest context, and whether all frames of each cond have the same text in it
        self._shared: tuple[torch.Tensor | None, bool] = None, False
        self._text: torch.Tensor | None = None  # of the frames being computed, if they share it
        self._layers: dict[nn.Module, functools.partial] = {}
        for layer in network.modules():
            if type(layer) is SpatialTransformer:
                self._layers[layer] = functools.partial(self._transformer, layer)
            elif type(layer) is FeedForward:
                self._layers[layer] = functools.partial(_feed_forward, layer)
            elif type(layer) is BasicTransformerBlock and layer.attn2 is not None:
                self._layers[layer.attn2] = functools.partial(self._cross_attention, layer.attn2)

    @contextmanager
    def applied(self, conds: int) -> Iterator[None]:
        """The network with chunked transformers; layers that another custom node changed stay.

        with chunks.applied(conds=2):
            network(x)
        """
        with ExitStack() as undo:
            for name in ("_conds", "_shared"):
                undo.callback(setattr, self, name, getattr(self, name))
            self._conds = conds
            for layer, ours in self._layers.items():
                if "forward" not in layer.__dict__:
                    undo.enter_context(swapped_forward(layer, ours))
            yield

    def _transformer(
        self,
        layer: SpatialTransformer,
        x: torch.Tensor,
        context: torch.Tensor | None = None,
        transformer_options: dict | None = None,
    ) -> torch.Tensor:
        """The host's layer on ``x [conds * frames, channels, height, width]``, ``context [conds * frames, tokens, channels]``."""
        options = {} if transformer_options is None else transformer_options
        is_shared = self._is_shared(context)
        frames = x.shape[0] // self._conds
        length = chunk_length(x[0])
        if length >= x.shape[0] or torch.compiler.is_compiling() or _is_patched_inside(options):
            return self._on(layer, x, context, options, is_shared, None)
        length = math.ceil(frames / math.ceil(frames / length))  # chunks of about one size
        out = []
        for cond in range(self._conds):
            own = options_of_cond(options, cond)
            latents, text = (None if each is None else each[cond * frames : (cond + 1) * frames] for each in (x, context))
            for start in range(0, frames, length):
                some = slice(start, start + length)
                out.append(self._on(layer, latents[some], None if text is None else text[some], own, is_shared, cond))
        return torch.cat(out)

    def _on(self, layer, x, context, options: dict, is_shared: bool, cond: int | None) -> torch.Tensor:
        self.cond, self._text = cond, context if is_shared else None
        try:
            return type(layer).forward(layer, x, context, options)
        finally:
            self.cond = self._text = None

    def _is_shared(self, context: torch.Tensor | None) -> bool:
        """Whether all frames of each cond have the same text."""
        if context is None or torch.compiler.is_compiling():  # a look at the values would break the graph
            return False
        if context is not self._shared[0]:
            self._shared = context, has_equal_frames(context, self._conds)
        return self._shared[1]

    def _cross_attention(self, layer: CrossAttention, x: torch.Tensor, context=None, value=None, mask=None, **host_arguments):
        forward = functools.partial(type(layer).forward, layer)
        if context is None or context is not self._text or value is not None or mask is not None:
            return forward(x, context=context, value=value, mask=mask, **host_arguments)
        texts = self._conds if self.cond is None else 1
        queries = x.reshape(texts, -1, x.shape[-1])  # [conds, frames * tokens, channels]
        return forward(queries, context=context[:: len(context) // texts], **host_arguments).view(x.shape)


def has_equal_frames(context: torch.Tensor, conds: int) -> bool:
    """Whether all frames of each cond have the same text.

    Args:
        context: ``[conds * frames, tokens, channels]``.
    """
    frames = context.unflatten(0, (conds, -1))
    return frames.stride(1) == 0 or bool((frames == frames[:, :1]).all())


def _feed_forward(layer: FeedForward, x: torch.Tensor) -> torch.Tensor:
    return in_chunks(functools.partial(type(layer).forward, layer), x)


def _is_patched_inside(options: dict) -> bool:
    """Whether another custom node patches the inside of a transformer, and may count on the whole batch."""
    inside = [patches for name, patches in options.get("patches", {}).items() if "attn" in name or name == "middle_patch"]
    return any([*inside, *options.get("patches_replace", {}).values()])
