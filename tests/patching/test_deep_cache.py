"""TCAN Speed-ups: exact where it can be, as cheap as it says, and without state between runs."""

import logging

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tcan_modules.patching.batch import batch_of
from tests.helpers.graph_error import GraphError
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import error, tensors

FRAMES, LENGTH, OVERLAP, SIZE = 6, 4, 1, 16


def animated(reference, reuse_steps: int | None = None, windows: bool = True):
    """A model with all of TCAN; ``reuse_steps`` None leaves TCAN Speed-ups out."""
    model = reference.apply(ptm=reference.ptm(pose_images=reference.poses[:FRAMES]))
    if reuse_steps is not None:
        (model,) = reference.host.node("TCANSpeed")(model=model, reuse_steps=reuse_steps)
    if windows:
        (model,) = reference.host.node("TCANMultiDiffusion")(model=model, window_length=LENGTH, window_overlap=OVERLAP)
    return model


def conditioning(reference, control_net=None, **inputs) -> tuple[list, list]:
    return reference.conditioning(control_net or reference.control_net(), reference.poses[:FRAMES], **inputs)


def sample(reference, model, prompts, steps: int = 4, **widgets) -> torch.Tensor:
    return reference.sample(model, prompts, FRAMES, steps=steps, **widgets)


def twice_at_one_point(reference, model, prompts, cfg: float) -> list[torch.Tensor]:
    """Two noise predictions at one point: a full one, and one that may reuse its features."""
    import comfy.samplers

    found = []

    def ask_twice(model, x, sigmas, extra_args, callback, disable):
        sigma = sigmas[0] * x.new_ones(x.shape[0])
        found.extend(model(x, sigma, **extra_args).clone() for _ in range(2))
        return x

    reference.host.node("SamplerCustom")(
        model=model,
        add_noise=True,
        noise_seed=5,
        cfg=cfg,
        positive=prompts[0],
        negative=prompts[1],
        sampler=comfy.samplers.KSAMPLER(ask_twice),
        sigmas=torch.tensor([4.0, 0.0]),
        latent_image={"samples": torch.zeros(FRAMES, 4, SIZE, SIZE)},
    )
    return found


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("windows", [False, True])
def test_reused_features_are_those_of_the_window(reference, windows, cfg):
    """At unchanged latents, the reusing prediction equals the full one, with a fraction of the blocks."""
    full, between = twice_at_one_point(reference, animated(reference, 2, windows), conditioning(reference), cfg)
    assert torch.equal(full, twice_at_one_point(reference, animated(reference, None, windows), conditioning(reference), cfg)[0])
    assert error(between, full) <= 1e-5


def test_split_guidance(reference, monkeypatch):
    """With the conds in separate calls, each finds its own features."""
    model, prompts = animated(reference, 2), conditioning(reference)
    memory = type(model.model).memory_required
    monkeypatch.setattr(
        type(model.model),
        "memory_required",
        lambda self, shape, **kwargs: float("inf") if shape[0] > LENGTH else memory(self, shape, **kwargs),
    )
    full, between = twice_at_one_point(reference, model, prompts, 3.0)
    assert error(between, full) <= 1e-5


def test_a_stock_control_net_and_ours(reference, caplog):
    """Residuals of other ControlNets reach only the outer blocks."""
    stock = conditioning(reference, reference.tcan.control_net)
    node = reference.host.node("ControlNetApplyAdvanced")
    image = reference.poses[:FRAMES]
    both = node(positive=stock[0], negative=stock[1], control_net=reference.control_net(), image=image, strength=0.7)
    with caplog.at_level(logging.WARNING):
        full, between = twice_at_one_point(reference, animated(reference, 2, windows=False), both, 3.0)
    assert error(between, full) <= 1e-5
    assert "control could not be applied" not in caplog.text


def test_a_prompt_that_begins_at_a_reusing_step(reference):
    """Missing features are computed: a prompt that begins after the full prediction counts."""
    node = reference.host.node
    positive, negative = conditioning(reference)
    (late,) = node("ConditioningSetTimestepRange")(conditioning=negative, start=0.3, end=1.0)
    (early,) = node("ConditioningSetTimestepRange")(conditioning=positive, start=0.0, end=0.3)
    (prompts,) = node("ConditioningCombine")(conditioning_1=early, conditioning_2=late)
    model = animated(reference, 4)
    changing = sample(reference, model, (prompts, negative))
    assert torch.isfinite(changing).all()
    assert error(changing, sample(reference, model, (positive, negative))) > 1e-3


