"""The command line, from a folder of pictures to a file that the engine opens."""

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from tcan_modules.training.command import main, parser
from tcan_modules.training.state import load_tensors
from tcan_modules.weights.checkpoint import load_checkpoint


@pytest.mark.parametrize("stage, particular", [("stage1", ["--batch", "1"]), ("stage2", ["--frames", "2"])])
def test_from_pictures_to_a_packed_file(given, stage, particular):
    out = given / stage
    command = [stage, "--base", str(given / "base.safetensors"), "--data", str(given / "data"), "--out", str(out), "--size", "64"]
    main([*command, "--steps", "2", "--workers", "0", "--validate-every", "2", *particular])
    checkpoint = load_checkpoint([out / "tcan.safetensors"], "packed")
    assert all(getattr(checkpoint, part) for part in ("unet", "appa", "appearance", "controlnet", "unet_temporal"))
    assert load_tensors(out / "state.safetensors")[1]["step"] == 2
    assert (out / "loss.png").stat().st_size > 1000
    assert (out / "validation" / "000002.mp4").stat().st_size > 500
    before = load_checkpoint([given / "base.safetensors"], "base")
    for name, tensor in before.unet.tensors.items():
        assert torch.equal(checkpoint.unet.tensors[name], tensor), name


def test_help_shows_every_flag(capsys):
    for stage in ("stage1", "stage2"):
        with pytest.raises(SystemExit):
            parser().parse_args([stage, "--help"])
        text = capsys.readouterr().out
        assert all(flag in text for flag in ("--lr", "--ema", "--data", "TikTok", "--mixed-precision"))


def test_a_wrong_size_is_one_sentence(given, caplog):
    with pytest.raises(SystemExit):
        main(["stage1", "--base", "x", "--data", "y", "--out", "z", "--size", "500"])
    assert "multiple of 64" in caplog.text
    assert "448" in caplog.text
