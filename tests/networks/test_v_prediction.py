"""A packed file of a v-prediction UNet: Load TCAN reads that, the sampler uses it, Save TCAN keeps it."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from tcan_modules.weights.checkpoint import load_checkpoint, pack
from tcan_modules.weights.layouts import V_PRED
from tests.helpers.reference_set import FOLDER, TRIO, LatentVAE, Reference, error, tensors

STEPS, GUIDANCE, SEED = 3, 3.5, 5


def checkpoint():
    """The tiny trio, marked as v-prediction, with the authors' empty prompt."""
    found = load_checkpoint([FOLDER / f"{part}.safetensors" for part in TRIO], "tiny")
    return dataclasses.replace(found, v_prediction=True, empty_prompt=tensors()["text_embeddings"][:1])


class Marked(Reference):
    """The reference set with the marked checkpoint."""

    def __init__(self, host):
        folder = host.base / "models" / "tcan"
        folder.mkdir(parents=True, exist_ok=True)
        save_file(pack(checkpoint()), folder / "marked.safetensors")
        self.host = host
        self.tcan, self.empty_prompt = host.node("TCANLoad")(checkpoint="marked.safetensors")
        self.appearance = self.encode()

    def text(self, cond: int) -> torch.Tensor:
        return self.empty_prompt[0][0]

    def video(self) -> torch.Tensor:
        positive, negative = self.conditioning(self.control_net())
        (latent,) = self.host.node("TCANMultiDiffusionSampler")(
            model=self.apply(),
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(len(self.poses), 4, 16, 16)},
            seed=SEED,
            steps=STEPS,
            cfg=GUIDANCE,
            noise_mode="independent",
        )
        return latent["samples"] * 0.18215


class Latents(torch.nn.Module):
    """A VAE for training that encodes to the authors' latent and keeps the latents to decode."""

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return LatentVAE().latent

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.decoded = latents
        return torch.zeros(1, 3, 8, 8)


@pytest.fixture(scope="module")
def marked(host) -> Marked:
    return Marked(host)


def test_the_nodes_sample_as_diffusers_does(marked):
    pytest.importorskip("diffusers")
    from tcan_modules.training.model import TCAN
    from tcan_modules.training.sampling import sample_clip

    model, vae = TCAN(checkpoint(), temporal=True), Latents()
    poses = (marked.poses * 255).round().to(torch.uint8).movedim(-1, 1)
    sample_clip(
        model,
        vae,
        tensors()["text_embeddings"][:1],
        torch.zeros(3, 128, 128),
        poses,
        steps=STEPS,
        guidance=GUIDANCE,
        seed=SEED,
    )
    ours = marked.video()
    assert error(ours, vae.decoded) <= 1e-4


def test_scaled_betas_keep_it(marked):
    import comfy.model_sampling

    for schedule in ("linear", "scaled_linear"):
        sampling = marked.apply(beta_schedule=schedule).get_model_object("model_sampling")
        assert isinstance(sampling, comfy.model_sampling.V_PREDICTION)
    assert not isinstance(Reference(marked.host).apply().get_model_object("model_sampling"), comfy.model_sampling.V_PREDICTION)


def test_save_tcan_keeps_it(marked):
    marked.host.node("TCANSave")(tcan=marked.tcan, filename="marked_again")
    saved = marked.host.base / "models" / "tcan" / "marked_again.safetensors"
    assert V_PRED in load_file(saved)
    assert load_checkpoint([saved], "again").v_prediction
    assert "the UNet predicts velocity" in load_checkpoint([saved], "again").describe()
