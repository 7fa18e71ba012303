"""A frozen ControlNet with temporal layers, on one window (paper section 3.3).

Authors' ``ControlNet3DModel``.
"""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import nn

from ..networks.host_models import TemporalLayers
from .deep_cache import outer_control_net
from .hint_cache import HintCache
from .residual_cache import Residuals
from .temporal_layers import TemporalPatch
from .transformer_chunks import TransformerChunks


class TemporalControlModel:
    """The host's network, patched for the length of a call."""

    def __init__(self, network: nn.Module, layers: TemporalLayers | None, strength: float):
        """Prepare the patches; ``strength`` is a factor on what the temporal layers add."""
        self.network, self.strength = network, strength
        self.temporal = None if layers is None else TemporalPatch(network, layers)
        self.chunks = TransformerChunks(network)
        self.hints = HintCache()

    def __call__(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        pose_images: Callable[[], torch.Tensor],
        window: tuple,
        outer_only: bool,
    ) -> Residuals:
        """The residuals of one window.

        Args:
            x: scaled noisy latents, ``[frames, 4, height, width]``.
            timesteps: ``[frames]``.
            context: the text, ``[frames, tokens, channels]``.
            pose_images: gives ``[frames, 3, 8 * height, 8 * width]``; called only for a new ``window``.
            window: a key that changes with the pose images.
            outer_only: compute the outermost blocks only (`deep_cache`).
        """
        with ExitStack() as undo:
            if self.temporal is not None:
                undo.enter_context(self.temporal.applied(x.shape[0], strength=self.strength))
            undo.enter_context(self.chunks.applied(1))
            if outer_only:
                undo.enter_context(outer_control_net(self.network))
            undo.enter_context(self.hints.applied(self.network, window, pose_images))
            # any hint will do: the cache gives the hint layers their images
            residuals = self.network(x=x, hint=x, timesteps=timesteps, context=context)
        return Residuals(residuals["output"], [] if outer_only else residuals["middle"])
