"""Checkpoint files to their parts, told apart by the names and shapes of their tensors alone.

Known layouts: the authors' trio (denoising UNet with PEFT LoRA and temporal layers, appearance UNet, temporal ControlNet), the
stage-1 UNet without temporal layers, AnimateDiff v1 to v3 motion modules, MagicAnimate's appearance encoder and temporal
attention, and our own packed file (``TCANSave``).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .naming import Architecture, StateDict, read_architecture, shown
from .weights_file import CheckpointError, is_finite, read_file

PACKED = "tcan."
VAE_PREFIX = "first_stage_model."  # a packed file may carry a VAE under the host's own names
V_PRED = "v_pred"  # an empty tensor, by which the host too marks a UNet that predicts velocity
VAE_SIDE = 4096  # SD1.x VAEs have 512 channels

LORA_FACTOR = re.compile(r"(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight")  # PEFT names: layer, factor, adapter
_TEMPORAL = re.compile(r"(?:.*?\.)?((?:down_blocks|up_blocks|mid_block)\.(?:\d+\.)?motion_modules\..+)")
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


@dataclass
class Checkpoint:
    """What a file or folder holds; a part that it does not hold is None."""

    name: str
    unet: Part | None = None
    appa: Part | None = None
    unet_temporal: Part | None = None
    appearance: Part | None = None
    controlnet: Part | None = None
    controlnet_temporal: Part | None = None
    empty_prompt: torch.Tensor | None = None
    vae: Part | None = None
    v_prediction: bool = False  # what the UNet predicts: velocity, or noise
    notes: list[str] = field(default_factory=list)

    def require(self, part: str) -> Part:
        """The part, or an error that names the missing file."""
        found = getattr(self, part)
        if found is None:
            raise CheckpointError(
                f"The TCAN checkpoint '{self.name}' has no {NAMES[part]}, which this node needs: {REMEDIES[part]}."
            )
        return found

    def describe(self) -> list[str]:
        """What was found and what is missing, a line each."""
        lines = []
        for part, title in TITLES.items():
            found: Part | None = getattr(self, part)
            if found is not None:
                lines.append(f"{title}: {len(found.tensors)} tensors from {found.source}")
            else:
                lines.append(f"no {title}: {MEANINGS[part]}")
        if self.v_prediction:
            lines.append("the UNet predicts velocity")
        if self.empty_prompt is None:
            lines.append("no embedding of the empty prompt: encode your prompts with CLIP Text Encode")
        if self.vae is not None:
            lines.append(f"a VAE: {len(self.vae.tensors)} tensors from {self.vae.source}")
        return lines + self.notes


TITLES = {
    "unet": "denoising UNet",
    "appa": "APPA (LoRA) layers",
    "unet_temporal": "temporal layers for the UNet",
    "appearance": "appearance encoder",
    "controlnet": "ControlNet",
    "controlnet_temporal": "temporal layers for the ControlNet",
}
NAMES = TITLES | {"temporal": "motion module", "empty_prompt": "embedding of the empty prompt", "vae": "VAE"}
MEANINGS = {
    "unet": "wire a model of Load Checkpoint into APPA Apply",
    "appa": "pose and appearance are not aligned beyond what the UNet does by itself",
    "unet_temporal": "frames are made one by one and will flicker",
    "appearance": "the character of the reference image cannot be kept",
    "controlnet": "wire a ControlNet of Load ControlNet Model into Temporal ControlNet",
    "controlnet_temporal": "the ControlNet looks at each pose by itself",
}
REMEDIES = {
    "unet": "wire a model of Load Checkpoint into APPA Apply, or put the '[UNet]…' file into the folder",
    "appa": "put the '[UNet]…' file with its LoRA into the folder",
    "unet_temporal": "put the stage-2 '[UNet]…' file or an AnimateDiff motion module into the folder",
    "appearance": "put the '[AppearanceEncoder]…' file (or MagicAnimate's appearance encoder) into the folder",
    "controlnet": "wire a ControlNet of Load ControlNet Model into it, or put the '[ControlNetT]…' file into the folder",
    "controlnet_temporal": "put the '[ControlNetT]…' file or an AnimateDiff motion module into the folder, or set temporal_strength to 0",
    "vae": "use the VAE of Load Checkpoint with an SD1.5 checkpoint, or Load VAE",
}


def _strip(name: str) -> str:
    """Take off what data-parallel training and wrappers put in front of names."""
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def split_file(tensors: StateDict, source: str) -> dict[str, Part]:
    """The parts in one file's tensors, by the field names of `Checkpoint` (``temporal``: a motion module by itself).

    Raises:
        CheckpointError: a file of another kind.
    """
    tensors = {_strip(name): tensor for name, tensor in tensors.items()}
    if any(name.startswith(PACKED) for name in tensors):
        return _split_packed(tensors, source)
    temporal = {match[1]: tensor for name, tensor in tensors.items() if (match := _TEMPORAL.fullmatch(name))}
    rest = {name: tensor for name, tensor in tensors.items() if not _TEMPORAL.fullmatch(name)}
    if "controlnet_cond_embedding.conv_in.weight" in rest:
        parts = {"controlnet": _network(rest, source, "ControlNet")}
        if temporal:
            parts["controlnet_temporal"] = Part(temporal, source)
        return parts
    if "conv_in.weight" in rest and any(name.startswith("up_blocks.") for name in rest):
        return _split_unet(rest, temporal, source)
    if temporal:
        return {"temporal": Part(temporal, source)}
    for prefix, meaning in _FOREIGN:
        if any(name.startswith(prefix) for name in tensors):
            raise CheckpointError(f"The file '{source}' is {meaning}.")
    raise CheckpointError(
        f"The file '{source}' holds no part of TCAN ({len(tensors)} tensors, none under a name that a UNet, an appearance encoder,"
        " a ControlNet or a motion module has): choose another checkpoint."
    )


def _network(tensors: StateDict, source: str, title: str) -> Part:
    try:
        return Part(tensors, source, read_architecture(tensors))
    except ValueError as error:
        raise CheckpointError(f"The {title} in '{source}' cannot be used: {error}.") from error


def _split_unet(tensors: StateDict, temporal: StateDict, source: str) -> dict[str, Part]:
    """A denoising UNet with or without LoRA and temporal layers, or an appearance UNet, which has no output head."""
    lora = {name: tensor for name, tensor in tensors.items() if LORA_FACTOR.fullmatch(name)}
    base = {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if name not in lora}
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
                    f"The {TITLES[group]} in '{source}' are damaged: some are no LoRA. Save it again with Save TCAN."
                )
    if not parts:
        raise CheckpointError(f"The packed file '{source}' holds no part of TCAN: save it again with Save TCAN.")
    vae = {name.removeprefix(VAE_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(VAE_PREFIX)}
    if vae:
        # the host builds as wide a VAE as the tensors say
        if not all(max(tensor.shape, default=1) <= VAE_SIDE and tensor.numel() and is_finite(tensor) for tensor in vae.values()):
            raise CheckpointError(
                f"The VAE in '{source}' is damaged (a tensor is empty, too large or no numbers): get it again from where it came from."
            )
        parts["vae"] = Part(vae, source)
    return parts


def pack(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint under the names of our packed file, ready for safetensors (no two share memory)."""
    packed = {
        f"{PACKED}{part}.{name}": tensor
        for part in TITLES
        if getattr(checkpoint, part) is not None
        for name, tensor in getattr(checkpoint, part).tensors.items()
    }
    if checkpoint.empty_prompt is not None:
        packed[f"{PACKED}empty_prompt.weight"] = checkpoint.empty_prompt
    if checkpoint.vae is not None:
        packed |= {VAE_PREFIX + name: tensor for name, tensor in checkpoint.vae.tensors.items()}
    if checkpoint.v_prediction:
        packed[V_PRED] = torch.empty(0)
    seen: set[int] = set()
    for name, tensor in packed.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        packed[name] = tensor.clone() if shared else tensor.contiguous()
    return packed


