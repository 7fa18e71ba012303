"""The authors' tensors and tiny checkpoints as inputs of the public nodes.

`tests/reference/README.md` describes them.
"""

import functools
import shutil

import torch
from safetensors.torch import load_file

from tests.helpers.host import Host
from tests.helpers.scratch import ROOT

FOLDER = ROOT / "tests" / "reference"
CHECKPOINT = "reference"
TRIO = ("unet", "appearance_encoder", "temporal_controlnet")
TIMESTEP = 481
# The authors' sampling loops: strength of the ControlNet's temporal layers, and whether PTM is on.
LOOPS = {"full": (1.0, True), "no_ptm": (1.0, False), "frozen_controlnet": (0.0, False)}


@functools.cache
def tensors() -> dict[str, torch.Tensor]:
    """The authors' tensors, by the names in `tests/reference/README.md`."""
    return load_file(FOLDER / "reference.safetensors")


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative error, by the norm of the difference."""
    ours, theirs = ours.float().cpu(), theirs.float().cpu()
    return float((ours - theirs).norm() / theirs.norm())


def batch(tensor: torch.Tensor) -> torch.Tensor:
    """The authors' ``[conds, channels, frames, height, width]`` in the host's layout.

    Returns:
        ``[conds * frames, channels, height, width]``.
    """
    return tensor.transpose(1, 2).flatten(0, 1)


def install(host: Host, name: str = CHECKPOINT, parts: tuple[str, ...] = TRIO) -> str:
    """Put the tiny checkpoint into the host's model folder."""
    folder = host.base / "models" / "tcan" / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        shutil.copy(FOLDER / f"{part}.safetensors", folder)
    return name


class LatentVAE:
    """A VAE that encodes any picture to the authors' reference latent."""

    def __init__(self, latent: torch.Tensor | None = None):
        self.latent = tensors()["reference_latent"] if latent is None else latent

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.latent / 0.18215


class Models:
    """A checkpoint, a picture and poses in a running host; every method calls a public node."""

    host: Host
    tcan: object
    appearance: object
    poses: torch.Tensor  # [frames, height, width, 3] in 0..1

    def text(self, cond: int) -> torch.Tensor:
        """The embedding of a prompt ``[1, tokens, width]``; 0 is the negative one, 1 the positive."""
        raise NotImplementedError

    def ptm(self, **inputs) -> object:
        """PTM Builder, by default of the poses."""
        return self.host.node("TCANPTMBuilder")(**{"pose_images": self.poses, **inputs})[0]

    def apply(self, **inputs):
        """The model of APPA Apply."""
        return self.host.node("TCANApply")(**{"tcan": self.tcan, "appearance": self.appearance, **inputs})[0]

    def control_net(self, temporal_strength: float = 1.0, **inputs):
        """The ControlNet of Temporal ControlNet."""
        node = self.host.node("TCANTemporalControlNet")
        return node(tcan=self.tcan, temporal_strength=temporal_strength, **inputs)[0]

    def conditioning(self, control_net=None, poses: torch.Tensor | None = None, **inputs) -> tuple[list, list]:
        """Positive and negative conditioning, through the stock Apply ControlNet if one is given."""
        negative, positive = ([[self.text(cond), {}]] for cond in range(2))
        if control_net is None:
            return positive, negative
        poses = self.poses if poses is None else poses
        node = self.host.node("ControlNetApplyAdvanced")
        return node(positive=positive, negative=negative, control_net=control_net, image=poses, **inputs)

    def sample(self, model, prompts: tuple[list, list], frames: int, size: int = 16, **widgets) -> torch.Tensor:
        """Latents ``[frames, 4, size, size]`` that the stock KSampler samples, by default in two steps."""
        positive, negative = prompts
        defaults = {"seed": 7, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal"}
        (latent,) = self.host.node("KSampler")(
            model=model,
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(frames, 4, size, size)},
            **defaults | widgets,
        )
        return latent["samples"]


class Reference(Models):
    """The reference set."""

    def __init__(self, host: Host):
        self.host = host
        self.tcan, self.empty_prompt = host.node("TCANLoad")(checkpoint=install(host))
        self.appearance = self.encode()

    @property
    def poses(self) -> torch.Tensor:
        return tensors()["pose_images"].float() / 255

    def text(self, cond: int) -> torch.Tensor:
        return tensors()["text_embeddings"][cond : cond + 1]

    def encode(self, vae: LatentVAE | None = None) -> object:
        """Appearance Encode of the authors' reference latent, or of another VAE's."""
        picture = torch.zeros(1, 128, 128, 3)
        return self.host.node("TCANAppearanceEncode")(tcan=self.tcan, vae=vae or LatentVAE(), image=picture)[0]

    def loop_latents(self, model, case: str) -> dict:
        """The start noise of one of the authors' loops, scaled as the host's noisy latents."""
        noise = batch(tensors()[f"loop.{case}.noise"])
        sigma = model.get_model_object("model_sampling").sigmas[tensors()["loop.timesteps"][0]].cpu()
        return {"samples": noise * torch.sqrt(1 + sigma**2) / 0.18215}

    def loop_error(self, case: str) -> float:
        """The relative error of our latents after one of the authors' sampling loops (`LOOPS`)."""
        strength, with_ptm = LOOPS[case]
        positive, negative = self.conditioning(self.control_net(strength))
        model = self.apply(ptm=self.ptm() if with_ptm else None)
        (latent,) = self.host.node("TCANMultiDiffusionSampler")(
            model=model,
            positive=positive,
            negative=negative,
            latent_image=self.loop_latents(model, case),
            steps=4,
            cfg=3.5,
            window_length=8,
            window_overlap=2,
            closed_loop=True,
            add_noise=False,
        )
        samples = latent["samples"].float() * 0.18215
        assert torch.isfinite(samples).all()
        return error(samples, batch(tensors()[f"loop.{case}.latents"]))
