"""The VAE of a checkpoint: SD1.x's, or TAESD, its small stand-in."""

import comfy.diffusers_convert
import comfy.ldm.models.autoencoder
import comfy.sd
import comfy.taesd.taesd
import torch
from torch import nn

from ..weights.architecture import StateDict
from ..weights.layouts import Part
from ..weights.messages import CheckpointError
from .checks import check_shapes, finite_numbers, refusal

_SD1 = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def build_vae(part: Part) -> comfy.sd.VAE:
    """The host's VAE with the tensors of a part.

    The host only logs which tensors are missing, and leaves uninitialized memory in their place.

    Raises:
        CheckpointError: tensors are missing, or belong to another kind of VAE.
    """
    kind = next((kind for prefix, kind in _KINDS.items() if any(name.startswith(prefix) for name in part.tensors)), None)
    if kind is None:
        raise refusal(part, "vae", "it is no VAE of SD1.x; use the VAE of an SD1.5 checkpoint instead")
    tensors = check_shapes(kind, _original_names(part), part, "vae")
    tensors = finite_numbers(tensors, part, "vae")
    try:
        vae = comfy.sd.VAE(sd=dict(tensors))
        vae.throw_exception_if_invalid()
    except Exception as error:  # whatever the host raises
        raise CheckpointError(
            f"ComfyUI cannot load the VAE in '{part.source}': use the VAE of an SD1.5 checkpoint instead."
        ) from error
    return vae


def _sd1() -> nn.Module:
    with torch.device("meta"):
        return comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=_SD1, embed_dim=4)


def _taesd() -> nn.Module:
    with torch.device("meta"):
        return comfy.taesd.taesd.TAESD(latent_channels=4)


_KINDS = {"taesd_": _taesd, "decoder.": _sd1, "encoder.": _sd1, "post_quant_conv.": _sd1}


def _original_names(part: Part) -> StateDict:
    """Under the names of the original Stable Diffusion, as the host itself renames a VAE."""
    tensors = dict(part.tensors)
    if any(name.startswith(("decoder.up_blocks.", "encoder.down_blocks.")) for name in tensors):
        try:
            tensors = comfy.diffusers_convert.convert_vae_state_dict(tensors)
        except Exception as error:  # whatever the host raises for tensors without the sides that it expects
            raise refusal(part, "vae", "it is no VAE of SD1.x; use the VAE of an SD1.5 checkpoint instead") from error
    prefixes = ("decoder.post_quant_conv.", "encoder.quant_conv.")
    return {name.partition(".")[2] if name.startswith(prefixes) else name: tensor for name, tensor in tensors.items()}
