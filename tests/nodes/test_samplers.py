"""The model of APPA Apply in each of the host's sampler nodes."""

import torch

from tests.helpers.reference_set import error

FRAMES, STEPS, SEED = 4, 3, 11


def test_the_stock_sampler_nodes_agree(reference):
    """KSampler, KSamplerAdvanced and SamplerCustomAdvanced with the same sampler, steps and noise: the same bits."""
    node = reference.host.node
    model = reference.apply(ptm=reference.ptm(pose_images=reference.poses[:FRAMES]))
    positive, negative = reference.conditioning(reference.control_net(), reference.poses[:FRAMES])
    latents = {"samples": torch.zeros(FRAMES, 4, 16, 16)}
    common = {"model": model, "positive": positive, "negative": negative, "cfg": 2.0, "latent_image": latents}
    names = {"sampler_name": "euler", "scheduler": "karras", "steps": STEPS}
    (stock,) = node("KSampler")(**common, **names, seed=SEED)
    (advanced,) = node("KSamplerAdvanced")(**common, **names, noise_seed=SEED)
    (sampler,) = node("KSamplerSelect")(sampler_name="euler")
    (sigmas,) = node("BasicScheduler")(model=model, scheduler="karras", steps=STEPS, denoise=1.0)
    (guider,) = node("CFGGuider")(model=model, positive=positive, negative=negative, cfg=2.0)
    (noise,) = node("RandomNoise")(noise_seed=SEED)
    custom = node("SamplerCustomAdvanced")(noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latents)[0]
    assert torch.equal(stock["samples"], advanced["samples"])
    assert torch.equal(stock["samples"], custom["samples"])


def test_no_guidance(reference):
    """BasicGuider uses only the positive, as KSampler does with cfg 1."""
    node = reference.host.node
    model = reference.apply()
    positive, negative = reference.conditioning(reference.control_net(), reference.poses[:FRAMES])
    latents = {"samples": torch.zeros(FRAMES, 4, 16, 16)}
    stock = reference.sample(model, (positive, negative), FRAMES, cfg=1.0, steps=STEPS, seed=SEED)
    (sampler,) = node("KSamplerSelect")(sampler_name="euler")
    (sigmas,) = node("BasicScheduler")(model=model, scheduler="normal", steps=STEPS, denoise=1.0)
    (guider,) = node("BasicGuider")(model=model, conditioning=positive)
    (noise,) = node("RandomNoise")(noise_seed=SEED)
    custom = node("SamplerCustomAdvanced")(noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latents)[0]
    assert torch.equal(stock, custom["samples"])


def test_two_passes_are_one(reference):
    """KSamplerAdvanced can continue in the middle of the steps."""
    node = reference.host.node
    model = reference.apply()
    positive, negative = reference.conditioning(reference.control_net(), reference.poses[:FRAMES])
    settings = {
        "model": model,
        "positive": positive,
        "negative": negative,
        "cfg": 2.0,
        "steps": 4,
        "sampler_name": "euler",
        "scheduler": "normal",
        "noise_seed": SEED,
    }
    latents = {"samples": torch.zeros(FRAMES, 4, 16, 16)}
    (whole,) = node("KSamplerAdvanced")(**settings, latent_image=latents)
    (half,) = node("KSamplerAdvanced")(**settings, latent_image=latents, end_at_step=2, return_with_leftover_noise="enable")
    (rest,) = node("KSamplerAdvanced")(**settings, latent_image=half, start_at_step=2, add_noise="disable")
    assert error(rest["samples"], whole["samples"]) <= 1e-5
