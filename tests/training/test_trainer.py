"""Training runs: exact resume, complete files, frozen tensors, and a packed file that the engine opens."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from tcan_modules.training.model import TCAN
from tcan_modules.training.stages import train_stage
from tcan_modules.training.state import load_tensors, save_tensors
from tcan_modules.training.steps import StageStep
from tcan_modules.training.trainer import Options, Trainer, learning_rate
from tcan_modules.weights.checkpoint import load_checkpoint

from .parts import RandomClips, tiny_start

FRAMES = {1: 1, 2: 3}


def options(out: Path, steps: int, **changes) -> Options:
    return replace(Options(out=out, steps=steps, lr=1e-3, ema=0.9, save_every=1000), **changes)


@pytest.mark.parametrize("stage", [1, 2])
def test_resume_is_exact(stage, tmp_path):
    start = tiny_start()
    dataset = RandomClips(FRAMES[stage])
    train_stage(stage, start, dataset, options(tmp_path / "straight", 20))
    train_stage(stage, start, dataset, options(tmp_path / "pieces", 10))
    train_stage(stage, start, dataset, options(tmp_path / "pieces", 20))

    straight, pieces = (load_tensors(tmp_path / run / "state.safetensors") for run in ("straight", "pieces"))
    assert straight[1] == pieces[1]
    assert straight[1]["step"] == 20
    assert straight[0].keys() == pieces[0].keys()
    for name, tensor in straight[0].items():
        assert torch.equal(tensor, pieces[0][name]), name


SAME_STEP = """
import tcan_modules.training
import torch
from tcan_modules.training.model import TCAN
from tcan_modules.training.steps import StageStep
from tests.training.parts import RandomClips, tiny_start

start = tiny_start()
model = TCAN(start.checkpoint, temporal=False)
model.learn(1)
step = StageStep(model, start.vae, start.empty_prompt)
batch = {name: tensor[None] for name, tensor in RandomClips(1)[0].items()}
gradients = []
for _ in range(8):
    model.zero_grad()
    step(batch, torch.Generator().manual_seed(0)).backward()
    gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
print(torch.get_num_threads(), all(torch.equal(a, b) for again in gradients for a, b in zip(again, gradients[0])))
"""


def test_a_step_is_exact_with_several_threads():
    """By default MKL sums in a different order from run to run."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"} | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SAME_STEP], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", "True"], done.stdout + done.stderr


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_changes_only_what_it_trains(stage, tmp_path):
    start = tiny_start()
    model = TCAN(start.checkpoint, temporal=stage == 2)
    model.learn(stage)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Trainer(
        StageStep(model, start.vae, start.empty_prompt, 0.1), RandomClips(FRAMES[stage]), options(tmp_path, 2), title="test"
    ).run()

    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed <= learned
    assert len(changed) > 0.95 * len(learned)


def test_packed_file_opens(tmp_path):
    start = tiny_start()
    given = start.checkpoint.unet.tensors
    packed = train_stage(2, start, RandomClips(3), options(tmp_path, 1))
    checkpoint = load_checkpoint([packed], "packed")
    assert checkpoint.require("unet_temporal") and checkpoint.require("controlnet_temporal")
    assert torch.equal(checkpoint.empty_prompt, start.empty_prompt.half())
    for name, tensor in given.items():
        assert torch.equal(checkpoint.unet.tensors[name], tensor), name


def test_a_run_cannot_resume_with_another_seed(tmp_path):
    module, dataset = torch.nn.Linear(2, 1), RandomClips(1)
    Trainer(_Loss(module), dataset, options(tmp_path, 1), title="test").run()
    with pytest.raises(ValueError, match="another run"):
        Trainer(_Loss(module), dataset, options(tmp_path, 2, seed=5), title="test")


class _Loss(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch, generator):
        return self.module(torch.randn(4, 2, generator=generator)).square().mean()


def test_accumulation_equals_a_larger_batch(tmp_path):
    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, batch, generator):
            return self.layer(batch["pixels"].float().mean((-1, -2)).flatten(0, 1) / 255).square().mean()

    results = []
    for folder, batch, accumulate in (("large", 4, 1), ("small", 1, 4)):
        torch.manual_seed(0)
        module = Mean()
        Trainer(module, RandomClips(1), options(tmp_path / folder, 3, batch=batch, accumulate=accumulate), title="test").run()
        results.append(module.layer.weight.detach())
    assert torch.allclose(*results, atol=1e-6)


def test_learning_rate():
    given = options(Path(), 100, warmup=10, schedule="cosine")
    assert learning_rate(given, 0) == pytest.approx(1e-4)
    assert learning_rate(given, 50) == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert learning_rate(given, 100) == pytest.approx(0, abs=1e-12)


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"x": torch.ones(3)}, {"step": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_tensors(path, {"x": torch.zeros(3)}, {"step": 2})
    assert load_tensors(path)[1] == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_never_leaves_a_half_written_file(tmp_path):
    program = """
import sys, itertools, pathlib, torch
from tcan_modules.training.state import save_tensors
for step in itertools.count():
    save_tensors(pathlib.Path(sys.argv[1]), {str(i): torch.full((100_000,), float(step)) for i in range(20)}, {"step": step})
"""
    path = tmp_path / "state.safetensors"
    for delay in (0.01, 0.03, 0.05, 0.07, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        )
        started = path.stat().st_mtime_ns if path.exists() else None
        while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == started):
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        tensors, metadata = load_tensors(path)
        assert all((tensor == metadata["step"]).all() for tensor in tensors.values())


@pytest.mark.parametrize("stage", [1, 2])
def test_gradient_checkpointing_gives_the_same_gradients(stage):
    start = tiny_start()
    batch = {name: tensor[None] for name, tensor in RandomClips(FRAMES[stage])[0].items()}
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = TCAN(start.checkpoint, temporal=stage == 2)
        model.learn(stage)
        if checkpointing:
            model.enable_gradient_checkpointing()
        StageStep(model, start.vae, start.empty_prompt)(batch, torch.Generator().manual_seed(0)).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-7), name


@pytest.fixture
def fresh_accelerate():
    """Reset accelerate, which otherwise keeps the precision of the process's first run."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("stage", [1, 2])
def test_mixed_precision_keeps_trained_weights_in_float32(stage, tmp_path, fresh_accelerate):
    train_stage(stage, tiny_start(), RandomClips(FRAMES[stage]), options(tmp_path, 2, mixed_precision="bf16"))
    tensors, metadata = load_tensors(tmp_path / "state.safetensors")
    assert metadata["step"] == 2
    assert all(tensor.dtype == torch.float32 for name, tensor in tensors.items() if name.startswith("weights/"))
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
