"""Pictures, masks, prompts and latents as other nodes give them: the right video, or one sentence."""

import pytest
import torch

from tests.helpers.reference_set import LatentVAE, error

FRAMES, WINDOW = 10, 4


def with_alpha(image: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    return torch.cat([image, torch.full((*image.shape[:-1], 1), alpha)], -1)


def run(reference, positive: list, negative: list, windows: bool = True, model=None, **inputs) -> torch.Tensor:
    """Latents of a video in windows, or in one piece."""
    return reference.host.node("TCANMultiDiffusionSampler")(
        model=reference.apply(**inputs) if model is None else model,
        positive=positive,
        negative=negative,
        latent_image={"samples": torch.zeros(FRAMES, 4, 16, 16)},
        steps=1,
        cfg=3.0,
        window_length=WINDOW if windows else FRAMES,
        window_overlap=1,
    )[0]["samples"]


@pytest.fixture(scope="module")
def poses(reference) -> torch.Tensor:
    return reference.poses[:FRAMES]


def test_pose_images_with_alpha(reference, poses):
    """An opaque alpha changes nothing: neither the temperatures nor the ControlNet's residuals."""
    opaque = with_alpha(poses)
    plain, ours = reference.ptm(pose_images=poses), reference.ptm(pose_images=opaque)
    assert (ours.image(range(4)) == plain.image(range(4))).all() and ours.image(range(4)).max() > 1
    net = reference.control_net()
    first = run(reference, *reference.conditioning(net, poses), ptm=plain)
    assert torch.equal(run(reference, *reference.conditioning(net, opaque), ptm=ours), first)


def test_grey_pose_images(reference, poses):
    grey = poses.amax(-1, keepdim=True)
    net = reference.control_net()
    first = run(reference, *reference.conditioning(net, grey.repeat(1, 1, 1, 3)))
    assert torch.equal(run(reference, *reference.conditioning(net, grey)), first)
    assert reference.ptm(pose_images=grey).image([0]).max() > 1


@pytest.mark.parametrize("channels", [1, 4])
def test_reference_pictures_of_other_channels(reference, channels):
    """The VAE sees three channels: grey repeated, alpha dropped."""
    seen = []

    class Watched(LatentVAE):
        def encode(self, pixels):
            seen.append(pixels)
            return super().encode(pixels)

    grey = torch.rand(1, 128, 128, 1)
    image = grey if channels == 1 else with_alpha(grey.repeat(1, 1, 1, 3), 0.25)
    reference.host.node("TCANAppearanceEncode")(tcan=reference.tcan, vae=Watched(), image=image)
    assert torch.equal(seen[0], grey.repeat(1, 1, 1, 3))


@pytest.mark.parametrize("form", [(1, 1), (FRAMES, 1), (1, -1), (FRAMES, -1)])
def test_masks_with_a_channel(reference, poses, form):
    masks, axis = form
    mask = torch.zeros(masks, 40, 30)
    mask[:, 10:20, 5:9] = 1
    ours = reference.ptm(pose_images=poses, mask=mask.unsqueeze(axis))
    assert (ours.image(range(4)) == reference.ptm(pose_images=poses, mask=mask).image(range(4))).all()


def schedule(reference, prompts: int) -> list:
    """A prompt for each frame, as prompt schedules give them."""
    generator = torch.Generator().manual_seed(3)
    text = reference.text(1)
    return [[text + 0.3 * torch.randn(prompts, *text.shape[1:], generator=generator), {}]]


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize("prompts", [FRAMES + 7, 3])
def test_prompt_schedules_of_another_length(reference, poses, prompts, windows):
    """Frame i gets prompt i, trimmed or repeated over the whole video, in the UNet and in the ControlNet."""
    given, net = schedule(reference, prompts), reference.control_net()
    whole = [[given[0][0][[frame % prompts for frame in range(FRAMES)]], {}]]
    _, negative = reference.conditioning()

    def result(positive):
        apply = reference.host.node("ControlNetApplyAdvanced")
        return run(reference, *apply(positive=positive, negative=negative, control_net=net, image=poses), windows)

    first = result(whole)
    assert torch.equal(result(given), first)
    assert error(result([[given[0][0][:1], {}]]), first) > 1e-3  # the schedule does something


def test_poses_of_other_proportions(reference, poses, caplog):
    """PTM is that of the poses as the ControlNet crops them, and a sentence says what is cut."""
    wide = torch.cat([torch.zeros_like(poses[:, :, :32]), poses, torch.zeros_like(poses[:, :, :32])], 2)
    wide[:, 40:44, :8] = 1  # something that is cut off
    net = reference.control_net()
    first = run(reference, *reference.conditioning(net, poses), ptm=reference.ptm(pose_images=poses))
    assert "proportions" not in caplog.text
    assert torch.equal(run(reference, *reference.conditioning(net, wide), ptm=reference.ptm(pose_images=wide)), first)
    assert caplog.text.count("32 pixels on the left and on the right of the poses are cut off") == 2


@pytest.mark.parametrize("mode", ["repeat_window", "free_noise", "independent"])
def test_noise_of_a_part_of_a_video(reference, mode):
    """``batch_index`` (Latent From Batch, LatentBatchSeedBehavior) says which frame's noise each latent gets."""
    multidiffusion = reference.host.pack_module("tcan_modules.multidiffusion")
    whole = multidiffusion.start_noise(torch.zeros(40, 4, 8, 8), 3, mode, 8, 2)
    for indices in ([11, 12, 13], [0, 0, 0, 0], list(range(5, 30)), [39, 2]):
        part = multidiffusion.start_noise(torch.zeros(len(indices), 4, 8, 8), 3, mode, 8, 2, indices)
        assert torch.equal(part, whole[indices]), indices


def fails(call, sentence: str, **inputs) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        call(**inputs)
    assert str(raised.value).endswith(".") and "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), 1e39, -1.0])
@pytest.mark.parametrize("name", ["appa_strength", "appearance_strength"])
def test_strengths_that_are_none(reference, name, value):
    fails(reference.apply, f"{name} cannot be", **{name: value})
    fails(reference.control_net, "temporal_strength cannot be", temporal_strength=value)
    fails(reference.ptm, "tau cannot be", tau=value)


def test_choices_that_are_none(reference):
    fails(reference.apply, "beta_schedule cannot be 'cosine': choose one of linear, scaled_linear", beta_schedule="cosine")
    prompts = dict(zip(("positive", "negative"), reference.conditioning()))
    inputs = {"model": reference.apply(), "latent_image": {"samples": torch.zeros(2, 4, 16, 16)}, **prompts}
    fails(reference.host.node("TCANMultiDiffusionSampler"), "noise_mode cannot be 'x'", noise_mode="x", **inputs)


@pytest.mark.parametrize("shape", [(0, 4, 16, 16), (1, 4, 4, 16, 16), (2, 16, 16, 16)])
@pytest.mark.parametrize("node", ["TCANMultiDiffusionSampler", "KSampler"])
def test_latents_of_another_kind(reference, node, shape):
    """Noise, so that ComfyUI does not take them for empty ones and gives them four channels."""
    prompts = dict(zip(("positive", "negative"), reference.conditioning()))
    widgets = {} if node != "KSampler" else {"seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal"}
    inputs = {"model": reference.apply(), "latent_image": {"samples": torch.randn(shape)}, **prompts, **widgets}
    fails(reference.host.node(node), "TCAN samples SD1.5 latents", **inputs)


@pytest.mark.parametrize("negative", [False, True])
def test_text_of_another_clip(reference, negative):
    other = [[torch.zeros(1, 7, 2 * reference.text(1).shape[-1]), {}]]
    positive, own = reference.conditioning()
    prompts = (positive, other) if negative else (other, own)
    fails(reference.sample, "encode it with the CLIP of an SD1.5 checkpoint", model=reference.apply(), prompts=prompts, frames=2)


@pytest.mark.parametrize("size, width, sentence", [((4000, 1), 0, "is too small"), ((4000, 8), 512, "more than 8192 pixels")])
def test_pictures_of_impossible_sizes(reference, size, width, sentence):
    encode = reference.host.node("TCANAppearanceEncode")
    fails(encode, sentence, tcan=reference.tcan, vae=LatentVAE(), image=torch.zeros(1, *size, 3), width=width)


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (1, 64, 64, 5)])
def test_no_pictures(reference, shape):
    image = torch.zeros(shape)
    fails(reference.host.node("TCANAppearanceEncode"), "cannot be used", tcan=reference.tcan, vae=LatentVAE(), image=image)
    fails(reference.ptm, "cannot be used", pose_images=image)


