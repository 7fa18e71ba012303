"""Checkpoint layouts, recognized by their tensors."""

import gzip
import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from tcan_modules.weights.architecture import read_architecture
from tcan_modules.weights.checkpoint import load_checkpoint, pack
from tcan_modules.weights.layouts import Part, split_file
from tcan_modules.weights.messages import CheckpointError
from tcan_modules.weights.naming import split_temporal, to_host
from tcan_modules.weights.reading import read_file
from tests.helpers.reference_set import FOLDER


def trio() -> dict[str, dict[str, torch.Tensor]]:
    return {part: load_file(FOLDER / f"{part}.safetensors") for part in ("unet", "appearance_encoder", "temporal_controlnet")}


def authors_tensors() -> dict[str, dict[str, torch.Tensor]]:
    """Every tensor of the published files, on the meta device."""
    with gzip.open(FOLDER / "authors_tensors.json.gz") as file:
        shapes = json.load(file)
    return {part: {name: torch.empty(shape, device="meta") for name, shape in names.items()} for part, names in shapes.items()}


def is_temporal(name: str) -> bool:
    return "motion_modules" in name


def test_published_files_fill_the_hosts_networks(host):
    """The published files' tensors fill every place of the host's SD1.5 networks, and none is left over."""
    import comfy.cldm.cldm
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    appearance_unet = host.pack_module("tcan_modules.networks.appearance").AppearanceUNet
    found = {}
    for part, names in authors_tensors().items():
        found |= split_file(names, part)
    assert set(found) == {"unet", "appa", "unet_temporal", "appearance", "controlnet", "controlnet_temporal"}
    assert len(found["appa"].tensors) == 192

    for key in ("unet", "appearance", "controlnet"):
        architecture = found[key].architecture
        assert architecture.block_channels == (320, 640, 1280, 1280)
        config = architecture.host_config() | {"device": "meta"}
        if key == "controlnet":
            config.pop("out_channels")
            network = comfy.cldm.cldm.ControlNet(**config, hint_channels=3)
        else:
            network = (UNetModel if key == "unet" else appearance_unet)(**config)
        ours = {name: tensor.shape for name, tensor in to_host(found[key].tensors, architecture).items()}
        assert ours == {name: tensor.shape for name, tensor in network.state_dict().items()}
        assert len(ours) == len(found[key].tensors)

    layers = found["unet"].architecture.layers
    assert len(split_temporal(found["unet_temporal"].tensors, layers)) == 8 + 12
    assert sorted(split_temporal(found["controlnet_temporal"].tensors, layers)) == [
        "input_10",
        "input_11",
        "input_7",
        "input_8",
    ]


@pytest.mark.parametrize("wrap", ["plain", "module", "state_dict"])
def test_authors_files(tmp_path, wrap):
    """Brackets and equal signs in file names, data-parallel prefixes, training wrappers."""
    for part, tensors in trio().items():
        if wrap == "module":
            tensors = {f"module.{name}": tensor for name, tensor in tensors.items()}
        content = {"state_dict": tensors, "global_step": 7} if wrap == "state_dict" else tensors
        torch.save(content, tmp_path / f"[{part}]_epoch=[3]_step=100.ckpt")
    loaded = load_checkpoint(tmp_path.iterdir(), "authors")
    parts = trio()
    assert loaded.unet.architecture.block_channels == (32, 32, 64, 64)
    assert len(loaded.unet_temporal.tensors) == sum(map(is_temporal, parts["unet"]))
    assert len(loaded.controlnet_temporal.tensors) == sum(map(is_temporal, parts["temporal_controlnet"]))
    assert len(loaded.appearance.tensors) == len(parts["appearance_encoder"])
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    assert torch.equal(loaded.unet.tensors[f"{name}.weight"], parts["unet"][f"{name}.base_layer.weight"])


