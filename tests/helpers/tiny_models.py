"""Tiny models with random weights, which show that graphs run."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tcan_modules.weights.checkpoint import load_checkpoint, pack
from tests.helpers.scratch import ROOT

FOLDER = ROOT / "tests" / "reference"


def tiny_checkpoint(path: Path) -> None:
    """The reference trio and its text embedding as one packed file."""
    parts = ("unet", "appearance_encoder", "temporal_controlnet")
    checkpoint = load_checkpoint([FOLDER / f"{part}.safetensors" for part in parts], "tiny")
    checkpoint.empty_prompt = load_file(FOLDER / "reference.safetensors")["text_embeddings"][1:]
    save_file(pack(checkpoint), path)


def tiny_vae(path: Path, seed: int = 0) -> None:
    """A VAE of TAESD's architecture with the names that Load VAE recognizes."""
    from diffusers import AutoencoderTiny

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        source = AutoencoderTiny().state_dict()
    state = {}
    for name, tensor in source.items():
        half, _, rest = name.partition(".layers.")
        number, _, leaf = rest.partition(".")
        # the original decoder begins with a clamp, which has no weights but counts as a layer
        state[f"taesd_{half}.{int(number) + (half == 'decoder')}.{leaf}"] = tensor.contiguous()
    state |= {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    save_file(state, path)
