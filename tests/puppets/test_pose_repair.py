"""The training of the ControlNet's temporal layers on wrong poses."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")

from puppets.datasets import PuppetClips
from puppets.pose_repair import PoseRepair, relative_error
from tcan_modules.training.model import TCAN
from tcan_modules.training.stages import temporal_part
from tests.training.parts import RandomClips, losses_of, tiny_start


def test_relative_error():
    right = [torch.randn(2, 3) for _ in range(3)]
    assert relative_error(right, right) == 0
    assert relative_error([10 * right[0], *right[1:]], right) == 0  # temporal layers cannot change the first residual
    assert relative_error([right[0], 0 * right[1], right[2]], right) == pytest.approx(0.5)


def test_samples_have_the_right_poses_if_asked():
    spoiled, clean = PuppetClips(3, frames=4, outliers=1.0, truth=True), PuppetClips(3, frames=4, outliers=0.0)
    wrong = 0
    for number in range(4):
        sample, same = spoiled[number], clean[number]
        assert torch.equal(sample["true_pose"], same["pose"])
        assert torch.equal(sample["pixels"], same["pixels"])
        wrong += not torch.equal(sample["pose"], same["pose"])
    assert wrong
    assert "true_pose" not in clean[0]


@pytest.fixture(scope="module")
def trained() -> tuple[TCAN, dict[str, torch.Tensor], list[float]]:
    """A model before and after some steps on one clip with a wrong pose, and the losses."""
    start = tiny_start()
    torch.manual_seed(0)
    model = TCAN(replace(start.checkpoint, controlnet_temporal=None, unet_temporal=None), temporal=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = {name: tensor[None] for name, tensor in RandomClips(4)[0].items()}
    batch["true_pose"] = batch["pose"].clone()
    batch["pose"][:, 2] = 255 - batch["pose"][:, 2]
    return model, before, losses_of(PoseRepair(model, start), batch, steps=12, lr=3e-3)


def test_only_temporal_layers_of_the_controlnet_learn(trained):
    model, before, losses = trained
    assert losses[-1] < 0.9 * losses[0]
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("controlnet.") and ".motion_modules." in name for name in changed)


def test_stage_2_starts_from_its_layers(trained):
    model, _, _ = trained
    learned = {f"controlnet.{name}": tensor for name, tensor in model.controlnet.named_parameters() if ".motion_modules." in name}
    part = temporal_part(model.controlnet, "controlnet", learned, "repair")
    again = TCAN(replace(tiny_start().checkpoint, controlnet_temporal=part, unet_temporal=None), temporal=True)
    state = again.controlnet.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.controlnet.state_dict().items())
    new = [tensor for name, tensor in again.unet.state_dict().items() if name.endswith("temporal_transformer.proj_out.weight")]
    assert new and not any(tensor.any() for tensor in new)
