"""Untrusted files: a clear error, their code never runs, and memory stays near the file's size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tcan_modules.weights.checkpoint import load_checkpoint
from tcan_modules.weights.messages import CheckpointError
from tests.helpers.untrusted_files import assert_sentence, bombs, damaged, fuzz, safetensors_file, saved, zip_file

FUZZ = fuzz(150)


def load(path: Path):
    """The checkpoint, or None if it is refused with a clear error; other errors are raised."""
    try:
        return load_checkpoint([path], path.name)
    except CheckpointError as error:
        assert_sentence(error)
        return None


@pytest.mark.parametrize("name", damaged())
def test_damaged_files(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(damaged()[name])
    assert load(tmp_path / name) is None
    assert "CODE RAN" not in capsys.readouterr().out


BOMB_SQUAD = """
import sys
from pathlib import Path
from tcan_modules.weights.checkpoint import load_checkpoint
from tests.helpers.untrusted_files import MANY, report_memory
paths = sorted(Path(sys.argv[1]).iterdir())
report_memory(((path.name, lambda path=path: load_checkpoint([path], path.name)) for path in paths), MANY // 8)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not limit a process by itself")
def test_bombs(tmp_path):
    """In a separate process, whose peak memory counts."""
    for name, content in bombs().items():
        assert len(content) <= 17 << 20
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"renamed_{name}.safetensors").write_bytes(content)
    result = subprocess.run([sys.executable, "-c", BOMB_SQUAD, tmp_path], capture_output=True, text=True)
    assert result.stdout.startswith("done"), result.stdout + result.stderr


TENSORS = {"conv_in.weight": torch.ones(4, 4), "up_blocks.0.resnets.0.conv1.weight": torch.zeros(2, dtype=torch.float16)}
WHOLE = {
    "a.safetensors": safetensors_file(
        {
            "conv_in.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]},
            "up_blocks.0.x": {"dtype": "F16", "shape": [2], "data_offsets": [64, 68]},
        },
        bytes(68),
    ),
    "a.ckpt": saved(TENSORS),
    "old.ckpt": saved(TENSORS, _use_new_zipfile_serialization=False),
}


@st.composite
def mutated(draw) -> tuple[str, bytes]:
    """A good file with bytes flipped, removed, doubled or inserted."""
    name = draw(st.sampled_from(sorted(WHOLE)))
    content = bytearray(WHOLE[name])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 40))
        match draw(st.sampled_from(["flip", "set", "cut", "end", "double", "insert", "number"])):
            case "flip":
                content[at : at + 1] = bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) if content else b""
            case "set":
                content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del content[at : at + length]
            case "end":
                del content[at:]
            case "double":
                content[at:at] = content[at : at + length]
            case "insert":
                content[at:at] = draw(st.binary(max_size=40))
            case "number":
                content[at : at + 8] = draw(st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])).to_bytes(8, "little")
    return name, bytes(content)


@FUZZ
@given(mutated())
def test_mutated_bytes(tmp_path_factory, case):
    name, content = case
    path = tmp_path_factory.getbasetemp() / f"mutated_{name}"
    path.write_bytes(content)
    assert load(path) is None  # none of these is a complete network


GLOBALS = (
    "posix\nsystem",
    "__builtin__\nexec",
    "__builtin__\nbytearray",
    "builtins\ngetattr",
    "_codecs\nencode",
    "torch\nload",
    "torch\nFloatTensor",
    "torch\nFloatStorage",
    "torch._utils\n_rebuild_tensor_v2",
    "torch._utils\n_rebuild_parameter",
    "torch._utils\n_rebuild_from_type_v2",
    "torch._tensor\n_rebuild_from_type_v2",
    "torch.nn.parameter\nParameter",
    "torch\nSize",
    "torch\ndevice",
    "torch\nfloat16",
    "collections\nOrderedDict",
)
WORDS = ("state_dict", "conv_in.weight", "storage", "0", "cpu", "touch RAN", "open('RAN','w')", "a" * 300)
OPERATIONS = st.one_of(
    st.sampled_from(GLOBALS).map(lambda name: b"c" + name.encode() + b"\n"),
    st.sampled_from(WORDS).map(lambda word: b"X" + len(word).to_bytes(4, "little") + word.encode()),
    st.integers(-2, 2**31 - 1).map(lambda number: b"J" + number.to_bytes(4, "little", signed=True)),
    st.sampled_from(
        [b"}", b"]", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"R", b"b", b"s", b"u", b"a", b"e", b"Q", b"N", b"\x89"]
    ),
    st.sampled_from([b"q\x00", b"h\x00", b"\x81", b"0", b"\x93", b"iposix\nsystem\n", b"P0\n", b"\x8a\x08" + b"\xff" * 8]),
)


@FUZZ
@given(st.lists(OPERATIONS, max_size=30), st.booleans())
def test_any_pickle(tmp_path_factory, operations, in_zip):
    """Pickle operations in any order, as no pickler writes them."""
    folder = tmp_path_factory.getbasetemp() / "pickles"
    folder.mkdir(exist_ok=True)
    path, content = folder / "any.ckpt", b"\x80\x02" + b"".join(operations) + b"."
    path.write_bytes(zip_file(content) if in_zip else content)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert load(path) is None
    finally:
        os.chdir(before)
    assert not (folder / "RAN").exists()
