"""Workers side by side: they start together and compute in turn, one at a time."""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.gpu.card import Card
from tests.helpers.scratch import ROOT

START_SECONDS, RUN_SECONDS = 180, 120
SEVERAL = 32 * 2**30  # bytes of a card for several workers: each started host holds half a GiB


@dataclass
class Outcome:
    """A worker's results, or the end of its output."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    figures: dict = field(default_factory=dict)
    ran_on: dict = field(default_factory=dict)
    failure: str = ""


def run_workers(task: str, flags: dict[str, tuple[str, ...]], card: Card, models: Path) -> dict[str, Outcome]:
    """Run a task with each set of flags of the host, by name."""
    side_by_side = not card.is_rehearsal and torch.cuda.get_device_properties(0).total_memory >= SEVERAL
    groups = [list(flags)] if side_by_side else [[name] for name in flags]
    found = {}
    with tempfile.TemporaryDirectory(prefix="tcan-workers-") as folder:
        for group in groups:
            with contextlib.ExitStack() as stack:
                workers = {
                    name: stack.enter_context(_started(task, flags[name], card, models, Path(folder) / f"{number}.safetensors"))
                    for number, name in enumerate(group)
                }
                for name, worker in workers.items():
                    found[name] = worker.finish()
    return found


class _Worker:
    def __init__(self, command: list[str], out: Path):
        self.out = out
        self.log = out.with_suffix(".log").open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT
        )
        self.ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            if line.strip() == "ready":
                self.ready.set()
        self.ready.set()  # it has ended: do not wait for it

    def finish(self) -> Outcome:
        if not self.ready.wait(START_SECONDS):
            return Outcome(failure=f"did not start within {START_SECONDS} s\n{self._said()}")
        with contextlib.suppress(OSError):  # it may have ended
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        try:
            code = self.process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            return Outcome(failure=f"did not end within {RUN_SECONDS} s\n{self._said()}")
        if code:
            return Outcome(failure=f"ended with code {code}\n{self._said()}")
        found = json.loads(self.out.with_suffix(".json").read_text())
        return Outcome(load_file(self.out), found["figures"], found["ran on"])

    def _said(self) -> str:
        self.log.seek(0)
        return self.log.read()[-3000:]


@contextlib.contextmanager
def _started(task: str, flags: tuple[str, ...], card: Card, models: Path, out: Path) -> Iterator[_Worker]:
    command = [sys.executable, "-m", "tests.gpu.worker", task, str(out), "--models", str(models)]
    command += ["--rehearse"] if card.is_rehearsal else []
    worker = _Worker([*command, *flags], out)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()
        worker.log.close()
