"""A scratch base folder for one ComfyUI."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACK = "ComfyUI-TCAN"

# Every ComfyUI of the tests starts with these. Its own attention for CPUs is half as fast as PyTorch's.
FLAGS = (
    "--cpu",
    "--use-pytorch-cross-attention",
    "--disable-api-nodes",
    "--disable-all-custom-nodes",
    "--database-url",
    "sqlite:///:memory:",
)


@contextlib.contextmanager
def base_directory() -> Iterator[Path]:
    """Make an empty ComfyUI base folder; remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="tcan-", ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        for folder in ("models/tcan", "input", "output", "user", "custom_nodes"):
            (base / folder).mkdir(parents=True)
        yield base


def link_pack(custom_nodes: Path) -> Path:
    """Link this repository into a custom_nodes folder, or copy it where links are not allowed."""
    target = custom_nodes / PACK
    try:
        if os.name == "nt":
            import _winapi

            _winapi.CreateJunction(str(ROOT), str(target))  # unlike a symbolic link, a junction needs no special rights
        else:
            target.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return target
