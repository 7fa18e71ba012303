"""What training starts from: the parts of a checkpoint, a VAE and the empty prompt.

They are read from pretrained weights in any of the common layouts.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..weights.architecture import Architecture, StateDict, read_architecture
from ..weights.checkpoint import Checkpoint, load_checkpoint
from ..weights.layouts import PACKED, V_PRED, Part
from ..weights.messages import CheckpointError
from ..weights.naming import host_name
from ..weights.reading import read_file
from .folders import read_part
from .state import group
from .vae import load_vae

SD15 = Architecture(
    in_channels=4,
    out_channels=4,
    block_channels=(320, 640, 1280, 1280),
    layers=(2, 2, 2, 2),
    depth_down=((1, 1), (1, 1), (1, 1), (0, 0)),
    depth_middle=1,
    depth_up=((0, 0, 0), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    context_dim=768,
)
TOKENS, BEGIN, END = 77, 49406, 49407  # CLIP's; the empty prompt is one begin token, then end tokens to the full length


@dataclass
class Start:
    """What a stage starts from."""

    checkpoint: Checkpoint
    vae: nn.Module
    empty_prompt: torch.Tensor  # [1, tokens, channels]


def load_start(base: Path, controlnet: Path | None, vae: Path | None, tcan: list[Path]) -> Start:
    """Read the pretrained parts of a run.

    Args:
        base: SD1.5 as a diffusers folder or a single file, or a packed TCAN file with all parts.
        controlnet: OpenPose ControlNet as a diffusers folder, or a file with either naming; None: the one in ``base`` or ``tcan``.
        vae: None: the one in ``base``.
        tcan: TCAN files of earlier stages, or a motion module of AnimateDiff; their parts replace those of ``base``.

    Raises:
        CheckpointError: a part is missing or of the wrong kind.
    """
    state = read_part(base, "unet") if base.is_dir() else read_file(base)
    if any(name.startswith(PACKED) for name in state):
        checkpoint = load_checkpoint([base], base.name)
    else:
        checkpoint = Checkpoint(base.name, unet=_part(_renamed(state, ("model.diffusion_model.", "")), base.name))
        checkpoint.v_prediction = V_PRED in state
    if controlnet is not None:
        state = read_part(controlnet, "controlnet") if controlnet.is_dir() else read_file(controlnet)
        checkpoint.controlnet = _part(_renamed(state, ("control_model.", "")), controlnet.name)
    if tcan:
        _overlay(checkpoint, load_checkpoint(tcan, " + ".join(path.name for path in tcan)))
    if checkpoint.empty_prompt is None:
        checkpoint.empty_prompt = _empty_prompt(base)
    return Start(checkpoint, load_vae(vae or base), checkpoint.empty_prompt.float())


def _part(tensors: StateDict, source: str) -> Part:
    try:
        return Part(tensors, source, read_architecture(tensors))
    except ValueError as error:
        raise CheckpointError(f"'{source}' cannot be used for training: {error}.") from error


def _overlay(checkpoint: Checkpoint, newer: Checkpoint) -> None:
    for key in ("unet", "appa", "unet_temporal", "appearance", "controlnet", "controlnet_temporal", "empty_prompt"):
        found = getattr(newer, key)
        if found is not None:
            setattr(checkpoint, key, found)
    if newer.unet is not None:
        checkpoint.v_prediction = newer.v_prediction


def _renamed(state: StateDict, prefixes: tuple[str, ...]) -> StateDict:
    """Tensors with diffusers' names, from these or from the original names of Stable Diffusion."""
    prefix = next((prefix for prefix in prefixes if any(name.startswith(f"{prefix}input_blocks.") for name in state)), None)
    if prefix is None:
        return state
    own = group(dict(state), prefix)
    wanted = _standard_names("input_hint_block.0.weight" in own)
    renamed = {name: own[host] for name, host in wanted.items() if host in own}
    missing = [host for host in wanted.values() if host not in own]
    if missing:
        raise CheckpointError(f"{len(missing)} tensors of SD1.5 are missing ({missing[0]} …): give a complete file of SD1.5.")
    return renamed


def _standard_names(controlnet: bool) -> dict[str, str]:
    """The original name of each of SD1.5's tensors, by diffusers' name."""
    from .networks import new_controlnet, new_unet

    with torch.device("meta"):
        names = list((new_controlnet if controlnet else new_unet)(SD15).state_dict())
    hints = len({name.split(".")[2] for name in names if name.startswith("controlnet_cond_embedding.blocks.")})
    return {name: host_name(name, SD15, hints) for name in names}


def _empty_prompt(base: Path) -> torch.Tensor:
    """CLIP's embedding of the empty prompt, ``[1, 77, 768]``, from a diffusers folder or an SD checkpoint."""
    if base.is_dir():
        if not (base / "text_encoder").is_dir():
            raise CheckpointError(f"'{base}' has no text_encoder: give --base a complete diffusers folder of SD1.5.")
        state = read_part(base / "text_encoder", "text_encoder")
    else:
        state = group(read_file(base), "cond_stage_model.transformer.")
        if not state:
            raise CheckpointError(f"'{base.name}' has no text encoder: give --base a complete SD1.5 checkpoint.")
    encoder = _text_encoder(state, base.name)
    tokens = torch.tensor([[BEGIN] + [END] * (TOKENS - 1)])
    with torch.no_grad():
        return encoder(tokens).last_hidden_state


def _text_encoder(state: StateDict, source: str) -> nn.Module:
    """SD1.5's text encoder (CLIP ViT-L/14) with the given tensors."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408
    )
    with torch.device("meta"):  # takes no memory before the file is known to be whole
        own = CLIPTextModel(config).state_dict()
    if "embeddings.token_embedding.weight" in own:  # transformers 5 omits the prefix
        state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    wrong = [name for name in own if "position_ids" not in name and (name not in state or state[name].shape != own[name].shape)]
    if wrong:
        raise CheckpointError(
            f"The text encoder in '{source}' is incomplete or not SD1.5's ({wrong[0]} …): give --base a complete SD1.5 checkpoint."
        )
    encoder = CLIPTextModel(config).eval()
    encoder.load_state_dict({name: tensor.float() for name, tensor in state.items() if name in own}, strict=False)
    return encoder
