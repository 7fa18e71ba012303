"""The time and imports that loading the pack adds to ComfyUI's start."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.helpers.scratch import ROOT


@dataclass
class Startup:
    """Seconds of loading, and the top-level packages that the pack was the first to import."""

    seconds: float
    packages: list[str]


def measure() -> Startup:
    """Load the pack in a fresh ComfyUI, in a separate process."""
    process = subprocess.run([sys.executable, "-m", "tests.helpers.startup"], cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr)
    return Startup(**json.loads(process.stdout.splitlines()[-1]))


def _load() -> Startup:
    from tests.helpers.host import boot

    host = boot(pack=False)
    before = set(sys.modules)
    started = time.perf_counter()
    host.load_pack()
    seconds = time.perf_counter() - started
    pack = str(ROOT)
    new = {name.split(".")[0] for name in set(sys.modules) - before if not name.startswith(pack)}
    return Startup(seconds, sorted(new - {name.split(".")[0] for name in before}))


if __name__ == "__main__":
    print(json.dumps(vars(_load())))
