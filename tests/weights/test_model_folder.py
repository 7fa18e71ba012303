"""Checkpoint names cannot leave the model folders, but the user's links can."""

import os
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tcan_modules.weights.reading import read_file
from tests.helpers.reference_set import FOLDER, TRIO
from tests.helpers.untrusted_files import assert_sentence, fuzz

FUZZ = fuzz(200)


@pytest.fixture
def folder(host, tmp_path, monkeypatch):
    """The pack's `model_folder` over a folder with one model, and a secret beside it."""
    module = host.pack_module("tcan_modules.model_folder")
    root = tmp_path / "models" / "tcan"
    (root / "mine").mkdir(parents=True)
    for path in (root / "mine" / "a.ckpt", root / "b.safetensors", tmp_path / "secret.ckpt", tmp_path / "models" / "secret.ckpt"):
        path.write_bytes(b"numbers")
    monkeypatch.setattr(module, "_roots", lambda: [root])
    return module


def refused(call, *arguments) -> None:
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    assert_sentence(caught.value)


def test_what_can_be_chosen(folder):
    assert folder.choices() == ["mine", "b.safetensors", "mine/a.ckpt"]
    assert [path.name for path in folder.files_of("mine")] == ["a.ckpt"]
    assert [path.name for path in folder.files_of("mine/a.ckpt")] == ["a.ckpt"]


OUTSIDE = ["../secret.ckpt", "..", "mine/../../secret.ckpt", "mine/..", "../tcan/b.safetensors", "", ".", "/", "./b.safetensors"]
STRANGE = ["mine//a.ckpt", "mine/", "b.safetensors\0", "x" * 5000, "mine\\..\\b", "C:\\b", "~", "b.safetensors\n", "\udcff"]


@pytest.mark.parametrize("name", OUTSIDE + STRANGE)
def test_names_do_not_leave_the_folder(folder, tmp_path, name):
    refused(folder.files_of, name)
    refused(folder.files_of, str(tmp_path / "secret.ckpt"))
    assert isinstance(folder.fingerprint(name), tuple)


PARTS = st.lists(
    st.sampled_from(["..", ".", "", "mine", "a.ckpt", "b.safetensors", "secret.ckpt", "models", "\\", "c:", "\0"]), max_size=6
)


