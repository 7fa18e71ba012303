"""Damaged and malicious weight files. They must end in a clear error.

Never in their own code, a traceback, or more memory than the file's size justifies.
"""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from hypothesis import HealthCheck, settings

from tcan_modules.weights.messages import CheckpointError


def fuzz(examples: int) -> settings:
    """Settings of Hypothesis: always the same examples; ``STRANGERS_EXAMPLES=3000`` looks for new ones."""
    asked = os.environ.get("STRANGERS_EXAMPLES")
    return settings(
        max_examples=int(asked or examples),
        deadline=None,
        derandomize=not asked,
        suppress_health_check=list(HealthCheck),
    )


def report_memory(attempts: Iterable[tuple[str, Callable[[], object]]], most: int) -> None:
    """Print which of the named attempts at bad files succeed, or raise this process's peak memory by more than ``most`` bytes.

    Each must be refused with a sentence; the last line begins with ``done``.
    """
    import resource  # not on Windows

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)

    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    before = peak()
    for name, attempt in attempts:
        try:
            attempt()
            print(name, "was taken")
        except CheckpointError as error:
            assert_sentence(error)
        grown = peak() - before
        if grown > most:
            print(name, "took", grown >> 20, "MB")
    print("done,", (peak() - before) >> 20, "MB in all")


def assert_sentence(error: Exception) -> None:
    """The error must be one line that says what is wrong and what to do."""
    text = str(error)
    assert type(error).__name__ in ("CheckpointError", "ForeignFile", "ValueError"), f"{type(error).__name__}: {text}"
    assert 40 < len(text) < 600 and text.isprintable() and text.endswith(".") and (text[0].isupper() or text[0] == "'"), text


