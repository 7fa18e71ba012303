"""The puppet model's base: which pictures see each other, and the ControlNet's hint layers."""

import pytest
import torch

pytest.importorskip("diffusers")

from puppets.base_model import PuppetBase, wide_hints
from tcan_modules.training.autoencoder import TinyAutoencoder
from tcan_modules.training.networks import new_controlnet
from tcan_modules.training.vae import TinyVAE
from tcan_modules.weights.architecture import read_architecture


@pytest.fixture(scope="module")
def base() -> PuppetBase:
    torch.manual_seed(0)
    return PuppetBase(TinyVAE(TinyAutoencoder()))


def predict(base: PuppetBase, noisy: torch.Tensor, apart: list[bool]) -> torch.Tensor:
    base.partner_tokens.dropped = torch.tensor(apart).repeat(2)
    with torch.no_grad():
        return base.predict(noisy, torch.full((4,), 500), torch.zeros(4, 3, 64, 64), 2)


def test_only_partners_see_each_other(base):
    """Pictures 0 and 2 are partners; so are 1 and 3, but they do not see each other."""
    noisy = torch.randn(4, 4, 8, 8)
    changed = noisy.clone()
    changed[2] += 1
    before, after = predict(base, noisy, [False, True]), predict(base, changed, [False, True])
    assert not torch.allclose(before[0], after[0], atol=1e-4)
    assert torch.allclose(before[[1, 3]], after[[1, 3]], atol=1e-6)
    before, after = predict(base, noisy, [True, True]), predict(base, changed, [True, True])
    assert torch.allclose(before[0], after[0], atol=1e-6)


def test_narrow_hint_layers_are_the_same_at_full_width():
    torch.manual_seed(0)
    base = PuppetBase(TinyVAE(TinyAutoencoder()))
    torch.nn.init.normal_(base.controlnet.controlnet_cond_embedding.conv_out.weight)
    hint = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        narrow = base.controlnet.controlnet_cond_embedding(hint)
        full = new_controlnet(read_architecture(wide_hints(base.controlnet.state_dict())))
        full.load_state_dict(wide_hints(base.controlnet.state_dict()))
        assert torch.allclose(full.controlnet_cond_embedding(hint), narrow, atol=1e-5)
