"""The spatial transformers of a host's network, some frames at a time, and with each text once.

A frame is a row of the batch, and no row of a spatial transformer sees another. Large fresh buffers make the peak of any device, and cost
a CPU more than what is computed in them; so some rows go through a whole transformer at a time. The text is the same for all frames of a
cond: their queries attend to one row of keys and values, which the host would make again for each frame.
"""

import functools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, CrossAttention, FeedForward, SpatialTransformer
from torch import nn

from .injection import other_forward
from .maths.chunking import chunk_length, in_chunks


class SpatialTransformers:
    """Those of one network; made once and entered for every call, because torch.compile knows layers again by their identity."""

    def __init__(self, network: nn.Module):
        self.cond: int | None = None  # of the batch's conds the one whose rows are under way; None: all of them
        self._conds = 1
        # a context, and whether the rows of each cond have it in common
        self._shared: tuple[torch.Tensor | None, bool] = None, False
        self._text: torch.Tensor | None = None  # of the rows under way, where it is shared
        self._layers: dict[nn.Module, functools.partial] = {}
        for layer in network.modules():
            if type(layer) is SpatialTransformer:
                self._layers[layer] = functools.partial(self._transformer, layer)
            elif type(layer) is FeedForward:
                self._layers[layer] = functools.partial(_feed_forward, layer)
            elif type(layer) is BasicTransformerBlock and layer.attn2 is not None:
                self._layers[layer.attn2] = functools.partial(self._cross_attention, layer.attn2)

    @contextmanager
    def around(self, conds: int) -> Iterator[None]:
        """For one call with so many conds in the batch; layers that somebody else has changed stay as they are."""
        with ExitStack() as undo:
            for name in ("_conds", "_shared"):
                undo.callback(setattr, self, name, getattr(self, name))
            self._conds = conds
            for layer, ours in self._layers.items():
                if "forward" not in layer.__dict__:
                    undo.enter_context(other_forward(layer, ours))
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
        rows = x.shape[0] // self._conds
        length = chunk_length(x[0])
        if length >= x.shape[0] or torch.compiler.is_compiling() or _sees_rows(options):
            return self._on(layer, x, context, options, is_shared, None)
        length = math.ceil(rows / math.ceil(rows / length))  # chunks of about one size
        out = []
        for cond in range(self._conds):
            own = _options_of(options, cond)
            part, text = (None if each is None else each[cond * rows : (cond + 1) * rows] for each in (x, context))
            for start in range(0, rows, length):
                some = slice(start, start + length)
                out.append(self._on(layer, part[some], None if text is None else text[some], own, is_shared, cond))
        return torch.cat(out)

    def _on(self, layer, x, context, options: dict, is_shared: bool, cond: int | None) -> torch.Tensor:
        self.cond, self._text = cond, context if is_shared else None
        try:
            return type(layer).forward(layer, x, context, options)
        finally:
            self.cond = self._text = None

    def _is_shared(self, context: torch.Tensor | None) -> bool:
        """Whether all rows of each cond have the same text."""
        if context is None or torch.compiler.is_compiling():  # to look would break the graph
            return False
        if context is not self._shared[0]:
            self._shared = context, has_equal_rows(context, self._conds)
        return self._shared[1]

    def _cross_attention(self, layer: CrossAttention, x: torch.Tensor, context=None, value=None, mask=None, **host_arguments):
        forward = functools.partial(type(layer).forward, layer)
        if context is None or context is not self._text or value is not None or mask is not None:
            return forward(x, context=context, value=value, mask=mask, **host_arguments)
        texts = self._conds if self.cond is None else 1
        queries = x.reshape(texts, -1, x.shape[-1])
        return forward(queries, context=context[:: len(context) // texts], **host_arguments).view(x.shape)


def has_equal_rows(context: torch.Tensor, conds: int) -> bool:
    """Whether the rows ``[conds * frames, tokens, channels]`` of each cond are all the same."""
    rows = context.unflatten(0, (conds, -1))
    return rows.stride(1) == 0 or bool((rows == rows[:, :1]).all())


def _feed_forward(layer: FeedForward, x: torch.Tensor) -> torch.Tensor:
    return in_chunks(functools.partial(type(layer).forward, layer), x)


def _sees_rows(options: dict) -> bool:
    """Whether somebody has patched what happens inside of a transformer, and may count on all rows of the batch."""
    inside = [patches for name, patches in options.get("patches", {}).items() if "attn" in name or name == "middle_patch"]
    return any([*inside, *options.get("patches_replace", {}).values()])


def _options_of(options: dict, cond: int) -> dict:
    """The options of a call with the rows of one cond alone."""
    return {**options, **{name: options[name][cond : cond + 1] for name in ("cond_or_uncond", "uuids") if options.get(name)}}