def test_old_pickles(tmp_path):
    """Files of torch before 1.6 are one pickle instead of a zip."""
    file = tmp_path / "old.ckpt"
    torch.save(trio()["appearance_encoder"], file, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(file)
    assert load_checkpoint([file], "old").appearance is not None


def motion_module(version: int) -> dict[str, torch.Tensor]:
    """AnimateDiff's motion module: v2 has a layer in the middle block, v2 and v3 see 32 frames."""
    layers = {name: tensor for name, tensor in trio()["unet"].items() if is_temporal(name)}
    if version == 2:
        middle = {name: tensor for name, tensor in layers.items() if name.startswith("down_blocks.3.motion_modules.0.")}
        layers |= {name.replace("down_blocks.3", "mid_block", 1): tensor for name, tensor in middle.items()}
    if version > 1:
        layers = {
            name: torch.cat([tensor, tensor], dim=1)[:, :32] if name.endswith(".pe") else tensor
            for name, tensor in layers.items()
        }
    return layers


@pytest.mark.parametrize("version", [1, 2, 3])
def test_stage_1_beside_an_animatediff_module(tmp_path, version):
    parts = trio()
    stage_1 = {name: tensor for name, tensor in parts["unet"].items() if not is_temporal(name)}
    frozen = {name: tensor for name, tensor in parts["temporal_controlnet"].items() if not is_temporal(name)}
    torch.save(stage_1, tmp_path / "[UNet]_stage1.ckpt")
    torch.save(parts["appearance_encoder"], tmp_path / "[AppearanceEncoder].ckpt")
    torch.save(frozen, tmp_path / "openpose.ckpt")
    torch.save({"state_dict": motion_module(version), "epoch": 1}, tmp_path / f"mm_sd_v15_v{version}.ckpt")
    loaded = load_checkpoint(tmp_path.iterdir(), "public")
    assert len(split_temporal(loaded.unet_temporal.tensors, (2, 2, 2, 2))) == 20
    assert sorted(split_temporal(loaded.controlnet_temporal.tensors, (2, 2, 2, 2))) == [
        "input_10",
        "input_11",
        "input_7",
        "input_8",
    ]
    text = "\n".join(loaded.describe())
    assert ("middle block" in text) == (version == 2)
    assert "the motion module" in text


def test_public_parts_without_a_unet(tmp_path):
    """MagicAnimate's appearance encoder and temporal attention, whose names begin with `module.unet.`."""
    save_file(trio()["appearance_encoder"], tmp_path / "diffusion_pytorch_model.safetensors")
    torch.save(
        {f"module.unet.{name}": tensor for name, tensor in motion_module(1).items()},
        tmp_path / "temporal_attention.ckpt",
    )
    loaded = load_checkpoint(tmp_path.iterdir(), "magicanimate")
    assert loaded.unet is None and loaded.appa is None and loaded.controlnet is None
    assert loaded.appearance is not None
    assert len(split_temporal(loaded.unet_temporal.tensors, (2, 2, 2, 2))) == 20
    text = "\n".join(loaded.describe())
    assert "no denoising UNet: wire a model of Load Checkpoint" in text
    assert "no ControlNet: wire a ControlNet" in text


def test_an_appearance_encoder_with_its_head(tmp_path):
    """A whole UNet beside one with LoRA can only be the appearance encoder."""
    parts = trio()
    whole = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in parts["unet"].items()
        if not is_temporal(name) and ".lora_" not in name
    }
    save_file(whole, tmp_path / "a.safetensors")
    assert load_checkpoint([tmp_path / "a.safetensors"], "alone").unet is not None
    save_file(parts["unet"], tmp_path / "b.safetensors")
    loaded = load_checkpoint(tmp_path.iterdir(), "both")
    assert loaded.appearance.source == "a.safetensors"
    assert loaded.unet.source == "b.safetensors"


def test_packed_file(tmp_path):
    for part, tensors in trio().items():
        save_file(tensors, tmp_path / f"{part}.safetensors")
    loaded = load_checkpoint(tmp_path.iterdir(), "trio")
    loaded.empty_prompt = torch.randn(1, 7, 48)
    loaded.vae = Part({"taesd_encoder.0.weight": torch.randn(4)}, "vae.safetensors")
    packed = tmp_path / "packed" / "one.safetensors"
    packed.parent.mkdir()
    save_file(pack(loaded), packed)
    again = load_checkpoint([packed], "packed")
    for key in ("unet", "appa", "unet_temporal", "appearance", "controlnet", "controlnet_temporal", "vae"):
        before, after = getattr(loaded, key), getattr(again, key)
        assert before.architecture == after.architecture
        assert before.tensors.keys() == after.tensors.keys()
        assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)
    assert torch.equal(again.empty_prompt, loaded.empty_prompt)