def test_off_is_exact_and_on_is_near(reference):
    prompts = conditioning(reference)
    exact = sample(reference, animated(reference), prompts)
    assert torch.equal(sample(reference, animated(reference, 1), prompts), exact)
    reused = sample(reference, animated(reference, 2), prompts)
    assert 1e-5 < error(reused, exact) < error(sample(reference, animated(reference), prompts, seed=4), exact)
    # two of the node in a chain: the last one counts
    (again,) = reference.host.node("TCANSpeed")(model=animated(reference, 2), reuse_steps=1)
    assert torch.equal(sample(reference, again, prompts), exact)


def test_no_state_between_runs(reference):
    """Earlier runs with other seeds or prompts, cancelled or broken, do not change a bit."""
    prompts = conditioning(reference)
    expected = sample(reference, animated(reference, 3), prompts)
    model = animated(reference, 3)
    other_text = [[tensors()["text_embeddings"][:1], {}]]
    sample(reference, model, prompts, seed=9)
    sample(reference, model, (other_text, other_text), steps=2)
    calls = []

    def broken(*_):
        calls.append(None)
        if len(calls) == 5:
            raise RuntimeError("broken on purpose")

    hook = model.model.diffusion_model.input_blocks[0][0].register_forward_pre_hook(broken)
    try:
        with pytest.raises(RuntimeError, match="broken on purpose"):
            sample(reference, model, prompts, seed=9)
    finally:
        hook.remove()
    assert torch.equal(sample(reference, model, prompts), expected)
    network = model.model.diffusion_model
    assert not any(name.startswith("tcan") for block in network.modules() for name in block._modules)


def test_operations_fall(reference):
    """Counted over a run of the tiny model, without the ControlNet's hint block, which is half of it."""
    prompts, counts = conditioning(reference), []
    for model in (animated(reference, windows=False), animated(reference, 5, windows=False)):
        with FlopCounterMode(display=False) as counter:
            sample(reference, model, prompts, steps=5)
        hint = sum(counter.get_flop_counts()["ControlNet.input_hint_block"].values())
        assert hint > 0
        counts.append(counter.get_total_flops() - hint)
    assert counts[1] <= 0.55 * counts[0]


def test_operations_fall_by_half_at_sd15s_width(host):
    """25 steps at 512x512, every fourth one full, counted on tensors without data."""
    from tests.benchmarks.arithmetic import Meta, counted

    meta = Meta(host)
    full = sum(counted(meta, call)[0] for call in (meta.whole_unet, meta.control_net))
    between = counted(meta, meta.between)[0]
    assert 7 * full + 18 * between <= 0.5 * 25 * full


def test_guidance_that_predicts_twice(reference):
    """Two calls of the same conds in one prediction are distinguished by their order."""
    cache = reference.host.pack_module("tcan_modules.patching.deep_cache").FeatureCache(2)
    x = torch.zeros(2, 4, 8, 8)
    batch = batch_of(x, {"uuids": ["prompt"], "cond_or_uncond": [0]})
    seen = []
    for is_between in (False, True, False):
        cache.announce(torch.ones(1))
        cache.begin()
        for number in range(2):
            call = cache.next_call(batch, x)
            assert cache.has(call) == is_between
            if is_between:
                seen.append(float(cache.get(call, x.device)))
            else:
                cache.put(call, torch.tensor(float(number)))
            cache.end_call(call)
    assert seen == [0.0, 1.0]
    assert not cache.has(cache.next_call(batch_of(x, {"cond_or_uncond": [0]}), x))


def test_needs_a_model_of_appa_apply(reference):
    graph = {
        "model": Fed(reference.tcan.unet),
        "speed": {"class_type": "TCANSpeed", "inputs": {"model": ["model", 0], "reuse_steps": 2}},
        "end": capture("speed"),
    }
    with pytest.raises(GraphError, match="after it"):
        reference.host.run_graph(graph)
