"""Known file layouts, recognised by the names and shapes of the tensors.

The authors' three files (denoising UNet with PEFT LoRA and temporal layers, appearance UNet, temporal ControlNet), the stage-1 UNet
without temporal layers, AnimateDiff v1 to v3 motion modules (also as a MotionAdapter of diffusers), MagicAnimate's appearance encoder
and temporal attention, and the packed file of Save TCAN.
"""

import re
from dataclasses import dataclass, field

import torch

from .architecture import Architecture, StateDict, read_architecture, side
from .mapped_file import MappedFile
from .messages import TITLES, CheckpointError, ForeignFile
from .wrapped_names import plain_names, temporal_names

PACKED = "tcan."
VAE_PREFIX = "first_stage_model."  # a packed file may carry a VAE under the host's own names
V_PRED = "v_pred"  # an empty tensor, by which the host too marks a UNet that predicts velocity
_HINT = "controlnet_cond_embedding.conv_in.weight"
VAE_SIDE = 4096  # SD1.x VAEs have 512 channels

LORA_FACTOR = re.compile(r"(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight")  # PEFT names: layer, factor, adapter
_FOREIGN = (
    (
        "model.diffusion_model.",
        "a whole Stable Diffusion checkpoint: load it with Load Checkpoint and wire its model into APPA Apply",
    ),
    (
        "control_model.",
        "a ControlNet in its original layout: load it with Load ControlNet Model and wire it into Temporal ControlNet",
    ),
    (
        "zero_convs.",
        "a ControlNet in its original layout: load it with Load ControlNet Model and wire it into Temporal ControlNet",
    ),
    ("lora_unet_", "a LoRA: load it with Load LoRA"),
    (VAE_PREFIX, "a VAE: load it with Load VAE"),
)


@dataclass
class Part:
    """One network of a checkpoint under diffusers' names, with where it came from."""

    tensors: StateDict
    source: str
    architecture: Architecture | None = None
    file: MappedFile | None = field(default=None, repr=False, compare=False)  # in which the tensors are mapped

    def numbers(self, tensors: StateDict | None = None) -> StateDict:
        """All or some of the part's tensors ``[…]`` in memory that no file reaches.

        Raises:
            CheckpointError: the file was overwritten since it was loaded.
        """
        tensors = self.tensors if tensors is None else tensors
        return tensors if self.file is None else self.file.copies(tensors)


def is_packed(tensors: StateDict) -> bool:
    """Whether a file is Save TCAN's, from the names of its tensors ``[…]``."""
    return any(name.startswith(PACKED) for name in tensors)


def split_file(tensors: StateDict, source: str) -> dict[str, Part]:
    """The parts in one file's tensors, by the field names of `Checkpoint`.

    A motion module on its own is ``temporal``.

    Raises:
        ForeignFile: a file of another kind.
    """
    tensors = plain_names(tensors, source)
    if is_packed(tensors):
        return _split_packed(tensors, source)
    temporal = {own: tensor for name, tensor in tensors.items() for own in temporal_names(name)}
    rest = {name: tensor for name, tensor in tensors.items() if not temporal_names(name)}
    if temporal and all(_is_lora(name) for name in temporal):
        raise ForeignFile(
            f"The file '{source}' is a motion LoRA, which TCAN does not read: use a whole motion module of AnimateDiff, and take this"
            " file out of the folder."
        )
    if _HINT in rest:
        parts = {"controlnet": _network(rest, source, "ControlNet")}
        if temporal:
            parts["controlnet_temporal"] = Part(temporal, source)
        return parts
    if "conv_in.weight" in rest and any(name.startswith("up_blocks.") for name in rest):
        return _split_unet(rest, temporal, source)
    if temporal:
        return {"temporal": Part(temporal, source)}
    if tensors and all(_is_lora(name) for name in tensors):
        raise ForeignFile(f"The file '{source}' is a LoRA: load it with Load LoRA.")
    for prefix, meaning in _FOREIGN:
        if any(name.startswith(prefix) for name in tensors):
            raise ForeignFile(f"The file '{source}' is {meaning}.")
    raise ForeignFile(
        f"The file '{source}' holds no part of TCAN ({len(tensors)} tensors, none named like those of a UNet, an appearance encoder,"
        " a ControlNet or a motion module): choose another checkpoint."
    )


