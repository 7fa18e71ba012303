"""A run that was killed, or whose disk was full, goes on from what it wrote and says done with a file of its last step."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from tcan_modules.training import stages
from tcan_modules.training.command import main
from tcan_modules.training.files import replaced
from tcan_modules.training.stages import train_stage
from tcan_modules.training.state import load_tensors, save_tensors
from tcan_modules.training.trainer import Trainer

from .parts import RandomClips, tiny_start
from .test_trainer import _Loss, options


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_an_end_between_state_and_export(fault, tmp_path, monkeypatch):
    start, dataset = tiny_start(), RandomClips(1)
    wanted = train_stage(1, start, dataset, options(tmp_path / "straight", 4)).read_bytes()
    out = tmp_path / "cut"
    train_stage(1, start, dataset, options(out, 2))
    old = (out / "tcan.safetensors").read_bytes()

    def fail(*_):
        raise fault("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_packed", fail)
        with pytest.raises(fault):
            train_stage(1, start, dataset, options(out, 4))
    assert load_tensors(out / "state.safetensors")[1]["step"] == 4
    assert (out / "tcan.safetensors").read_bytes() == old
    for _ in range(2):
        packed = train_stage(1, start, dataset, options(out, 4))
        assert packed.read_bytes() == wanted
        packed.unlink()


def test_a_full_disk_is_one_sentence(given, monkeypatch, caplog):
    out = given / "run"

    def full(_tensors, path, _metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    command = [
        "stage1",
        "--base",
        str(given / "base.safetensors"),
        "--data",
        str(given / "data"),
        "--out",
        str(out),
        "--size",
        "64",
    ]
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(SystemExit):
        main([*command, "--steps", "1", "--workers", "0", "--validate-every", "0"])
    assert "state.safetensors' cannot be written" in caplog.messages[-1]
    assert "No space left" in caplog.messages[-1]
    assert not list(out.glob(".*.tmp"))


def test_left_overs_of_dead_processes_are_deleted(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".state.safetensors.{dead.pid}.tmp", f".tcan.safetensors.{dead.pid}.tmp", f".loss.png.{dead.pid}.tmp"]
    for name in [*names, ".mine.tmp", "notes.tmp"]:
        (tmp_path / name).write_text("x")
    Trainer(_Loss(torch.nn.Linear(2, 1)), RandomClips(1), options(tmp_path, 1), title="test").run()
    assert sorted(file.name for file in tmp_path.glob("*.tmp")) == [".mine.tmp", "notes.tmp"]


def test_a_living_process_keeps_its_scratch_file(tmp_path):
    other = tmp_path / f".a.json.{os.getppid()}.tmp"
    other.write_text("x")
    with replaced(tmp_path / "a.json") as scratch:
        scratch.write_text("{}")
    assert other.exists()
    assert (tmp_path / "a.json").read_text() == "{}"


SECOND = """
import sys, torch
from pathlib import Path
from tcan_modules.training.trainer import Trainer
from tests.training.parts import RandomClips
from tests.training.test_trainer import _Loss, options
try:
    Trainer(_Loss(torch.nn.Linear(2, 1)), RandomClips(1), options(Path(sys.argv[1]), 1), title="test").run()
except ValueError as error:
    print("refused:", error)
"""


def test_two_trainings_in_one_folder(tmp_path):
    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", SECOND, str(tmp_path)], cwd=Path(__file__).parents[2], capture_output=True, text=True
        )
        return done.stdout + done.stderr

    first = Trainer(_Loss(torch.nn.Linear(2, 1)), RandomClips(1), options(tmp_path, 1), title="test")
    assert "refused: Another training writes into" in other()
    assert not (tmp_path / "state.safetensors").exists()
    first.run()
    assert "refused" not in other()


@pytest.mark.parametrize("kind", ["cut off", "empty", "text", "a folder", "a checkpoint", "no step"])
def test_damaged_states_are_named(kind, tmp_path):
    path = tmp_path / "state.safetensors"
    Trainer(_Loss(torch.nn.Linear(2, 1)), RandomClips(1), options(tmp_path, 1), title="test").run()
    whole = path.read_bytes()
    contents = {"cut off": whole[: len(whole) // 2], "empty": b"", "text": b"hello, this is a text"}
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "a folder":
        path.unlink()
        path.mkdir()
    elif kind == "a checkpoint":
        save_tensors(path, {"x": torch.ones(1)})
    else:
        save_tensors(path, load_tensors(path)[0], {"seed": 0, "title": "test"})
    with pytest.raises(ValueError, match=r"state\.safetensors' is damaged or cut off"):
        Trainer(_Loss(torch.nn.Linear(2, 1)), RandomClips(1), options(tmp_path, 2), title="test")


@pytest.mark.parametrize("ranks", [(8, 4), (1, 4)])
def test_a_run_cannot_resume_with_another_rank(ranks, tmp_path):
    start, dataset = tiny_start(), RandomClips(1)
    before, after = ranks
    start.checkpoint.appa = None
    train_stage(1, start, dataset, options(tmp_path, 1), rank=before)
    state = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(ValueError, match="--rank"):
        train_stage(1, start, dataset, options(tmp_path, 2), rank=after)
    assert (tmp_path / "state.safetensors").read_bytes() == state
    train_stage(1, start, dataset, options(tmp_path, 2), rank=before)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_fault_of_the_data_ends_a_run_with_one_sentence(workers, given, caplog):
    frame = given / "data" / "a" / "images" / "0002.png"
    frame.write_bytes(frame.read_bytes()[:70])
    command = ["stage1", "--base", str(given / "base.safetensors"), "--data", str(given / "data"), "--out", str(given / "run")]
    with pytest.raises(SystemExit):
        main([*command, "--size", "64", "--steps", "40", "--workers", workers, "--validate-every", "0"])
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "0002.png' cannot be read" in message
    assert "\n" not in message
