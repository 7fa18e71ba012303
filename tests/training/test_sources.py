"""Pretrained weights in the common layouts, by their tensors' names and shapes."""

import gzip
import json
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("diffusers")

from tcan_modules.training import sources
from tcan_modules.training.folders import read_part
from tcan_modules.training.networks import cut_tail, new_controlnet, new_unet
from tcan_modules.training.vae import vae_from_state
from tcan_modules.weights.architecture import read_architecture
from tcan_modules.weights.messages import CheckpointError
from tests.helpers.untrusted_files import bombs

from .parts import REFERENCE, tiny_start


def shapes(network) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def test_networks_have_the_names_and_shapes_of_the_authors_files():
    path = REFERENCE / "authors_tensors.json.gz"
    with gzip.open(path) as file:
        theirs = json.load(file)
    with torch.device("meta"):
        unet, controlnet, appearance = new_unet(sources.SD15), new_controlnet(sources.SD15), new_unet(sources.SD15)
    cut_tail(appearance)
    plain = {name.replace(".base_layer.", "."): shape for name, shape in theirs["unet"].items() if ".lora_" not in name}
    assert shapes(unet) == {name: shape for name, shape in plain.items() if "motion_modules" not in name}
    assert shapes(appearance) == theirs["appearance_encoder"]
    frozen = {name: shape for name, shape in theirs["temporal_controlnet"].items() if "motion_modules" not in name}
    assert shapes(controlnet) == frozen


@pytest.mark.parametrize("controlnet, prefix", [(False, "model.diffusion_model."), (True, "control_model."), (True, "")])
def test_original_names_are_read(controlnet, prefix):
    with torch.device("meta"):
        network = (new_controlnet if controlnet else new_unet)(sources.SD15).state_dict()
    original = {prefix + host: network[name] for name, host in sources._standard_names(controlnet).items()}
    assert len(original) == len(network)
    renamed = sources._renamed(original, (prefix,))
    assert {name: tensor.shape for name, tensor in renamed.items()} == {name: tensor.shape for name, tensor in network.items()}
    assert read_architecture(renamed).block_channels == sources.SD15.block_channels
    original.popitem()
    with pytest.raises(CheckpointError, match="1 tensors of SD1.5 are missing"):
        sources._renamed(original, (prefix,))


def test_a_diffusers_folder(tmp_path):
    start = tiny_start()
    folder = tmp_path / "model" / "unet"
    folder.mkdir(parents=True)
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in start.checkpoint.unet.tensors.items()},
              folder / "diffusion_pytorch_model.safetensors")  # fmt: skip
    found = sources._part(read_part(tmp_path / "model", "unet"), "model")
    assert found.architecture == start.checkpoint.unet.architecture
    with pytest.raises(CheckpointError, match="holds no controlnet"):
        read_part(tmp_path / "model", "controlnet")


def test_a_file_without_a_vae_is_an_error():
    with pytest.raises(ValueError, match="holds no VAE"):
        vae_from_state({"x": torch.zeros(1)}, "file")


OLD_NAMES = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}


@pytest.mark.parametrize("old", [False, True])
def test_the_vae_of_a_diffusers_folder(old, tmp_path):
    """As files of older and newer diffusers name it."""
    from diffusers import AutoencoderKL

    from tcan_modules.training import vae

    given = AutoencoderKL(**vae._SD_VAE).state_dict()
    renamed = dict(given)
    for new, before in OLD_NAMES.items() if old else ():
        renamed = {name.replace(new, before): tensor for name, tensor in renamed.items()}
    (tmp_path / "vae").mkdir()
    torch.save(renamed, tmp_path / "vae" / "diffusion_pytorch_model.bin")
    read = vae.load_vae(tmp_path).vae.state_dict()
    assert read.keys() == given.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in given.items())
    del renamed["decoder.conv_out.bias"]
    with pytest.raises(ValueError, match="incomplete"):
        vae.vae_from_state(renamed, "file")


def test_the_text_encoder_of_a_diffusers_folder(tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModel

    encoder = CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408)
    ).eval()
    state = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in encoder.state_dict().items()}
    (tmp_path / "text_encoder").mkdir()
    path = tmp_path / "text_encoder" / "pytorch_model.bin"
    torch.save(state, path)
    with torch.no_grad():
        expected = encoder(torch.tensor([[sources.BEGIN] + [sources.END] * 76])).last_hidden_state
    assert torch.equal(sources._empty_prompt(tmp_path), expected)
    state["text_model.final_layer_norm.bias"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="not SD1.5's"):
        sources._empty_prompt(tmp_path)


FOLDERS = """
import sys
from pathlib import Path
from tcan_modules.training.folders import read_part
from tcan_modules.training.sources import _empty_prompt
from tcan_modules.training.vae import load_vae
from tests.helpers.untrusted_files import MANY, report_memory
reads = (lambda folder: read_part(folder, "unet"), load_vae, _empty_prompt)
folders = sorted(Path(sys.argv[1]).iterdir())
attempts = ((folder.name, lambda folder=folder, read=read: read(folder)) for folder in folders for read in reads)
report_memory(attempts, MANY // 3)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not limit a process by itself")
def test_bombs_in_a_diffusers_folder(tmp_path):
    """In a separate process, whose peak memory counts."""
    for name, content in bombs().items():
        for part, file in (
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
            ("text_encoder", "pytorch_model"),
        ):
            folder = tmp_path / name / part
            folder.mkdir(parents=True)
            suffix = ".safetensors" if name.endswith(".safetensors") else ".bin"
            (folder / f"{file}{suffix}").write_bytes(content)
    result = subprocess.run([sys.executable, "-c", FOLDERS, tmp_path], capture_output=True, text=True)
    assert result.stdout.startswith("done"), result.stdout + result.stderr
