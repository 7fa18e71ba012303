"""The VAE of training, always frozen: SD's, or the puppet model's TAESD."""

import re
from pathlib import Path

import torch
from torch import nn

from ..weights.architecture import StateDict
from ..weights.layouts import VAE_PREFIX
from ..weights.reading import read_file
from .autoencoder import TinyAutoencoder
from .folders import read_part
from .state import group

# older versions of diffusers named the projections of the attention otherwise
_PROJECTIONS = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_ATTENTION = re.compile(r"(?<=mid_block\.attentions\.0\.)(?:query|key|value|proj_attn)(?=\.(?:weight|bias)$)")
_SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
}
SCALE = 0.18215  # SD1.x multiplies latents by it before noise is added


class SDAutoencoder(nn.Module):
    """SD1.x's VAE.

    Pictures are ``[n, 3, h, w]`` in -1..1, latents ``[n, 4, h/8, w/8]``, already multiplied by 0.18215.
    """

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def encode(self, pictures: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Encode pictures ``[n, 3, h, w]`` as latents ``[n, 4, h/8, w/8]``.

        They are the posterior's mean, or a sample of it if there is a generator. The authors sample clips and take the mean of references.
        """
        posterior = self.vae.encode(pictures).latent_dist
        latents = posterior.mean
        if generator is not None:
            latents = latents + posterior.std * torch.randn(latents.shape, generator=generator).to(latents)
        return latents * SCALE

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents ``[n, 4, h/8, w/8]`` to pictures ``[n, 3, h, w]``."""
        return self.vae.decode(latents / SCALE).sample


class TinyVAE(nn.Module):
    """`TinyAutoencoder` with the interface of `SDAutoencoder`.

    It has no posterior to sample, and its latents need no factor.
    """

    def __init__(self, model: TinyAutoencoder):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)

    def encode(self, pictures: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Encode pictures ``[n, 3, h, w]`` as latents ``[n, 4, h/8, w/8]``; ignore the generator."""
        return self.model.encode(pictures.contiguous(memory_format=torch.channels_last)).contiguous()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents ``[n, 4, h/8, w/8]`` to pictures ``[n, 3, h, w]``."""
        return self.model.decode(latents).contiguous()

    def host_state(self) -> StateDict:
        """The tensors by which ComfyUI reads a TAESD, with the factor between its latents and SD's."""
        return self.model.full_state() | {"vae_scale": torch.tensor(SCALE), "vae_shift": torch.tensor(0.0)}


def load_vae(path: Path) -> SDAutoencoder | TinyVAE:
    """Read a VAE from a diffusers folder, an SD checkpoint, a VAE file or a puppet model's file.

    Raises:
        ValueError: it holds no VAE.
    """
    if path.is_dir():
        return vae_from_state(read_part(path, "vae"), path.name).requires_grad_(False)
    return vae_from_state(read_file(path), path.name).requires_grad_(False)


def vae_from_state(state: StateDict, source: str) -> SDAutoencoder | TinyVAE:
    """The VAE of a file's tensors.

    Raises:
        ValueError: they are no whole VAE of SD1.x.
    """
    own = group(state, VAE_PREFIX) or state
    if "taesd_encoder.0.weight" in own:
        own = {name: tensor.float() for name, tensor in own.items()}
        return TinyVAE(TinyAutoencoder.from_full_state(own))
    if "decoder.conv_in.weight" not in own:
        raise ValueError(f"'{source}' holds no VAE: give --vae a diffusers folder, an SD1.5 checkpoint or a VAE file.")
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    with torch.device("meta"):  # takes no memory before the file is known to be whole
        empty = AutoencoderKL(**_SD_VAE)
    if any(name.startswith("encoder.down.") for name in own):
        own = convert_ldm_vae_checkpoint({VAE_PREFIX + name: tensor for name, tensor in own.items()}, empty.config)
    own = {_ATTENTION.sub(lambda match: _PROJECTIONS[match[0]], name): tensor for name, tensor in own.items()}
    wanted = empty.state_dict()
    wrong = [name for name in wanted if name not in own or own[name].shape != wanted[name].shape]
    if wrong:
        raise ValueError(f"The VAE in '{source}' is incomplete or not SD1.x's ({wrong[0]} …): give a complete one to --vae.")
    vae = AutoencoderKL(**_SD_VAE).eval()
    vae.load_state_dict({name: own[name].float() for name in wanted})
    return SDAutoencoder(vae)
