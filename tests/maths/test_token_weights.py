"""Reference pictures with weights and masks: the formula by hand, and equalities through nodes."""

import pytest
import torch

from tcan_modules.maths.token_weights import read_masks, read_weights, token_grid, token_weights
from tests.helpers.reference_set import error
from tests.nodes.test_errors import fails

EQUAL = 2e-5  # other orders of summation in float32


@pytest.mark.parametrize(
    ("text", "weights"),
    [("", [1, 1]), ("  ", [1, 1]), ("1, 0.5", [1, 0.5]), ("2;0", [2, 0]), ("1 .25,", [1, 0.25])],
)
def test_weights_are_read(text, weights):
    assert read_weights(text, 2) == weights


@pytest.mark.parametrize(
    ("height", "width", "tokens", "grid"),
    [(16, 16, 256, (16, 16)), (17, 13, 63, (9, 7)), (17, 13, 20, (5, 4)), (17, 13, 6, (3, 2)), (1, 9, 2, (1, 2))],
)
def test_token_grid(height, width, tokens, grid):
    assert token_grid(height, width, tokens) == grid


def test_a_tokens_share_is_the_mean_of_its_area():
    mask = torch.zeros(2, 4, 4)
    mask[0, :, :2] = 1
    mask[1, 0, 0] = 1
    found = token_weights(torch.tensor([0.5, 2.0]), mask, (2, 2))
    assert found.kept.tolist() == [0, 2, 4]
    assert found.weights.tolist() == [0.5, 0.5, 0.5]
    whole = token_weights(torch.tensor([1.0, 1.0]), mask, (1, 1))
    assert whole.kept is None and whole.weights.tolist() == [0.5, 1 / 16]


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (512, 768)])
@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (17, 13), (64, 96)])
def test_a_white_mask_changes_nothing(size, grid):
    """Bit for bit, whatever the sizes."""
    found = token_weights(torch.ones(2), torch.ones(2, *size), grid)
    assert found.kept is None and found.weights is None


def test_every_layer_keeps_a_token_of_a_small_mask():
    mask = torch.zeros(1, 512, 512)
    mask[0, 300, 200] = 1
    for side in (64, 32, 16, 8):
        assert token_weights(torch.ones(1), mask, (side, side)).kept.shape == (1,)


@pytest.fixture
def layer(host):
    from comfy.ldm.modules.attention import CrossAttention

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CrossAttention(16, heads=2, dim_head=8, operations=torch.nn).eval()


