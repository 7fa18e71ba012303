"""Files that are written as a whole: at any moment there is the complete old or new one."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ..log import log

_SCRATCH = re.compile(r"\.(?P<name>.+)\.(?P<process>\d{1,10})\.tmp")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A scratch file to write, which replaces ``path`` when the block ends without an error.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is left.
    """
    from safetensors import SafetensorError

    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        with open(scratch, "rb+") as file:
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        os.replace(scratch, path)
    except (OSError, SafetensorError) as error:
        scratch.unlink(missing_ok=True)
        raise OSError(
            f"'{path}' cannot be written ({error}): free space on its disk or give another folder; the file from before is left."
        ) from error
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def sweep(folder: Path, name: str | None = None) -> None:
    """Delete what killed processes left half-written in a folder.

    Args:
        folder: it may be missing.
        name: of the file that they were writing; None: any, in a folder into which only this process writes.
    """
    import psutil

    for file in folder.glob(".*.tmp") if folder.is_dir() else ():
        left = _SCRATCH.fullmatch(file.name)
        if left and (name is None or (left["name"] == name and not psutil.pid_exists(int(left["process"])))):
            log.info("deleted %s, which a stopped process left half-written", file)
            file.unlink(missing_ok=True)


def locked(folder: Path) -> BaseFileLock:
    """A lock on a folder into which one run writes.

    The system drops it when the process ends, however it ends.

    Raises:
        ValueError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another training writes into '{folder}': wait for its end, or choose another folder for --out."
        ) from None
    except (OSError, NotImplementedError) as error:  # some network disks have no locks
        log.warning("%s cannot be locked (%s): start no second training with this --out", folder, error)
    return lock
