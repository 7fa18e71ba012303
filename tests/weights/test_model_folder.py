"""Checkpoint names cannot leave the model folders, but the user's links can."""

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

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
    assert set(folder.choices()) - set(before) == {"self.ckpt"}
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
