"""Chunked SpatialTransformers: the same video, and patches of other nodes see the whole batch."""

import pytest
import torch

from tests.helpers.reference_set import Reference, error

FRAMES, SIZE = 4, 16


def take_few_frames(reference: Reference, monkeypatch) -> None:
    """Chunk the largest layers into single frames, and those half as large into pairs."""
    widened = 8 * reference.tcan.unet.model.diffusion_model.model_channels * SIZE**2 * 4
    monkeypatch.setattr(reference.host.pack_module("tcan_modules.maths.feed_forward_chunks"), "LARGEST_ON_CPU", widened)


@pytest.fixture
def few_frames_at_a_time(reference, monkeypatch) -> None:
    take_few_frames(reference, monkeypatch)


def sample(reference: Reference, *patches, prompts=None, **options) -> torch.Tensor:
    """Two steps with all of TCAN; ``patches`` change the model after APPA Apply."""
    poses = reference.poses[:FRAMES]
    model = reference.apply(ptm=reference.ptm(pose_images=poses))
    for patch in patches:
        patch(model)
    model.model_options["transformer_options"].update(options)
    if prompts is None:
        prompts = reference.conditioning(reference.control_net(), poses)
    return reference.sample(model, prompts, FRAMES, SIZE)


class Texts:
    """Record how many batch entries of text the host's cross-attentions make keys of."""

    def __init__(self, reference: Reference, monkeypatch):
        from comfy.ldm.modules.attention import CrossAttention

        self.rows: list[int] = []
        theirs = CrossAttention.forward

        def forward(layer, x, context=None, *args, **kwargs):
            if context is not None and context.shape[1:] == reference.text(1).shape[1:]:
                self.rows.append(len(context))
            return theirs(layer, x, context, *args, **kwargs)

        monkeypatch.setattr(CrossAttention, "forward", forward)


def test_each_text_is_computed_once(reference, monkeypatch):
    """Two in the UNet; one in the ControlNet and in the appearance UNet."""
    texts = Texts(reference, monkeypatch)
    sample(reference)
    assert set(texts.rows) == {1, 2}


def test_each_frames_own_prompt(reference, monkeypatch, few_frames_at_a_time):
    """Each frame keeps its own text, also in chunks; equal texts give the video of one prompt."""
    poses = reference.poses[:FRAMES]

    def prompts(scale: torch.Tensor):
        positive, negative = ([[reference.text(row) * scale, {}]] for row in (1, 0))
        node = reference.host.node("ControlNetApplyAdvanced")
        return node(positive=positive, negative=negative, control_net=reference.control_net(), image=poses)

    alike = sample(reference, prompts=prompts(torch.ones(FRAMES, 1, 1)))
    assert error(alike, sample(reference)) <= 1e-6
    differing = prompts(torch.tensor([1.0, 1.0, 1.0, -2.0])[:, None, None])
    pieces = sample(reference, prompts=differing)
    monkeypatch.undo()
    texts = Texts(reference, monkeypatch)
    whole = sample(reference, prompts=differing)
    assert set(texts.rows) == {1, FRAMES, 2 * FRAMES}  # the appearance UNet sees only the first one
    assert error(pieces, whole) <= 1e-5
    assert error(whole, alike) > 1e-2


def test_a_chunk_is_of_one_cond(reference, monkeypatch):
    """The same video; a replaced attention learns the cond of the batch entries that it sees."""
    seen = []

    def watch(attention, *args, transformer_options, **kwargs):
        conds = transformer_options.get("cond_or_uncond")
        if conds is not None:  # the host's ControlNet and the appearance UNet pass no options on
            seen.append((tuple(conds), len(transformer_options["uuids"])))
        return attention(*args, transformer_options=transformer_options, **kwargs)

    whole = sample(reference)
    take_few_frames(reference, monkeypatch)
    pieces = sample(reference, optimized_attention_override=watch)
    assert error(pieces, whole) <= 1e-5
    assert {((0,), 1), ((1,), 1)} <= set(seen) <= {((0,), 1), ((1,), 1), ((1, 0), 2)}


@pytest.mark.parametrize("name", ["attn1_patch", "attn1_output_patch", "attn2_patch", "attn2_output_patch", "middle_patch"])
def test_patches_of_others_see_the_whole_batch(reference, few_frames_at_a_time, name):
    rows = []

    def patch(x, *rest):
        rows.append(len(x))
        return (x, *rest[:-1]) if len(rest) > 1 else x

    patched = sample(reference, lambda model: model.set_model_patch(patch, name))
    assert set(rows) == {2 * FRAMES}
    assert error(patched, sample(reference)) <= 1e-5


def test_replaced_attention_sees_the_whole_batch(reference, few_frames_at_a_time):
    rows = []

    def replacement(query, key, value, options):
        from comfy.ldm.modules.attention import optimized_attention

        rows.append(len(query))
        return optimized_attention(query, key, value, options["n_heads"])

    patched = sample(reference, lambda model: model.set_model_attn2_replace(replacement, "middle", 0))
    assert set(rows) == {2 * FRAMES}
    assert error(patched, sample(reference)) <= 1e-5


@pytest.mark.parametrize("side, block", [("input", 1), ("output", -1)])
def test_a_layer_changed_by_another_node_stays_so(reference, few_frames_at_a_time, side, block):
    """Its own forward gets the whole batch, also with reference tokens, and is still there afterwards."""
    layer = getattr(reference.tcan.unet.model.diffusion_model, f"{side}_blocks")[block][1]
    rows = []

    def theirs(x, *args, **kwargs):
        rows.append(len(x))
        return type(layer).forward(layer, x, *args, **kwargs)

    layer.forward = theirs
    try:
        changed = sample(reference)
        assert layer.forward is theirs and set(rows) == {2 * FRAMES}
    finally:
        del layer.forward
    assert error(changed, sample(reference)) <= 1e-5
