"""Whole TCAN checkpoints of any width with random weights, made from a seed."""

import torch
from torch import nn

from tcan_modules.weights.architecture import read_architecture
from tcan_modules.weights.checkpoint import Checkpoint
from tcan_modules.weights.layouts import Part
from tcan_modules.weights.messages import TITLES
from tests.helpers.wide_models import temporal_layers

SD15 = (320, 640, 1280, 1280)
HALF = (160, 320, 640, 640)
SMALL = (64, 128, 256, 256)
TINY = (32, 32, 64, 64)


def random_checkpoint(
    channels: tuple[int, ...],
    context: int = 768,
    rank: int = 16,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str | None = None,
) -> Checkpoint:
    """A checkpoint with every part, of SD1.5's depth (two ResNet blocks per level, no attention in the last).

    Args:
        device: where the numbers are drawn (a GPU is fast); the checkpoint ends in main memory. Each device draws other numbers.
    """
    if device is not None:
        with torch.device(device):
            made = random_checkpoint(channels, context, rank, seed, dtype)
        for part in (getattr(made, name) for name in TITLES):
            part.tensors = {name: tensor.cpu() for name, tensor in part.tensors.items()}
        return made
    from diffusers import ControlNetModel, UNet2DConditionModel

    levels = len(channels)
    shape = {
        "block_out_channels": channels,
        "cross_attention_dim": context,
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
    }
    ups = {"up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1)}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**shape, **ups).to(dtype).state_dict()
        appearance = UNet2DConditionModel(**shape, **ups).to(dtype).state_dict()
        control = ControlNetModel(**shape).to(dtype)
        for name, parameter in control.named_parameters():
            if name.startswith(("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")):
                nn.init.normal_(parameter, std=0.01)  # a new ControlNet adds nothing
        lora = _lora(unet, rank, dtype)
        temporal = temporal_layers(channels, layers=2, dtype=dtype)
    headless = {name: tensor for name, tensor in appearance.items() if not name.startswith(("conv_out", "conv_norm_out"))}
    deep = {name: tensor for name, tensor in temporal.items() if name.startswith(("down_blocks.2", "down_blocks.3"))}
    network = {"unet": unet, "appearance": headless, "controlnet": control.state_dict()}
    parts = {key: Part(state, "random", read_architecture(state)) for key, state in network.items()}
    layers = {"appa": lora, "unet_temporal": temporal, "controlnet_temporal": deep}
    return Checkpoint("random", **parts, **{key: Part(state, "random") for key, state in layers.items()})


def _lora(unet: dict, rank: int, dtype) -> dict[str, torch.Tensor]:
    factors = {}
    for name, tensor in unet.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == "weight" and layer.endswith(("to_q", "to_k", "to_v")):
            factors[f"{layer}.lora_A.default.weight"] = torch.randn(rank, tensor.shape[1], dtype=dtype) / rank
            factors[f"{layer}.lora_B.default.weight"] = torch.randn(tensor.shape[0], rank, dtype=dtype) / 100
    return factors
