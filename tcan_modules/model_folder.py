"""Files under ``models/tcan``: what can be chosen, and where a packed file is saved."""

import contextlib
import filecmp
import itertools
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from .log import log
from .values import shown
from .weights.checkpoint import Checkpoint, load_checkpoint, pack
from .weights.messages import CheckpointError
from .weights.reading import SUFFIXES

KIND = "tcan"
DEEPEST = 16  # folders within folders
WAYS = 4  # links to one folder from as many places are followed
MOST = 20_000  # files and folders that are looked at
LOOSE = "(all files directly in models/tcan)"  # the choice of files that are in no folder
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # names that Windows keeps for itself
_NAMED = 8  # files that are not read, in one line of the log
_told: set[str] = set()


def choices() -> list[str]:
    """All checkpoint files, and folders with such files, by their path under ``models/tcan``.

    Paths have ``/`` on every system. `LOOSE` follows if there are several files without a folder.
    """
    files: set[str] = set()
    others: list[str] = []
    for root in _roots():
        walk = _Walk()
        files |= {path.relative_to(root).as_posix() for path in walk.files_below(root)}
        others += [path.relative_to(root).as_posix() for path in walk.others]
    _tell(others)
    folders = {name.rpartition("/")[0] for name in files} - {""}
    loose = [LOOSE] if _loose() and LOOSE not in files | folders else []
    return sorted(folders) + sorted(files) + loose


class _Walk:
    """One walk through a model folder, in bounded time however its links go."""

    def __init__(self):
        self.others: list[Path] = []  # what is not read

    def files_below(self, root: Path) -> Iterator[Path]:
        """Checkpoint files, also through links, but never through a link to a parent folder, which would not end.

        Upper folders come first. A folder that is reached without a link always counts; of the ways through links, `WAYS` do.
        """
        waiting = deque([(root, (), False)])  # folder, real folders around it, whether a link leads there
        ways: Counter = Counter()
        seen = 0
        while waiting:
            folder, around, linked = waiting.popleft()
            try:
                state = folder.stat()
                real = state.st_dev, state.st_ino
                if real in around:
                    continue
                ways[real] += linked
                if ways[real] > WAYS or len(around) > DEEPEST or seen > MOST:
                    self.others.append(folder)
                    continue
                inside = sorted(itertools.islice(folder.iterdir(), MOST))
            except OSError:  # deleted meanwhile, or not readable
                self.others += [folder] if around else []
                continue
            seen += len(inside)
            folders = {path for path in inside if _kind(path) == "folder"}
            waiting += [(path, (*around, real), linked or path.is_symlink()) for path in inside if path in folders]
            yield from self._files([path for path in inside if path not in folders])

    def _files(self, paths: list[Path]) -> Iterator[Path]:
        for path in paths:
            if path.suffix.lower() in SUFFIXES and _kind(path) == "file":
                yield path
            elif not path.name.startswith("."):
                self.others.append(path)


def _kind(path: Path) -> str | None:
    """``file``, ``folder``, or None for pipes, devices and links that lead nowhere."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else None


def _tell(others: list[str]) -> None:
    """Name in the log, once, what is in the model folders and is not read."""
    new = [name for name in others if name not in _told and not name.endswith((".md", ".part"))]
    if new and len(_told) < MOST:
        _told.update(new)
        more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
        log.info(
            "not read in models/tcan: %s%s (Load TCAN reads %s)", ", ".join(map(shown, new[:_NAMED])), more, " ".join(SUFFIXES)
        )


def _loose() -> list[Path]:
    """The checkpoint files directly in the first model folder that has several."""
    for root in _roots():
        with contextlib.suppress(OSError):
            found = _checkpoint_files(root)
            if len(found) > 1:
                return found
    return []


def _checkpoint_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and _kind(path) == "file")


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
            kind = _kind(path)
            if kind == "file" and path.suffix.lower() in SUFFIXES:
                return [path]
            if kind == "folder":
                return _checkpoint_files(path)
    if choice == LOOSE and (loose := _loose()):
        return loose
    raise CheckpointError(
        f"There is no TCAN checkpoint '{shown(choice)}': put its files into {_roots()[0]} and refresh the list of checkpoints."
    )


def load(choice: str) -> Checkpoint:
    """The checkpoint of a choice; ``--disable-mmap`` of the host reads it into memory.

    Raises:
        CheckpointError: it cannot be used.
    """
    return load_checkpoint(files_of(choice), choice, mapped=not args.disable_mmap, loose=choice == LOOSE)


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
        _sweep(root)
        scratch = _new_scratch(root)
        written = scratch / "new.part"
        written.touch()
        rights = stat.S_IMODE(written.stat().st_mode)  # of every new file of this user
    except OSError as error:
        raise CheckpointError(f"No file can be written into {root} ({error.strerror}): allow ComfyUI to write there.") from error
    try:
        try:
            save_file(pack(checkpoint), written, metadata={"format": "pt"})
            os.chmod(written, rights)  # safetensors gives it to one user
        except (OSError, SafetensorError) as error:
            reason = shown(str(error).strip())
            raise CheckpointError(f"'{target.name}' could not be written ({reason}): make room on the disk of {root}.") from error
        if target.exists() and not filecmp.cmp(written, target, shallow=False):
            raise CheckpointError(f"The file models/tcan/{target.name} exists and holds something else: choose another filename.")
        os.replace(written, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _in_use.discard(scratch.name)
    return target


_in_use: set[str] = set()  # scratch folders in which this process writes
_HOST = re.sub(r"\W", "_", socket.gethostname())[:40]
# ours, in which safetensors has its own temporary file too, and the files of earlier versions
_SCRATCH = re.compile(r"tcan-(?P<host>\w*)-(?P<process>\d{1,9})-[0-9a-f]{32}\.part|tmp\w{8}\.part|\.tmp[A-Za-z0-9]{6}")
_DAY, _HOUR = 86400, 3600  # seconds


def _new_scratch(root: Path) -> Path:
    path = root / f"tcan-{_HOST}-{os.getpid()}-{uuid.uuid4().hex}.part"
    _in_use.add(path.name)
    path.mkdir()
    return path


def _sweep(root: Path) -> None:
    """Delete what processes that have ended left over of files that they were saving."""
    for path in root.iterdir():
        match = _SCRATCH.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if match and not path.is_symlink() and _is_left_over(match, time.time() - path.stat().st_mtime):
                if path.is_dir() and match["host"] is not None:
                    shutil.rmtree(path)
                elif path.is_file():
                    path.unlink()
                log.info("deleted %s, which a process that has ended left behind", path.name)


def _is_left_over(match: re.Match, age: float) -> bool:
    """Whether nobody writes a scratch file any more; ``age`` in seconds since it was written to."""
    if match[0] in _in_use:
        return False
    if match["host"] != _HOST or os.name == "nt":  # its processes are not to be seen from here
        return age > (_HOUR if match["host"] is None else _DAY)
    process = int(match["process"])
    return process == os.getpid() or not _is_alive(process) or age > _DAY


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _roots() -> list[Path]:
    return [Path(path) for path in folder_paths.get_folder_paths(KIND)]
