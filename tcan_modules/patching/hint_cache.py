"""Cache of a ControlNet's hint features, which are the same at every step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .swap import swapped_forward


class HintCache:
    """The hint features of the latest window, ``[frames, channels, height, width]``.

    One window only: more would grow with the video.
    """

    def __init__(self):
        self._window: tuple | None = None
        self._features: torch.Tensor | None = None

    @contextmanager
    def applied(self, network: nn.Module, window: tuple, pose_images: Callable[[], torch.Tensor]) -> Iterator[None]:
        """The hint layers of a ControlNet see ``pose_images()``, once for each ``window``.

            with cache.applied(network, (0, 1, 2), lambda: images):
                network(x=latents, hint=latents, …)  # the hint is ignored

        Args:
            window: a key that changes with the pose images.
            pose_images: gives ``[frames, channels, height, width]`` at the size of the picture.
        """
        layers = network.input_hint_block
        forward = layers.forward

        def features(_hint, emb: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            if self._window != window:
                self.forget()
                # frame by frame: these layers are as large as the picture and would set the window's peak
                frames = (each.split(1) for each in (pose_images(), emb, context))
                self._features = torch.cat([forward(*frame) for frame in zip(*frames, strict=True)])
                self._window = window
            return self._features

        with swapped_forward(layers, features):
            yield

    def forget(self) -> None:
        """Free the features."""
        self._window = self._features = None
