"""A ControlNet's residuals, and a cache of them during one noise prediction."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management
import torch


@dataclass
class Residuals:
    """What a ControlNet adds to the UNet, a tensor for each block.

    Each is ``[frames, channels, height, width]``, or ``[channels, height, width]`` for one frame.
    """

    output: list[torch.Tensor]
    middle: list[torch.Tensor]

    def by_frame(self) -> list["Residuals"]:
        """The residuals of each frame, as copies that can be freed one by one."""
        return [
            Residuals([level[frame].clone() for level in self.output], [level[frame].clone() for level in self.middle])
            for frame in range(len(self.output[0]))
        ]

    def to(self, device: torch.device) -> "Residuals":
        """The residuals on a device."""
        return Residuals([level.to(device) for level in self.output], [level.to(device) for level in self.middle])

    @staticmethod
    def stacked(frames: Sequence["Residuals"]) -> "Residuals":
        """The residuals of single frames, stacked into new tensors."""
        output, middle = zip(*((frame.output, frame.middle) for frame in frames))
        return Residuals(*([torch.stack(level) for level in zip(*levels, strict=True)] for levels in (output, middle)))


class ResidualCache:
    """Residuals of a video's frames at one noise prediction.

    A ``kind`` tells apart residuals of the same frames: the prompt, and whether all blocks of the UNet get one or its outer ones only.
    """

    def __init__(self):
        self._kinds: dict[Hashable, dict[int, Residuals]] = {}

    def of(
        self,
        kind: Hashable,
        frames: Sequence[int],
        windows: list[list[int]],
        compute: Callable[[list[int]], Residuals],
        later: set[int],
    ) -> list[Residuals]:
        """The residuals of each frame, computed in windows without overlap.

        Afterwards the cache keeps, of this kind, the frames of the same windows and the frames in ``later``.

        Args:
            windows: windows over the whole video; a frame's residuals come from the first window that has it.
            compute: gives the residuals of a window.
            later: frames that later calls of this prediction ask for.
        """
        cached, wanted, touched = self._kinds.setdefault(kind, {}), set(frames), set()
        for window, own in _own_frames(windows):
            if wanted.isdisjoint(own):
                continue
            touched.update(own)
            if not wanted.intersection(own) <= cached.keys():
                cached.update(zip(own, compute(window).by_frame()[-len(own) :], strict=True))
        _drop(cached, touched | later)
        return [cached[frame] for frame in frames]

    def keep_for(self, frames: set[int]) -> None:
        """Keep these frames of every kind, in the memory where latents are kept.

        The UNet's peak is then the same for a video of any length.
        """
        place = comfy.model_management.intermediate_device()
        for cached in self._kinds.values():
            _drop(cached, frames)
            cached.update({frame: residuals.to(place) for frame, residuals in cached.items()})


def _own_frames(windows: list[list[int]]) -> Iterator[tuple[list[int], range]]:
    """Each window with the frames that no window before it has (the last one starts early, to end with the video)."""
    end = 0
    for window in windows:
        own = range(end, window[-1] + 1)
        end = own.stop
        yield window, own


def _drop(cached: dict[int, Residuals], kept: set[int]) -> None:
    for frame in cached.keys() - kept:
        del cached[frame]
