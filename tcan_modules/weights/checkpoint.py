"""A TCAN checkpoint: its parts, loaded from one file or several, and packed into one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..values import shown
from .layouts import PACKED, V_PRED, VAE_PREFIX, Part, is_packed, split_file
from .messages import MEANINGS, NAMES, REMEDIES, TITLES, CheckpointError, ForeignFile
from .reading import is_finite, open_file


@dataclass
class Checkpoint:
    """The parts of a file or folder; None for a part that it does not have."""

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
        """What was found and what is missing, one line for each part."""
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


def pack(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint under the names of the packed file, ready for safetensors.

    No two share memory.
    """
    packed = {
        f"{PACKED}{part}.{name}": tensor
        for part in TITLES
        if getattr(checkpoint, part) is not None
        for name, tensor in getattr(checkpoint, part).numbers().items()
    }
    if checkpoint.empty_prompt is not None:
        packed[f"{PACKED}empty_prompt.weight"] = checkpoint.empty_prompt
    if checkpoint.vae is not None:
        packed |= {VAE_PREFIX + name: tensor for name, tensor in checkpoint.vae.numbers().items()}
    if checkpoint.v_prediction:
        packed[V_PRED] = torch.empty(0)
    seen: set[int] = set()
    for name, tensor in packed.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        packed[name] = tensor.clone() if shared else tensor.contiguous()
    return packed


def load_checkpoint(paths: Iterable[Path], name: str, mapped: bool = True, loose: bool = False) -> Checkpoint:
    """Read the files of one checkpoint and assign their parts.

    Args:
        mapped: False reads all numbers into memory at once; otherwise a network's are read when it is built.
        loose: the files lie beside others: packed files and files of other kinds are left out.

    Raises:
        CheckpointError: no part of TCAN, two files with the same part, or parts that do not fit each other.
    """
    name = shown(name)
    checkpoint = Checkpoint(name)
    found: dict[str, Part] = {}
    plain_unets: list[Part] = []
    for path in sorted(paths):
        parts, v_prediction = _read_parts(path, mapped, checkpoint.notes if loose else None)
        checkpoint.v_prediction |= v_prediction
        if set(parts) == {"unet"}:
            plain_unets.append(parts.pop("unet"))
        _add_parts(found, parts, name)
    _place_plain_unets(found, plain_unets, name)
    temporal = found.pop("temporal", None)
    prompt = found.pop("empty_prompt", None)
    if not found and temporal is None:
        raise CheckpointError(f"'{name}' holds no checkpoint: put the files of one TCAN model into its folder.")
    if prompt is not None:
        checkpoint.empty_prompt = _embedding(prompt)
    for key, part in found.items():
        # patches of the host keep LoRA factors through a whole run
        setattr(checkpoint, key, Part(part.numbers(), part.source) if key == "appa" else part)
    if temporal is not None:
        _place_motion_module(checkpoint, temporal)
    _drop_middle(checkpoint)
    _check_widths(checkpoint)
    _check_prompt(checkpoint)
    return checkpoint


def _read_parts(path: Path, mapped: bool, left_out: list[str] | None) -> tuple[dict[str, Part], bool]:
    """The parts of a file, and whether it is marked as predicting velocity.

    Args:
        left_out: takes a line for a packed file or a file of another kind; None: such a file is read, or refused.
    """
    tensors, file = open_file(path, mapped)
    source = shown(path.name)
    if left_out is not None and is_packed(tensors):
        left_out.append(f"{source} is a packed file and left out: choose it alone")
        return {}, False
    try:
        parts = split_file(tensors, source)
    except ForeignFile as error:
        if left_out is None:
            raise CheckpointError(str(error)) from error
        left_out.append(f"left out: {str(error).rstrip('.')}")
        return {}, False
    for part in parts.values():
        part.file = file
    return parts, V_PRED in tensors


def _add_parts(found: dict[str, Part], parts: dict[str, Part], name: str) -> None:
    for key, part in parts.items():
        if key in found:
            raise CheckpointError(
                f"Both '{found[key].source}' and '{part.source}' hold the same part ({NAMES[key]}): keep one of them in '{name}'."
            )
        found[key] = part


