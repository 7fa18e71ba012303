"""The temporal transformer (AnimateDiff's motion module; authors' ``motion_module.py``).

The host's layer classes and its attention are arguments, so that its memory management casts and moves these weights.
"""

from collections.abc import Callable

import torch
from torch import nn

from .feed_forward_chunks import GEGLU, chunk_length

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled dot-product attention on ``[batch, tokens, channels]``.

    It has the signature of the host's ``optimized_attention``.
    """
    query, key, value = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    return nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def sinusoidal_positions(frames: int, channels: int) -> torch.Tensor:
    """AnimateDiff's position table ``[1, frames, channels]``, for files without one."""
    position = torch.arange(frames)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2) * (-torch.log(torch.tensor(10000.0)) / channels))
    table = torch.zeros(1, frames, channels)
    table[0, :, 0::2] = torch.sin(position * rate)
    table[0, :, 1::2] = torch.cos(position * rate)
    return table


class PositionTable(nn.Module):
    """Learned or sinusoidal positions ``pe [1, max_frames, channels]``."""

    def __init__(self, channels: int, max_frames: int, device=None, dtype=None):
        super().__init__()
        self.register_buffer("pe", torch.empty(1, max_frames, channels, device=device, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the positions of the first frames to ``x [pixels, frames, channels]``."""
        # partial loading moves parameters, not buffers
        return x + self.pe[:, : x.shape[1]].to(x)


class TemporalAttention(nn.Module):
    """Self-attention over the frames of each pixel; query, key and value all see the positions."""

    def __init__(self, channels: int, heads: int, max_frames: int, operations, attention: Attention, device=None, dtype=None):
        super().__init__()
        self.attention, self.heads = attention, heads
        self.pos_encoder = PositionTable(channels, max_frames, device, dtype)
        for name in ("to_q", "to_k", "to_v"):
            setattr(self, name, operations.Linear(channels, channels, bias=False, device=device, dtype=dtype))
        self.to_out = nn.ModuleList([operations.Linear(channels, channels, device=device, dtype=dtype)])

    def forward(self, x: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
        """``x [pixels, frames, channels]``, ``temperature [pixels, 1, 1]`` -> same shape as x."""
        x = self.pos_encoder(x)
        query = self.to_q(x)
        if temperature is not None:
            # T is the same for all scores of a pixel: dividing the query divides them, with any attention kernel
            query = query / temperature
        return self.to_out[0](self.attention(query, self.to_k(x), self.to_v(x), self.heads))


class _GatedProjection(nn.Module):
    def __init__(self, channels: int, operations, device=None, dtype=None):
        super().__init__()
        self.proj = operations.Linear(channels, GEGLU * channels, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * nn.functional.gelu(gate)


class _FeedForward(nn.Module):
    """GEGLU feed-forward under diffusers' names (``net.0.proj``, ``net.2``)."""

    def __init__(self, channels: int, operations, device=None, dtype=None):
        super().__init__()
        project = operations.Linear(4 * channels, channels, device=device, dtype=dtype)
        self.net = nn.ModuleList([_GatedProjection(channels, operations, device, dtype), nn.Identity(), project])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net[2](self.net[0](x))


class TemporalBlock(nn.Module):
    """Attention over frames and a feed-forward; each normalises its input and adds to it."""

    def __init__(
        self,
        channels: int,
        heads: int,
        attentions: int,
        max_frames: int,
        operations,
        attention: Attention,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(channels, heads, max_frames, operations, attention, device, dtype) for _ in range(attentions)
        )
        self.norms = nn.ModuleList(operations.LayerNorm(channels, device=device, dtype=dtype) for _ in range(attentions))
        self.ff = _FeedForward(channels, operations, device, dtype)
        self.ff_norm = operations.LayerNorm(channels, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
        """``x [pixels, frames, channels]``, ``temperature [pixels, 1, 1]`` -> same shape as x."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = attention(norm(x), temperature) + x
        return self.ff(self.ff_norm(x)) + x


class TemporalTransformer(nn.Module):
    """One temporal layer (paper section 3.3), over the frames of each pixel.

    ``x + strength * proj_out(blocks(proj_in(norm(x))))``
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        blocks: int = 1,
        attentions: int = 2,
        max_frames: int = 24,
        operations=nn,
        attention: Attention = plain_attention,
        channels_last: bool = False,
        device=None,
        dtype=None,
    ):
        """Build the layer.

        Args:
            max_frames: length of the position tables.
            operations: namespace of the layer classes (``Linear``, ``GroupNorm``, ``LayerNorm``), torch's or the host's.
            channels_last: memory format of the output; makes the convolutions after it faster on a CPU, never measured on a GPU.
        """
        super().__init__()
        self.channels, self.max_frames, self.channels_last = channels, max_frames, channels_last
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, device=device, dtype=dtype)
        self.proj_in = operations.Linear(channels, channels, device=device, dtype=dtype)
        self.transformer_blocks = nn.ModuleList(
            TemporalBlock(channels, heads, attentions, max_frames, operations, attention, device, dtype) for _ in range(blocks)
        )
        self.proj_out = operations.Linear(channels, channels, device=device, dtype=dtype)

    def forward(
        self, x: torch.Tensor, frames: int, temperature: torch.Tensor | None = None, strength: float = 1.0
    ) -> torch.Tensor:
        """``x [videos * frames, channels, height, width]`` -> same shape.

        Args:
            frames: frames of a video, consecutive on the batch axis.
            temperature: PTM of this grid, which divides the attention scores of each pixel: ``[height, width]``, or
                ``[windows, height, width]`` if the batch cycles through several windows.
            strength: factor on what the layer adds to ``x``.
        """
        check_frames(frames, self.max_frames)
        hidden = self.norm(x).flatten(2).unflatten(0, (-1, frames)).permute(0, 3, 1, 2)  # [videos, pixels, frames, channels]
        videos, pixels = hidden.shape[:2]
        if temperature is not None:
            temperature = temperature.to(hidden).reshape(-1, pixels)
            temperature = temperature.repeat(videos // len(temperature), 1)  # [videos, pixels]
        # [videos, frames, pixels, channels] or [videos, frames, channels, pixels], so that one copy gives the final layout
        order, pixel_axis = ((0, 2, 1, 3), 2) if self.channels_last else ((0, 2, 3, 1), 3)
        chunks, length = [], chunk_length(hidden[:, 0])
        for start in range(0, pixels, length):
            some = slice(start, start + length)
            chunk = self._transformed(hidden[:, some], None if temperature is None else temperature[:, some])
            chunks.append(chunk.permute(order))
        added = torch.cat(chunks, pixel_axis).flatten(0, 1)
        added = (added.transpose(1, 2) if self.channels_last else added).view(x.shape)
        return added.add_(x) if strength == 1.0 else added.mul_(strength).add_(x)

    def _transformed(self, hidden: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
        """``hidden [videos, pixels, frames, channels]``, ``temperature [videos, pixels]`` -> same shape as hidden."""
        shape = hidden.shape
        hidden = self.proj_in(hidden.flatten(0, 1))  # [videos * pixels, frames, channels]
        if temperature is not None:
            temperature = temperature.reshape(-1, 1, 1)
        for block in self.transformer_blocks:
            hidden = block(hidden, temperature)
        return self.proj_out(hidden).view(shape)


def check_frames(frames: int, max_frames: int) -> None:
    """Raise if a call holds more frames than the position table has entries."""
    if frames > max_frames:
        raise ValueError(
            f"The temporal layers of this checkpoint see at most {max_frames} frames at once, but {frames} were given: sample in"
            f" windows of at most {max_frames} frames (MultiDiffusion Sampler or MultiDiffusion Windows)."
        )
