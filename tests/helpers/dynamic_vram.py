"""The host's dynamic VRAM, which nearly all users have, on a machine without a GPU.

On a CPU the host makes a plain ModelPatcher. Inside ``with dynamic_vram():`` models that are loaded get the dynamic one: weights
are cast layer by layer, and buffers and small weights are saved and restored by their attribute path, as on a card. Only the
pinned memory of comfy-aimdo, which needs a driver, is replaced.
"""

import contextlib
from collections.abc import Iterator

import pytest


class _NoBuffer:
    """A stand-in for comfy-aimdo's pinned memory."""

    def __init__(self, *_args, **_kwargs):
        self.size = 0

    def truncate(self, *_args, **_kwargs) -> None:
        pass


@contextlib.contextmanager
def dynamic_vram() -> Iterator[list]:
    """Load models dynamically; yield those for which the host gave that up.

    Skips the test if the host has no dynamic VRAM.
    """
    import comfy.model_patcher

    dynamic = getattr(comfy.model_patcher, "ModelPatcherDynamic", None)
    if dynamic is None:
        pytest.skip("this ComfyUI has no dynamic VRAM")
    import comfy_aimdo.host_buffer

    given_up, make = [], dynamic.get_non_dynamic_delegate

    def watched(self):
        given_up.append(self)
        return make(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy_aimdo.host_buffer, "HostBuffer", _NoBuffer)
        patch.setattr(dynamic, "__new__", staticmethod(lambda cls, *_args, **_kwargs: object.__new__(cls)))
        patch.setattr(dynamic, "get_non_dynamic_delegate", watched)
        patch.setattr(comfy.model_patcher, "CoreModelPatcher", dynamic)
        yield given_up
