"""One training step of each stage against the authors' own (``tests/reference/training.safetensors``)."""

import json
from pathlib import Path

import pytest
import torch

safetensors = pytest.importorskip("safetensors")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from tcan_modules.training.model import TCAN  # noqa: E402
from tcan_modules.weights.checkpoint import load_checkpoint  # noqa: E402

REFERENCE = Path(__file__).parents[1] / "reference"
BAR = 1e-3


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)).item()


@pytest.fixture(scope="module")
def reference():
    with safetensors.safe_open(REFERENCE / "training.safetensors", "pt") as file:
        names = {key: json.loads(value) for key, value in file.metadata().items() if key.endswith("grad_names")}
        return {key: file.get_tensor(key) for key in list(file.keys())}, names


@pytest.mark.parametrize("stage", [1, 2])
def test_step(stage, reference):
    tensors, names = reference
    parts = ("unet", "appearance_encoder", "temporal_controlnet")
    checkpoint = load_checkpoint([REFERENCE / f"{part}.safetensors" for part in parts], "reference")
    model = TCAN(checkpoint, temporal=stage == 2)
    model.learn(stage)
    given = {key.removeprefix(f"stage{stage}."): value for key, value in tensors.items() if key.startswith(f"stage{stage}.")}
    clips = {key: given[key].transpose(1, 2) for key in ("x0", "noise", "noisy", "prediction")}
    noisy = model.scheduler.add_noise(clips["x0"], clips["noise"], given["timesteps"])
    assert distance(noisy, clips["noisy"]) < 1e-6
    dropped = given["reference_dropped"].bool() if stage == 1 else None
    prediction = model(noisy, given["timesteps"], given["text"], given["pose"], given["reference"], dropped)
    loss = torch.nn.functional.mse_loss(prediction, clips["noise"])
    loss.backward()

    assert distance(prediction, clips["prediction"]) < BAR
    assert loss.item() == pytest.approx(given["loss"].item(), rel=BAR)
    rename = {"appearance_encoder": "appearance", "temporal_controlnet": "controlnet"}
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    ours = {}
    for name in names[f"stage{stage}.grad_names"]:
        part, _, rest = name.partition(".")
        ours[name] = learned.pop(f"{rename.get(part, part)}.{rest}").grad
    assert not learned, "the authors do not train these tensors"
    largest = given["grad_norms"].max().item()
    for (name, gradient), norm in zip(ours.items(), given["grad_norms"].tolist(), strict=True):
        # gradients of rounding errors only have no relative size
        assert gradient.norm().item() == pytest.approx(norm, rel=BAR, abs=1e-7 * largest), name
    whole = {key.removeprefix("grad."): value for key, value in given.items() if key.startswith("grad.")}
    assert whole
    for name, theirs in whole.items():
        assert distance(ours[name], theirs) < BAR, name