@FUZZ
@given(st.one_of(PARTS.map("/".join), st.text(max_size=20)))
def test_any_name(folder, name):
    try:
        found = folder.files_of(name)
    except ValueError as error:
        assert_sentence(error)
    else:
        root = folder._roots()[0]
        assert name in folder.choices() and all(path.resolve().is_relative_to(root.resolve()) for path in found)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_of_the_user(folder, tmp_path):
    """Models on another disk, linked as a file or a folder, under two names; a dead link is skipped."""
    root = folder._roots()[0]
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "far.ckpt").write_bytes(b"numbers")
    (root / "disk").symlink_to(tmp_path / "disk")
    (root / "again").symlink_to(tmp_path / "disk")
    (root / "mine" / "link.ckpt").symlink_to(tmp_path / "secret.ckpt")
    (root / "lost.ckpt").symlink_to(tmp_path / "nothing")
    assert {"disk", "again", "disk/far.ckpt", "again/far.ckpt", "mine/link.ckpt"} <= set(folder.choices())
    for name in ("disk", "again/far.ckpt", "mine/link.ckpt"):
        assert folder.files_of(name)
    refused(folder.files_of, "lost.ckpt")
    refused(folder.files_of, "disk/../b.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_folders_in_a_circle(folder):
    """Each model is found once and quickly, although links back make the number of paths explode."""
    root = folder._roots()[0]
    before = folder.choices()
    for number in range(8):
        (root / "mine" / f"up{number}").symlink_to(root)
        (root / f"here{number}").symlink_to(root, target_is_directory=True)
    (root / "self.ckpt").symlink_to(root / "self.ckpt")
    assert folder.choices() == before
    refused(folder.files_of, "self.ckpt")


def checkpoint(host):
    module = host.pack_module("tcan_modules.weights.checkpoint")
    return module.Checkpoint("one", appa=module.Part({"x": torch.ones(2)}, "x"))


SAVED_NAMES = st.one_of(
    st.text(max_size=30), st.lists(st.sampled_from(["..", "/", "\\", "a", ".", " ", "nul", "c:"]), max_size=6).map("".join)
)


@FUZZ
@given(SAVED_NAMES)
def test_any_name_to_save(host, folder, name):
    root = folder._roots()[0]
    try:
        path = folder.save(checkpoint(host), name)
    except ValueError as error:
        assert_sentence(error)
    else:
        assert path.parent == root and path.is_file() and path.suffix == ".safetensors"
    assert sorted(each.name for each in root.parent.iterdir()) == ["secret.ckpt", "tcan"]
    assert not list(root.glob("*.part"))


@pytest.mark.parametrize("name", ["x" * 300, "é" * 150, "NUL", "com1.x", ".hidden", "a/b", "..\\a", "a\nb", "", "   "])
def test_unusable_names(host, folder, name):
    refused(folder.save, checkpoint(host), name)


def test_a_full_disk_or_no_folder(host, folder, tmp_path, monkeypatch):
    root = folder._roots()[0]
    monkeypatch.setattr(folder, "_roots", lambda: [tmp_path / "secret.ckpt" / "tcan"])
    refused(folder.save, checkpoint(host), "a")
    monkeypatch.setattr(folder, "_roots", lambda: [root])
    nowhere = root / "no folder" / "a"  # safetensors' own message when it cannot write
    monkeypatch.setattr("safetensors.torch.save_file", lambda tensors, path, **_: save_file(tensors, nowhere))
    refused(folder.save, checkpoint(host), "a")
    assert not (root / "a.safetensors").exists() and not list(root.glob("*.part"))


def test_a_folder_is_not_replaced(host, folder):
    root = folder._roots()[0]
    (root / "a.safetensors").mkdir()
    refused(folder.save, checkpoint(host), "a")
    assert (root / "a.safetensors").is_dir()


@pytest.mark.parametrize("suffix", [".safetensors", ".sft", ".ckpt", ".pth", ".pt", ".bin", ".CKPT"])
def test_every_format_is_read(host, folder, suffix):
    """Also under the name of another format."""
    root = folder._roots()[0]
    trio = load_file(FOLDER / "appearance_encoder.safetensors")
    (root / "other").mkdir()
    for write in (save_file, torch.save):
        write(trio, root / "other" / f"a{suffix}")
        assert f"other/a{suffix}" in folder.choices()
        assert len(folder.load("other").appearance.tensors) == len(trio)


def test_loose_files_are_one_choice(host, folder):
    """The authors' three files beside a packed one, a VAE and a LoRA."""
    root = folder._roots()[0]
    assert folder.LOOSE not in folder.choices()
    refused(folder.files_of, folder.LOOSE)
    (root / "b.safetensors").unlink()
    for part in TRIO:
        save_file(load_file(FOLDER / f"{part}.safetensors"), root / f"[{part}].safetensors")
    save_file({"decoder.conv_in.weight": torch.ones(2)}, root / "vae.safetensors")
    save_file({"lora_unet_x.lora_up.weight": torch.ones(2)}, root / "lora.safetensors")
    save_file({"tcan.unet_temporal.x": torch.ones(2)}, root / "packed.safetensors")
    assert folder.choices()[-1] == folder.LOOSE
    loaded = folder.load(folder.LOOSE)
    assert None not in (loaded.unet, loaded.appa, loaded.unet_temporal, loaded.appearance, loaded.controlnet_temporal)
    text = "\n".join(loaded.describe())
    assert "packed.safetensors is a packed file and left out" in text
    assert "'lora.safetensors' is a LoRA: load it with Load LoRA" in text and "'vae.safetensors'" in text
    assert folder.fingerprint(folder.LOOSE)
    save_file({"unet.conv_in.weight": torch.ones(2)}, root / "another.safetensors")
    (root / "cut.safetensors").write_bytes((root / "[unet].safetensors").read_bytes()[:5000])
    refused(folder.load, folder.LOOSE)


def test_what_is_not_read_is_named_once(folder, caplog):
    root = folder._roots()[0]
    (root / "mine" / "model.gguf").write_bytes(b"")
    (root / "model.zip\n").write_bytes(b"")
    (root / "mine" / ".hidden").write_bytes(b"")
    with caplog.at_level("INFO", "TCAN"):
        for _ in range(3):
            folder.choices()
    assert [record.getMessage() for record in caplog.records] == [
        "[TCAN] not read in models/tcan: model.zip?, mine/model.gguf (Load TCAN reads .safetensors .sft .ckpt .pth .pt .bin)"
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders")
def test_pipes_are_not_read(folder):
    root = folder._roots()[0]
    before = folder.choices()
    os.mkfifo(root / "pipe.ckpt")
    os.mkfifo(root / "mine" / "pipe.safetensors")
    (root / "device.bin").symlink_to("/dev/zero")
    assert folder.choices() == before
    assert [path.name for path in folder.files_of("mine")] == ["a.ckpt"]
    refused(folder.files_of, "pipe.ckpt")
    refused(read_file, root / "pipe.ckpt")
    refused(read_file, root / "device.bin")


def test_many_folders_with_the_name_of_a_file(folder):
    root = folder._roots()[0]
    for number in range(10_000):
        (root / f"{number}.safetensors").mkdir()
    begin = time.monotonic()
    assert folder.choices() == ["mine", "b.safetensors", "mine/a.ckpt"]
    assert time.monotonic() - begin < 5


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("links", [2, 50])
def test_diamonds_of_links(folder, links):
    """Fifteen folders, each with links to the next: without a bound, 2 ** 15 ways to the last."""
    root = folder._roots()[0]
    for level in range(15):
        (root / f"level{level}").mkdir()
        (root / f"level{level}" / "x.ckpt").write_bytes(b"numbers")
        for number in range(links if level else 0):
            (root / f"level{level - 1}" / f"to{number}").symlink_to(root / f"level{level}")
    begin = time.monotonic()
    found = folder.choices()
    assert time.monotonic() - begin < 5
    assert {f"level{level}/x.ckpt" for level in range(15)} <= set(found)


PROMPTS = [
    torch.ones(2, 7, 48),
    torch.ones(7, 48),
    torch.ones(1, 0, 48),
    torch.full((1, 7, 48), float("nan")),
    torch.ones(1, 7, 48, dtype=torch.int64),
    torch.ones(1, 7, 2048),
]


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_prompts_that_could_not_be_loaded_are_not_saved(host, folder, number):
    root = folder._roots()[0]
    save_file(load_file(FOLDER / "appearance_encoder.safetensors"), root / "c.safetensors")
    with_prompt = host.pack_module("tcan_modules.weights.checkpoint").with_prompt
    loaded = folder.load("c.safetensors")
    refused(with_prompt, loaded, [[PROMPTS[number], {}]])
    refused(with_prompt, loaded, [])
    refused(with_prompt, loaded, [[torch.ones(1, 7, 48), {}]] * 2)
    folder.save(with_prompt(loaded, [[torch.ones(1, 7, 48), {}]]), "saved")
    assert torch.equal(folder.load("saved.safetensors").empty_prompt, torch.ones(1, 7, 48))
    broken = load_file(root / "saved.safetensors") | {"tcan.empty_prompt.weight": PROMPTS[number]}
    save_file(broken, root / "broken.safetensors")
    refused(folder.load, "broken.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_saved_file_has_the_rights_of_a_new_one(host, folder):
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            path = folder.save(checkpoint(host), f"rights{mask}")
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.skipif(os.name == "nt", reason="there, age alone decides")
def test_left_over_files_are_swept(host, folder, tmp_path):
    """Of dead processes and of this one's number; not those of the living, of other machines, or of the user."""
    root, me = folder._roots()[0], folder._HOST
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    hexadecimal = "0123456789abcdef" * 2
    mine, others = f"tcan-{me}-{{}}-{hexadecimal}.part", f"tcan-elsewhere-{{}}-{hexadecimal}.part"
    gone = [mine.format(dead.pid), mine.format(os.getpid()), "tmpabc_1234.part", ".tmpA1b2C3"]
    kept = [mine.format(os.getppid()), others.format(dead.pid), "mine.part", "tmpzzzzzzzz.part", ".tmpD4e5F6", ".tmp"]
    old = time.time() - 7200
    for name in gone + kept:
        if name.startswith("tcan"):
            (root / name).mkdir()
        (root / name / "x" if name.startswith("tcan") else root / name).write_bytes(b"numbers")
    for name in gone[2:]:
        os.utime(root / name, (old, old))
    folder.save(checkpoint(host), "one")
    left = {path.name for path in root.iterdir()}
    assert not left & set(gone) and set(kept) <= left


def test_channels_of_networks(host, folder):
    """An inpainting UNet, pose images with a mask: told when they are loaded, not by torch in the sampler."""
    root = folder._roots()[0]
    for part, name, shape in (
        ("unet", "conv_in.weight", (32, 9, 3, 3)),
        ("unet", "conv_out.weight", (8, 32, 3, 3)),
        ("appearance_encoder", "conv_in.weight", (32, 8, 3, 3)),
        ("temporal_controlnet", "controlnet_cond_embedding.conv_in.weight", (16, 4, 3, 3)),
        ("temporal_controlnet", "conv_in.weight", (32, 9, 3, 3)),
    ):
        save_file(load_file(FOLDER / f"{part}.safetensors") | {name: torch.ones(shape)}, root / "wide.safetensors")
        with pytest.raises(ValueError, match="it takes") as caught:
            folder.load("wide.safetensors")
        assert_sentence(caught.value)
