"""The temporal transformer of TCAN's UNet and ControlNet (AnimateDiff's motion module; authors' ``motion_module.py``).

It knows torch alone. The host's layer classes and its attention come in as arguments, so that the host's memory management casts
and moves these weights like its own.
"""

from collections.abc import Callable

import torch
from torch import nn

from .naming import HEADS
from .pieces import GEGLU, piece_length

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled dot-product attention on ``[batch, tokens, channels]``; the signature of the host's ``optimized_attention``."""
    query, key, value = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    return nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def sinusoidal_positions(frames: int, channels: int) -> torch.Tensor:
    """AnimateDiff's position table ``[1, frames, channels]``, for files that leave it out."""
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
        # partial loading moves parameters, not buffers
        return x + self.pe[:, : x.shape[1]].to(x)


class TemporalAttention(nn.Module):
    """Self-attention over the frames of each pixel; query, key and value all see the positions."""

    def __init__(self, channels: int, max_frames: int, operations, attention: Attention, device=None, dtype=None):
        super().__init__()
        self.attention = attention
        self.pos_encoder = PositionTable(channels, max_frames, device, dtype)
        for name in ("to_q", "to_k", "to_v"):
            setattr(self, name, operations.Linear(channels, channels, bias=False, device=device, dtype=dtype))
        self.to_out = nn.ModuleList([operations.Linear(channels, channels, device=device, dtype=dtype)])

    def forward(self, x: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
        """``x [pixels, frames, channels]``, ``temperature [pixels, 1, 1]`` -> same shape as x."""
        x = self.pos_encoder(x)
        query = self.to_q(x)
        if temperature is not None:
            # T is the same for all scores of a pixel, so dividing the query divides them and any attention kernel will do
            query = query / temperature
        return self.to_out[0](self.attention(query, self.to_k(x), self.to_v(x), HEADS))


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
    """Self-attentions over frames, then a feed-forward, each behind a LayerNorm and added to what came in."""

    def __init__(
        self, channels: int, attentions: int, max_frames: int, operations, attention: Attention, device=None, dtype=None
    ):
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(channels, max_frames, operations, attention, device, dtype) for _ in range(attentions)
        )
        self.norms = nn.ModuleList(operations.LayerNorm(channels, device=device, dtype=dtype) for _ in range(attentions))
        self.ff = _FeedForward(channels, operations, device, dtype)
        self.ff_norm = operations.LayerNorm(channels, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = attention(norm(x), temperature) + x
        return self.ff(self.ff_norm(x)) + x


class TemporalTransformer(nn.Module):
    """One temporal layer (paper section 3.3): GroupNorm for each frame, linear in, blocks over frames, linear out, residual."""

    def __init__(
        self,
        channels: int,
        *,
        blocks: int = 1,
        attentions: int = 2,
        max_frames: int = 24,
        operations=nn,
        attention: Attention = plain_attention,
        channels_last: bool = False,
        device=None,
        dtype=None,
    ):
        """Args: channels_last: what comes out is, for a CPU's convolutions, which are faster so; on a GPU this was never measured."""
        super().__init__()
        self.channels, self.max_frames, self.channels_last = channels, max_frames, channels_last
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, device=device, dtype=dtype)
        self.proj_in = operations.Linear(channels, channels, device=device, dtype=dtype)
        self.transformer_blocks = nn.ModuleList(
            TemporalBlock(channels, attentions, max_frames, operations, attention, device, dtype) for _ in range(blocks)
        )
        self.proj_out = operations.Linear(channels, channels, device=device, dtype=dtype)

    def forward(
        self, x: torch.Tensor, frames: int, temperature: torch.Tensor | None = None, strength: float = 1.0
    ) -> torch.Tensor:
        """``x [rows * frames, channels, height, width]`` -> same shape.

        Args:
            frames: how many rows of the batch follow each other as one video.
            temperature: PTM of this grid, ``[height, width]``, or ``[videos, height, width]`` where rows are of so many videos by turns;
                the attention scores of a pixel are divided by it.
            strength: factor on what the layer adds to ``x``.
        """
        check_frames(frames, self.max_frames)
        hidden = self.norm(x).flatten(2).unflatten(0, (-1, frames)).permute(0, 3, 1, 2)  # rows, pixels, frames, channels
        rows, pixels = hidden.shape[:2]
        if temperature is not None:
            temperature = temperature.to(hidden).reshape(-1, pixels)
            temperature = temperature.repeat(rows // len(temperature), 1)
        order, pixel_axis = ((0, 2, 1, 3), 2) if self.channels_last else ((0, 2, 3, 1), 3)
        pieces, length = [], piece_length(hidden[:, 0])
        for start in range(0, pixels, length):
            some = slice(start, start + length)
            out = self._blocks(hidden[:, some], None if temperature is None else temperature[:, some])
            pieces.append(out.permute(order))
        added = torch.cat(pieces, pixel_axis).flatten(0, 1)
        added = (added.transpose(1, 2) if self.channels_last else added).view(x.shape)
        return added.add_(x) if strength == 1.0 else added.mul_(strength).add_(x)

    def _blocks(self, hidden: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
        """``hidden [rows, pixels, frames, channels]``, ``temperature [rows, pixels]`` -> same shape as hidden."""
        shape = hidden.shape
        hidden = self.proj_in(hidden.flatten(0, 1))
        if temperature is not None:
            temperature = temperature.reshape(-1, 1, 1)
        for block in self.transformer_blocks:
            hidden = block(hidden, temperature)
        return self.proj_out(hidden).view(shape)


def check_frames(frames: int, max_frames: int) -> None:
    """Raise where more frames are to be seen at once than the position table has entries."""
    if frames > max_frames:
        raise ValueError(
            f"The temporal layers of this checkpoint see at most {max_frames} frames at once, but {frames} were given: sample in"
            f" windows of at most {max_frames} frames (MultiDiffusion Sampler or MultiDiffusion Windows)."
        )
