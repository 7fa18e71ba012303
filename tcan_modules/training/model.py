"""TCAN's networks as both training stages use them, and their loss (authors' ``train.py``)."""

import torch
from torch import nn
from torch.nn import functional as F

from ..weights.checkpoint import Checkpoint
from .networks import appearance_from_state, controlnet_from_state, unet_from_state
from .reference_attention import ReferenceTokens, add_reference_attention
from .temporal_layers import FrameCount, insert_temporal, joint_norms, load_temporal, repeat_frames

LORA_TARGETS = [f"{attention}.to_{part}" for attention in ("attn1", "attn2") for part in "qkv"]
CONTROLNET_BLOCKS = (2, 3)  # down blocks of the authors' ControlNet that have temporal layers (counted from 0)
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "steps_offset": 1,
    "clip_sample": False,
}


def noise_schedule(v_prediction: bool, **changes):
    """The noise schedule of training and of the clips sampled for validation.

    Args:
        v_prediction: whether the UNet predicts velocity (Salimans and Ho, "Progressive distillation", section 4) or noise.
        changes: entries that replace those of `SCHEDULE`.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(**SCHEDULE | changes, prediction_type="v_prediction" if v_prediction else "epsilon")


class TCAN(nn.Module):
    """Denoising UNet with APPA, appearance UNet and ControlNet, from the parts of a checkpoint.

    Parts that the checkpoint lacks start as in the authors' training: the appearance UNet as a copy of the UNet, LoRA and temporal layers
    without effect.

    Args:
        checkpoint: with at least a UNet and a ControlNet.
        temporal: whether there are temporal layers and norms over frames (stage 2), or it is an image model (stage 1).
        rank: rank and alpha of a new LoRA.
        controlnet_blocks: down blocks of the ControlNet that get temporal layers if the checkpoint has none.
        max_frames: length of new temporal layers' position tables.
        schedule: entries that replace those of `SCHEDULE`.

    Raises:
        CheckpointError: the UNet or the ControlNet is missing.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        temporal: bool,
        rank: int = 16,
        controlnet_blocks=CONTROLNET_BLOCKS,
        max_frames: int = 32,
        schedule: dict | None = None,
    ):
        super().__init__()
        self.count, self.control_count = FrameCount(), FrameCount()
        unet_state = checkpoint.require("unet").tensors
        self.unet = unet_from_state(unet_state)
        self.appearance = appearance_from_state((checkpoint.appearance or checkpoint.unet).tensors)
        self.controlnet = controlnet_from_state(checkpoint.require("controlnet").tensors)
        self._add_lora(checkpoint, rank)
        if temporal:
            self._add_temporal(checkpoint, controlnet_blocks, max_frames)
        self.reference_tokens = ReferenceTokens(self.appearance)
        add_reference_attention(self.unet, self.reference_tokens, self.count)
        self.scheduler = noise_schedule(checkpoint.v_prediction, **(schedule or {}))
        self.requires_grad_(False)

    def _add_lora(self, checkpoint: Checkpoint, rank: int) -> None:
        from peft import LoraConfig

        state = checkpoint.appa.tensors if checkpoint.appa else {}
        if state:
            rank = next(tensor.shape[0] for name, tensor in state.items() if ".lora_A." in name)
        self.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LORA_TARGETS))
        if state:
            unexpected = self.unet.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)[1]
            if unexpected:
                raise ValueError(
                    f"The LoRA does not fit the UNet: {len(unexpected)} tensors are unexpected ({unexpected[0]} …); give a TCAN file that"
                    " was trained on this base model."
                )

    def _add_temporal(self, checkpoint: Checkpoint, controlnet_blocks, max_frames: int) -> None:
        joint_norms(self.unet, self.count)
        joint_norms(self.controlnet, self.control_count)
        own = checkpoint.controlnet_temporal
        if own is not None:
            controlnet_blocks = sorted({int(name.split(".")[1]) for name in own.tensors})
        for network, part, down, up, count in (
            (self.unet, checkpoint.unet_temporal, None, True, self.count),
            (self.controlnet, own, controlnet_blocks, False, self.control_count),
        ):
            tables = [tensor for name, tensor in (part.tensors if part else {}).items() if name.endswith(".pe")]
            length = tables[0].shape[1] if tables else max_frames
            insert_temporal(network, count, down, up, length)
            if part:
                load_temporal(network, part.tensors)

    def learn(self, stage: int) -> None:
        """Require gradients for what a stage trains, and for nothing else.

        Stage 1 trains the appearance UNet and the LoRA, stage 2 the temporal layers of UNet and ControlNet.
        """
        self.requires_grad_(False)
        for name, parameter in self.named_parameters():
            if stage == 1:
                parameter.requires_grad_(name.startswith("appearance.") or ".lora_" in name)
            else:
                parameter.requires_grad_(".motion_modules." in name)

    def enable_gradient_checkpointing(self) -> None:
        """Compute each block's activations again in the backward pass instead of storing them."""
        for network in (self.unet, self.appearance, self.controlnet):
            network.enable_gradient_checkpointing()

    def halve_frozen(self, dtype: torch.dtype) -> None:
        """Store the frozen convolutions and linear layers in half precision, for use with autocast.

        Norms stay in float32.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                for parameter in module.parameters(recurse=False):
                    if not parameter.requires_grad:
                        parameter.data = parameter.data.to(dtype)

    def forward(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        pose: torch.Tensor,
        reference: torch.Tensor,
        dropped: torch.Tensor | None = None,
        temporal_control: bool = True,
    ) -> torch.Tensor:
        """Predict the noise (or velocity) of clips.

        Args:
            noisy: latents ``[clips, frames, 4, h, w]``.
            timesteps: ``[clips]``.
            text: ``[clips, tokens, channels]``.
            pose: pose images in 0..1, ``[clips, frames, 3, 8h, 8w]``.
            reference: clean latents ``[clips, 4, h', w']``, multiplied by 0.18215.
            dropped: clips that do not see their reference, bool ``[clips]``.
            temporal_control: whether the ControlNet sees a clip at once, or frame by frame.

        Returns:
            ``[clips, frames, 4, h, w]``.
        """
        clips, frames = noisy.shape[:2]
        self.count.frames, self.control_count.frames = frames, frames if temporal_control else 1
        self.reference_tokens.forget()
        self.appearance(reference, timesteps, text, return_dict=False)
        self.reference_tokens.dropped = dropped
        latents, times, texts = noisy.flatten(0, 1), repeat_frames(timesteps, frames), repeat_frames(text, frames)
        down, middle = self.controlnet(latents, times, texts, controlnet_cond=pose.flatten(0, 1), return_dict=False)
        prediction = self.unet(
            latents, times, texts, down_block_additional_residuals=down, mid_block_additional_residual=middle, return_dict=False
        )[0]
        # the reference tokens stay until the next call: gradient checkpointing reads them again in the backward pass
        return prediction.unflatten(0, (clips, frames))

    def loss(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, **conditions) -> torch.Tensor:
        """Mean squared error, in float32, of the predicted noise (or velocity).

        Args:
            latents: clean, ``[clips, frames, 4, h, w]``.
            noise: same shape.
            timesteps: ``[clips]``.
            conditions: the other arguments of `forward`.
        """
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        velocity = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
        return F.mse_loss(self(noisy, timesteps, **conditions).float(), target.float())
