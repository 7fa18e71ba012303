"""Bad input: one clear sentence that says what is wrong and what to do; nothing stays patched."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.graph_error import GraphError
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import FOLDER, install, tensors


def fails(host, class_id: str, message: str, **inputs) -> str:
    """Run one node in a graph and return its error, which must match and be one clear sentence."""
    widgets, prompt = {}, {}
    for name, value in inputs.items():
        if isinstance(value, (int, float, str)):
            widgets[name] = value
        else:
            prompt[name] = Fed(value)
            widgets[name] = [name, 0]
    prompt["node"] = {"class_type": class_id, "inputs": widgets}
    prompt["end"] = capture("node")
    with pytest.raises(GraphError, match=message) as caught:
        host.run_graph(prompt)
    text = caught.value.message
    assert "Traceback" not in text and "\n" not in text
    assert 40 < len(text) < 420
    return text


APPLY = {"appa_strength": 1.0, "appearance_strength": 1.0, "beta_schedule": "linear"}
SAMPLER = {
    "seed": 0,
    "steps": 2,
    "cfg": 3.0,
    "sampler_name": "ddim",
    "scheduler": "ddim_uniform",
    "denoise": 1.0,
    "window_length": 8,
    "window_overlap": 2,
    "closed_loop": False,
    "add_noise": True,
    "noise_mode": "repeat_window",
}


def put(host, name: str, content: bytes) -> str:
    (host.base / "models" / "tcan" / name).write_bytes(content)
    return name


def test_no_checkpoint(host):
    (host.base / "models" / "tcan" / "empty").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        host.node("TCANLoad")(checkpoint="empty")
    with pytest.raises(ValueError, match="There is no TCAN checkpoint 'gone'"):
        host.node("TCANLoad")(checkpoint="gone")
    with pytest.raises(ValueError, match="There is no TCAN checkpoint"):
        host.node("TCANLoad")(checkpoint="../../user")


def test_wrong_kind_of_file(host):
    fails(host, "TCANLoad", "is not a plain weight file", checkpoint=put(host, "text.ckpt", b"my notes " * 1000))
    whole = (FOLDER / "unet.safetensors").read_bytes()
    fails(host, "TCANLoad", "damaged or incomplete", checkpoint=put(host, "cut.safetensors", whole[:100_000]))
    sdxl = {
        "conv_in.weight": torch.zeros(4),
        "up_blocks.0.x": torch.zeros(1),
        "add_embedding.linear_1.weight": torch.zeros(1),
    }
    save_file(sdxl, host.base / "models" / "tcan" / "sdxl.safetensors")
    fails(host, "TCANLoad", "SDXL", checkpoint="sdxl.safetensors")


def test_a_tensor_is_missing(host, reference):
    install(host, "short")
    broken = load_file(FOLDER / "unet.safetensors")
    del broken["mid_block.resnets.1.conv2.weight"]
    save_file(broken, host.base / "models" / "tcan" / "short" / "unet.safetensors")
    (tcan, _) = host.node("TCANLoad")(checkpoint="short")
    fails(host, "TCANApply", r"incomplete: 1 tensors are missing", tcan=tcan, appearance=reference.appearance, **APPLY)


@pytest.mark.parametrize(
    ("part", "node", "message"),
    [
        ("unet", "TCANApply", "has no denoising UNet"),
        ("appearance_encoder", "TCANApply", "has no appearance encoder"),
        (
            "temporal_controlnet",
            "TCANTemporalControlNet",
            "has no temporal layers for the ControlNet|has no ControlNet",
        ),
    ],
)
def test_a_part_of_the_trio_is_missing(host, reference, part, node, message):
    name = f"without_{part}"
    install(host, name, tuple(each for each in ("unet", "appearance_encoder", "temporal_controlnet") if each != part))
    (tcan, _) = host.node("TCANLoad")(checkpoint=name)
    inputs = APPLY | {"appearance": reference.appearance} if node == "TCANApply" else {"temporal_strength": 1.0}
    fails(host, node, message, tcan=tcan, **inputs)


def test_appearance_encode_without_encoder(host):
    install(host, "without_appearance_encoder", ("unet", "temporal_controlnet"))
    (tcan, _) = host.node("TCANLoad")(checkpoint="without_appearance_encoder")
    fails(
        host,
        "TCANAppearanceEncode",
        "no appearance encoder",
        tcan=tcan,
        vae=object(),
        image=torch.zeros(1, 64, 64, 3),
        width=0,
        height=0,
    )


def test_no_empty_prompt(host, reference):
    """The trio has none: Load TCAN works, and a node that uses that output fails."""
    prompt = {
        "load": {"class_type": "TCANLoad", "inputs": {"checkpoint": install(host)}},
        "tcan": capture("load", 0),
        "prompt": capture("load", 1),
    }
    result = host.run_graph(prompt)
    assert "tcan" in result.outputs
    said = [data["exception_message"] for event, data in result.messages if event == "execution_error"]
    assert len(said) == 1 and "has no embedding of the empty prompt: use CLIP Text Encode" in said[0]


def test_no_vae(host, reference):
    with pytest.raises(ValueError, match="has no VAE, which this node needs: use the VAE of Load Checkpoint"):
        host.node("TCANVAE")(tcan=reference.tcan)


def test_a_model_of_another_kind(host, reference):
    """A wider SD1.x model, and an object that is not a model."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    architecture = host.pack_module("tcan_modules.weights.architecture")
    wide = architecture.Architecture(
        4, 4, (64, 64, 128, 128), (2, 2, 2, 2), ((1, 1),) * 3 + ((0, 0),), 1, ((0,) * 3,) + ((1,) * 3,) * 3, 48
    )
    config = comfy.supported_models.SD15(wide.host_config())
    other = comfy.model_patcher.ModelPatcher(comfy.model_base.BaseModel(config), torch.device("cpu"), torch.device("cpu"))
    inputs = APPLY | {"tcan": reference.tcan, "appearance": reference.appearance}
    fails(host, "TCANApply", "This model does not fit the TCAN checkpoint", model=other, **inputs)
    assert not other.patches and not other.wrappers

    fails(host, "TCANApply", "already went through APPA Apply", model=reference.apply(), **inputs)


