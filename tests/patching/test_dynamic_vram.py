"""Graphs in turn in one ComfyUI with dynamic VRAM: a seed always gives the same, correct bits."""

import collections

import pytest
import torch

from tests.helpers import wide_models
from tests.helpers.dynamic_vram import dynamic_vram
from tests.helpers.graphs import node
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import error
from tests.helpers.workflow_files import animate_files

FILES = {"checkpoint": "wide.safetensors", "control_net": "wide.pth", "lora": "wide_lora.safetensors", "parts": "wide"}
SAMPLER = {"steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}


@pytest.fixture(scope="module")
def files(host):
    base = host.base
    animate_files(base, frames=5, width=64, height=48)
    for folder in ("checkpoints", "loras", "controlnet"):
        (base / "models" / folder).mkdir(parents=True, exist_ok=True)
    wide_models.checkpoint(base / "models" / "checkpoints" / FILES["checkpoint"])
    wide_models.control_net(base / "models" / "controlnet" / FILES["control_net"])
    wide_models.lora(base / "models" / "loras" / FILES["lora"])
    wide_models.public_parts(base / "models" / "tcan" / FILES["parts"])
    return base


def loaders() -> dict:
    """All loaders. Every graph has them, so that the host keeps their models between graphs."""
    graph = {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=FILES["checkpoint"]),
        "lora": node("LoraLoaderModelOnly", model=["checkpoint", 0], lora_name=FILES["lora"], strength_model=0.8),
        "net": node("ControlNetLoader", control_net_name=FILES["control_net"]),
        "parts": node("TCANLoad", checkpoint=FILES["parts"]),
        "packed": node("TCANLoad", checkpoint="tcan.safetensors"),
        "vae": node("VAELoader", vae_name="vae-ft-mse-840000-ema-pruned.safetensors"),
        "text": node("CLIPTextEncode", clip=["checkpoint", 1], text=""),
        "words": node("CLIPTextEncode", clip=["checkpoint", 1], text="a walk"),
        "character": node("LoadImage", image="character.png"),
        "poses": node("LoadImage", image="poses.webp"),
        "ptm": node("TCANPTMBuilder", pose_images=["poses", 0]),
        "latents": node("EmptyLatentImage", width=64, height=48, batch_size=5),
        "seen": node("TCANAppearanceEncode", tcan=["parts", 0], vae=["checkpoint", 2], image=["character", 0], height=48),
        "known": node("TCANAppearanceEncode", tcan=["packed", 0], vae=["vae", 0], image=["character", 0], height=48),
        "packed net": node("TCANTemporalControlNet", tcan=["packed", 0]),
        # public parts have no temporal layers for a ControlNet: the stock one, in our windows
        "parts net": node("TCANTemporalControlNet", tcan=["parts", 0], control_net=["net", 0], temporal_strength=0.0),
    }
    return graph | {f"keep {name}": capture(name) for name in graph}


def animated(model: str, **widgets) -> dict:
    packed = model == "packed"
    inputs = {"tcan": [model if packed else "parts", 0], "appearance": ["known" if packed else "seen", 0], "ptm": ["ptm", 0]}
    return node("TCANApply", **inputs, **widgets, **({} if packed else {"model": [model, 0]}))


def graph(kind: str) -> dict:
    """A graph of this kind; its seed is new to the host's cache, but always the same number."""
    base, texts = loaders(), (["words", 0], ["text", 0])
    if kind.startswith("packed"):
        texts = (["packed", 1], ["packed", 1])
    nets = {"stock": "net", "temporal": "parts net", "packed": "packed net"}
    name = kind.partition(" ")[0]
    last = "lora" if "lora" in kind else "checkpoint"
    if name in nets:
        if "zsnr" in kind:
            base["zsnr"] = node("ModelSamplingDiscrete", model=[last, 0], sampling="v_prediction", zsnr=True)
            last = "zsnr"
        schedule = {"beta_schedule": "scaled_linear"} if "own betas" in kind else {}
        base["apply"] = animated("packed" if name == "packed" else last, **schedule)
        last = "apply"
        if "windows" in kind:
            base["windows"] = node("TCANMultiDiffusion", model=[last, 0], window_length=3, window_overlap=1, closed_loop=False)
            last = "windows"
        prompts = {"positive": texts[0], "negative": texts[1], "control_net": [nets[name], 0], "image": ["poses", 0]}
        base["control"] = node("ControlNetApplyAdvanced", **prompts)
        texts = (["control", 0], ["control", 1])
    prompts = {"positive": texts[0], "negative": texts[1], "latent_image": ["latents", 0]}
    base["seed"] = Fed(3)
    base["sampler"] = node("KSampler", model=[last, 0], seed=["seed", 0], **prompts, **SAMPLER)
    return base | {"end": capture("sampler")}


def sample(host, executor, kind: str) -> torch.Tensor:
    return host.run_graph(graph(kind), executor=executor).value("end")["samples"]


ORDERS = {
    "stock ControlNet around pictures": ["stock", "plain", "stock", "plain lora", "stock lora", "plain", "stock"],
    "temporal ControlNet": [
        "plain",
        "stock",
        "plain",
        "temporal",
        "plain",
        "stock",
        "stock",
        "temporal",
        "temporal windows",
        "plain",
    ],
    "packed networks": ["packed", "plain", "packed windows", "temporal", "packed", "packed windows", "plain"],
    "other schedules": [
        "stock own betas",
        "plain",
        "stock zsnr",
        "plain",
        "stock zsnr own betas",
        "stock own betas",
        "stock zsnr",
        "plain",
    ],
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_same_bits_in_any_order(host, files, order):
    """Each result equals the one without dynamic VRAM, where each graph has an executor of its own.

    The host rounds a LoRA to the weights' float16 in only one of the two, so a graph with LoRA is compared with its first run.
    """
    kinds = ORDERS[order]
    right = {kind: sample(host, host.executor(), kind) for kind in dict.fromkeys(kinds) if "lora" not in kind}
    first: dict[str, torch.Tensor] = {}
    with dynamic_vram() as given_up:
        executor = host.executor()
        for place, kind in enumerate(kinds):
            found = sample(host, executor, kind)
            assert torch.equal(found, first.setdefault(kind, found)), (place, kind)
            assert kind not in right or error(found, right[kind]) <= 1e-5, (place, kind)
    assert not given_up


def test_a_checkpoint_is_read_once(host, files, monkeypatch):
    import comfy.utils

    reads, read = collections.Counter(), comfy.utils.load_torch_file

    def counting(path, *args, **kwargs):
        reads[str(path)] += 1
        return read(path, *args, **kwargs)

    monkeypatch.setattr(comfy.utils, "load_torch_file", counting)
    with dynamic_vram():
        executor = host.executor()
        for kind in ("temporal windows", "packed", "temporal"):
            sample(host, executor, kind)
    assert reads and set(reads.values()) == {1}
    assert any(path.endswith(FILES["checkpoint"]) for path in reads)


def test_our_networks_are_dynamic_too(host, files):
    with dynamic_vram():
        (tcan, _) = host.node("TCANLoad")(checkpoint="tcan.safetensors")
        layers = tcan.temporal("unet_temporal", tcan.unet.model.diffusion_model.num_res_blocks)
        for patcher in (tcan.unet, tcan.appearance, layers, tcan.control_net.control_model_wrapped):
            assert patcher.is_dynamic()
        for patcher in (tcan.unet, tcan.appearance, layers):
            plain = patcher.clone(disable_dynamic=True)  # as the host does for prompts with hooks
            assert not plain.is_dynamic() and plain.model is not patcher.model
