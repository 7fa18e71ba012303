"""Any size, guidance and length, and results that must be equal by mathematics."""

import pytest
import torch

from tests.helpers.reference_set import error, tensors

EQUAL = 2e-5  # other orders of summation in float32 over a few steps


def poses(reference, frames: int, height: int = 128, width: int = 128) -> torch.Tensor:
    """The reference poses, repeated forwards and backwards, at another size."""
    own = torch.cat([reference.poses, reference.poses.flip(0)])
    chosen = own[torch.arange(frames) % len(own)].movedim(-1, 1)
    return torch.nn.functional.interpolate(chosen, (height, width)).movedim(1, -1)


def sample(reference, model, control_net=None, *, frames=6, size=(16, 16), cfg=3.5, pose_images=None, **inputs):
    """The MultiDiffusion Sampler from noise, few steps; latents ``[frames, 4, height, width]``."""
    if pose_images is None:
        pose_images = poses(reference, frames, 8 * size[0], 8 * size[1])
    positive, negative = reference.conditioning(control_net, pose_images)
    settings = {"steps": 2, "seed": 7, "window_length": 4, "window_overlap": 1} | inputs
    (latent,) = reference.host.node("TCANMultiDiffusionSampler")(
        model=model,
        positive=positive,
        negative=negative,
        latent_image={"samples": torch.zeros(frames, 4, *size)},
        cfg=cfg,
        **settings,
    )
    assert torch.isfinite(latent["samples"]).all()
    return latent["samples"]


CASES = {
    "24x16": {"size": (24, 16)},
    "odd": {"size": (17, 13)},
    "one frame": {"frames": 1},
    "cfg 1": {"cfg": 1.0},
    "longer than any window": {"frames": 41},
    "closed loop": {"frames": 10, "closed_loop": True},
    "second order": {"sampler_name": "heun", "scheduler": "karras"},
    "between the steps": {"sampler_name": "dpm_2", "scheduler": "normal"},
    "ancestral": {"sampler_name": "euler_ancestral", "scheduler": "normal"},
    "independent noise": {"noise_mode": "independent"},
    "free noise": {"noise_mode": "free_noise"},
}


@pytest.mark.parametrize("case", CASES)
def test_finite_and_deterministic(reference, case):
    settings = CASES[case]
    frames, size = settings.get("frames", 6), settings.get("size", (16, 16))
    model = reference.apply(ptm=reference.ptm(pose_images=poses(reference, frames, 8 * size[0], 8 * size[1])))
    net = reference.control_net()
    first = sample(reference, model, net, **settings)
    assert first.shape == (frames, 4, *size)
    assert torch.equal(first, sample(reference, model, net, **settings))
    assert not torch.equal(first, sample(reference, model, net, **settings, seed=8))


def test_reference_of_another_size(reference):
    """A reference picture of another size and aspect ratio than the video."""
    from tests.helpers.reference_set import LatentVAE

    small = reference.encode(LatentVAE(torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(1))))
    own = sample(reference, reference.apply(), reference.control_net())
    assert error(sample(reference, reference.apply(appearance=small), reference.control_net()), own) > 1e-3


def test_two_reference_images(reference):
    """Two equal reference pictures are one whose tokens count twice."""
    from tests.helpers.reference_set import LatentVAE

    twice = reference.encode(LatentVAE(tensors()["reference_latent"].repeat(2, 1, 1, 1)))
    pair = sample(reference, reference.apply(appearance=twice))
    double = sample(reference, reference.apply(appearance_strength=2.0))
    assert error(pair, double) <= EQUAL
    assert error(pair, sample(reference, reference.apply())) > 1e-3


def test_split_guidance_equals_joined(reference, monkeypatch):
    """When memory is short the host evaluates the positive and the negative in separate calls."""
    model, net = reference.apply(ptm=reference.ptm()), reference.control_net()
    joined = sample(reference, model, net, frames=16)
    calls = []
    memory = type(model.model).memory_required

    def short_of_memory(self, input_shape, **kwargs):
        calls.append(input_shape[0])
        return float("inf") if input_shape[0] > 4 else memory(self, input_shape, **kwargs)

    monkeypatch.setattr(type(model.model), "memory_required", short_of_memory)
    split = sample(reference, model, net, frames=16)
    assert 8 in calls  # both conds of a window were tried and found too large
    assert error(split, joined) <= EQUAL


def test_window_longer_than_the_video(reference):
    model, net = reference.apply(), reference.control_net()
    whole = sample(reference, model, net, window_length=6, window_overlap=0)
    assert torch.equal(sample(reference, model, net, window_length=20, window_overlap=5), whole)
    stock = reference.sample(model, reference.conditioning(net, poses(reference, 6)), 6, cfg=3.5, scheduler="simple")
    ours = sample(reference, model, net, window_length=20, window_overlap=5, sampler_name="euler", scheduler="simple")
    assert torch.equal(stock, ours)


def test_temporal_strength_0_is_the_plain_control_net(reference):
    """With one text for both conds, the stock ControlNet equals ours without temporal layers."""
    model = reference.apply()
    stock = reference.tcan.control_net
    text = tensors()["text_embeddings"][1:]
    results = []
    for net in (stock, reference.control_net(0.0), reference.control_net(1.0)):
        node = reference.host.node("ControlNetApplyAdvanced")
        prompt = [[text, {}]]
        prompts = node(positive=prompt, negative=prompt, control_net=net, image=poses(reference, 6))
        results.append(reference.sample(model, prompts, 6, cfg=3.5))
    assert error(results[1], results[0]) <= EQUAL
    assert error(results[2], results[0]) > 1e-3


