"""MultiDiffusion Windows, their preview, and MultiDiffusion Sampler."""

import comfy.samplers
from comfy_api.latest import io

from ..tcan_modules.maths.windows import NOISE_MODES
from ..tcan_modules.maths.windows_preview import preview
from .sockets import CATEGORY


def _window_inputs() -> list:
    return [
        io.Int.Input(
            "window_length",
            default=16,
            min=1,
            max=4096,
            tooltip="Frames sampled together. TCAN was trained with 16; its temporal layers take at most 24 or 32.",
        ),
        io.Int.Input(
            "window_overlap",
            default=4,
            min=0,
            max=4095,
            tooltip="Frames that neighbouring windows share, to hide the seams.",
        ),
        io.Boolean.Input(
            "closed_loop",
            default=False,
            tooltip="Wrap the last window around to the first frames, as the authors do. For videos that loop.",
        ),
    ]


class TCANMultiDiffusion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANMultiDiffusion",
            display_name="MultiDiffusion Windows",
            category=CATEGORY,
            description=(
                "Lets any sampler make videos of any length: each step denoises overlapping windows of frames and averages them where"
                " they overlap."
            ),
            inputs=[io.Model.Input("model", tooltip="The model from APPA Apply."), *_window_inputs()],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for any sampler.")],
        )

    @classmethod
    def execute(cls, model, window_length: int, window_overlap: int, closed_loop: bool) -> io.NodeOutput:
        from ..tcan_modules.multidiffusion import in_windows

        return io.NodeOutput(in_windows(model, window_length, window_overlap, closed_loop))


class TCANWindowsPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANWindowsPreview",
            display_name="MultiDiffusion Windows Preview",
            category=CATEGORY,
            description="Shows the windows over time before you sample. Set the same values as in the sampler.",
            inputs=[
                io.Latent.Input("latent_image", tooltip="The latent to sample. Each batch entry is one frame."),
                *_window_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="preview",
                    tooltip="Frames from left to right, windows from top to bottom. Orange frames are averaged.",
                )
            ],
        )

    @classmethod
    def execute(cls, latent_image, window_length: int, window_overlap: int, closed_loop: bool) -> io.NodeOutput:
        return io.NodeOutput(preview(latent_image["samples"].shape[0], window_length, window_overlap, closed_loop))


class TCANMultiDiffusionSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANMultiDiffusionSampler",
            display_name="MultiDiffusion Sampler",
            category=CATEGORY,
            description=(
                "Samples a video of any length in overlapping windows. The defaults are exactly the authors': 25 DDIM steps, guidance 7.5,"
                " windows of 16 frames that overlap by 4. Each entry of the latent batch is one frame."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model from APPA Apply."),
                io.Conditioning.Input(
                    "positive", tooltip="The prompt, with Temporal ControlNet applied. TCAN uses empty prompts."
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt, with Temporal ControlNet applied."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An empty latent whose batch size is the number of poses, or an encoded video.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the initial noise.",
                ),
                io.Int.Input("steps", default=25, min=1, max=10000, tooltip="Denoising steps."),
                io.Float.Input(
                    "cfg",
                    default=7.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance scale. It also strengthens the character: the negative pass does not see the reference picture.",
                ),
                io.Combo.Input("sampler_name", options=comfy.samplers.SAMPLER_NAMES, default="ddim", tooltip="Sampling method."),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="ddim_uniform",
                    tooltip="How the steps are spaced.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Amount of denoising. Below 1, part of the input video is kept.",
                ),
                *_window_inputs(),
                io.Boolean.Input("add_noise", default=True, tooltip="Turn off if the latent already contains noise."),
                io.Combo.Input(
                    "noise_mode",
                    options=list(NOISE_MODES),
                    default=NOISE_MODES[0],
                    tooltip=(
                        "'repeat_window': repeats one window's noise over the video, as the authors do. 'independent': new noise for"
                        " every frame. 'free_noise': repeats one window's noise shuffled, so that a long video does not repeat its"
                        " movements. All cost the same."
                    ),
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The denoised video, for VAE Decode.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image: dict,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        window_length: int,
        window_overlap: int,
        closed_loop: bool,
        add_noise: bool,
        noise_mode: str,
    ) -> io.NodeOutput:
        import comfy.sample

        from ..tcan_modules import multidiffusion

        windowed = multidiffusion.in_windows(model, window_length, window_overlap, closed_loop)
        latents = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"])
        sigmas = multidiffusion.schedule(windowed, sampler_name, scheduler, steps, denoise)
        noise = None
        if add_noise:
            indices = latent_image.get("batch_index")
            noise = multidiffusion.start_noise(latents, seed, noise_mode, window_length, window_overlap, indices)
        samples = multidiffusion.sample(
            windowed,
            positive,
            negative,
            latents,
            noise=noise,
            sigmas=sigmas,
            sampler=sampler_name,
            cfg=cfg,
            seed=seed,
            denoise=denoise,
            noise_mask=latent_image.get("noise_mask"),
        )
        return io.NodeOutput({**latent_image, "samples": samples})


NODES = [TCANMultiDiffusion, TCANWindowsPreview, TCANMultiDiffusionSampler]
