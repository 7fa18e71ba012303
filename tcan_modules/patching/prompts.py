"""The text that the ControlNet sees: the positive prompt's, for both conds of guidance.

Authors' ``run_controlnet``.
"""

from collections.abc import Callable, Sequence

import torch

from .batch import Batch


def prompts_of(batch: Batch, positive: list[dict], is_controlled: Callable[[object], bool]) -> list[dict]:
    """For each cond of a batch, the positive cond whose text the ControlNet sees.

    A positive cond sees its own text, a negative one that of the first positive.

    Args:
        positive: the positive conds of the prediction.
        is_controlled: whether a cond's ``control`` holds this ControlNet. If none does (positive and negative went through an Apply
            ControlNet node each), all positive conds count.
    """
    prompts = [cond for cond in positive if _text_of(cond) is not None]
    if not prompts:
        raise ValueError("Temporal ControlNet needs text conditioning: wire a CONDITIONING into the sampler's positive input.")
    prompts = [cond for cond in prompts if is_controlled(cond.get("control"))] or prompts
    own = {cond.get("uuid"): cond for cond in prompts}
    return [own.get(uuid, prompts[0]) for uuid in batch.uuids or [None] * len(batch.conds)]


def first_texts(batch: Batch, context: torch.Tensor, conds: dict[object, dict]) -> list[torch.Tensor]:
    """The text of each cond's first frame in the video, however the video is cut into calls.

    Args:
        context: the call's text, ``[conds * frames, tokens, channels]``.
        conds: the prediction's conds by their id.

    Returns:
        ``[1, tokens, channels]`` for each cond.
    """
    texts = list(context[:: batch.frames].split(1))
    for index, uuid in enumerate(batch.uuids or ()):
        whole = _text_of(conds[uuid]) if uuid in conds else None
        if whole is not None and len(whole) > 1:  # a schedule
            texts[index] = whole[:1]
    return texts


def text_of_frames(prompt: dict, indices: Sequence[int]) -> torch.Tensor:
    """A prompt's text for the frames of a window, ``[1 or frames, tokens, channels]``.

    A schedule has text for every frame; a shorter one is repeated over the video, as the host does.
    """
    text = _text_of(prompt)
    return text[[index % len(text) for index in indices]] if len(text) > 1 else text


def text_of_batch(batch: Batch, cond: dict) -> torch.Tensor:
    """The text of a batch's first positive cond, if the prompts are not known.

    Args:
        cond: the host's joined conditioning of the batch.

    Returns:
        ``[1 or frames, tokens, channels]``.
    """
    text = cond.get("crossattn_controlnet", cond["c_crossattn"])
    start = (batch.conds.index(0) if 0 in batch.conds else 0) * batch.frames
    return text[start : start + batch.frames] if text.shape[0] > start else text[:1]


def _text_of(prompt: dict) -> torch.Tensor | None:
    conds = prompt.get("model_conds", {})
    found = conds.get("crossattn_controlnet") or conds.get("c_crossattn")
    return found.cond if found is not None else None
