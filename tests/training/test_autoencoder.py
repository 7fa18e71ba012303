"""The puppet model's VAE: narrow and wide ones that are the same function, and what its decoder learns by itself."""

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from tcan_modules.training import metrics
from tcan_modules.training.autoencoder import WIDE, DecoderStep, TinyAutoencoder, similarity
from tcan_modules.training.vae import TinyVAE, vae_from_state

from .parts import losses_of

FULL_WIDTHS = ((64, 1), (64, 3), (64, 3), (64, 3))


def test_a_narrow_autoencoder_is_the_same_at_full_width():
    torch.manual_seed(0)
    narrow = TinyAutoencoder()
    full = narrow.full_state()
    wide = TinyAutoencoder(FULL_WIDTHS, FULL_WIDTHS)
    wide.load_state_dict(full)
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = narrow.encode(pictures)
        assert torch.allclose(wide.encode(pictures), latents, atol=1e-6)
        assert torch.allclose(wide.decode(latents), narrow.decode(latents), atol=1e-6)
    read = vae_from_state({f"first_stage_model.{name}": tensor for name, tensor in full.items()}, "file")
    assert isinstance(read, TinyVAE) and read.model.taesd_encoder[0].out_channels == 16
    full["taesd_encoder.3.conv.0.weight"][60, 60] = 1
    assert vae_from_state(full, "file").model.taesd_encoder[0].out_channels == 64


def test_a_wide_decoder_begins_as_the_narrow_one():
    torch.manual_seed(0)
    narrow = TinyAutoencoder()
    wide = narrow.with_wide_decoder()
    latents = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert torch.allclose(wide.decode(latents), narrow.decode(latents), atol=1e-6)
    read = TinyAutoencoder.from_full_state(wide.full_state())
    assert read.taesd_encoder[0].out_channels == 16  # still narrow: the stages encode with it at every step
    assert read.taesd_decoder[-1].in_channels == WIDE[0][0]
    assert all(torch.equal(tensor, wide.state_dict()[name]) for name, tensor in read.state_dict().items())


def test_all_of_a_wide_decoder_learns_and_nothing_of_the_encoder():
    torch.manual_seed(0)
    model = TinyAutoencoder().with_wide_decoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = {"pixels": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    losses = losses_of(DecoderStep(model), batch, steps=8, lr=1e-3)
    assert losses[-1] < losses[0]
    for name, tensor in model.state_dict().items():
        if name.startswith("taesd_encoder."):
            assert torch.equal(tensor, before[name]), name
        elif tensor.ndim > 1:
            moved = (tensor != before[name]).flatten(1).any(1)
            assert moved.float().mean() > 0.8, name  # a ReLU that is shut on these few pictures keeps what is before it


def test_similarity_is_scikit_images():
    random = np.random.default_rng(0)
    truth = random.random((2, 16, 20, 3), dtype=np.float32)
    clip = np.clip(truth + 0.2 * random.standard_normal(truth.shape, dtype=np.float32), 0, 1)
    found = similarity(*(torch.from_numpy(pictures).movedim(-1, 1) for pictures in (clip, truth)))
    assert float(found) == pytest.approx(metrics.ssim(clip, truth), abs=1e-4)
