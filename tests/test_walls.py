"""Which room of the engine may import which (CONTRIBUTING, "How the rooms hang together")."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = "tcan_modules"
LIBRARIES = {"torch", "numpy", "scipy", "PIL", "safetensors"}

# Rooms that never import ComfyUI -> the rooms of the engine that they may import; every room may import the log and the checks of values.
WALLED = {"maths": {"maths"}, "weights": {"weights"}, "pose": {"pose", "maths"}}
DETECTORS = {"pose": {"controlnet_aux", "mediapipe", "rtmlib", "onnxruntime"}}  # each imported where its detector is made
# Rooms that do -> the rooms that they may import. The files beside the rooms are the doors, which nobody inside imports.
INNER = {"networks": {"networks", "maths", "weights"}, "patching": {"patching", "networks", "maths", "weights"}}


def imported(file: Path) -> set[str]:
    """Every module that a file imports, also inside functions, by its absolute name from the repository's root."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module
            )
            is_folder = (ROOT / base.replace(".", "/")).is_dir()
            found.update(f"{base}.{alias.name}" if is_folder else base for alias in node.names)
    return found


def room_of(module: str) -> str | None:
    """The engine's room of a module, or None for a module outside of the engine."""
    parts = module.split(".")
    return parts[1] if parts[0] == ENGINE and len(parts) > 1 else None


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / ENGINE / room).rglob("*.py"))


@pytest.mark.parametrize("room", WALLED)
def test_a_room_without_comfyui(room):
    for file in files_of(room):
        for module in imported(file):
            inside, library = room_of(module), module.split(".")[0]
            if inside is not None:
                assert inside in WALLED[room] | {"log", "values"}, f"{file} imports {module}"
            else:
                allowed = LIBRARIES | DETECTORS.get(room, set()) | sys.stdlib_module_names
                assert library in allowed, f"{file} imports {module}"


@pytest.mark.parametrize("room", INNER)
def test_a_room_inside_imports_no_door(room):
    for file in files_of(room):
        rooms = {room_of(module) for module in imported(file)} - {None}
        assert rooms <= INNER[room] | {"log", "values"}, file


def test_the_engine_imports_no_node():
    for file in (ROOT / ENGINE).rglob("*.py"):
        assert not {module for module in imported(file) if module.split(".")[0] in ("puppets", "tests") or ".nodes" in module}, (
            file
        )


NODES = sorted((ROOT / "nodes").glob("*.py"))


@pytest.mark.parametrize("file", NODES, ids=lambda file: file.stem)
def test_nodes_compute_nothing(file):
    """A node describes itself and calls the engine: no numbers, no pictures, no loop over frames."""
    assert not {module.split(".")[0] for module in imported(file)} & {"torch", "numpy", "scipy", "math", "PIL"}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    arithmetic = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr)]
    assert not arithmetic, [ast.unparse(node) for node in arithmetic]
    bodies = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "execute"]
    loops = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
    assert not [ast.unparse(node) for body in bodies for node in ast.walk(body) if isinstance(node, loops)]


@pytest.mark.parametrize("file", NODES, ids=lambda file: file.stem)
def test_choices_are_written_in_the_engine(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "options":
            assert not [part for part in ast.walk(node.value) if isinstance(part, ast.Constant)], ast.unparse(node)