def by_hand(layer, x, kept, share) -> torch.Tensor:
    """Attention over own and reference tokens, whose exponentials are multiplied by their weights."""
    tokens = torch.cat([x, kept.expand(x.shape[0], -1, -1)], dim=1)
    split = [
        projection.unflatten(-1, (2, 8)).transpose(1, 2) for projection in (layer.to_q(x), layer.to_k(tokens), layer.to_v(tokens))
    ]
    mass = torch.exp(split[0] @ split[1].mT / 8**0.5) * torch.cat([torch.ones(x.shape[1]), share])
    return layer.to_out((mass / mass.sum(-1, keepdim=True) @ split[2]).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kernel", ["attention_basic", "attention_pytorch", "attention_split", "attention_sub_quad"])
def test_attention_by_hand(host, layer, kernel, monkeypatch):
    """In each of the host's kernels, with more queries than one of its chunks holds."""
    import comfy.ldm.modules.attention as host_attention

    ours = host.pack_module("tcan_modules.patching.reference_attention")
    monkeypatch.setattr(host_attention, "optimized_attention", getattr(host_attention, kernel))
    generator = torch.Generator().manual_seed(1)
    x, kept = torch.randn(2, 600, 16, generator=generator), torch.randn(1, 8, 16, generator=generator)
    share = torch.tensor([1.0, 1, 1, 1, 0.5, 0.5, 3, 1e-9])
    with torch.inference_mode():
        projected = layer.to_k(kept), layer.to_v(kept)
        weighed = ours.reference_attention(layer, x, x, x, projected, share)
        assert error(weighed, by_hand(layer, x, kept, share)) <= 1e-6
        half = ours.reference_attention(layer, x, x, x, tuple(each[:, :4] for each in projected), None)
        cropped = by_hand(layer, x, kept, torch.tensor([1.0] * 4 + [0.0] * 4))
        assert error(half, cropped) <= 1e-6
        assert error(half, weighed) > 1e-3


def test_the_bias_does_not_grow_with_the_queries(host, layer, monkeypatch):
    """It is one line of keys, never [queries x keys]; without weights the kernel gets no mask."""
    import comfy.ldm.modules.attention as host_attention

    ours = host.pack_module("tcan_modules.patching.reference_attention")
    kernel, masks = host_attention.optimized_attention, []

    def watched(*arguments, mask=None, **named):
        masks.append(mask)
        return kernel(*arguments, mask=mask, **named)

    monkeypatch.setattr(host_attention, "optimized_attention", watched)
    x, kept = torch.randn(1, 50, 16), torch.randn(1, 8, 16)
    for share in (None, torch.full((8,), 0.5), torch.tensor(2.0)):
        ours.reference_attention(layer, x, x, x, (layer.to_k(kept), layer.to_v(kept)), share)
    assert masks[0] is None
    assert [mask.untyped_storage().nbytes() for mask in masks[1:]] == [58 * 4] * 2


class Picture:
    """A VAE whose latents are the picture's colours, cropped to whole latents like the host's."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = (8 * (side // 8) for side in pixels.shape[1:3])
        top, left = ((side % 8) // 2 for side in pixels.shape[1:3])
        small = torch.nn.functional.avg_pool2d(pixels[:, top : top + height, left : left + width].movedim(-1, 1), 8)
        return torch.cat([small, small.mean(1, keepdim=True)], dim=1) * 6 - 3


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    coarse = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, (128, 128)).movedim(1, -1)


def encode(reference, image, **inputs):
    return reference.host.node("TCANAppearanceEncode")(tcan=reference.tcan, vae=Picture(), image=image, **inputs)[0]


def sampled(reference, appearance, cfg: float = 3.5, **inputs) -> torch.Tensor:
    """Two frames, two steps."""
    return reference.sample(reference.apply(appearance=appearance, **inputs), reference.conditioning(), 2, cfg=cfg)


def test_weights_of_1_and_a_white_mask_change_nothing(reference, pictures):
    plain = sampled(reference, encode(reference, pictures))
    for inputs in ({"weights": "1, 1"}, {"mask": torch.ones(1, 50, 30)}, {"weights": "1 1", "mask": torch.ones(2, 128, 128)}):
        assert torch.equal(sampled(reference, encode(reference, pictures, **inputs)), plain)


def test_weight_0_leaves_the_picture_out(reference, pictures):
    alone = sampled(reference, encode(reference, pictures[1:]))
    assert torch.equal(sampled(reference, encode(reference, pictures, weights="0, 1")), alone)
    masks = torch.stack([torch.zeros(128, 128), torch.ones(128, 128)])
    assert torch.equal(sampled(reference, encode(reference, pictures, mask=masks)), alone)
    little = sampled(reference, encode(reference, pictures, weights="0.000001, 1"))
    assert error(little, alone) <= 1e-4
    assert error(sampled(reference, encode(reference, pictures)), alone) > 1e-3


def test_weights_count_pictures(reference, pictures):
    """A picture of weight 2 equals the picture twice; equal weights equal appearance_strength."""
    twice = sampled(reference, encode(reference, pictures[[0, 0, 1]]))
    assert error(sampled(reference, encode(reference, pictures, weights="2, 1")), twice) <= EQUAL
    halved = sampled(reference, encode(reference, pictures), appearance_strength=0.5)
    assert error(sampled(reference, encode(reference, pictures, weights="0.5, 0.5")), halved) <= EQUAL
    both = sampled(reference, encode(reference, pictures, weights="3, 3"), appearance_strength=0.5)
    assert error(both, sampled(reference, encode(reference, pictures), appearance_strength=1.5)) <= EQUAL
    assert error(both, halved) > 1e-3


def test_a_mask_crops_the_tokens(reference, pictures, monkeypatch):
    """A mask of half a picture equals removing those tokens from the appearance features."""
    half = torch.zeros(1, 128, 128)
    half[:, :, :64] = 1
    masked = sampled(reference, encode(reference, pictures[:1], mask=half))
    unet = type(reference.tcan.appearance.model)
    features = unet.features

    def left_half(self, latents, timestep, context):
        cut = {}
        for block, tokens in features(self, latents, timestep, context).items():
            side = int(tokens.shape[1] ** 0.5)
            cut[block] = tokens.unflatten(1, (side, side))[:, :, : side // 2].flatten(1, 2)
        return cut

    whole = encode(reference, pictures[:1])
    with monkeypatch.context() as patch:
        patch.setattr(unet, "features", left_half)
        assert torch.equal(sampled(reference, whole), masked)
    assert error(sampled(reference, whole), masked) > 1e-3


def test_the_mask_follows_its_picture(reference):
    """The mask is resized and cropped with its picture, by our node and by the VAE."""
    image = torch.zeros(1, 90, 203, 3)
    image[:, 20:60, 90:120] = 1
    mask = torch.nn.functional.interpolate(image[None, ..., 0], (180, 406))[0]  # drawn at twice the size
    for size in ({}, {"width": 64, "height": 64}, {"height": 40}):
        appearance = encode(reference, image, mask=mask, **size)
        shown = (appearance.latents[0, 3] + 3) / 6
        grid = shown.shape
        weights = torch.zeros(grid.numel())
        found = appearance.token_weights(grid.numel())
        weights[found.kept] = 1.0 if found.weights is None else found.weights
        assert (weights.view(grid) - shown).abs().max() < 0.1


def test_split_guidance_equals_joined(reference, pictures, monkeypatch):
    """With weights and masks too, when the host evaluates the positive and the negative in separate calls."""
    mask = torch.zeros(2, 128, 128)
    mask[:, 20:100, 40:90] = 1
    appearance = encode(reference, pictures, weights="1, 0.3", mask=mask)
    joined = sampled(reference, appearance)
    asked = []

    def short_of_memory(self, shape, **_):
        asked.append(shape[0])
        return float("inf") if shape[0] > 2 else 1

    monkeypatch.setattr(type(reference.tcan.unet.model), "memory_required", short_of_memory)
    assert error(sampled(reference, appearance), joined) <= EQUAL
    assert 4 in asked  # both conds at once were tried and found too large


def test_the_negative_sees_no_picture(reference, pictures):
    """At guidance 0 the prediction is that of the negative."""
    mask = torch.zeros(1, 128, 128)
    mask[:, 20:100, 40:90] = 1
    some = sampled(reference, encode(reference, pictures, weights="1, 0.3", mask=mask), cfg=0.0)
    assert error(some, sampled(reference, encode(reference, pictures), cfg=0.0)) <= EQUAL


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"weights": "1"}, "There are 1 weights .* but 2 pictures"),
        ({"weights": "1, 1, 1"}, "There are 3 weights .* but 2 pictures"),
        ({"weights": "front, back"}, "are not numbers"),
        ({"weights": "1, -0.5"}, "must be from 0 to 100"),
        ({"weights": "1, nan"}, "must be from 0 to 100"),
        ({"weights": "inf, 1"}, "must be from 0 to 100"),
        ({"weights": "1e39, 1"}, "must be from 0 to 100"),
        ({"weights": "0, 0"}, "All weights are 0"),
        ({"weights": "x" * 5000}, "are not numbers"),
        ({"mask": torch.ones(3, 128, 128)}, "There are 3 masks, but 2 pictures"),
        ({"mask": torch.zeros(1, 64, 64)}, "0 everywhere.*Invert Mask"),
        ({"mask": torch.full((1, 8, 8), float("nan"))}, "contains NaN"),
        ({"weights": "0, 1", "mask": torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])}, "No picture is left"),
    ],
)
def test_bad_weights_and_masks(host, reference, pictures, inputs, message):
    fails(host, "TCANAppearanceEncode", message, tcan=reference.tcan, vae=Picture(), image=pictures, width=0, height=0, **inputs)


def test_masks_of_any_form():
    assert read_masks(torch.ones(5, 4), 3).shape == (3, 5, 4)
    assert read_masks(torch.full((1, 2, 2), 7.0), 2).max() == 1
