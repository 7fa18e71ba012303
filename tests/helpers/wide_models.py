"""Random models that the stock loaders take for SD1.5.

They have its width (320 channels, 768 for the text), but three levels with one layer each.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tcan_modules.maths.temporal import TemporalTransformer, sinusoidal_positions
from tcan_modules.weights.architecture import read_architecture
from tcan_modules.weights.naming import to_host
from tests.helpers.tiny_models import tiny_vae

CHANNELS = (320, 320, 640)
LEVELS = {
    "block_out_channels": CHANNELS,
    "layers_per_block": 1,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
}


def _half(state: dict) -> dict:
    return {name: tensor.half().contiguous() for name, tensor in state.items()}


def _network(seed: int, control: bool = False) -> dict[str, torch.Tensor]:
    """A random diffusers UNet or ControlNet."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if control:
            network = ControlNetModel(**LEVELS)
            for parameter in network.parameters():
                if not parameter.any():  # a new ControlNet adds nothing
                    torch.nn.init.normal_(parameter, std=0.02)
        else:
            network = UNet2DConditionModel(**LEVELS, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"))
        return network.state_dict()


def _clip() -> dict[str, torch.Tensor]:
    """A text encoder whose layers are zero: a prompt is its tokens' normalised embeddings."""
    from transformers import CLIPTextConfig, CLIPTextModel

    model = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12))
    state = {}
    for name, tensor in model.state_dict().items():
        name = name if name.startswith("text_model.") else f"text_model.{name}"
        is_read = "embedding" in name or ("layer_norm" in name and name.endswith("weight"))
        state[f"cond_stage_model.transformer.{name}"] = tensor if is_read else torch.zeros_like(tensor)
    return state


def checkpoint(path: Path) -> None:
    """Write a file for Load Checkpoint."""
    unet = _network(1)
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in to_host(unet, read_architecture(unet)).items()}
    vae = path.with_suffix(".vae")
    tiny_vae(vae)
    state |= {f"first_stage_model.{name}": tensor for name, tensor in load_file(vae).items()}
    vae.unlink()
    save_file(_half(state | _clip()), path)


def control_net(path: Path) -> None:
    """Write a file for Load ControlNet Model, in the layout of control_v11p_sd15_openpose."""
    state = _network(2, control=True)
    state = {f"control_model.{name}": tensor for name, tensor in to_host(state, read_architecture(state)).items()}
    torch.save(_half(state), path)


def lora_weights(
    unet: dict[str, torch.Tensor], layers: tuple[str, ...] = ("attn1.to_q",), rank: int = 4, divisor: float = 50
) -> dict[str, torch.Tensor]:
    """A random LoRA with the names that the stock loader knows.

    Args:
        unet: weights with diffusers' names.
        layers: the ends of the names of the layers that change; by default the queries of all self-attentions.
        divisor: of the change: a smaller one changes more.
    """
    generator, state = torch.Generator().manual_seed(4), {}
    for name, tensor in unet.items():
        if name.endswith(tuple(f"{layer}.weight" for layer in layers)):
            key = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            state[f"{key}.lora_down.weight"] = torch.randn(rank, tensor.shape[1], generator=generator)
            state[f"{key}.lora_up.weight"] = torch.randn(tensor.shape[0], rank, generator=generator) / divisor
            state[f"{key}.alpha"] = torch.tensor(float(rank))
    assert state
    return state


def lora(path: Path) -> None:
    """Write a file for Load LoRA."""
    save_file(_half(lora_weights(_network(1))), path)


def appa(path: Path) -> None:
    """Write a UNet file with APPA layers, as the authors' file; it belongs beside `public_parts`."""
    generator = torch.Generator().manual_seed(6)
    state = _network(1)
    for name, tensor in list(state.items()):
        if name.endswith(("attn1.to_q.weight", "attn2.to_k.weight")):
            layer = name.removesuffix(".weight")
            state[f"{layer}.lora_A.weight"] = torch.randn(4, tensor.shape[1], generator=generator)
            state[f"{layer}.lora_B.weight"] = torch.randn(tensor.shape[0], 4, generator=generator) / 50
    save_file(_half(state), path)


def temporal_layers(
    channels: Sequence[int], layers: int, middle: bool = False, dtype: torch.dtype = torch.float16
) -> dict[str, torch.Tensor]:
    """Random temporal layers of AnimateDiff v3: one after each layer of the down blocks and up blocks.

    Args:
        channels: of the UNet's levels.
        layers: ResNet blocks in a down block.
        middle: one in the middle block too, as AnimateDiff v2 has.
    """
    places = [(f"down_blocks.{level}", index, width) for level, width in enumerate(channels) for index in range(layers)]
    places += [(f"up_blocks.{block}", index, width) for block, width in enumerate(channels[::-1]) for index in range(layers + 1)]
    places += [("mid_block", 0, channels[-1])] if middle else []
    state = {}
    for block, index, width in places:
        for name, tensor in TemporalTransformer(width, heads=8, max_frames=32).state_dict().items():
            values = sinusoidal_positions(32, width) if name.endswith(".pe") else tensor
            state[f"{block}.motion_modules.{index}.temporal_transformer.{name}"] = values.to(dtype).contiguous()
    return state


def motion_module(channels: Sequence[int], layers: int, seed: int, middle: bool = False) -> dict[str, torch.Tensor]:
    """`temporal_layers` of a seed, as in a file of AnimateDiff."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return temporal_layers(channels, layers, middle)


def public_parts(folder: Path) -> None:
    """Write public files for Load TCAN: an appearance encoder and an AnimateDiff v2 motion module."""
    folder.mkdir(parents=True)
    encoder = {name: tensor for name, tensor in _network(3).items() if not name.startswith(("conv_out", "conv_norm_out"))}
    save_file(_half(encoder), folder / "diffusion_pytorch_model.safetensors")
    torch.save({"state_dict": motion_module(CHANNELS, 1, seed=5, middle=True)}, folder / "mm_sd_v15_v2.ckpt")