def load_checkpoint(paths: Iterable[Path], name: str) -> Checkpoint:
    """Read files that belong together (the trio of a folder, or one file) and put their parts in place.

    Raises:
        CheckpointError: nothing usable, two files for the same part, or parts that do not fit each other.
    """
    name = shown(name)
    checkpoint = Checkpoint(name)
    found: dict[str, Part] = {}
    plain_unets: list[Part] = []
    for path in sorted(paths):
        tensors = read_file(path)
        checkpoint.v_prediction |= V_PRED in tensors
        parts = split_file(tensors, shown(path.name))
        if set(parts) == {"unet"}:
            plain_unets.append(parts.pop("unet"))
        for key, part in parts.items():
            if key in found:
                raise CheckpointError(
                    f"Both '{found[key].source}' and '{part.source}' hold the same part ({NAMES[key]}): keep one of them"
                    f" in '{name}'."
                )
            found[key] = part
    _place_plain_unets(found, plain_unets, name)
    temporal = found.pop("temporal", None)
    prompt = found.pop("empty_prompt", None)
    if not found and temporal is None:
        raise CheckpointError(f"'{name}' holds no checkpoint: put the files of one TCAN model into its folder.")
    if prompt is not None:
        checkpoint.empty_prompt = _embedding(prompt)
    for key, part in found.items():
        setattr(checkpoint, key, part)
    if temporal is not None:
        _place_motion_module(checkpoint, temporal)
    _drop_middle(checkpoint)
    _check_widths(checkpoint)
    return checkpoint


