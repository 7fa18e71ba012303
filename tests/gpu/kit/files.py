"""The files of the host and of the pack that the GPU suite needs, without large ones."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.reference_set import TRIO
from tests.helpers.scratch import ROOT

LARGE = 100_000
# Left out of the host: web pages, models of other kinds, and its developers' tools.
HOST_WITHOUT = {"web", "blueprints", "tests", "tests-unit", "script_examples", "models", "input", "output", "temp", "user"}
HOST_WITHOUT |= {"custom_nodes", "comfy_api_nodes", "__pycache__"}
SD15_TOKENS = Path("comfy/sd1_tokenizer")
# Left out of the pack: pictures, the trained model, and tensors of other tests.
PACK_WITHOUT = ("models/", "docs/", "web/", ".ci/", "tests/reference/")
PICTURES = {".jpg", ".png", ".webp", ".gif", ".mp4"}


def host_files(host: Path) -> Iterator[Path]:
    """Paths below the host's folder."""
    for folder, folders, names in os.walk(host):
        here = Path(folder).relative_to(host)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).parts[0] not in HOST_WITHOUT)
        folders[:] = [name for name in folders if name != "__pycache__"]
        for path in (here / name for name in sorted(names)):
            if path.suffix == ".py" or here == SD15_TOKENS or (host / path).stat().st_size < LARGE:
                yield path


def pack_files() -> Iterator[Path]:
    """Paths below this repository, uncommitted files included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in sorted(set(listed.stdout.split("\0"))):
        path = Path(name)
        if name and (ROOT / path).is_file() and not name.startswith(PACK_WITHOUT) and path.suffix not in PICTURES:
            yield path
    yield from (Path("tests/reference") / f"{name}.safetensors" for name in (*TRIO, "reference"))