@pytest.mark.parametrize("channels", [(32, 64), (64, 96, 128), (32, 64, 96, 128, 160)])
def test_other_widths_and_depths(host, channels):
    """The host's network takes the tensors of a diffusers UNet of any width and depth."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from diffusers import UNet2DConditionModel

    levels = len(channels)
    source = UNet2DConditionModel(
        block_out_channels=channels,
        layers_per_block=1 + levels % 2,
        cross_attention_dim=24,
        attention_head_dim=8,
        transformer_layers_per_block=[2, *([1] * (levels - 1))],
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
    ).eval()
    architecture = read_architecture(source.state_dict())
    ours = UNetModel(**architecture.host_config()).eval()
    ours.load_state_dict(to_host(source.state_dict(), architecture))
    x, t, text = torch.randn(2, 4, 32, 48), torch.tensor([481.0, 481.0]), torch.randn(2, 5, 24)
    with torch.no_grad():
        theirs = source(x, t, text).sample
        assert torch.allclose(ours(x, t, context=text), theirs, atol=1e-4 * float(theirs.abs().max()))


class Explodes:
    def __reduce__(self):
        return (print, ("CODE RAN",))


def test_pickles_never_run_code(tmp_path, capsys):
    evil = tmp_path / "evil.ckpt"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Explodes()))
        archive.writestr("archive/version", "3")
    for path in (evil, tmp_path / "raw.ckpt"):
        if not path.exists():
            path.write_bytes(pickle.dumps({"state_dict": Explodes()}))
        with pytest.raises(CheckpointError, match="never run"):
            read_file(path)
    assert "CODE RAN" not in capsys.readouterr().out


def test_unusable_files(tmp_path):
    text = tmp_path / "notes.ckpt"
    text.write_text("these are my notes about checkpoints\n" * 100)
    with pytest.raises(CheckpointError, match="'notes.ckpt' is not a plain weight file"):
        read_file(text)

    whole = (FOLDER / "unet.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="'cut.safetensors' is damaged or incomplete"):
        read_file(cut)
    torch.save(trio()["unet"], tmp_path / "whole.ckpt")
    half = tmp_path / "half.ckpt"
    half.write_bytes((tmp_path / "whole.ckpt").read_bytes()[:2_000_000])
    with pytest.raises(CheckpointError, match=r"'half\.ckpt' is"):
        read_file(half)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv_in.weight", "up_blocks.0.x", "add_embedding.linear_1.weight"], "SDXL"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "Load Checkpoint"),
        (["control_model.zero_convs.0.0.weight"], "Load ControlNet Model"),
        (["lora_unet_down_blocks_0.lora_up.weight"], "Load LoRA"),
        (["something.weight"], "holds no part of TCAN"),
        ([], "holds no part of TCAN"),
    ],
)
def test_other_kinds_of_files(names, message):
    with pytest.raises(CheckpointError, match=message):
        split_file({name: torch.zeros(2, 2) for name in names}, "file.safetensors")


def test_files_that_do_not_belong_together(tmp_path):
    parts = trio()
    save_file(parts["unet"], tmp_path / "a.safetensors")
    save_file(parts["unet"], tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="Both 'a.safetensors' and 'b.safetensors' hold"):
        load_checkpoint(tmp_path.iterdir(), "twice")
    narrow = {
        name: tensor[:16] if name == "down_blocks.0.resnets.0.conv1.weight" else tensor
        for name, tensor in parts["appearance_encoder"].items()
    }
    save_file({name: tensor.contiguous() for name, tensor in narrow.items()}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_checkpoint(tmp_path.iterdir(), "mixed")


@pytest.mark.parametrize("names", [["module"], ["model"], ["params_ema"], ["state_dict", "model"], ["model", "module", "params"]])
def test_dictionaries_around_a_state_dict(tmp_path, names):
    """As training tools write them, up to three deep."""
    content: dict = {"conv_in.weight": torch.ones(2, 3)}
    for name in names:
        content = {name: content, "global_step": 7}
    torch.save(content, tmp_path / "wrapped.ckpt")
    assert list(read_file(tmp_path / "wrapped.ckpt")) == ["conv_in.weight"]