def _embedding(prompt: Part) -> torch.Tensor:
    tensor = next(iter(prompt.tensors.values()))
    if tensor.ndim != 3 or tensor.shape[0] != 1 or not tensor.numel() or not is_finite(tensor):
        raise CheckpointError(
            f"The embedding of the empty prompt in '{prompt.source}' is damaged: it is {tensor.dtype} {shown(str(tuple(tensor.shape)))}"
            " where finite numbers [1, tokens, channels] are expected. Save the file again with Save TCAN."
        )
    return tensor


def _place_plain_unets(found: dict[str, Part], unets: list[Part], name: str) -> None:
    """A whole UNet without LoRA and temporal layers is the base UNet, or an appearance encoder that kept its head."""
    for part in unets:
        free = [key for key in ("unet", "appearance") if key not in found]
        if len(unets) > 1 or not free:
            sources = ", ".join(f"'{unet.source}'" for unet in unets)
            raise CheckpointError(f"It cannot be told what {sources} in '{name}' are for: keep one UNet beside the other parts.")
        found[free[0]] = part


def _place_motion_module(checkpoint: Checkpoint, module: Part) -> None:
    """A motion module by itself serves the UNet and the ControlNet, where they have no temporal layers of their own.

    In the ControlNet it is used where the authors have temporal layers: from the third down block on (``ControlNet3DModel``).
    """
    uses = []
    if checkpoint.unet_temporal is None:
        checkpoint.unet_temporal = module
        uses.append("UNet")
    if checkpoint.controlnet_temporal is None:
        deep = {name: tensor for name, tensor in module.tensors.items() if re.match(r"down_blocks\.([2-9]|\d\d)", name)}
        if deep:
            checkpoint.controlnet_temporal = Part(deep, module.source)
            uses.append("ControlNet")
    if uses:
        checkpoint.notes.append(f"the motion module of {module.source} serves the {' and the '.join(uses)}")
    else:
        checkpoint.notes.append(
            f"the motion module of {module.source} is not used: both networks have temporal layers of their own"
        )


def _drop_middle(checkpoint: Checkpoint) -> None:
    """AnimateDiff v2 has temporal layers in the middle block, TCAN has none."""
    for key in ("unet_temporal", "controlnet_temporal"):
        part: Part | None = getattr(checkpoint, key)
        if part is not None and any(name.startswith("mid_block.") for name in part.tensors):
            kept = {name: tensor for name, tensor in part.tensors.items() if not name.startswith("mid_block.")}
            setattr(checkpoint, key, Part(kept, part.source))
            checkpoint.notes.append(f"left out the middle block's temporal layers of {part.source}: TCAN has none there")


def _check_widths(checkpoint: Checkpoint) -> None:
    """The networks of one checkpoint must have the same shape, or their features would not fit each other."""
    reference: Part | None = None
    for key in ("unet", "appearance", "controlnet"):
        part: Part | None = getattr(checkpoint, key)
        if part is None or part.architecture is None:
            continue
        if reference is None:
            reference = part
            continue
        for feature in ("block_channels", "layers", "context_dim"):
            ours, theirs = getattr(reference.architecture, feature), getattr(part.architecture, feature)
            if ours != theirs:
                raise CheckpointError(
                    f"'{reference.source}' and '{part.source}' do not belong together: their {feature.replace('_', ' ')} differ"
                    f" ({ours} and {theirs})."
                )
