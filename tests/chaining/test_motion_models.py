"""AnimateDiff-Evolved's motion models and our temporal layers in one UNet.

Its motion models fit only networks of SD1.5's full shape, so these are random ones.
"""

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import save_file

from tcan_modules.training.networks import cut_tail, new_unet
from tcan_modules.weights.architecture import Architecture
from tcan_modules.weights.checkpoint import Checkpoint, pack
from tcan_modules.weights.layouts import Part
from tests.helpers.host import Host
from tests.helpers.other_packs import animatediff_evolved
from tests.helpers.reference_set import LatentVAE, Models, error
from tests.helpers.scene import FRAMES, Scene
from tests.helpers.wide_models import motion_module

pytestmark = animatediff_evolved.needed
CHANNELS = (320, 640, 1280, 1280)
SD15 = Architecture(
    in_channels=4,
    out_channels=4,
    block_channels=CHANNELS,
    layers=(2, 2, 2, 2),
    depth_down=((1, 1), (1, 1), (1, 1), (0, 0)),
    depth_middle=1,
    depth_up=((0, 0, 0), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    context_dim=768,
)


def filled(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Random float16 weights for a network on the meta device; its norms have weight 1 and bias 0."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            scale = tensor[0].numel() ** -0.5
            state[name] = torch.empty(tensor.shape).normal_(0, scale, generator=generator).half()
        else:
            state[name] = torch.full(tensor.shape, float(name.endswith("weight"))).half()
    return state


class FullWidth(Models):
    """A random TCAN of SD1.5's shape, without a ControlNet."""

    def __init__(self, host: Host):
        self.host = host
        with torch.device("meta"):
            unet, appearance = new_unet(SD15), new_unet(SD15)
            cut_tail(appearance)
        checkpoint = Checkpoint(
            "full width",
            unet=Part(filled(unet, 1), "test"),
            appearance=Part(filled(appearance, 2), "test"),
            unet_temporal=Part(motion_module(CHANNELS, 2, seed=3), "test"),
        )
        path = host.base / "models" / "tcan" / "full_width.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(pack(checkpoint), path)
        self.tcan, _ = host.node("TCANLoad")(checkpoint=path.name)
        path.unlink()
        generator = torch.Generator().manual_seed(4)
        (self.appearance,) = host.node("TCANAppearanceEncode")(
            tcan=self.tcan, vae=LatentVAE(torch.randn(1, 4, 8, 8, generator=generator)), image=torch.zeros(1, 64, 64, 3)
        )
        self.poses = torch.zeros(FRAMES, 64, 64, 3)
        self.poses[:, 20:40, 30:34] = 1.0

    def text(self, cond: int) -> torch.Tensor:
        return torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(cond))


@pytest.fixture(scope="module")
def full_width(host) -> Iterator[Scene]:
    import comfy.model_management

    yield Scene(FullWidth(host))
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="module")
def motion(host):
    """AnimateDiff-Evolved in this host, with a motion model; `motion(model)` gives the model that has it."""
    import folder_paths

    animatediff_evolved.load()
    folder = host.base / "models" / "animatediff_models"
    folder.mkdir(parents=True, exist_ok=True)
    folder_paths.add_model_folder_path("animatediff_models", str(folder))
    path = folder / "random_motion.safetensors"
    save_file(motion_module(CHANNELS, 2, seed=5), path)
    (model,) = host.node("ADE_LoadAnimateDiffModel")(model_name=path.name)
    path.unlink()
    (models,) = host.node("ADE_ApplyAnimateDiffModelSimple")(motion_model=model)

    def use(unet):
        return host.node("ADE_UseEvolvedSampling")(model=unet, m_models=models, beta_schedule="use existing")[0]

    return use


def looks(scene: Scene) -> tuple[list, list[torch.Tensor]]:
    """The UNet's structure and some of its weights."""
    network = scene.models.tcan.unet.model.diffusion_model
    built = [(name, type(module), tuple(module._modules)) for name, module in network.named_modules()]
    return built, [parameter.flatten()[:64].clone() for parameter in network.parameters()]


def test_both_work_in_one_unet(full_width, motion):
    """Both change the video in either order, and the UNet is unchanged afterwards."""
    latents = {"samples": torch.zeros(FRAMES, 4, 8, 8)}
    shared = {"latents": latents, "controls": [], "sampler": {"steps": 1}}
    before = looks(full_width)
    ours = full_width.video(**shared)
    both = full_width.video(after=[motion], **shared)
    assert error(both, ours) > 1e-2
    assert error(full_width.video(before=[motion], **shared), both) <= 1e-5
    assert error(full_width.video(after=[motion], appearance_strength=0.0, **shared), both) > 1e-2
    # the host takes what is injected out of a network when it loads another clone
    assert error(full_width.video(**shared), ours) == 0
    built, weights = looks(full_width)
    assert built == before[0]
    assert all(torch.equal(now, then) for now, then in zip(weights, before[1]))