def both(reference, poses, positive: list, negative: list) -> tuple[list, list]:
    apply = reference.host.node("ControlNetApplyAdvanced")
    return apply(positive=positive, negative=negative, control_net=reference.control_net(), image=poses)


@pytest.mark.parametrize("windows", [True, False])
def test_prompts_that_take_turns(reference, poses, windows):
    """The negative's ControlNet sees the text of the prompt that is active at the step, whichever was combined first."""
    ranged, combine = (reference.host.node(name) for name in ("ConditioningSetTimestepRange", "ConditioningCombine"))
    early, late = schedule(reference, 1), [[reference.text(1), {}]]
    _, negative = reference.conditioning()
    turns = [ranged(conditioning=early, start=0.0, end=0.5)[0], ranged(conditioning=late, start=0.5, end=1.0)[0]]
    alone = run(reference, *both(reference, poses, late, negative), windows)  # one DDIM step, near the end
    for order in (turns, turns[::-1]):
        (combined,) = combine(conditioning_1=order[0], conditioning_2=order[1])
        assert error(run(reference, *both(reference, poses, combined, negative), windows), alone) <= 1e-6


def test_schedules_with_windows_at_once(reference, poses):
    """The reference tokens do not depend on how the video is cut into calls: all windows see those of the first prompt."""
    _, negative = reference.conditioning()
    prompts = both(reference, poses, schedule(reference, FRAMES), negative)
    first = run(reference, *prompts)
    (faster,) = reference.host.node("TCANSpeed")(model=reference.apply(), reuse_steps=1, windows_at_once=2)
    assert error(run(reference, *prompts, model=faster), first) <= 1e-5


