"""TCAN's noise schedule, without buffers.

ComfyUI's dynamic VRAM saves and restores every buffer of a model by its attribute path, whichever object stands there by then
(Comfy-Org/ComfyUI issue 16490): a patched schedule would exchange its sigmas with the model's own, and the next pictures of either
would come out wrong.
"""

import copy
from types import SimpleNamespace

import comfy.model_sampling
import torch

BETA_SCHEDULES = ("linear", "scaled_linear")  # TCAN's; the model's own, which is SD1.5's
LINEAR_BETAS = {"beta_schedule": "sqrt_linear", "linear_start": 0.00085, "linear_end": 0.012}  # diffusers' "linear"


class _WithoutBuffers:
    """Mixed into a schedule: its tensors are plain attributes, which the host neither saves nor restores."""

    def register_buffer(self, name: str, tensor: torch.Tensor | None, persistent: bool = True) -> None:
        """Ignore what the host restores: it belongs to the schedule that stood here before."""

    def set_sigmas(self, sigmas: torch.Tensor) -> None:
        self.sigmas, self.log_sigmas = sigmas.float(), sigmas.log().float()


def without_buffers(schedule: torch.nn.Module) -> torch.nn.Module:
    """A copy of a schedule of the host with the same values and no buffers."""
    kind = type(schedule)
    if issubclass(kind, _WithoutBuffers):
        return schedule
    twin = copy.copy(schedule)
    twin.__class__ = type(kind.__name__, (_WithoutBuffers, kind), {})
    twin._buffers = {}
    for name, tensor in schedule.named_buffers(recurse=False):
        setattr(twin, name, tensor)
    return twin


def linear_betas(schedule: torch.nn.Module) -> torch.nn.Module:
    """TCAN's betas, with the model's prediction type, steps (LCM) and zero terminal SNR.

    Raises:
        ValueError: the model has no discrete schedule.
    """
    if not isinstance(schedule, comfy.model_sampling.ModelSamplingDiscrete):
        raise ValueError(
            "This model has no discrete noise schedule that beta_schedule could replace: choose 'scaled_linear', which leaves the"
            " model's own schedule alone."
        )
    settings = LINEAR_BETAS | {"zsnr": schedule.zsnr}
    return without_buffers(type(schedule)(SimpleNamespace(sampling_settings=settings)))
