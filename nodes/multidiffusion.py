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
            tooltip="Frames that are made together. TCAN was trained with 16; its temporal layers see at most 24 or 32.",
        ),
        io.Int.Input(
            "window_overlap",
            default=4,
            min=0,
            max=4095,
            tooltip="Frames that neighbouring windows share, so that no seam shows.",
        ),
        io.Boolean.Input(
            "closed_loop",
            default=False,
            tooltip="Let the last window wrap around to the first frames, as the authors do; for videos that loop.",
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
                "Lets any sampler make videos of any length: every step goes over the video in overlapping windows and averages them"
                " where they overlap."
            ),
            inputs=[io.Model.Input("model", tooltip="The model of APPA Apply."), *_window_inputs()],
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
            description="Shows the windows over time before anything is sampled. Give it the numbers that the sampler has.",
            inputs=[
                io.Latent.Input("latent_image", tooltip="The latents that will be sampled: their batch is the video's frames."),
                *_window_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="preview",
                    tooltip="Frames from left to right, windows from top to bottom, orange where they are averaged.",
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
                "Samples a video of any length in overlapping windows, by default exactly as TCAN's authors do: 25 DDIM steps, guidance"
                " 7.5, windows of 16 frames that share 4. The frames are the batch of the latents."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model of APPA Apply."),
                io.Conditioning.Input(
                    "positive", tooltip="The prompt, with the Temporal ControlNet applied. TCAN uses empty prompts."
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt, with the Temporal ControlNet applied."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="Empty latents with as many frames (batch size) as there are poses, or a video.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the start noise.",
                ),
                io.Int.Input("steps", default=25, min=1, max=10000, tooltip="Denoising steps."),
                io.Float.Input(
                    "cfg",
                    default=7.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance scale. Rows without guidance do not see the reference picture, so it also strengthens the character.",
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
                    tooltip="How much of the latents is made anew; less than 1 keeps something of the video that is wired in.",
                ),
                *_window_inputs(),
                io.Boolean.Input("add_noise", default=True, tooltip="Switch it off when the latents are noisy already."),
                io.Combo.Input(
                    "noise_mode",
                    options=list(NOISE_MODES),
                    default=NOISE_MODES[0],
                    tooltip=(
                        "'repeat_window' repeats the noise of one window over the video, as the authors do; 'independent' does not;"
                        " 'free_noise' repeats it shuffled, so that a long video does not repeat its movements. All cost the same."
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
