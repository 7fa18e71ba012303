"""Words about weight files: the error, the names of the parts, what to do without one."""


class CheckpointError(ValueError):
    """A file that cannot be used; one sentence for the user who chose it."""


class ForeignFile(CheckpointError):
    """A file that is whole and has no part of TCAN."""


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
    "appa": "pose and appearance stay as the UNet aligns them",
    "unet_temporal": "each frame is sampled alone, so the video flickers",
    "appearance": "the character of the reference picture is not kept",
    "controlnet": "wire a ControlNet of Load ControlNet Model into Temporal ControlNet",
    "controlnet_temporal": "the ControlNet sees one pose at a time",
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
