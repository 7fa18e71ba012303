"""Quantized UNets: GGUF files of ComfyUI-GGUF, and the host's float8."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import other_packs, wide_models
from tests.helpers.dynamic_vram import dynamic_vram
from tests.helpers.graphs import node
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import error
from tests.helpers.workflow_files import photograph, save_frames, walk

FRAMES, WIDTH, HEIGHT = 4, 64, 48
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
CHECKPOINT, FLOAT16, CONTROL_NET = "quantized.safetensors", "quantized_unet.safetensors", "quantized.pth"
GGUF, PARTS, WITH_APPA = "quantized_unet.gguf", "quantized", "quantized_appa"


@pytest.fixture(scope="module")
def files(host):
    """One UNet inside a checkpoint and as a separate file, and TCAN's public parts without and with APPA layers."""
    models = host.base / "models"
    for folder in ("checkpoints", "controlnet", "diffusion_models", "tcan"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    photograph(host.base / "input" / "quantized.png")
    save_frames(walk(FRAMES, WIDTH, HEIGHT), host.base / "input" / "quantized.webp")
    wide_models.checkpoint(models / "checkpoints" / CHECKPOINT)
    wide_models.control_net(models / "controlnet" / CONTROL_NET)
    save_file(unet(models), models / "diffusion_models" / FLOAT16)
    wide_models.public_parts(models / "tcan" / PARTS)
    wide_models.public_parts(models / "tcan" / WITH_APPA)
    wide_models.appa(models / "tcan" / WITH_APPA / "unet_lora.safetensors")
    return host.base


def unet(models) -> dict[str, torch.Tensor]:
    prefix = "model.diffusion_model."
    state = load_file(models / "checkpoints" / CHECKPOINT)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def quantized(files) -> str:
    """The UNet with matrices in Q8_0; like ComfyUI-GGUF's converter it keeps convolutions and vectors."""
    gguf = pytest.importorskip("gguf")
    other_packs.gguf.load()
    writer = gguf.GGUFWriter(str(files / "models" / "diffusion_models" / GGUF), "sd1")
    for name, tensor in unet(files / "models").items():
        kind = gguf.GGMLQuantizationType.Q8_0 if tensor.ndim == 2 else None
        values = tensor.float().numpy() if tensor.ndim < 3 else tensor.numpy()
        values = values if kind is None else gguf.quants.quantize(values, kind)
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUF


FLOAT16_UNET = node("UNETLoader", unet_name=FLOAT16, weight_dtype="default")
FLOAT8_UNET = node("UNETLoader", unet_name=FLOAT16, weight_dtype="fp8_e4m3fn")
GGUF_UNET = node("UnetLoaderGGUF", unet_name=GGUF)
NETS = ["none", "stock", "temporal"]


def graph(model: dict, net: str = "none", parts: str = PARTS) -> dict:
    texts = {"positive": ["words", 0], "negative": ["text", 0]}
    graph = {
        "model": model,
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "parts": node("TCANLoad", checkpoint=parts),
        "text": node("CLIPTextEncode", clip=["checkpoint", 1], text=""),
        "words": node("CLIPTextEncode", clip=["checkpoint", 1], text="a walk"),
        "character": node("LoadImage", image="quantized.png"),
        "poses": node("LoadImage", image="quantized.webp"),
        "ptm": node("TCANPTMBuilder", pose_images=["poses", 0]),
        "latents": node("EmptyLatentImage", width=WIDTH, height=HEIGHT, batch_size=FRAMES),
        "seen": node("TCANAppearanceEncode", tcan=["parts", 0], vae=["checkpoint", 2], image=["character", 0], height=HEIGHT),
        "apply": node("TCANApply", tcan=["parts", 0], appearance=["seen", 0], ptm=["ptm", 0], model=["model", 0]),
    }
    if net != "none":
        graph["stock"] = node("ControlNetLoader", control_net_name=CONTROL_NET)
        # public parts have no temporal layers for a ControlNet
        graph["temporal"] = node("TCANTemporalControlNet", tcan=["parts", 0], control_net=["stock", 0], temporal_strength=0.0)
        inputs = {**texts, "control_net": [net, 0], "image": ["poses", 0]}
        graph["control"] = node("ControlNetApplyAdvanced", **inputs)
        texts = {"positive": ["control", 0], "negative": ["control", 1]}
    graph["again"] = Fed(None)  # new to the host's cache: the sampler runs in every graph
    graph["sampler"] = node("KSampler", model=["apply", 0], latent_image=["latents", 0], **texts, **SAMPLER)
    return graph | {"end": capture("sampler")}


def sample(host, model: dict, executor=None, **options) -> torch.Tensor:
    samples = host.run_graph(graph(model, **options), executor=executor or host.executor()).value("end")["samples"]
    assert torch.isfinite(samples).all()
    return samples


@other_packs.gguf.needed
@pytest.mark.parametrize("net", NETS)
def test_gguf(host, quantized, net):
    """Close to float16; the same bits on repeat, also with dynamic VRAM."""
    exact, found = (sample(host, model, net=net) for model in (FLOAT16_UNET, GGUF_UNET))
    assert 1e-4 < error(found, exact) < 0.05
    assert torch.equal(sample(host, GGUF_UNET, net=net), found)
    with dynamic_vram() as given_up:
        for _ in range(2):
            assert torch.equal(sample(host, GGUF_UNET, net=net), found)
    assert given_up == []


@other_packs.gguf.needed
def test_gguf_with_appa(host, quantized):
    """APPA Apply's LoRA is added to the weights that ComfyUI-GGUF computes, and the next graph is free of it."""
    exact, plain = sample(host, FLOAT16_UNET, parts=WITH_APPA), sample(host, GGUF_UNET)
    found = sample(host, GGUF_UNET, parts=WITH_APPA)
    assert error(found, plain) > 1e-2
    assert error(found, exact) < 0.01 < error(sample(host, FLOAT16_UNET), exact)
    assert torch.equal(sample(host, GGUF_UNET, parts=WITH_APPA), found)
    assert torch.equal(sample(host, GGUF_UNET), plain)


@pytest.mark.parametrize("parts", [PARTS, WITH_APPA])
def test_float8(host, files, parts):
    """Load Diffusion Model's ``fp8_e4m3fn``."""
    exact, found = (sample(host, model, net="stock", parts=parts) for model in (FLOAT16_UNET, FLOAT8_UNET))
    assert 1e-4 < error(found, exact) < 0.2
    assert torch.equal(sample(host, FLOAT8_UNET, net="stock", parts=parts), found)