def safetensors_file(header: dict | bytes, numbers: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file; ``length`` is the one that it claims for its header."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + numbers


def zip_file(pickled: bytes, numbers: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as torch.save writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for name, content in (numbers or {"0": bytes(64)}).items():
            archive.writestr(f"archive/data/{name}", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def saved(content, **options) -> bytes:
    """A file of torch.save."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickled(content) -> bytes:
    """A pickle of the protocol that torch.save uses."""
    return pickle.dumps(content, protocol=2)


class _Storage:
    """A stand-in for a file's numbers in a pickle."""

    def __init__(self, elements: int):
        self.elements = elements


class _Pickler(pickle.Pickler):
    def persistent_id(self, item):
        return ("storage", torch.FloatStorage, "0", "cpu", item.elements) if isinstance(item, _Storage) else None


def tensor_pickle(size: tuple, stride: tuple, elements: int = 16, offset: int = 0) -> bytes:
    """A pickled tensor of sizes that torch.save does not write; it has 64 bytes of numbers."""
    tensor = Call(torch._utils._rebuild_tensor_v2, _Storage(elements), offset, size, stride, False, OrderedDict())
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump({"conv_in.weight": tensor})
    return file.getvalue()


def hex_chain(rounds: int) -> bytes:
    """A pickle whose codec calls each double a text: 35 of them make 32 GB of one letter."""
    return b"\x80\x02" + b"c_codecs\nencode\n" * rounds + b"X\x01\x00\x00\x00a" + b"X\x03\x00\x00\x00hex\x86R" * rounds + b"."


MANY = 1 << 30  # bytes: enough to see, too few to stop the machine where a bomb goes off
MANY_OBJECTS = 2_000_000  # of one byte each in the file, and 50 to 250 in memory
EMPTY_LISTS = b"\x80\x02" + b"]" * (MANY >> 6) + b"."  # 56 bytes and a pointer for each byte
NUMBER = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


def bombs() -> dict[str, bytes]:
    """Files of at most 16 MB that want 1 GB."""
    return {
        "bytearray.ckpt": zip_file(pickled({"a": Call(bytearray, MANY)})),
        "old_bytearray.ckpt": pickled({"a": Call(bytearray, MANY)}),
        "codec.ckpt": zip_file(hex_chain(30)),
        "tensor.ckpt": zip_file(pickled({"a": Call(torch.FloatTensor, MANY >> 2)})),
        "meta.ckpt": saved({"conv_in.weight": torch.empty(MANY, device="meta")}),
        "sparse.ckpt": saved({"conv_in.weight": torch.sparse_coo_tensor(size=(MANY, 4))}),
        "view.ckpt": zip_file(tensor_pickle((MANY >> 10, MANY >> 10), (0, 0))),
        "storage.ckpt": zip_file(tensor_pickle((MANY >> 2,), (1,), MANY >> 2)),
        "compressed.ckpt": zip_file(tensor_pickle((4, 4), (4, 1)), {"0": bytes(MANY >> 2)}, zipfile.ZIP_DEFLATED),
        "compressed_pickle.ckpt": zip_file(EMPTY_LISTS, compression=zipfile.ZIP_DEFLATED),
        "lists.ckpt": zip_file(EMPTY_LISTS),
        "old_lists.ckpt": EMPTY_LISTS,
        "sets.ckpt": zip_file(b"\x80\x04" + b"\x8f" * MANY_OBJECTS + b"."),
        "list_of_sets.bin": zip_file(b"\x80\x04](" + b"\x8f" * MANY_OBJECTS + b"e."),
        "dicts.pth": zip_file(b"\x80\x02" + b"}" * MANY_OBJECTS + b"."),
        "ordered_dicts.pt": zip_file(b"\x80\x02ccollections\nOrderedDict\nq\x00" + b"h\x00)R" * (MANY_OBJECTS // 4) + b"."),
        "marks.ckpt": zip_file(b"\x80\x02" + b"(" * MANY_OBJECTS + b"."),
        "header.safetensors": safetensors_file(
            {f"{number}": {**NUMBER, "shape": [0], "data_offsets": [0, 0]} for number in range(150_000)}
        ),
        "length.safetensors": safetensors_file({}, length=MANY),
    }


def damaged() -> dict[str, bytes]:
    """Damaged files, each in another way."""
    whole = saved({"conv_in.weight": torch.ones(8, 4)})
    return {
        "empty.safetensors": b"",
        "empty.ckpt": b"",
        "short.safetensors": bytes(7),
        "text.ckpt": b"my notes " * 100,
        "lie.safetensors": safetensors_file({"a": NUMBER}, bytes(16), length=1 << 20),
        "negative.safetensors": safetensors_file({"a": NUMBER}, bytes(16), length=(1 << 64) - 1),
        "cut.safetensors": safetensors_file({"a": NUMBER}, bytes(15)),
        "overlap.safetensors": safetensors_file({"a": NUMBER, "b": NUMBER}, bytes(16)),
        "hole.safetensors": safetensors_file({"a": {**NUMBER, "data_offsets": [4, 20]}}, bytes(20)),
        "backwards.safetensors": safetensors_file({"a": {**NUMBER, "data_offsets": [16, 0]}}, bytes(16)),
        "twice.safetensors": safetensors_file(
            json.dumps({"a": NUMBER})[:-1].encode() + b"," + json.dumps({"a": {**NUMBER, "data_offsets": [16, 32]}})[1:].encode(),
            bytes(32),
        ),
        "overflow.safetensors": safetensors_file({"a": {**NUMBER, "shape": [1 << 32, 1 << 32]}}, bytes(16)),
        "no_whole_bytes.safetensors": safetensors_file({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, bytes(2)),
        "four_bits.safetensors": safetensors_file({"a": {"dtype": "F4", "shape": [32], "data_offsets": [0, 16]}}, bytes(16)),
        "html.safetensors": b"<!DOCTYPE html>" * 40,
        "pointer.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
        "dtype.safetensors": safetensors_file({"a": {**NUMBER, "dtype": "F3"}}, bytes(16)),
        "nested.safetensors": safetensors_file(b'{"a":' * 100_000),
        "no_json.safetensors": safetensors_file(b"\xff\xfe{}"),
        "cut.ckpt": whole[:-30],
        "head.ckpt": whole[:300],
        "two_zips.ckpt": zip_file(tensor_pickle((4, 4), (4, 1))) + zip_file(tensor_pickle((4, 4), (4, 1))),
        "comment.ckpt": whole[:-2] + b"\x04\x00more",
        "tail.ckpt": b"PK" + whole[300:],
        "sizes.ckpt": zip_file(tensor_pickle((-4, 4), (4, 1))),
        "strides.ckpt": zip_file(tensor_pickle((4, 4), (-4, 1))),
        "beyond.ckpt": zip_file(tensor_pickle((4, 4000), (4, 1))),
        "offset.ckpt": zip_file(tensor_pickle((4, 4), (4, 1), offset=1 << 50)),
        "fraction.ckpt": zip_file(tensor_pickle((4.5, 4), (4, 1))),
        "deep.ckpt": zip_file(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."),
        "in_itself.ckpt": zip_file(b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s."),
        "print.ckpt": zip_file(pickled({"state_dict": Call(print, "CODE RAN")})),
        "nested_print.ckpt": zip_file(
            pickled({"a": pickled(Call(print, "CODE RAN")), "b": Call(pickle.loads, pickled(Call(print, "CODE RAN")))})
        ),
        "new_print.ckpt": zip_file(pickle.dumps(Call(print, "CODE RAN"), protocol=4)),
        "inst.ckpt": zip_file(b"(S'CODE RAN'\ni__builtin__\nprint\n."),
        "old_print.ckpt": pickled(Call(print, "CODE RAN")),
        "set.ckpt": saved(["no", "names"]),
        "numbers.ckpt": saved({1: torch.ones(2), (2, 3): torch.ones(2)}),
        "no_ending.ckpt": b"\x80\x02}",
    }