def test_a_control_net_of_another_kind(host, reference):
    import comfy.controlnet

    lora = comfy.controlnet.ControlLora({})
    fails(
        host,
        "TCANTemporalControlNet",
        "works with SD1.x ControlNets",
        tcan=reference.tcan,
        control_net=lora,
        temporal_strength=1.0,
    )


def test_a_vae_of_another_kind(host, reference):
    class Wide:
        def encode(self, pixels):
            return torch.zeros(1, 16, 8, 8)

    fails(
        host,
        "TCANAppearanceEncode",
        "latents of 4 channels",
        tcan=reference.tcan,
        vae=Wide(),
        image=torch.zeros(1, 64, 64, 3),
        width=0,
        height=0,
    )


def test_poses(host):
    black = torch.zeros(4, 32, 32, 3)
    drawn = black.clone()
    drawn[:, 4:8, 4:8] = 1
    fails(host, "TCANPTMBuilder", "all are black", pose_images=black, tau=3.0, min_resolution=0)
    fails(
        host,
        "TCANPTMBuilder",
        "mask is empty",
        pose_images=drawn,
        tau=3.0,
        min_resolution=0,
        mask=torch.zeros(1, 32, 32),
    )
    fails(
        host,
        "TCANPTMBuilder",
        "The mask has 3 frames",
        pose_images=drawn,
        tau=3.0,
        min_resolution=0,
        mask=torch.ones(3, 32, 32),
    )


def sample(reference, frames: int, *, poses: int | None = None, ptm=None, **settings):
    model = reference.apply(**({"ptm": ptm} if ptm is not None else {}))
    net = reference.control_net() if poses is not None else None
    positive, negative = reference.conditioning(net, reference.poses[:poses])
    inputs = (
        SAMPLER
        | settings
        | {
            "model": model,
            "positive": positive,
            "negative": negative,
            "latent_image": {"samples": torch.zeros(frames, 4, 16, 16)},
        }
    )
    return inputs


def test_different_numbers_of_frames(host, reference):
    fails(host, "TCANMultiDiffusionSampler", "given 12 pose images, but 10 latents", **sample(reference, 10, poses=12))
    ptm = reference.ptm(pose_images=reference.poses[:12])
    fails(host, "TCANMultiDiffusionSampler", "built from 12 pose images, but 10 latents", **sample(reference, 10, ptm=ptm))


def test_windows(host, reference):
    message = "must be smaller than window_length"
    fails(host, "TCANMultiDiffusionSampler", message, **sample(reference, 4, window_length=8, window_overlap=8))
    fails(host, "TCANMultiDiffusionSampler", "at most 24 frames", **sample(reference, 4, window_length=25))
    model = reference.apply()
    windows = {"window_length": 4, "window_overlap": 9, "closed_loop": False}
    fails(host, "TCANMultiDiffusion", message, model=model, **windows)
    assert "context_handler" not in model.model_options


def test_longer_than_the_position_table(host, reference):
    """The stock sampler without windows, on more frames than the temporal layers can take."""
    settings = {"seed": 0, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    inputs = sample(reference, 25)
    inputs = settings | {name: inputs[name] for name in ("model", "positive", "negative", "latent_image")}
    fails(host, "KSampler", "see at most 24 frames at once, but 25 were given", **inputs)


def test_save_never_overwrites(host, reference):
    save = host.node("TCANSave")
    folder = host.base / "models" / "tcan"
    save(tcan=reference.tcan, filename="mine")
    first = (folder / "mine.safetensors").read_bytes()
    save(tcan=reference.tcan, filename="mine.safetensors")  # the same file again: nothing to do
    install(host, "smaller", ("appearance_encoder",))
    (smaller, _) = host.node("TCANLoad")(checkpoint="smaller")
    with pytest.raises(ValueError, match="exists and holds something else"):
        save(tcan=smaller, filename="mine")
    assert (folder / "mine.safetensors").read_bytes() == first
    assert not list(folder.glob("*.part"))
    for name in ("../mine", "a/b", "", "..", "c:\\x"):
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            save(tcan=smaller, filename=name)


def test_saved_file_gives_the_same(host, reference):
    """Load, save, load: the same latents, bit for bit."""
    shutil.rmtree(host.base / "models" / "tcan" / "again", ignore_errors=True)
    host.node("TCANSave")(tcan=reference.tcan, filename="again")
    (packed, _) = host.node("TCANLoad")(checkpoint="again.safetensors")
    results = []
    for tcan in (reference.tcan, packed):
        (appearance,) = host.node("TCANAppearanceEncode")(tcan=tcan, vae=_vae(), image=torch.zeros(1, 128, 128, 3))
        (model,) = host.node("TCANApply")(tcan=tcan, appearance=appearance)
        (net,) = host.node("TCANTemporalControlNet")(tcan=tcan)
        positive, negative = reference.conditioning(net, reference.poses[:4])
        latents = {"samples": torch.zeros(4, 4, 16, 16)}
        node = host.node("TCANMultiDiffusionSampler")
        results.append(node(model=model, positive=positive, negative=negative, latent_image=latents, steps=2)[0]["samples"])
    assert torch.equal(*results)


def _vae():
    from tests.helpers.reference_set import LatentVAE

    return LatentVAE(tensors()["reference_latent"])
