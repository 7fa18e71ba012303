"""Names of tensors as the networks have them, without what training tools add.

Names come from strangers: everything here is linear in their length.
"""

from collections.abc import Mapping

import torch

from ..values import shown
from .messages import CheckpointError

LONGEST = 1000  # letters of a name; SD1.x's have at most 120
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module"}
_TELLING = "conv_in.weight"  # every UNet and ControlNet has it, and the second one too, with the same words before it
_ALSO_TELLING = "time_embedding.linear_1.weight"
_MOTION = "motion_modules"
_TEMPORAL_TRANSFORMER = "temporal_transformer"
_ADAPTER = {  # a module of diffusers' MotionAdapter -> AnimateDiff's
    "norm1": ("norms.0",),
    "norm2": ("norms.1",),
    "norm3": ("ff_norm",),
    "attn1": ("attention_blocks.0",),
    "attn2": ("attention_blocks.1",),
    "pos_embed": ("attention_blocks.0.pos_encoder", "attention_blocks.1.pos_encoder"),
}


def plain_names(tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Tensors ``[…]`` without the prefixes of training tools, PEFT and whole pipelines.

    Raises:
        CheckpointError: a name that no network has, or two that become the same.
    """
    longest = max(map(len, tensors), default=0)
    if longest > LONGEST:
        raise CheckpointError(
            f"The file '{source}' holds no network of SD1.x: one of its tensors has a name of {longest} letters. Download it again."
        )
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        own = _unwrapped(name)
        if own in plain:
            raise CheckpointError(f"The file '{source}' holds two tensors for {shown(own)}: save it again with one of them.")
        plain[own] = tensor
    prefix = _network_prefix(plain)
    return {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)} if prefix else plain


def _unwrapped(name: str) -> str:
    words = [word for word in name.split(".") if word not in _WRAPPERS]
    start = 0
    while words[start : start + 2] == ["base_model", "model"]:
        start += 2
    return ".".join(words[start:])


def _network_prefix(tensors: Mapping[str, torch.Tensor]) -> str:
    """The words before all names of the only network in a file (``unet.``); nothing for several networks."""
    ending = f".{_TELLING}"
    prefixes = [name.removesuffix(_TELLING) for name in tensors if name.endswith(ending)]
    prefixes = [prefix for prefix in prefixes if prefix + _ALSO_TELLING in tensors]
    is_packed = any(prefix.startswith("tcan.") for prefix in prefixes)
    return prefixes[0] if len(prefixes) == 1 and _TELLING not in tensors and not is_packed else ""


def temporal_names(name: str) -> list[str]:
    """AnimateDiff's names of a temporal layer's tensor; none for another tensor.

    One name, or two for diffusers' position table, which serves both attentions of a block.
    """
    words = name.split(".")
    if _MOTION not in words:
        return []
    at = words.index(_MOTION)
    start = at - 1 if at and words[at - 1] == "mid_block" else at - 2
    if (
        start < 0
        or words[start] not in ("down_blocks", "up_blocks", "mid_block")
        or not all(map(_is_number, words[start + 1 : at]))
    ):
        return []
    head, rest = words[start : at + 2], words[at + 2 :]
    if not rest or not _is_number(head[-1]):
        return []
    if rest[0] == _TEMPORAL_TRANSFORMER or len(rest) < 3 or rest[0] != "transformer_blocks" or rest[2] not in _ADAPTER:
        return [".".join(head + rest)]
    return [".".join([*head, _TEMPORAL_TRANSFORMER, *rest[:2], own, *rest[3:]]) for own in _ADAPTER[rest[2]]]


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()
