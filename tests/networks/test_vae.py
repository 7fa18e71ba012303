"""TCAN VAE: whole VAEs of SD1.x and TAESD in the names of the original and of diffusers, and nothing else."""

import pytest
import torch

from tests.helpers.untrusted_files import assert_sentence


@pytest.fixture(scope="module")
def vae(host):
    """Builds the VAE of some tensors; the sentence where it is refused."""
    build = host.pack_module("tcan_modules.networks.vae").build_vae
    part = host.pack_module("tcan_modules.weights.layouts").Part

    def attempt(tensors: dict[str, torch.Tensor]):
        try:
            return build(part(tensors, "a.safetensors"))
        except ValueError as error:
            assert_sentence(error)
            return str(error)

    return attempt


@pytest.fixture(scope="module")
def taesd(host) -> dict[str, torch.Tensor]:
    from comfy.taesd.taesd import TAESD

    return {name: torch.randn_like(tensor) if tensor.ndim else tensor for name, tensor in TAESD().state_dict().items()}


@pytest.fixture(scope="module")
def sd1(host) -> dict[str, torch.Tensor]:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **blocks).half().state_dict()


def test_whole_ones(host, vae, taesd, sd1):
    import comfy.diffusers_convert

    original = comfy.diffusers_convert.convert_vae_state_dict(dict(sd1))
    moved = {
        f"decoder.{name}" if name.startswith("post_quant") else f"encoder.{name}" if name.startswith("quant") else name: tensor
        for name, tensor in original.items()
    }
    for tensors in (sd1, original, moved):
        weights = vae(tensors | {"model_ema.decay": torch.tensor(1.0)}).first_stage_model.state_dict()
        assert all(torch.equal(weights[name], tensor.to(weights[name])) for name, tensor in original.items())
    weights = vae(taesd).first_stage_model.state_dict()
    assert all(torch.equal(weights[name], tensor.to(weights[name])) for name, tensor in taesd.items())


@pytest.mark.parametrize("half", ["taesd_encoder.", "taesd_decoder.", "taesd_decoder.1.", "vae_s"])
def test_half_a_taesd(vae, taesd, half):
    said = vae({name: tensor for name, tensor in taesd.items() if not name.startswith(half)})
    count = sum(name.startswith(half) for name in taesd)
    assert f"The VAE in 'a.safetensors' cannot be used: the file is incomplete: {count} tensors are missing ({half}" in said


@pytest.mark.parametrize("half", ["encoder.", "decoder.", "decoder.conv_in.", "post_quant_conv.", "decoder.mid_block.attentions"])
def test_half_of_sd1(vae, sd1, half):
    said = vae({name: tensor for name, tensor in sd1.items() if not name.startswith(half)})
    assert f"{sum(name.startswith(half) for name in sd1)} tensors are missing" in said


@pytest.mark.parametrize(
    "change",
    [
        {"post_quant_conv.weight": torch.ones(16, 16, 1, 1)},
        {"decoder.conv_in.weight": torch.ones(512, 16, 3, 3)},
        {"encoder.conv_in.weight": torch.ones(128, 4, 3, 3)},
        {"decoder.conv_in.weight": torch.ones(512, 4)},
        {"decoder.conv_in.bias": torch.full((512,), float("nan"))},
        {"decoder.conv_in.bias": torch.ones(512, dtype=torch.int8)},
        {"decoder.mid_block.attentions.0.to_q.weight": torch.ones(())},
    ],
)
def test_other_shapes_and_numbers(vae, sd1, change):
    assert "The VAE in 'a.safetensors' cannot be used" in vae(sd1 | change)


@pytest.mark.parametrize(
    "name", ["vquantizer.codebook.weight", "decoder.middle.0.residual.0.gamma", "decoder.conv_in.conv.weight", "pixel_space_vae"]
)
def test_other_families(vae, name):
    assert "cannot be used" in vae({name: torch.ones(4, 4)})


def test_other_latents(vae, taesd):
    wide = {name: torch.ones(64, 16, 3, 3) if name == "taesd_decoder.1.weight" else tensor for name, tensor in taesd.items()}
    assert "taesd_decoder.1.weight is (64, 16, 3, 3) where (64, 4, 3, 3) is expected" in vae(wide)
