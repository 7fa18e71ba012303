"""The stages of a run, and hooks to make something happen in each."""

import contextlib
from collections.abc import Callable, Iterator

import torch

from tests.helpers.graphs import node
from tests.helpers.host_nodes import Fed
from tests.helpers.reference_set import LatentVAE
from tests.helpers.scene import Scene

WINDOWS = {"window_length": 2, "window_overlap": 1, "closed_loop": False, "add_noise": True, "noise_mode": "independent"}


def graph(scene: Scene, vae: LatentVAE, steps: int = 2) -> dict:
    """All stages in one graph: encode the picture, sample four frames in three windows with poses and PTM."""
    scene_poses = scene.models.poses[:4]
    prompt = scene.graph(
        sampler_node="TCANMultiDiffusionSampler",
        sampler={"steps": steps, **WINDOWS},
        latents={"samples": torch.zeros(4, 4, 8, 8)},
    )
    prompt["poses"] = Fed(scene_poses)
    prompt["ptm"] = node("TCANPTMBuilder", pose_images=["poses", 0])
    prompt["vae"], prompt["picture"] = Fed(vae), Fed(torch.zeros(1, 64, 64, 3))
    prompt["appearance"] = node("TCANAppearanceEncode", tcan=["tcan", 0], vae=["vae", 0], image=["picture", 0])
    return prompt


class WatchedVAE(LatentVAE):
    """The reference set's VAE, which calls ``action`` before it encodes."""

    def __init__(self, action: Callable[[], None] = lambda: None):
        super().__init__()
        self.action = action

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.action()
        return super().encode(pixels)


def networks(scene: Scene) -> dict[str, Callable[[], torch.nn.Module]]:
    """A layer in the middle of each network, by the name of the stage."""
    tcan = scene.models.tcan
    return {
        "appearance UNet": lambda: tcan.appearance.model.middle_block[0],
        "ControlNet": lambda: tcan.control_net.control_model.middle_block[0],
        "its temporal layers": lambda: next(iter(tcan.temporal("controlnet_temporal", (2,) * 4).model.values())).proj_in,
        "UNet": lambda: tcan.unet.model.diffusion_model.middle_block[0],
        "its temporal layers over PTM": lambda: next(iter(tcan.temporal("unet_temporal", (2,) * 4).model.values())).proj_in,
        "second window": lambda: tcan.unet.model.diffusion_model.output_blocks[0][0],
    }


NETWORKS = ("appearance UNet", "ControlNet", "its temporal layers", "UNet", "its temporal layers over PTM", "second window")


@contextlib.contextmanager
def at(scene: Scene, stage: str, action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` once, before the stage's layer computes, in the first window or the second."""
    calls = []

    def hook(*_):
        calls.append(stage)
        if len(calls) == (2 if stage == "second window" else 1):
            action()

    handle = networks(scene)[stage]().register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    assert calls, f"{stage} never ran"


@contextlib.contextmanager
def counted(scene: Scene) -> Iterator[list]:
    """The UNet's calls that returned."""
    calls = []
    handle = scene.models.tcan.unet.model.diffusion_model.register_forward_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        handle.remove()
