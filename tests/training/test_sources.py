"""Pretrained weights in the common layouts, by their tensors' names and shapes."""

import gzip
import json

import pytest
import torch

pytest.importorskip("diffusers")

from tcan_modules.training import sources
from tcan_modules.training.networks import cut_tail, new_controlnet, new_unet
from tcan_modules.training.vae import vae_from_state
from tcan_modules.weights.architecture import read_architecture
from tcan_modules.weights.messages import CheckpointError

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
    found = sources._part(sources._diffusers_file(tmp_path / "model", "unet"), "model")
    assert found.architecture == start.checkpoint.unet.architecture
    with pytest.raises(CheckpointError, match="holds no controlnet"):
        sources._diffusers_file(tmp_path / "model", "controlnet")


def test_a_file_without_a_vae_is_an_error():
    with pytest.raises(ValueError, match="holds no VAE"):
        vae_from_state({"x": torch.zeros(1)}, "file")
