"""A weight file in use: whether it was overwritten, and copies that no writing reaches.

A memory-mapped tensor reads the file whenever it is touched. A program that writes into the file (``cp new old``) changes such a
tensor after it was checked, and one that cuts the file off ends the whole process: the system answers a page that is gone with
SIGBUS. Numbers are therefore taken from the file with ``read``, which fails with an error instead, just before they are used.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from ..values import shown
from .messages import CheckpointError

_PIECE = 1 << 30  # bytes of one read; systems limit it
_SMALL = 64 << 20  # bytes of a file whose contents are compared when it was written again
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name


def container(head: bytes) -> str | None:
    """What a file is by its first nine bytes.

    ``safetensors``, ``zip`` (torch.save), ``pickle`` (torch.save before version 1.6), or None.
    """
    if head.startswith(b"PK\3\4"):
        return "zip"
    if head[8:9] == b"{":
        return "safetensors"
    return "pickle" if head.startswith(b"\x80") else None


class MappedFile:
    """One open weight file, and where it is mapped into memory.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path):
        if not path.is_file():  # a pipe would wait for a writer
            raise FileNotFoundError(path)
        self.name = shown(path.name)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (it is read as long as the checkpoint is in use)
        self._state = self._now()
        self._digest = self._contents()
        self._base: int | None = None  # address of the file's first byte
        self._kept: torch.Tensor | None = None  # as long as it lives, nothing else gets these addresses

    def _now(self) -> tuple:
        state = os.stat(self._file.fileno())
        # a file that was deleted or replaced under its name keeps its contents
        return state.st_size, state.st_mtime_ns, state.st_ctime_ns if state.st_nlink else None

    @property
    def is_mapped(self) -> bool:
        """Whether tensors of this file are mapped; `locate` finds out."""
        return self._base is not None

    def check(self) -> None:
        """Raise a `CheckpointError` if the file was overwritten since it was opened.

        A small file that was written again with the same contents counts as unchanged.
        """
        now = self._now()
        size, written, changed = now
        if (size, written) == self._state[:2] and changed in (self._state[2], None):
            return
        if size != self._state[0] or self._digest is None or self._contents() != self._digest:
            raise self._overwritten()
        self._state = now

    def _contents(self) -> bytes | None:
        size = self._state[0]
        return hashlib.blake2b(self._read(0, size)).digest() if size <= _SMALL else None

    def _overwritten(self) -> CheckpointError:
        return CheckpointError(
            f"The file '{self.name}' was overwritten while it was in use: run the graph again, which loads the file again."
        )

    def locate(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Find out where the file is mapped; False if that is not certain.

        Args:
            tensors: the file's tensors ``[…]``, whose addresses show it.
        """
        kind = container(self._read(0, 9))
        full = [tensor for tensor in tensors.values() if tensor.numel()]
        if kind == "pickle" or not full:  # such a file is never mapped
            return True
        places = self._places_in_zip() if kind == "zip" else self._places_in_safetensors()
        addresses = {tensor.untyped_storage().data_ptr() for tensor in full}
        first = min(addresses)
        bases = {first - place for place in places if all(address - first + place in places for address in addresses)}
        if len(bases) != 1:
            return False
        self._base, self._kept = bases.pop(), full[0]
        return True

    def _places_in_safetensors(self) -> set[int]:
        length = int.from_bytes(self._read(0, 8), "little")
        header = json.loads(self._read(8, length))
        return {8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}

    def _places_in_zip(self) -> set[int]:
        with zipfile.ZipFile(self._file) as archive:
            members = archive.infolist()
        places = set()
        for member in members:
            local = self._read(member.header_offset, _LOCAL_HEADER)
            lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
            places.add(member.header_offset + _LOCAL_HEADER + lengths)
        return places

    def _read(self, start: int, length: int) -> bytearray:
        content = bytearray(length)
        self._read_into(start, memoryview(content))
        return content

    def _read_into(self, start: int, content: memoryview) -> None:
        self._file.seek(start)
        done = 0
        while done < len(content):
            count = self._file.readinto(content[done : done + _PIECE])
            if not count:
                raise self._overwritten()
            done += count

    def copies(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The same tensors ``[…]`` in memory that no file reaches.

        Raises:
            CheckpointError: the file was overwritten.
        """
        self.check()
        try:
            copied = {name: self._copy(tensor) for name, tensor in tensors.items()}
        except OSError as error:
            raise CheckpointError(f"The file '{self.name}' can no longer be read: check its disk, and run again.") from error
        self.check()
        return copied

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        start = tensor.data_ptr() - self._base if self._base is not None and not tensor.is_meta and tensor.numel() else -1
        if not 0 <= start < self._state[0]:
            return tensor
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        content = torch.empty(extent * tensor.element_size(), dtype=torch.uint8)
        self._read_into(start, memoryview(content.numpy()))
        return content.view(tensor.dtype).as_strided(tensor.shape, tensor.stride()).contiguous()
