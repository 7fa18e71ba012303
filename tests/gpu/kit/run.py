"""`python3 run.py OUT`: the GPU suite and the benchmark's GPU tables, offline.

Standard library only.

Writes ``gpu.json`` and ``gpu.txt`` into OUT after each stage, so that a stage that crashes or takes too long loses only its own
results. ``--only`` runs some of the stages, ``--rehearse`` all of them on the CPU with small models.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

SECONDS = 470  # for everything
DESCRIBE = "import json; from tests.gpu.card import describe; print('machine', json.dumps(describe()))"
BENCHMARKS = {
    "float16": (("--only", "card"), 90),
    "long video on 8 GB": (("--only", "long", "--gigabytes", "8"), 100),
    "bfloat16": (("--only", "card", "--bfloat16"), 90),
}
TESTS = {  # files of the suite that share a process, and their time limit in seconds
    "wired together": (("test_nodes.py", "test_combinations.py"), 110),
    "authors' loops": (("test_loops.py",), 80),
    "memory modes": (("test_memory_modes.py",), 150),
    "faults": (("test_faults.py",), 100),
    "compile": (("test_compile.py",), 240),
}
ORDER = ("models", "wired together", "authors' loops", "memory modes", "faults", *BENCHMARKS, "compile")
PATIENCE = 6  # how many times as long a stage may take on a CPU


class Kit:
    """An unpacked kit and its results so far."""

    def __init__(self, folder: Path, out: Path, rehearse: bool):
        self.folder, self.out, self.rehearse = folder, out, rehearse
        self.models, self.scratch = folder / "models", folder / "scratch"
        self.scratch.mkdir(exist_ok=True)
        paths = [folder / "pack", folder / "host", folder / "site"]  # the host has a folder named tests too
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "HF_HUB_OFFLINE": "1"}
        # as the host's main.py sets it for a card; here it is not the main program
        self.environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
        self.found: dict = {"machine": {}, "stages": {}, "tests": {}, "benchmarks": {}}

    def python(self, arguments: list[str], limit: float) -> tuple[str, str]:
        """Run Python; return "ok" or the reason of a failure, and its output."""
        log = self.scratch / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder / "pack",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                outcome = "ok" if code == 0 else f"ended with code {code}"
            except subprocess.TimeoutExpired:
                outcome = f"stopped after {limit:.0f} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # ends its children too
                process.wait()
        return outcome, log.read_text(errors="replace")

    def describe(self) -> None:
        outcome, said = self.python(["-c", DESCRIBE], 120)
        lines = [line for line in said.splitlines() if line.startswith("machine ")]
        self.found["machine"] = (
            json.loads(lines[-1].removeprefix("machine ")) if lines else {"unknown": f"{outcome}\n{said[-2000:]}"}
        )

    def stage(self, name: str, limit: float) -> None:
        """Run a stage and write its results."""
        results, figures = self.scratch / "results.jsonl", self.scratch / "figures.json"
        for file in (results, figures):
            file.unlink(missing_ok=True)
        rehearse = ["--rehearse"] if self.rehearse else []
        if name == "models":
            command = ["-m", "tests.gpu.models", str(self.models)]
        elif name in BENCHMARKS:
            command = ["-m", "tests.benchmarks", *BENCHMARKS[name][0], "--json", str(figures)]
        else:
            files = [f"tests/gpu/{file}" for file in TESTS[name][0]]
            command = ["-m", "pytest", *files, "-q", "-p", "no:cacheprovider"]
            command += ["--gpu-models", str(self.models), "--gpu-results", str(results)]
        started = time.monotonic()
        outcome, said = self.python([*command, *rehearse], limit)
        self.found["stages"][name] = {
            "outcome": outcome,
            "seconds": round(time.monotonic() - started, 1),
            "end of output": said[-6000:],
        }
        if figures.exists():
            self.found["benchmarks"][name] = json.loads(figures.read_text())
        if results.exists():
            self.found["tests"][name] = [json.loads(line) for line in results.read_text().splitlines()]
        self.write()

    def write(self) -> None:
        (self.out / "gpu.json").write_text(json.dumps(self.found, indent=1))
        (self.out / "gpu.txt").write_text(as_text(self.found))


def as_text(found: dict) -> str:
    """The results as text for a reader."""
    lines = [f"{key}: {value}" for key, value in found["machine"].items()]
    for name, stage in found["stages"].items():
        lines += ["", f"== {name}: {stage['outcome']}, {stage['seconds']} s"]
        for test in found["tests"].get(name, []):
            short = test["test"].rpartition("/")[2]
            figures = {key: value for key, value in test.items() if key not in ("test", "outcome", "seconds", "reason")}
            lines.append(
                f"{test['outcome']:8}{test['seconds']:7.1f} s  {short}  {json.dumps(figures) if figures else ''}".rstrip()
            )
            lines += [f"        {line}" for line in test.get("reason", "").splitlines()[-25:]]
        if name in BENCHMARKS or name == "models" or stage["outcome"] != "ok":
            lines += stage["end of output"].splitlines()[-25:]
    counts: dict[str, int] = {}
    for test in (test for tests in found["tests"].values() for test in tests):
        counts[test["outcome"]] = counts.get(test["outcome"], 0) + 1
    return "\n".join([*lines, "", ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, metavar="STAGE", help=", ".join(ORDER))
    parser.add_argument(
        "--seconds", type=float, help=f"for everything (default: {SECONDS}, and {PATIENCE} times that with --rehearse)"
    )
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    slow = PATIENCE if given.rehearse else 1
    given.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.gettempdir()) / "tcan-gpu"
    with tarfile.open(Path(__file__).with_name("payload.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    kit = Kit(folder, given.out.resolve(), given.rehearse)
    kit.describe()
    kit.write()
    print(as_text(kit.found), f"unpacked and looked at in {time.monotonic() - started:.0f} s", sep="", flush=True)
    limits = {"models": 90} | {name: seconds for name, (_, seconds) in (BENCHMARKS | TESTS).items()}
    for name in dict.fromkeys(["models", *given.only]):
        left = slow * (given.seconds or SECONDS) - (time.monotonic() - started)
        if left < 5:
            kit.found["stages"][name] = {"outcome": "not run: no time left", "seconds": 0, "end of output": ""}
            kit.write()
            continue
        kit.stage(name, min(left, slow * limits[name]))
        stage = kit.found["stages"][name]
        print(f"{name}: {stage['outcome']}, {stage['seconds']} s", flush=True)
    print(as_text(kit.found))
    return int(any(stage["outcome"] != "ok" for stage in kit.found["stages"].values()))


if __name__ == "__main__":
    sys.exit(main())