def test_temporal_strength_scales_what_the_layers_add(reference):
    """At 0.5 the residuals differ from those at 0 and 1; the layers add half as much."""
    from safetensors.torch import load_file

    from tcan_modules.maths.temporal import TemporalTransformer
    from tcan_modules.weights.naming import split_temporal
    from tests.helpers.reference_set import FOLDER

    state = {
        name: tensor.float()
        for name, tensor in load_file(FOLDER / "temporal_controlnet.safetensors").items()
        if "motion_modules" in name
    }
    place, layer_state = next(iter(split_temporal(state, (2, 2, 2, 2)).items()))
    layer = TemporalTransformer(layer_state["proj_in.weight"].shape[0], heads=8)
    layer.load_state_dict(layer_state)
    x = torch.randn(4, layer.channels, 4, 4)
    full, half = layer(x, 4) - x, layer(x, 4, strength=0.5) - x
    assert place.startswith("input_")
    assert error(half, 0.5 * full) <= 1e-5


def test_appa_strength_0_is_the_unet_without_lora(reference):
    plain = reference.apply(appa_strength=0.0)
    assert not plain.patches
    checkpoint = reference.tcan.checkpoint
    appa, checkpoint.appa = checkpoint.appa, None
    try:
        without = sample(reference, reference.apply())
    finally:
        checkpoint.appa = appa
    assert torch.equal(sample(reference, plain), without)
    assert error(sample(reference, reference.apply()), without) > 1e-3


def test_tau_0_is_no_ptm(reference):
    without = sample(reference, reference.apply(), frames=16)
    assert torch.equal(sample(reference, reference.apply(ptm=reference.ptm(tau=0.0)), frames=16), without)
    assert error(sample(reference, reference.apply(ptm=reference.ptm(tau=3.0)), frames=16), without) > 1e-3


def test_min_resolution_leaves_small_layers_alone(reference):
    without = sample(reference, reference.apply(), frames=16)
    high = reference.ptm(min_resolution=64)  # larger than any layer of 16x16 latents
    assert torch.equal(sample(reference, reference.apply(ptm=high), frames=16), without)
    some = sample(reference, reference.apply(ptm=reference.ptm(min_resolution=16)), frames=16)
    every = sample(reference, reference.apply(ptm=reference.ptm()), frames=16)
    assert error(some, without) > 1e-4
    assert error(some, every) > 1e-4


def test_appearance_strength_0_is_no_appearance(reference):
    """No reference tokens; and a strength close to 0 gives nearly the same."""
    without = sample(reference, reference.apply(appearance_strength=0.0))
    little = sample(reference, reference.apply(appearance_strength=1e-6))
    full = sample(reference, reference.apply())
    assert error(little, without) <= 1e-4
    assert error(full, without) > 1e-2


def test_linear_betas_only_on_request(reference):
    own = reference.apply(beta_schedule="scaled_linear")
    unpatched = reference.tcan.unet.get_model_object("model_sampling").sigmas
    assert torch.equal(own.get_model_object("model_sampling").sigmas, unpatched)
    betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    product = torch.cumprod(1 - betas, 0)
    expected = torch.sqrt((1 - product) / product)
    assert error(reference.apply().get_model_object("model_sampling").sigmas, expected) <= 1e-6


def test_as_many_steps_as_asked(reference):
    """The host's ddim_uniform gives 7 steps for 6; our sampler gives as many as its widget says."""
    multidiffusion = reference.host.pack_module("tcan_modules.multidiffusion")
    model = reference.apply()
    for steps in (4, 6, 15, 25, 30):
        sigmas = multidiffusion.schedule(model, "ddim", "ddim_uniform", steps, 1.0)
        assert len(sigmas) == steps + 1
        timesteps = model.get_model_object("model_sampling").timestep(sigmas[:-1])
        assert timesteps.tolist() == [1 + 1000 // steps * step for step in reversed(range(steps))]


def test_repeated_noise(reference):
    multidiffusion = reference.host.pack_module("tcan_modules.multidiffusion")
    noise = multidiffusion.start_noise(torch.zeros(10, 4, 8, 8), 3, "repeat_window", 4, 1)
    assert torch.equal(noise[:4], noise[4:8])
    assert torch.equal(noise[:2], noise[8:])
    assert not torch.equal(noise[0], noise[1])
    free = multidiffusion.start_noise(torch.zeros(10, 4, 8, 8), 3, "independent", 4, 1)
    assert not torch.equal(free[:4], free[4:8])
    shuffled = multidiffusion.start_noise(torch.zeros(40, 4, 8, 8), 3, "free_noise", 4, 1)
    assert torch.equal(shuffled[:4], noise[:4])
    assert {float(frame.sum()) for frame in shuffled} == {float(frame.sum()) for frame in noise[:4]}
    assert not torch.equal(shuffled[4:8], noise[4:8]) or not torch.equal(shuffled[8:12], noise[:4])


def test_start_of_unit_variance(reference):
    """The UNet's first input has the noise's own variance."""
    multidiffusion = reference.host.pack_module("tcan_modules.multidiffusion")
    host = reference.tcan.unet.get_model_object("model_sampling")
    noise, sigma = torch.randn(2, 4, 8, 8), torch.tensor([3.0])
    start = host.noise_scaling(sigma, multidiffusion.unit_variance_start(noise, sigma[0]), torch.zeros_like(noise))
    assert torch.allclose(host.calculate_input(sigma, start), noise, atol=1e-6)
