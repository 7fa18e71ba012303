"""Files under ``models/tcan``: what can be chosen, and where a packed file is saved."""

import filecmp
import os
import re
import tempfile
from pathlib import Path

import folder_paths

from .checkpoint import SUFFIXES, Checkpoint, CheckpointError, pack

KIND = "tcan"


def choices() -> list[str]:
    """Each checkpoint file, and each folder that holds some, by its path under ``models/tcan`` (with ``/`` on every system)."""
    files = [name.replace(os.sep, "/") for name in folder_paths.get_filename_list(KIND)]
    folders = {name.rpartition("/")[0] for name in files} - {""}
    return sorted(folders) + sorted(files)


def files_of(choice: str) -> list[Path]:
    """The files of a choice.

    Raises:
        CheckpointError: nothing of that name under the model folders.
    """
    for root in _roots():
        path = (root / choice).resolve()
        if not path.is_relative_to(root.resolve()) and not _is_listed(choice):
            continue
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            return [path]
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)
    raise CheckpointError(
        f"There is no TCAN checkpoint '{choice}': put its files into {_roots()[0]} and refresh the list of checkpoints."
    )


def fingerprint(choice: str) -> tuple:
    """Changes when a file of the choice changes, so that the host loads it again."""
    try:
        return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files_of(choice))
    except (CheckpointError, OSError) as error:
        return (str(error),)


def save(checkpoint: Checkpoint, filename: str) -> Path:
    """Write the packed file at once or not at all; a file of that name that holds something else is kept.

    Raises:
        CheckpointError: a name that is none, or that is taken.
    """
    from safetensors.torch import save_file

    name = filename.strip().removesuffix(".safetensors")
    if not re.fullmatch(r"[\w\-. \[\]=+()]+", name) or name.startswith("."):
        raise CheckpointError(
            f"'{filename}' cannot be the name of a file in models/tcan: use letters, digits, spaces, '-', '_' and '.'."
        )
    root = _roots()[0]
    root.mkdir(parents=True, exist_ok=True)
    target = root / f"{name}.safetensors"
    handle, scratch = tempfile.mkstemp(dir=root, suffix=".part")
    os.close(handle)
    try:
        save_file(pack(checkpoint), scratch, metadata={"format": "pt"})
        if target.exists() and not filecmp.cmp(scratch, target, shallow=False):
            raise CheckpointError(f"models/tcan/{target.name} exists and holds something else: choose another filename.")
        os.replace(scratch, target)
    finally:
        Path(scratch).unlink(missing_ok=True)
    return target


def _roots() -> list[Path]:
    return [Path(path) for path in folder_paths.get_folder_paths(KIND)]


def _is_listed(choice: str) -> bool:
    """Links that the user laid inside the folder may lead out of it; names that somebody typed may not."""
    return choice in choices() and ".." not in choice.split("/")
