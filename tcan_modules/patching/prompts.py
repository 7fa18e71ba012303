"""The text that the ControlNet sees: the positive prompt's, for both conds of guidance (authors' ``run_controlnet``)."""

from collections.abc import Callable, Sequence

import torch

from .batch import Batch


def prompts_of(batch: Batch, positive: list[dict], is_controlled: Callable[[object], bool]) -> list[dict]:
    """For each cond of a batch the positive cond whose text it takes: its own, or the first one for a negative cond.

    Args:
        positive: the positive conds of the prediction.
        is_controlled: whether a cond's ``control`` holds this ControlNet.
    """
    prompts = {cond.get("uuid"): cond for cond in positive if is_controlled(cond.get("control")) and _text_of(cond) is not None}
    if not prompts:
        raise ValueError("Temporal ControlNet needs text conditioning: wire a CONDITIONING into the sampler's positive input.")
    first = next(iter(prompts.values()))
    return [prompts.get(uuid, first) for uuid in batch.uuids or [None] * len(batch.conds)]


def text_of_frames(prompt: dict, indices: Sequence[int], frames: int | None) -> torch.Tensor:
    """A prompt's text ``[1 or frames, tokens, channels]``; text for each frame of a video of ``frames`` is cut to the window."""
    text = _text_of(prompt)
    return text[list(indices)] if text.shape[0] == frames > 1 else text[:1]


def text_of_batch(batch: Batch, cond: dict) -> torch.Tensor:
    """The text of a batch's first conditional cond, ``[1 or frames, tokens, channels]``, without knowledge of the prompts.

    Args:
        cond: the host's joined conditioning of the batch.
    """
    text = cond.get("crossattn_controlnet", cond["c_crossattn"])
    start = (batch.conds.index(0) if 0 in batch.conds else 0) * batch.frames
    return text[start : start + batch.frames] if text.shape[0] > start else text[:1]


def _text_of(prompt: dict) -> torch.Tensor | None:
    conds = prompt.get("model_conds", {})
    found = conds.get("crossattn_controlnet") or conds.get("c_crossattn")
    return found.cond if found is not None else None
