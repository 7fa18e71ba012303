"""The evaluation by the public nodes in another process: ComfyUI loads and runs a packed file of training."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

from tcan_modules.training.stages import write_packed
from tests.training.parts import tiny_start

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(importlib.util.find_spec("comfy") is None, reason="no ComfyUI to import")
def test_comfyui_animates_with_a_packed_file_of_training(tmp_path):
    start = tiny_start()
    write_packed(tmp_path / "tiny.safetensors", start.checkpoint, start)
    out = tmp_path / "out.json"
    command = [
        sys.executable,
        "-m",
        "puppets.evaluate",
        "--model",
        str(tmp_path / "tiny.safetensors"),
        "--json",
        str(out),
    ]
    command += ["--characters", "1", "--frames", "2", "--variants", "full", "no_temporal"]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    variants = json.loads(out.read_text())["variants"]
    assert set(variants) == {"full", "no_temporal"}
    # the weights are random and the pictures noise, but removed parts change them too
    assert variants["full"]["l1"] != variants["no_temporal"]["l1"]