def _embedding(prompt: Part) -> torch.Tensor:
    tensor = next(iter(prompt.numbers().values()))
    if not _is_embedding(tensor):
        raise CheckpointError(
            f"The embedding of the empty prompt in '{prompt.source}' is damaged: it is {_shown_tensor(tensor)} where finite numbers"
            " [1, tokens, channels] are expected. Save the file again with Save TCAN."
        )
    return tensor


def _is_embedding(tensor: torch.Tensor) -> bool:
    return tensor.ndim == 3 and tensor.shape[0] == 1 and bool(tensor.numel()) and is_finite(tensor)


def _shown_tensor(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {shown(str(tuple(tensor.shape)))}"


def with_prompt(checkpoint: Checkpoint, conditioning: list) -> Checkpoint:
    """The checkpoint with a conditioning's ``[1, tokens, channels]`` as its empty prompt.

    Raises:
        CheckpointError: one that could not be loaded again.
    """
    tensors = [entry[0] for entry in conditioning]
    if len(tensors) != 1 or not isinstance(tensors[0], torch.Tensor) or not _is_embedding(tensors[0]):
        found = (
            _shown_tensor(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], torch.Tensor) else f"{len(tensors)} prompts"
        )
        raise CheckpointError(
            f"This empty_prompt cannot be saved: it is {found} where one prompt of finite numbers [1, tokens, channels] is expected."
            " Connect a CLIP Text Encode with an empty text."
        )
    checked = replace(checkpoint, empty_prompt=tensors[0])
    _check_prompt(checked)
    return checked


def _check_prompt(checkpoint: Checkpoint) -> None:
    """The networks read text of one width."""
    for part in (checkpoint.unet, checkpoint.appearance, checkpoint.controlnet):
        if checkpoint.empty_prompt is None or part is None or part.architecture is None:
            continue
        expected, found = part.architecture.context_dim, checkpoint.empty_prompt.shape[-1]
        if found != expected:
            raise CheckpointError(
                f"The embedding of the empty prompt has {found} channels, and '{part.source}' reads text of {expected}: use the CLIP"
                " of an SD1.5 checkpoint."
            )


def _place_plain_unets(found: dict[str, Part], unets: list[Part], name: str) -> None:
    """A UNet without LoRA and temporal layers is the base UNet, or an appearance encoder with its output head."""
    for part in unets:
        free = [key for key in ("unet", "appearance") if key not in found]
        if len(unets) > 1 or not free:
            sources = ", ".join(f"'{unet.source}'" for unet in unets)
            raise CheckpointError(f"TCAN cannot tell what {sources} in '{name}' are for: keep one UNet beside the other parts.")
        found[free[0]] = part


def _place_motion_module(checkpoint: Checkpoint, module: Part) -> None:
    """A separate motion module is used for the UNet and the ControlNet, unless they have temporal layers.

    In the ControlNet it is used where the authors have temporal layers: from the third down block on (``ControlNet3DModel``).
    """
    uses = []
    if checkpoint.unet_temporal is None:
        checkpoint.unet_temporal = module
        uses.append("UNet")
    if checkpoint.controlnet_temporal is None:
        deep = {name: tensor for name, tensor in module.tensors.items() if re.match(r"down_blocks\.([2-9]|\d\d)", name)}
        if deep:
            checkpoint.controlnet_temporal = replace(module, tensors=deep)
            uses.append("ControlNet")
    if uses:
        checkpoint.notes.append(f"the motion module of {module.source} is used for the {' and the '.join(uses)}")
    else:
        checkpoint.notes.append(f"the motion module of {module.source} is not used: both networks have their own temporal layers")


def _drop_middle(checkpoint: Checkpoint) -> None:
    """AnimateDiff v2 has temporal layers in the middle block, TCAN has none."""
    for key in ("unet_temporal", "controlnet_temporal"):
        part: Part | None = getattr(checkpoint, key)
        if part is not None and any(name.startswith("mid_block.") for name in part.tensors):
            kept = {name: tensor for name, tensor in part.tensors.items() if not name.startswith("mid_block.")}
            setattr(checkpoint, key, replace(part, tensors=kept))
            checkpoint.notes.append(f"temporal layers of the middle block in {part.source} are left out: TCAN has none there")


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
