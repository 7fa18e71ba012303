"""Seconds of a denoising step of the authors' own code, on random models.

`authors` starts it with the packages that it needs.

The networks are built as their ``inference.py`` builds them, and a step calls what the loop of ``AnimationPipeline.__call__`` calls,
for a video of one window. The authors' code is not changed.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

LAYERS = [f"{layer}.to_{part}" for layer in ("attn1", "attn2") for part in "qkv"]
ATTENTION = ("whole", "fused")


def networks(code: Path, channels: list[int], attention: str) -> SimpleNamespace:
    """UNet with LoRA, appearance UNet and temporal ControlNet, with random weights; no layer is zero."""
    import peft
    import yaml
    from diffusers import DDIMScheduler
    from diffusers.models.attention_processor import AttnProcessor2_0
    from magicanimate.models.appearance_encoder import AppearanceEncoderModel
    from magicanimate.models.attention import BasicTransformerBlock
    from magicanimate.models.controlnet import ControlNet3DModel
    from magicanimate.models.custom_attention_processor import CustomAttnProcessor
    from magicanimate.models.unet_controlnet import UNet3DConditionModel

    settings = yaml.safe_load((code / "configs/inference/inference.yaml").read_text())
    temporal = settings["unet_additional_kwargs"]
    size = {"block_out_channels": channels, "cross_attention_dim": 768}
    crossed = len(channels) - 1
    unet = UNet3DConditionModel.from_config(
        {
            "attention_head_dim": 8,
            "layers_per_block": 2,
            "down_block_types": ["CrossAttnDownBlock3D"] * crossed + ["DownBlock3D"],
            "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * crossed,
            **size,
        },
        **temporal,
    )
    unet.add_adapter(peft.LoraConfig(r=16, lora_alpha=16, init_lora_weights="gaussian", target_modules=LAYERS))
    appearance = AppearanceEncoderModel.from_config(json.loads((code / "configs/model/ae_config.json").read_text()) | size)
    appearance.reset_final_block()
    control = json.loads((code / "configs/model/cnet_config.json").read_text()) | size
    del control["down_block_types"]
    controlnet = ControlNet3DModel(
        unet_use_cross_frame_attention=temporal["unet_use_cross_frame_attention"],
        unet_use_temporal_attention=temporal["unet_use_temporal_attention"],
        use_motion_module=True,
        motion_module_type="Vanilla",
        motion_module_kwargs=unet.config.motion_module_kwargs,
        **control,
    )
    for network in (unet, controlnet):
        for block in network.modules():
            if isinstance(block, BasicTransformerBlock):
                block.attn1.set_processor(CustomAttnProcessor() if attention == "whole" else AttnProcessor2_0())
    for network in (unet, appearance, controlnet):
        for parameter in network.eval().requires_grad_(False).parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    scheduler = DDIMScheduler(**settings["noise_scheduler_kwargs"], steps_offset=1, clip_sample=False)
    return SimpleNamespace(unet=unet, appearance=appearance, controlnet=controlnet, scheduler=scheduler)


class Video:
    """A video of one window with guidance 7.5."""

    def __init__(self, nets: SimpleNamespace, frames: int, size: int, steps: int = 25):
        from magicanimate.models.mutual_self_attention import ReferenceAttentionControl
        from magicanimate.pipelines.context import get_context_scheduler
        from magicanimate.pipelines.pipeline_animation import AnimationPipeline

        self.nets, self.frames, self.steps, self.pipeline = nets, frames, steps, AnimationPipeline
        nets.scheduler.set_timesteps(steps)
        self.text = torch.randn(2, 77, 768)
        self.reference = torch.randn(1, 4, size, size).repeat(2, 1, 1, 1)
        self.latents = torch.randn(1, 4, frames, size, size)
        self.poses = np.zeros((frames, 8 * size, 8 * size, 3), np.uint8)
        for frame in range(frames):
            left = 3 * size + frame % size
            self.poses[frame, 2 * size : 6 * size, left : left + 8] = 255
        guided = {"do_classifier_free_guidance": True, "batch_size": 1}
        self.writer = ReferenceAttentionControl(nets.appearance, mode="write", **guided)
        self.reader = ReferenceAttentionControl(nets.unet, mode="read", **guided)
        self.windows = get_context_scheduler("uniform")
        drawn = self.pipeline.prepare_condition(
            nets,
            condition=self.poses,
            device=torch.device("cpu"),
            dtype=torch.float32,
            num_videos_per_prompt=1,
            do_classifier_free_guidance=True,
        )
        self.drawn = drawn.chunk(2)[1]

    def step(self, number: int) -> torch.Tensor:
        """The latents after one step."""
        from magicanimate.utils.util import get_taumap

        nets, frames, time_step = self.nets, self.frames, self.nets.scheduler.timesteps[number]
        nets.appearance(self.reference, time_step, encoder_hidden_states=self.text, return_dict=False)
        queue = list(self.windows(0, self.steps, frames, frames, 1, 0))
        text = self.text[1:].repeat_interleave(frames, 0)
        kept = dict.fromkeys(range(frames))
        (window,), residuals = self.pipeline.run_controlnet(
            nets,
            *(self.latents, time_step, len(queue), queue, 1, self.windows, frames, 1, 4, 1.0, kept, text, self.drawn),
            *(True, self.steps, torch.device("cpu")),
        )
        rows = self.latents.repeat(2, 1, 1, 1, 1)
        down, middle = self.pipeline.select_controlnet_res_samples(nets, residuals, [window], True, 2, frames)
        self.reader.update(self.writer, dtype=torch.float32)
        temperature = torch.from_numpy(get_taumap([self.poses[frame] for frame in window])).float()
        predicted = nets.unet(
            rows,
            time_step,
            encoder_hidden_states=self.text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
            temporal_taumap=temperature,
            temporal_taumap2=None,
        )[0]
        self.reader.clear()
        self.writer.clear()
        without, given = predicted.chunk(2)
        return nets.scheduler.step(without + 7.5 * (given - without), time_step, self.latents, eta=0.0).prev_sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("code", type=Path)
    parser.add_argument("attention", choices=ATTENTION)
    parser.add_argument("--channels", type=int, nargs="+", required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    given = parser.parse_args()
    torch.manual_seed(0)
    video = Video(networks(given.code, given.channels, given.attention), given.frames, given.size)
    seconds = []
    with torch.inference_mode():
        for number in range(1 + given.repeats):
            started = time.perf_counter()
            latents = video.step(number)
            seconds.append(time.perf_counter() - started)
            if not latents.isfinite().all():
                raise ValueError("the authors' step gave numbers that are not finite")
    sys.stdout.write(json.dumps(seconds[1:]) + "\n")


if __name__ == "__main__":
    main()
