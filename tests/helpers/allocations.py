"""Count the bytes that a call's tensors hold at their peak; it repeats to the byte."""

import weakref
from collections.abc import Sequence

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Count the bytes of every storage that operators make, until it is freed.

        with Allocations() as counted:
            call()
        counted.peak

    Storages made before do not count, nor does a kernel's workspace inside of one operator.
    """

    def __init__(self, apart: Sequence[int] = ()):
        """Count tensors of one shape in ``peak_apart`` instead.

        Args:
            apart: the shape, for example of the whole video's latents.
        """
        super().__init__()
        self.apart = tuple(apart)
        self.live = {False: 0, True: 0}
        self.peaks = {False: 0, True: 0}
        self._known: dict[int, weakref.ref] = {}

    @property
    def peak(self) -> int:
        """Most bytes alive at once."""
        return self.peaks[False]

    @property
    def peak_apart(self) -> int:
        """The same of the tensors of shape ``apart``."""
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