def _is_lora(name: str) -> bool:
    return "lora_" in name or ".lora." in name or "_lora." in name or name.endswith(".alpha")


def _network(tensors: StateDict, source: str, title: str) -> Part:
    try:
        architecture = read_architecture(tensors)
        _check_channels(tensors, architecture)
        return Part(tensors, source, architecture)
    except ValueError as error:
        raise CheckpointError(f"The {title} in '{source}' cannot be used: {error}.") from error


def _check_channels(tensors: StateDict, architecture: Architecture) -> None:
    """Latents have four channels, pose images three: another network of SD1.x's shape would fail in the sampler."""
    taken, given = architecture.in_channels, architecture.out_channels
    if (taken, given) != (4, 4):
        raise ValueError(
            f"it takes {taken} channels and gives {given}, and TCAN works with 4 (an inpainting or editing model has more)"
        )
    if _HINT in tensors and (channels := side(tensors, _HINT, 1)) != 3:
        raise ValueError(f"it takes pose images of {channels} channels, and ComfyUI's have 3")


def _split_unet(tensors: StateDict, temporal: StateDict, source: str) -> dict[str, Part]:
    """A denoising UNet with or without LoRA and temporal layers, or an appearance UNet, which has no output head."""
    lora = {name: tensor for name, tensor in tensors.items() if LORA_FACTOR.fullmatch(name)}
    base = {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if name not in lora}
    layers = {match.groups() for match in map(LORA_FACTOR.fullmatch, lora)}
    if len(layers) < len(lora) or any("lora_magnitude_vector" in name for name in base):
        raise CheckpointError(
            f"The UNet in '{source}' has several LoRA adapters or DoRA, and APPA is one LoRA: save it with one adapter."
        )
    if "conv_out.weight" not in base and not temporal and not lora:
        return {"appearance": _network(base, source, "appearance encoder")}
    parts = {"unet": _network(base, source, "UNet")}
    if lora:
        parts["appa"] = Part(lora, source)
    if temporal:
        parts["unet_temporal"] = Part(temporal, source)
    return parts


def _split_packed(tensors: StateDict, source: str) -> dict[str, Part]:
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(PACKED):
            group, _, rest = name.removeprefix(PACKED).partition(".")
            groups.setdefault(group, {})[rest] = tensor
    parts: dict[str, Part] = {}
    for group, members in groups.items():
        if group == "empty_prompt":
            parts[group] = Part(members, source)
        elif group in ("unet", "appearance", "controlnet"):
            parts[group] = _network(members, source, TITLES[group])
        elif group in TITLES:
            parts[group] = Part(members, source)
            if group == "appa" and not all(map(LORA_FACTOR.fullmatch, members)):
                raise CheckpointError(
                    f"The {TITLES[group]} in '{source}' are damaged: some tensors are no LoRA factors. Save the file again with Save TCAN."
                )
    if not parts:
        raise CheckpointError(f"The packed file '{source}' holds no part of TCAN: save the checkpoint again with Save TCAN.")
    vae = {name.removeprefix(VAE_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(VAE_PREFIX)}
    if vae:
        # the host builds as wide a VAE as the tensors say
        if not all(max(tensor.shape, default=1) <= VAE_SIDE and tensor.numel() for tensor in vae.values()):
            raise CheckpointError(f"The VAE in '{source}' is damaged (a tensor is empty or too large): download the file again.")
        parts["vae"] = Part(vae, source)
    return parts
