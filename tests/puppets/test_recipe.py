"""The puppet model's recipe from its first phase to its packed file, two steps in each phase."""

from dataclasses import replace

import pytest

pytest.importorskip("diffusers")

from puppets import recipe
from tcan_modules.training.autoencoder import WIDE, WIDTHS

PHASES = ("vae", "decoder", "base", "stage1", "repair", "stage2")


@pytest.fixture
def short(monkeypatch):
    for phase in PHASES:
        options = getattr(recipe, phase.upper())
        monkeypatch.setattr(recipe, phase.upper(), replace(options, steps=2, batch=2, save_every=1))


def test_the_recipe_makes_one_file_of_all_parts(short, tmp_path):
    command = ["--out", str(tmp_path), "--workers", "0"]
    recipe.main([*command, "--minutes", "0"])
    assert not (tmp_path / recipe.FILE).exists()
    recipe.main(command)
    assert {folder.name for folder in tmp_path.iterdir() if folder.is_dir()} == set(PHASES)
    packed = tmp_path / recipe.FILE
    start = recipe.open_packed(packed)
    parts = ("unet", "controlnet", "appearance", "appa", "unet_temporal", "controlnet_temporal")
    assert all(getattr(start.checkpoint, part) is not None for part in parts)
    assert start.checkpoint.v_prediction and start.checkpoint.empty_prompt is not None
    assert packed.stat().st_size < 40e6
    # a narrow encoder and a wider decoder
    assert start.vae.model.taesd_encoder[0].out_channels == WIDTHS[0][0]
    assert start.vae.model.taesd_decoder[-1].in_channels == WIDE[0][0]
    before = packed.read_bytes()
    recipe.main(command)  # nothing is left to do
    assert packed.read_bytes() == before
