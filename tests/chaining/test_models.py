"""Stock nodes that patch the model, before and after APPA Apply."""

import pytest
import torch

from tests.helpers.reference_set import error
from tests.helpers.wide_models import lora_weights

FREEU = {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
NODES = {
    "FreeU": FREEU,
    "FreeU_V2": FREEU,
    "PerturbedAttentionGuidance": {"scale": 12.0},
    "SelfAttentionGuidance": {"scale": 0.7, "blur_sigma": 2.0},
    "HyperTile": {"tile_size": 64, "swap_size": 2, "max_depth": 0, "scale_depth": False},
    "TomePatchModel": {"ratio": 0.5},
    "RescaleCFG": {"multiplier": 0.7},
    "PatchModelAddDownscale": {
        "block_number": 3,
        "downscale_factor": 2.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "downscale_after_skip": True,
        "downscale_method": "bicubic",
        "upscale_method": "bicubic",
    },
}


@pytest.mark.parametrize("node", NODES)
def test_the_same_before_and_after(scene, alone, node):
    """The node changes the video, the character still counts, and the order does not matter."""
    link = (node, NODES[node])
    torch.manual_seed(0)  # HyperTile and ToMe draw random numbers
    before = scene.video(before=[link])
    torch.manual_seed(0)
    after = scene.video(after=[link])
    assert error(after, alone) > 1e-3
    assert torch.equal(before, after)
    torch.manual_seed(0)
    assert error(scene.video(after=[link], appearance_strength=0.0), after) > 1e-3


@pytest.fixture(scope="module")
def lora(scene) -> str:
    """A LoRA file for the scene's UNet."""
    from safetensors.torch import save_file

    unet = scene.models.tcan.checkpoint.require("unet").tensors
    state = lora_weights(unet, ("attn1.to_q", "attn2.to_k", "ff.net.2"), rank=2, divisor=20)
    folder = scene.host.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "chaining.safetensors")
    return "chaining.safetensors"


def test_lora(scene, alone, lora):
    """Before or after APPA Apply, the stock LoRA is added to the same weights."""
    link = ("LoraLoaderModelOnly", {"lora_name": lora, "strength_model": 1.0})
    before, after = scene.video(before=[link]), scene.video(after=[link])
    assert error(after, alone) > 1e-3
    assert error(before, after) <= 1e-5  # the two LoRAs are added in another order
    assert error(scene.video(before=[link], appa_strength=0.0), before) > 1e-3


def test_replaced_self_attention_sees_the_character(scene, alone):
    """A replacement that computes the host's attention changes nothing, with reference tokens and without."""

    def like_the_hosts(q, k, v, options):
        from comfy.ldm.modules.attention import optimized_attention

        return optimized_attention(q, k, v, options["n_heads"])

    def patched(model):
        model = model.clone()
        for place in [("input", 1), ("middle", 0), ("output", 2), ("output", 5)]:
            model.set_model_attn1_replace(like_the_hosts, *place)
        return model

    assert error(scene.video(after=[patched]), alone) <= 1e-5
    assert error(scene.video(before=[patched]), alone) <= 1e-5


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_other_attention_patches(scene, alone, cross):
    """As an IP-Adapter does: more tokens for the positive cond, beside ours and beside the text."""

    def more_tokens(q, k, v, options):
        extra = torch.linspace(-1, 1, k.shape[-1]).expand(k.shape[0], 2, -1).clone()
        frames = k.shape[0] // len(options["cond_or_uncond"])
        for index, cond in enumerate(options["cond_or_uncond"]):
            if cond == 1:
                extra[index * frames : (index + 1) * frames] = 0
        return q, torch.cat([k, extra], 1), torch.cat([v, extra], 1)

    def patched(model):
        model = model.clone()
        (model.set_model_attn2_patch if cross else model.set_model_attn1_patch)(more_tokens)
        return model

    before, after = scene.video(before=[patched]), scene.video(after=[patched])
    assert torch.equal(before, after)
    assert error(after, alone) > 1e-3
    assert error(scene.video(after=[patched], appearance_strength=0.0), after) > 1e-3


def test_replaced_cross_attention(scene, alone):
    """As an IP-Adapter does: a replaced attn2 that adds attention to a picture."""

    def with_picture(q, k, v, options):
        from comfy.ldm.modules.attention import optimized_attention

        return optimized_attention(q, k, v, options["n_heads"]) + 0.5 * optimized_attention(
            q, k.flip(1), v.roll(1, 2), options["n_heads"]
        )

    def patched(model):
        model = model.clone()
        for place in [("input", 1), ("middle", 0), ("output", 5)]:
            model.set_model_attn2_replace(with_picture, *place)
        return model

    before, after = scene.video(before=[patched]), scene.video(after=[patched])
    assert torch.equal(before, after)
    assert error(after, alone) > 1e-3
    assert error(scene.video(after=[patched], appearance_strength=0.0), after) > 1e-3


def test_self_attention_guidance_asks_for_the_negative_alone(scene):
    """Its second call of a step holds only the negative, first in the batch: it must not see the picture."""
    outputs = []

    def watched(model):
        model = model.clone()

        def look(executor, *args, **kwargs):
            outputs.append(executor(*args, **kwargs))
            return outputs[-1]

        model.add_wrapper_with_key("apply_model", "look", look)
        return model

    guidance = ("SelfAttentionGuidance", {"scale": 0.7, "blur_sigma": 2.0})
    for strength in (1.0, 2.0):
        scene.video(before=[guidance, watched], sampler={"steps": 1}, appearance_strength=strength)
    (both, again), (stronger, again_stronger) = outputs[:2], outputs[2:]
    assert both.shape[0] == 2 * again.shape[0]
    assert not torch.equal(both, stronger)
    assert torch.equal(again, again_stronger)


def test_guidance_in_another_order(scene):
    """DualCFGGuider puts the negative first. With the same prompt twice it is plain guidance."""
    node = scene.host.node
    model = scene.models.apply(ptm=scene.ptm)
    negative, positive = scene.text(0), scene.text(1)
    (sampler,) = node("KSamplerSelect")(sampler_name="euler")
    (sigmas,) = node("BasicScheduler")(model=model, scheduler="normal", steps=2, denoise=1.0)
    (noise,) = node("RandomNoise")(noise_seed=5)
    (plain,) = node("CFGGuider")(model=model, positive=positive, negative=negative, cfg=3.0)
    (dual,) = node("DualCFGGuider")(
        model=model, cond1=positive, cond2=positive, negative=negative, cfg_conds=1.0, cfg_cond2_negative=3.0, style="regular"
    )
    results = [
        node("SamplerCustomAdvanced")(noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=scene.latents)[0]
        for guider in (plain, dual)
    ]
    assert error(results[1]["samples"], results[0]["samples"]) <= 1e-5
