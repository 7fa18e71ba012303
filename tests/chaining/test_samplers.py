"""Every sampler and scheduler of the host, second passes, and masks of the background."""

import pytest
import torch

from tests.helpers.reference_set import error
from tests.helpers.scene import FRAMES, SIZE


def names(kind: str) -> list[str]:
    """The host's samplers or schedulers, with those of other packs, so read once the host is up."""
    import comfy.samplers

    return list(getattr(comfy.samplers.KSampler, kind))


@pytest.fixture(scope="module")
def parts(scene):
    """Model and prompts, made once for all samplers."""
    return {"model": scene.models.apply(ptm=scene.ptm), "positive": scene.text(1), "negative": scene.text(0)}


def sample(scene, parts, **widgets) -> torch.Tensor:
    """Tiny latents, without guidance."""
    settings = {"latent_image": {"samples": torch.zeros(FRAMES, 4, 8, 8)}, "seed": 5, "steps": 2, "cfg": 1.0}
    names = {"sampler_name": "euler", "scheduler": "normal"}
    samples = scene.host.node("KSampler")(**{**parts, **settings, **names, **widgets})[0]["samples"]
    assert samples.shape == (FRAMES, 4, 8, 8)
    assert torch.isfinite(samples).all(), widgets
    return samples


def test_every_sampler(scene, parts):
    """All are finite, and most differ (several are the same method in two steps without noise)."""
    found = {name: sample(scene, parts, sampler_name=name) for name in names("SAMPLERS")}
    assert len(found) >= 40
    assert len({samples.sum().item() for samples in found.values()}) > len(found) // 2


def test_every_scheduler(scene, parts):
    """All are finite, and most place the middle step elsewhere."""
    found = {name: sample(scene, parts, scheduler=name) for name in names("SCHEDULERS")}
    assert len(found) >= 9
    assert len({samples.sum().item() for samples in found.values()}) > len(found) // 2


def test_latent_upscale_and_a_second_pass(scene):
    """The upscaled latents are sampled again with the same poses, PTM and reference picture."""
    graph = scene.graph()
    graph["larger"] = {
        "class_type": "LatentUpscaleBy",
        "inputs": {"samples": ["sampler", 0], "upscale_method": "bilinear", "scale_by": 1.5},
    }
    second = {**graph["sampler"]["inputs"], "latent_image": ["larger", 0], "denoise": 0.5, "steps": 2}
    graph["again"] = {"class_type": "KSampler", "inputs": second}
    graph["end"] = {"class_type": "TestCapture", "inputs": {"value": ["again", 0]}}
    graph["upscaled"] = {"class_type": "TestCapture", "inputs": {"value": ["larger", 0]}}
    result = scene.host.run_graph(graph)
    refined, upscaled = (result.value(node)["samples"] for node in ("end", "upscaled"))
    assert refined.shape == upscaled.shape == (FRAMES, 4, SIZE * 3 // 2, SIZE * 3 // 2)
    assert torch.isfinite(refined).all()
    assert error(refined, upscaled) > 1e-3


def person() -> torch.Tensor:
    """A mask of the middle of the picture, ``[1, height, width]`` in pixels."""
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[:, 32:96, 32:96] = 1
    return mask


def inside() -> torch.Tensor:
    return person()[:, ::8, ::8].bool().expand(4, -1, -1)


@pytest.fixture(scope="module")
def vae(scene):
    """A VAE of ComfyUI's class."""
    import comfy.sd
    import comfy.utils

    from tests.helpers.tiny_models import tiny_vae

    path = scene.host.base / "models" / "vae" / "chaining.safetensors"
    path.parent.mkdir(exist_ok=True)
    tiny_vae(path)
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)))


@pytest.mark.parametrize("node", ["KSampler", "TCANMultiDiffusionSampler"])
@pytest.mark.parametrize("way", ["SetLatentNoiseMask", "VAEEncodeForInpaint"])
def test_only_the_person_moves(scene, vae, node, way):
    """In every frame the latents outside of the mask are the source's and those inside are new."""
    call = scene.host.node
    picture = torch.rand(FRAMES, 8 * SIZE, 8 * SIZE, 3, generator=torch.Generator().manual_seed(1))
    if way == "SetLatentNoiseMask":
        (latents,) = call("VAEEncode")(pixels=picture, vae=vae)
        (latents,) = call("SetLatentNoiseMask")(samples=latents, mask=person())
    else:
        (latents,) = call("VAEEncodeForInpaint")(pixels=picture, vae=vae, mask=person(), grow_mask_by=0)
    sampler = {"steps": 2}
    if node != "KSampler":
        sampler |= {"window_length": 2, "window_overlap": 0, "closed_loop": False, "add_noise": True, "noise_mode": "independent"}
    video = scene.video(latents=latents, sampler=sampler, sampler_node=node)
    for frame, source in zip(video, latents["samples"]):
        assert error(frame[~inside()], source[~inside()]) <= 1e-5
        assert error(frame[inside()], source[inside()]) > 1e-2
    other = scene.video(latents=latents, sampler=sampler, sampler_node=node, appearance_strength=0.0)
    assert error(other[:, inside()], video[:, inside()]) > 1e-3


def test_differential_diffusion(scene):
    """A soft mask gives the step at which a pixel begins to change; TCAN keeps the model's mask function."""
    soft = torch.linspace(0, 1, 8 * SIZE).expand(1, 8 * SIZE, -1)
    source = {"samples": torch.randn(FRAMES, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(2))}
    (latents,) = scene.host.node("SetLatentNoiseMask")(samples=source, mask=soft)
    link = ("DifferentialDiffusion", {})
    settings = {"latents": latents, "sampler": {"steps": 3}}
    before, after = scene.video(before=[link], **settings), scene.video(after=[link], **settings)
    assert torch.equal(before, after)
    assert error(after, scene.video(**settings)) > 1e-3
    changed = (after - source["samples"]).abs().mean(dim=(0, 1, 2))
    assert changed[0] < changed[-1] / 10


def test_custom_sampling(scene, parts):
    """SamplerCustomAdvanced with split sigmas: two halves are the whole."""
    node = scene.host.node
    (guider,) = node("CFGGuider")(**parts, cfg=1.0)
    (sampler,) = node("KSamplerSelect")(sampler_name="euler")
    (sigmas,) = node("BasicScheduler")(model=parts["model"], scheduler="normal", steps=2, denoise=1.0)
    (noise,), (silence,) = node("RandomNoise")(noise_seed=5), node("DisableNoise")()
    custom = node("SamplerCustomAdvanced")
    high, low = node("SplitSigmas")(sigmas=sigmas, step=1)
    latents = {"samples": torch.zeros(FRAMES, 4, 8, 8)}
    (half, _) = custom(noise=noise, guider=guider, sampler=sampler, sigmas=high, latent_image=latents)
    (whole, _) = custom(noise=silence, guider=guider, sampler=sampler, sigmas=low, latent_image=half)
    assert error(whole["samples"], sample(scene, parts)) <= 1e-5
