"""What a ControlNet's hint layers make of the pose images. It is the same at every step, so the latest window's is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .injection import other_forward


class KeptHint:
    """The hint's features of one window, ``[frames, channels, height, width]``; more would grow with the video."""

    def __init__(self):
        self._window: tuple | None = None
        self._features: torch.Tensor | None = None

    @contextmanager
    def around(self, network: nn.Module, window: tuple, pose_images: Callable[[], torch.Tensor]) -> Iterator[None]:
        """One call of a host's ControlNet, with any hint: its hint layers see ``pose_images()`` once for each ``window``."""
        layers = network.input_hint_block
        forward = layers.forward

        def features(_hint, emb: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            if self._window != window:
                self.forget()
                # a frame at a time: these layers are as large as the picture, and would make a window's peak
                frames = (each.split(1) for each in (pose_images(), emb, context))
                self._features = torch.cat([forward(*frame) for frame in zip(*frames, strict=True)])
                self._window = window
            return self._features

        with other_forward(layers, features):
            yield

    def forget(self) -> None:
        self._window = self._features = None
