"""A checkpoint's file that another program writes into (``cp new old``) while a graph uses it."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tcan_modules.weights.checkpoint import load_checkpoint, pack
from tcan_modules.weights.messages import CheckpointError
from tests.helpers.reference_set import FOLDER, TRIO
from tests.helpers.tiny_models import tiny_checkpoint
from tests.helpers.untrusted_files import assert_sentence

FORMATS = ["safetensors", "ckpt", "old pickle"]


def write(tensors: dict[str, torch.Tensor], folder, kind: str):
    path = folder / ("one.safetensors" if kind == "safetensors" else "one.ckpt")
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "ckpt")
    return path


@pytest.fixture(scope="module")
def tensors(tmp_path_factory) -> dict[str, torch.Tensor]:
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    tiny_checkpoint(path)
    return load_file(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mapped", [True, False])
def test_copies_have_the_files_numbers(tensors, tmp_path, kind, mapped):
    loaded = load_checkpoint([write(tensors, tmp_path, kind)], "one", mapped)
    packed = pack(loaded)
    assert packed.keys() == tensors.keys()
    assert all(torch.equal(packed[name], tensors[name]) for name in tensors)
    assert (loaded.unet.file is not None) == (mapped and kind != "old pickle")


def test_views_and_shared_memory(tmp_path):
    """Tensors of a pickle that are views: transposed, a column, two in one storage."""
    base = torch.arange(600_000.0).reshape(600, 1000)
    views = {"a": base, "b": base.T[:300], "c": base[:, 3], "d": base[5:7], "e": torch.tensor(3.0), "f": torch.empty(0, 4)}
    file = tmp_path / "views.ckpt"
    torch.save({f"tcan.unet_temporal.{name}": view for name, view in views.items()}, file)
    part = load_checkpoint([file], "views").unet_temporal
    assert all(torch.equal(tensor, views[name]) for name, tensor in part.numbers().items())


OVERWRITE = """
import os, sys
from pathlib import Path
import torch
from tcan_modules.weights.checkpoint import load_checkpoint, pack
from tcan_modules.weights.messages import CheckpointError
path = Path(sys.argv[1])
content = path.read_bytes()
loaded = load_checkpoint([path], "one", sys.argv[3] == "mapped")
factors = {name: tensor.clone() for name, tensor in loaded.appa.tensors.items()}
prompt = loaded.empty_prompt.clone()
state = path.stat()
with open(path, "r+b") as file:
    if sys.argv[2] == "cut":
        file.truncate(0)
    else:
        file.write(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
if sys.argv[2] == "same time":
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
assert all(torch.equal(tensor, factors[name]) for name, tensor in loaded.appa.tensors.items())
assert torch.equal(loaded.empty_prompt, prompt)
try:
    print(sum(float(tensor.sum()) for tensor in pack(loaded).values()))
except CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows locks files that are mapped")
@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
@pytest.mark.parametrize("how", ["cut", "same size", "same time"])
@pytest.mark.parametrize("mapped", ["mapped", "copied"])
def test_the_process_lives_and_says_so(tensors, tmp_path, kind, how, mapped):
    """In a process of its own, which a touch of the mapping would end."""
    path = write(tensors, tmp_path, kind)
    result = subprocess.run([sys.executable, "-c", OVERWRITE, path, how, mapped], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    if mapped == "mapped":
        assert "overwritten while it was in use: run the graph again" in result.stdout
    else:
        assert abs(float(result.stdout) - sum(float(tensor.sum()) for tensor in tensors.values())) < 1


def test_networks_are_not_built_from_an_overwritten_file(host, tensors, tmp_path):
    models = host.pack_module("tcan_modules.networks.host_models")
    load = host.pack_module("tcan_modules.weights.checkpoint").load_checkpoint
    path = write(tensors, tmp_path, "safetensors")
    tcan, built = (models.TCANModels(load([path], "one")) for _ in range(2))
    weights = {name: tensor.clone() for name, tensor in built.unet.model.state_dict().items()}
    with open(path, "r+b") as file:
        file.truncate(100)
    for build in (
        lambda: tcan.unet,
        lambda: tcan.appearance,
        lambda: tcan.control_net,
        lambda: tcan.temporal("unet_temporal", (2, 2, 2, 2)),
        lambda: tcan.temporal("controlnet_temporal", (2, 2, 2, 2)),
    ):
        with pytest.raises(ValueError, match="overwritten") as caught:
            build()
        assert_sentence(caught.value)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in built.unet.model.state_dict().items())


def test_a_file_that_was_replaced_or_deleted_keeps_its_numbers(tensors, tmp_path):
    path = write(tensors, tmp_path, "safetensors")
    loaded = load_checkpoint([path], "one")
    (tmp_path / "new").write_bytes(b"something else")
    os.replace(tmp_path / "new", path)
    path.unlink()
    assert torch.equal(pack(loaded)["tcan.unet.conv_in.weight"], tensors["tcan.unet.conv_in.weight"])


def test_a_file_overwritten_while_it_is_opened(tmp_path, monkeypatch):
    from tcan_modules.weights import reading

    path = tmp_path / "unet.safetensors"
    whole = (FOLDER / f"{TRIO[0]}.safetensors").read_bytes()
    read = reading.read_file

    def overwritten(path):
        tensors = read(path)
        path.write_bytes(path.read_bytes()[:-100])
        return tensors

    monkeypatch.setattr(reading, "read_file", overwritten)
    for mapped in (True, False):
        path.write_bytes(whole)
        with pytest.raises(CheckpointError, match="overwritten"):
            load_checkpoint([path], "one", mapped)


def test_disable_mmap_reaches_the_reader(host, tensors, tmp_path, monkeypatch):
    folder = host.pack_module("tcan_modules.model_folder")
    path = write(tensors, tmp_path, "safetensors")
    monkeypatch.setattr(folder, "_roots", lambda: [tmp_path])
    assert folder.load(path.name).unet.file is not None
    monkeypatch.setattr(folder.args, "disable_mmap", True)
    assert folder.load(path.name).unet.file is None


def test_a_small_file_copied_again_is_the_same(tensors, tmp_path):
    path = write(tensors, tmp_path, "safetensors")
    loaded = load_checkpoint([path], "one")
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content)
    assert torch.equal(pack(loaded)["tcan.unet.conv_in.weight"], tensors["tcan.unet.conv_in.weight"])
