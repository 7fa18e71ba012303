"""The trained puppet model of the pack, with a character and a motion outside its training."""

import torch

from puppets.recipe import FILE
from tests.helpers.host import Host
from tests.helpers.reference_set import Models
from tests.tools import demo

FRAMES = 5


class Trained(Models):
    """The trained puppet model; it knows only the empty prompt, so the positive prompt is near it."""

    def __init__(self, host: Host):
        self.host = host
        self.tcan, ((self.empty_prompt, _),) = host.node("TCANLoad")(checkpoint=FILE)
        (self.vae,) = host.node("TCANVAE")(tcan=self.tcan)
        picture, poses = demo.pictures(FRAMES)
        self.poses = torch.from_numpy(poses).float() / 255
        (self.appearance,) = host.node("TCANAppearanceEncode")(
            tcan=self.tcan, vae=self.vae, image=torch.from_numpy(picture)[None].float() / 255
        )

    def text(self, cond: int) -> torch.Tensor:
        return self.empty_prompt * (1 + 0.5 * cond)
