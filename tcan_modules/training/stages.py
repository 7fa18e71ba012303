"""The two stages of training (paper section 4; authors' ``configs/train``).

Stage 1 trains the appearance UNet and the APPA LoRA on pairs of frames. Stage 2 trains the temporal layers of UNet and ControlNet on
clips. Everything else is frozen, and a run writes its tensors bit for bit as it read them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..weights.checkpoint import Checkpoint, pack
from ..weights.layouts import Part
from .model import CONTROLNET_BLOCKS, TCAN
from .sampling import sample_clip, side_by_side, write_video
from .sources import Start
from .state import Tensors, group, save_tensors
from .steps import StageStep
from .trainer import Options, Trainer
from .vae import TinyVAE

DROP_REFERENCE = 0.1


def train_stage(
    stage: int,
    start: Start,
    dataset,
    options: Options,
    *,
    rank: int = 16,
    drop_reference: float = DROP_REFERENCE,
    controlnet_blocks=CONTROLNET_BLOCKS,
    gradient_checkpointing: bool = False,
    schedule: dict | None = None,
    validation: dict | None = None,
    sampling: dict | None = None,
) -> Path | None:
    """Train a stage to its last step and write ``tcan.safetensors``, a file for Load TCAN.

    Args:
        dataset: numbered samples (see `StageStep` for their tensors).
        rank, controlnet_blocks, schedule: see `TCAN`.
        drop_reference: in stage 1, the share of pairs that are trained without their reference.
        gradient_checkpointing: compute activations twice and store fewer.
        validation: a sample from which the validation videos are made.
        sampling: ``steps`` and ``guidance`` of these videos.

    Returns:
        The packed file, or None if the run stopped before its last step.
    """
    torch.manual_seed(options.seed)  # new LoRA and temporal layers
    model = TCAN(start.checkpoint, temporal=stage == 2, rank=rank, controlnet_blocks=controlnet_blocks, schedule=schedule)
    model.learn(stage)
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if options.mixed_precision != "no":
        model.halve_frozen({"fp16": torch.float16, "bf16": torch.bfloat16}[options.mixed_precision])
    step = StageStep(model, start.vae, start.empty_prompt, drop_reference if stage == 1 else 0.0)
    validate = _validation(step, validation, sampling or {}) if validation else None

    def export(folder: Path, learned: Tensors) -> None:
        tensors = {name.removeprefix("model."): tensor for name, tensor in learned.items()}
        write_packed(folder / "tcan.safetensors", trained_checkpoint(start.checkpoint, stage, model, tensors), start)

    trainer = Trainer(step, dataset, options, title=f"stage {stage}", export=export, validate=validate)
    return options.out / "tcan.safetensors" if trainer.run() else None


def _validation(step: StageStep, sample: Tensors, sampling: dict) -> Callable[[Path, int], None]:
    """A function of a folder and a step's number that writes the validation video of a sample."""

    def validate(folder: Path, number: int) -> None:
        clip = sample_clip(step.model, step.vae, step.empty_prompt, sample["reference"], sample["pose"], **sampling)
        frames = side_by_side(sample["reference"], sample["pose"], clip, sample["pixels"])
        write_video(folder / "validation" / f"{number:06d}.mp4", frames)

    return validate


def trained_checkpoint(before: Checkpoint, stage: int, model: TCAN, learned: Tensors) -> Checkpoint:
    """The checkpoint that a stage started from, with the parts that it trained replaced.

    Args:
        learned: the trained tensors; their names start with ``unet.``, ``appearance.`` or ``controlnet.``.
    """
    source = f"stage {stage}"
    if stage == 1:
        found = {
            "appa": Part(group(learned, "unet."), source),
            "appearance": Part(group(learned, "appearance."), source),
        }
    else:
        found = {
            f"{name}_temporal": temporal_part(getattr(model, name), name, learned, source) for name in ("unet", "controlnet")
        }
    return replace(before, **found)


def temporal_part(network: nn.Module, name: str, learned: Tensors, source: str) -> Part:
    """A part with the trained temporal layers of a network and their position tables.

    Args:
        name: prefix of the network's tensors in ``learned``.
        learned: the trained tensors.
        source: where they come from, for messages.
    """
    tables = {key: tensor for key, tensor in network.state_dict().items() if key.endswith("pos_encoder.pe")}
    return Part(group(learned, f"{name}.") | tables, source)


def write_packed(path: Path, checkpoint: Checkpoint, start: Start, dtype: torch.dtype = torch.float16) -> None:
    """Write all parts as one packed file.

    A TAESD is included, with the names by which ComfyUI reads it.
    """
    if isinstance(start.vae, TinyVAE):
        checkpoint = replace(checkpoint, vae=Part(start.vae.host_state(), "training"))
    save_tensors(path, {name: tensor.detach().to(dtype) for name, tensor in pack(checkpoint).items()})
