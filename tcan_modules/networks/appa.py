"""APPA: LoRA that aligns pose and appearance (paper section 3.1), as weight patches."""

import comfy.lora
from comfy.model_patcher import ModelPatcher

from ..values import shown
from ..weights.checkpoint import Checkpoint
from ..weights.layouts import LORA_FACTOR
from ..weights.messages import CheckpointError
from ..weights.naming import host_name
from ..weights.reading import is_finite


def add_appa(model: ModelPatcher, checkpoint: Checkpoint, strength: float) -> None:
    """Add the checkpoint's LoRA to a model's weights, beside whatever LoRA it already has.

    The files hold no alpha: it equals the rank, so the product of the two factors is added as it is.

    Raises:
        CheckpointError: the model has no such layer, or one of another width.
    """
    part = checkpoint.appa
    if part is None or strength == 0:
        return
    architecture = checkpoint.require("unet").architecture
    factors, targets = {}, {}
    for name, tensor in part.tensors.items():
        layer, factor = LORA_FACTOR.fullmatch(name).groups()
        factors[f"{layer}.lora_{factor}.weight"] = tensor
        targets[layer] = f"diffusion_model.{host_name(f'{layer}.weight', architecture)}"
    _check_shapes(model, part.source, factors, targets)
    model.add_patches(comfy.lora.load_lora(factors, targets), strength)


def _check_shapes(model: ModelPatcher, source: str, factors: dict, targets: dict[str, str]) -> None:
    names = model.model_state_dict("diffusion_model.").keys()
    for layer, target in targets.items():
        up, down = factors.get(f"{layer}.lora_B.weight"), factors.get(f"{layer}.lora_A.weight")
        if up is None or down is None:
            raise CheckpointError(
                f"The APPA layer {shown(layer)} in '{source}' is incomplete: one of its two factors is missing."
            )
        if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0] or not (is_finite(up) and is_finite(down)):
            raise CheckpointError(
                f"The APPA layer {shown(layer)} in '{source}' is damaged: its factors {tuple(up.shape)} and {tuple(down.shape)} "
                " do not form a LoRA, or hold NaN. Download the file again."
            )
        expected = (up.shape[0], down.shape[1])
        # the layer's own weight: ComfyUI-GGUF's state dict has the shape of the packed bytes
        found = tuple(model.get_model_object(target).shape) if target in names else None
        if found != expected:
            raise CheckpointError(
                f"The APPA layers in '{source}' do not fit this model: {shown(layer)} is {expected}, and the model has"
                f" {found or 'no such layer'}. Use a model of the same kind (SD1.x)."
            )
