"""Install the packages that the host needs and a bare machine lacks, for its Python."""

import json
import subprocess
import sys
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent
MACHINE = json.loads((FOLDER / "machine.json").read_text())
INSTALLED = set((FOLDER / "installed.txt").read_text().split())
CARRIED, PURE = MACHINE["carried besides what the host asks for"], MACHINE["without compiled code"]
NOT_NEEDED = MACHINE["not needed"].keys() | {canonicalize_name(name) for name in INSTALLED}


def asked_for(host: Path) -> list[Requirement]:
    """The lines of a host's ``requirements.txt`` and the packages of our tests."""
    lines = (line.split("#")[0].strip() for line in (host / "requirements.txt").read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in (*lines, *CARRIED) if line and not line.startswith("-")]


def install(requirements: Iterable[Requirement], target: Path) -> list[str]:
    """Install what the machine lacks with its dependencies; return names with versions."""
    todo, seen = list(requirements), set()
    while todo:
        missing = {}
        for requirement in todo:
            name = canonicalize_name(requirement.name)
            if name not in seen and name not in NOT_NEEDED and _applies(requirement):
                missing.setdefault(name, requirement)
        seen |= missing.keys()
        for requirement in missing.values():
            _pip(requirement, target)
        todo = [Requirement(line) for name in missing for line in _metadata(name, target).get_all("Requires-Dist", [])]
    return sorted(f"{name} {_metadata(name, target)['Version']}" for name in seen)


def _applies(requirement: Requirement) -> bool:
    machine = {"python_version": MACHINE["python"], "python_full_version": f"{MACHINE['python']}.3", "sys_platform": "linux"}
    machine |= {"platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(machine)


def _pip(requirement: Requirement, target: Path) -> None:
    pure = canonicalize_name(requirement.name) in PURE
    platforms = ["any"] if pure else MACHINE["platforms"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--python-version", MACHINE["python"], "--target", str(target), "--upgrade"]
    command += ["--implementation", "py", "--abi", "none"] if pure else ["--implementation", "cp"]
    command += [part for platform in platforms for part in ("--platform", platform)]
    done = subprocess.run([*command, f"{requirement.name}{requirement.specifier}"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pip has no {requirement} for Python {MACHINE['python']}:\n{done.stderr[-1500:]}")


def _metadata(name: str, target: Path):
    for folder in target.glob("*.dist-info"):
        if canonicalize_name(folder.name.partition("-")[0]) == name:
            return HeaderParser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))
    raise SystemExit(f"pip installed no {name}")
