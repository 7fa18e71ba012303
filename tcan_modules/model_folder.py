"""Files under ``models/tcan``: what can be chosen, and where a packed file is saved."""

import contextlib
import filecmp
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from .weights.checkpoint import Checkpoint, load_checkpoint, pack
from .weights.messages import CheckpointError, shown
from .weights.reading import SUFFIXES

KIND = "tcan"
DEEPEST = 16  # folders within folders
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # names that Windows keeps for itself


def choices() -> list[str]:
    """All checkpoint files, and folders with such files, by their path under ``models/tcan``.

    Paths have ``/`` on every system.
    """
    files = {path.relative_to(root).as_posix() for root in _roots() for path in _files_below(root, ())}
    folders = {name.rpartition("/")[0] for name in files} - {""}
    return sorted(folders) + sorted(files)


def _files_below(folder: Path, around: tuple[str, ...]) -> Iterator[Path]:
    """Checkpoint files, also through links, but never through a link to a parent folder, which would not end."""
    real = os.path.realpath(folder)
    if real in around or len(around) > DEEPEST:
        return
    try:
        inside = sorted(folder.iterdir())
        folders = [path for path in inside if path.is_dir()]
    except OSError:  # deleted meanwhile, or not readable
        return
    yield from (path for path in inside if path.suffix.lower() in SUFFIXES and path not in folders)
    for path in folders:
        yield from _files_below(path, (*around, real))


def files_of(choice: str) -> list[Path]:
    """The files of a choice.

    Links in a model folder may lead out of it, because the user made them; names may not.

    Raises:
        CheckpointError: nothing of that name under the model folders.
    """
    # a name as `choices` gives it: no "..", no drive, no root, no empty part
    plain = "\0" not in choice and ".." not in choice.split("/") and Path(choice).parts == tuple(choice.split("/"))
    for root in _roots() if plain and not Path(choice).drive else ():
        path = root / choice
        with contextlib.suppress(OSError):  # an impossible file name, or a folder that is not readable
            if path.is_file() and path.suffix.lower() in SUFFIXES:
                return [path]
            if path.is_dir():
                return sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)
    raise CheckpointError(
        f"There is no TCAN checkpoint '{shown(choice)}': put its files into {_roots()[0]} and refresh the list of checkpoints."
    )


def load(choice: str) -> Checkpoint:
    """The checkpoint of a choice; ``--disable-mmap`` of the host reads it into memory.

    Raises:
        CheckpointError: it cannot be used.
    """
    return load_checkpoint(files_of(choice), choice, mapped=not args.disable_mmap)


def fingerprint(choice: str) -> tuple:
    """A value that changes with the files of the choice, so that the host loads them again."""
    try:
        states = ((path, path.stat()) for path in files_of(choice))
        return tuple((str(path), state.st_mtime_ns, state.st_ctime_ns, state.st_size) for path, state in states)
    except (CheckpointError, OSError) as error:
        return (str(error),)


def save(checkpoint: Checkpoint, filename: str) -> Path:
    """Write the packed file whole or not at all; never replace a file with other contents.

    Raises:
        CheckpointError: an impossible name, or one that is taken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    name = filename.strip().removesuffix(".safetensors")
    if not re.fullmatch(r"[\w\-. \[\]=+()]+", name) or name.startswith(".") or _DEVICE.match(name):
        raise CheckpointError(
            f"'{shown(filename)}' cannot be the name of a file in models/tcan: use letters, digits, spaces, '-', '_' and '.'."
        )
    if len(os.fsencode(name)) > 200:
        raise CheckpointError(f"'{shown(filename)}' is too long for the name of a file: use at most 200 letters.")
    root = _roots()[0]
    target = root / f"{name}.safetensors"
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=root, suffix=".part")
    except OSError as error:
        raise CheckpointError(f"No file can be written into {root} ({error.strerror}): allow ComfyUI to write there.") from error
    os.close(handle)
    try:
        try:
            save_file(pack(checkpoint), scratch, metadata={"format": "pt"})
        except (OSError, SafetensorError) as error:
            reason = shown(str(error).strip())
            raise CheckpointError(f"'{target.name}' could not be written ({reason}): make room on the disk of {root}.") from error
        if target.exists() and not filecmp.cmp(scratch, target, shallow=False):
            raise CheckpointError(f"The file models/tcan/{target.name} exists and holds something else: choose another filename.")
        os.replace(scratch, target)
    finally:
        Path(scratch).unlink(missing_ok=True)
    return target


def _roots() -> list[Path]:
    return [Path(path) for path in folder_paths.get_folder_paths(KIND)]
