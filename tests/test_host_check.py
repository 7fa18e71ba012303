"""A ComfyUI that lacks a function of the pack's list gets one clear error, before nodes load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tcan_modules.host_check import OLDEST, WANTED, check_host, missing

ROOT = Path(__file__).resolve().parent.parent
HOSTS_OWN = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "latent_preview", "nodes", "node_helpers", "server")
SCHEMA = "comfy_api.latest.io."  # the host's stable interface for nodes


def source_files() -> list[Path]:
    """The files that run inside ComfyUI."""
    files = [ROOT / "__init__.py", *(ROOT / "nodes").glob("*.py"), *(ROOT / "tcan_modules").rglob("*.py")]
    return [file for file in files if "training" not in file.parts]


def used(file: Path) -> set[str]:
    """Every dotted name of the host that a file reads, by its imports."""
    tree = ast.parse(file.read_text())
    roots: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] in HOSTS_OWN:
                    roots[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in HOSTS_OWN:
            for name in node.names:
                roots[name.asname or name.name] = f"{node.module}.{name.name}"
    found = set(roots.values())
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in roots:
            found.add(".".join([roots[node.id], *parts]))
    return found


def test_the_list_is_complete():
    """Each name of the host that the pack reads is on the list, or a part of one on it."""
    listed = [f"{module}.{name}." for module, names in WANTED.items() for name in names]
    unlisted = {
        f"{file.name}: {name}"
        for file in source_files()
        for name in used(file)
        if not name.startswith(SCHEMA) and not any(wanted.startswith(f"{name}.") for wanted in listed)
    }
    # methods of a dict or a string do not depend on the host's version
    assert not {name for name in unlisted if "folder_names_and_paths." not in name and "models_dir." not in name}


def test_this_host_has_everything(host):
    assert not missing()
    check_host()


def test_a_missing_module_and_a_missing_method(host, monkeypatch):
    import comfy.context_windows
    import comfy.model_patcher

    monkeypatch.setitem(sys.modules, "latent_preview", None)
    with pytest.raises(ImportError, match=r"has no latent_preview.prepare_callback: update ComfyUI to"):
        check_host()
    monkeypatch.delattr(comfy.model_patcher.ModelPatcher, "set_attachments")
    with pytest.raises(ImportError, match=r"has no comfy.model_patcher.ModelPatcher.set_attachments and 1 more: update"):
        check_host()


SCRIPT = """
import logging
from tests.helpers.host import boot

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
host = boot(pack=False)
logging.getLogger().addHandler(handler)
import comfy.context_windows
del comfy.context_windows.get_matching_fuse_method
try:
    host.load_pack()
except RuntimeError as error:
    print("REFUSED", error)
import nodes
print("NODES", [name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("TCAN")])
"""


def test_the_pack_is_refused_in_a_sentence():
    """In a fresh ComfyUI without one function, the host reports the pack as failed, with our error."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "REFUSED" in done.stdout, done.stderr
    assert "NODES []" in done.stdout
    reason = [line for line in done.stdout.splitlines() if "Cannot import" in line]
    sentence = f"which has no comfy.context_windows.get_matching_fuse_method: update ComfyUI to {OLDEST} or newer"
    assert len(reason) == 1 and sentence in reason[0]
