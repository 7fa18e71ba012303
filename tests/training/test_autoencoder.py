"""The small VAE: narrow and wide networks that compute the same."""

import pytest
import torch

pytest.importorskip("diffusers")

from tcan_modules.training.autoencoder import WIDE, TinyAutoencoder
from tcan_modules.training.vae import TinyVAE, vae_from_state

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


def test_a_wide_decoder_starts_equal_to_the_narrow_one():
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