def test_an_apply_controlnet_node_for_each_prompt(reference, poses):
    apply, net = reference.host.node("ControlNetApply"), reference.control_net()
    legs = [apply(conditioning=cond, control_net=net, image=poses, strength=1.0)[0] for cond in reference.conditioning()]
    assert torch.equal(run(reference, *legs), run(reference, *reference.conditioning(net, poses)))


@pytest.mark.parametrize("mode", ["repeat_window", "free_noise", "independent"])
@pytest.mark.parametrize("indices", [[], [0], list(range(9)), [-1] * 4, ["a"] * 4, [None] * 4, [10**7] * 4, [float("nan")] * 4])
def test_impossible_batch_index(reference, mode, indices):
    start_noise = reference.host.pack_module("tcan_modules.multidiffusion").start_noise
    with pytest.raises(ValueError, match="batch_index must hold one whole number from 0 to 99999 for each of the 4 latents"):
        start_noise(torch.zeros(4, 4, 8, 8), 3, mode, 8, 2, indices)
    tensor = start_noise(torch.zeros(4, 4, 8, 8), 3, mode, 8, 2, torch.arange(4))
    assert torch.equal(tensor, start_noise(torch.zeros(4, 4, 8, 8), 3, mode, 8, 2, [0, 1, 2, 3]))


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (7, 64)])
def test_pose_images_of_one_pixel(reference, size):
    images = torch.ones(2, *size, 3)
    fails(reference.ptm, "is too small", pose_images=images)
    prompts = reference.conditioning(reference.control_net(), images)
    fails(reference.sample, "is too small", model=reference.apply(), prompts=prompts, frames=2)


def test_a_mask_of_other_proportions_is_said(reference, poses, caplog):
    mask = torch.ones(1, 64, 64)
    reference.ptm(pose_images=poses, mask=mask)
    assert "proportions" not in caplog.text
    reference.ptm(pose_images=poses, mask=mask[:, :32])
    assert "the mask is 64 x 32" in caplog.text


def test_nothing_to_preview(reference):
    """No frames in a preview's pictures, and no latents."""
    frame = {"people": [{"pose_keypoints_2d": [100.0, 100.0, 1.0] * 18}], "canvas_width": 512, "canvas_height": 512}
    retarget = reference.host.node("TCANPoseRetarget")
    for name in ("driving_images", "character_image"):
        fails(retarget, "cannot be used", character=[frame], driving=[frame], **{name: torch.zeros(0, 512, 512, 3)})
    preview = reference.host.node("TCANWindowsPreview")
    fails(preview, "There are no latents", latent_image={"samples": torch.zeros(0, 4, 8, 8)})
