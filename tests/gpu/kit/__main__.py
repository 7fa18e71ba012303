"""`python dev.py python -m tests.gpu.kit OUT`: make a folder that runs the GPU suite offline.

In it are ``payload.tar.xz`` (the ComfyUI that dev.py uses, this pack, and the packages that the machine lacks) and ``run.py``, which
needs nothing but that machine's own Python and PyTorch.
"""

import argparse
import importlib.util
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.gpu.kit import packages
from tests.gpu.kit.files import host_files, pack_files
from tests.helpers.scratch import ROOT

LIMIT = 60 * 2**20  # 64 MiB may travel, together with the working tree
PAYLOAD = "payload.tar.xz"


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.gpu.kit", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder; it is made")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    host = Path(importlib.util.find_spec("execution").origin).parent
    sys.stdout.write(f"ComfyUI: {host}\n")
    with tempfile.TemporaryDirectory(prefix="tcan-kit-") as folder:
        site = Path(folder) / "site"
        carried = packages.install(packages.asked_for(host), site)
        sys.stdout.write(f"packages for Python {packages.MACHINE['python']}: {', '.join(carried)}\n")
        parts = {
            "site": [(site, path.relative_to(site)) for path in sorted(site.rglob("*")) if path.is_file()],
            "host": [(host, path) for path in host_files(host)],
            "pack": [(ROOT, path) for path in pack_files()],
        }
        _pack(parts, out / PAYLOAD)
    shutil.copy(Path(__file__).with_name("run.py"), out)
    size = sum(file.stat().st_size for file in out.iterdir())
    for name, files in parts.items():
        sys.stdout.write(f"{name}: {len(files)} files\n")
    sys.stdout.write(f"{out}: {size / 2**20:.1f} MiB\n")
    if size > LIMIT:
        raise SystemExit(
            f"The kit has {size / 2**20:.1f} MiB, more than the {LIMIT >> 20} that may travel: leave out more of it."
        )


def _pack(parts: dict[str, list[tuple[Path, Path]]], file: Path) -> None:
    with tarfile.open(file, "w:xz", preset=6) as archive:
        for name, files in parts.items():
            for folder, path in files:
                archive.add(folder / path, f"{name}/{path.as_posix()}", recursive=False)


if __name__ == "__main__":
    main()
