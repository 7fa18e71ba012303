"""Counted bytes: what a call's tensors occupy together at their peak. It repeats to the byte, whatever else the machine does."""

import weakref
from collections.abc import Sequence

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts, while it is entered, the bytes of every storage that operators make, until it is freed.

    Storages that were there before do not count, nor does what a kernel allocates for itself inside of one operator.
    """

    def __init__(self, apart: Sequence[int] = ()):
        """Args: apart: tensors that have this shape are counted in ``peak_apart`` instead (the whole video's latents)."""
        super().__init__()
        self.apart = tuple(apart)
        self.live = {False: 0, True: 0}
        self.peaks = {False: 0, True: 0}
        self._known: dict[int, weakref.ref] = {}

    @property
    def peak(self) -> int:
        """Most bytes that were alive at once."""
        return self.peaks[False]

    @property
    def peak_apart(self) -> int:
        return self.peaks[True]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        inputs = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and id(leaf.untyped_storage()) not in inputs:
                self._add(leaf)
        return out

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size, apart = id(storage), storage.nbytes(), tuple(tensor.shape) == self.apart
        if key in self._known:
            return
        self.live[apart] += size
        self.peaks[apart] = max(self.peaks[apart], self.live[apart])

        def freed(_):
            del self._known[key]
            self.live[apart] -= size

        self._known[key] = weakref.ref(storage, freed)
