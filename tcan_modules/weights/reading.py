"""Read untrusted weight files: never run code, never allocate more than the file's size.

Safetensors and ``torch.load(weights_only=True)`` keep code out. Both still allow small files that ask for much memory: a header or
pickle with nothing but empty tensors and lists, a compressed zip, a call of ``bytearray(10**11)``, a view of one number as 10**12. These
are refused before or right after reading.
"""

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import torch

from ..log import log
from ..values import shown
from .mapped_file import MappedFile, container
from .messages import CheckpointError

SAFETENSORS = (".safetensors", ".sft")
# dictionaries that training tools put around a state dict
WRAPPERS = ("state_dict", "model_state_dict", "module", "model", "params_ema", "params")
SUFFIXES = (*SAFETENSORS, ".ckpt", ".pth", ".pt", ".bin")
DIRECTORY = 2 << 20  # bytes for the description of a file's tensors: 10,000 tensors, four times as many as an SD1.x model has

# the globals that torch.save writes for a state dict; weights_only allows more, some of which can allocate any size
_GLOBAL = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(?:tensor_v2|tensor_v3|parameter)|torch(?:\.storage)? \w+Storage"
    r"|torch (?:Size|device|b?float\d+\w*|u?int\d+|bool)|torch\.nn\.parameter Parameter"
)
# opcodes that torch.save does not write: names from the stack, and sets, which take 200 bytes for each of the file's
_NEVER = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "EMPTY_SET", "FROZENSET"}
_OBJECTS = {"MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ", "BUILD"}
MOST_OBJECTS = 150_000  # about ten for each of 10,000 tensors


def open_file(path: Path, mapped: bool = True) -> tuple[dict[str, torch.Tensor], MappedFile | None]:
    """The tensors of a weight file that stays in use, and the file if they are memory-mapped.

    Args:
        mapped: False reads all numbers into memory.

    Raises:
        CheckpointError: what `read_file` raises, or a file that is overwritten meanwhile.
    """
    try:
        file = MappedFile(path)
    except (OSError, CheckpointError):
        return read_file(path), None  # which says what is wrong
    tensors = read_file(path)
    try:
        located = file.locate(tensors)
    except Exception as error:  # it was whole a moment ago
        file.check()
        raise _damaged(path) from error
    file.check()
    if mapped and located:
        return tensors, file if file.is_mapped else None
    return file.copies(tensors) if located else {name: tensor.clone() for name, tensor in tensors.items()}, None


def read_file(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file or a pickle of torch.save, memory-mapped if possible.

    Raises:
        CheckpointError: a damaged file, a file of another kind, or a pickle that would have to run code.
    """
    name = shown(path.name)
    try:
        if not path.is_file():  # a pipe would wait for a writer
            raise FileNotFoundError(path)
        tensors = _read_content(path)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CheckpointError(f"The file '{name}' no longer exists: refresh the list of checkpoints and choose again.") from None
    except PermissionError:
        raise CheckpointError(f"The file '{name}' cannot be read by ComfyUI: change its permissions.") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The file '{name}' is not a plain weight file (it is no checkpoint, or it contains code, which TCAN never runs):"
            " download it again."
        ) from error
    except Exception as error:
        log.debug("reading %s: %s", path, error)
        raise _damaged(path) from error
    # twice, because tensors may share memory
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > 2 * size:
        raise CheckpointError(f"The file '{name}' is damaged: its tensors would be larger than the file. Download it again.")
    return tensors


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"The file '{shown(path.name)}' is damaged or incomplete: download it again.")


def _read_content(path: Path) -> dict[str, torch.Tensor]:
    with open(path, "rb") as file:
        kind = container(file.read(9))
    # by its contents: files are renamed
    if kind == "safetensors" or (kind is None and path.suffix.lower() in SAFETENSORS):
        return _read_safetensors(path)
    if kind is None:
        raise pickle.UnpicklingError("neither a zip nor a pickle")
    return _plain_tensors(_read_pickle(path, kind == "zip"))


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    with open(path, "rb") as file:
        if int.from_bytes(file.read(8), "little") > DIRECTORY:
            raise ValueError("the header is too large")
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def _read_pickle(path: Path, is_zip: bool):
    # torch.save writes a zip, which can be memory-mapped; before version 1.6 it wrote pickles, then raw tensors
    if is_zip:
        for description in _zip_pickles(path):
            _check_globals(BytesIO(description))
    else:
        with open(path, "rb") as file:
            stream = BytesIO(file.read(DIRECTORY))
        for _ in range(5):  # a magic number, the protocol, the system, the tensors, the order of their storages
            _check_globals(stream)
    if path.suffix.lower() in SAFETENSORS:  # under that name, torch takes it for one, whatever it is
        with open(path, "rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _zip_pickles(path: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        if archive.start_dir != _directory_of(path):
            raise ValueError("the zip has more than one directory")
        members = archive.infolist()
        # torch.save compresses nothing
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("the zip is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("members of the zip overlap")
        for member in members:
            # the C++ reader ignores case
            if member.filename.lower().endswith(".pkl"):
                if member.file_size > DIRECTORY:
                    raise ValueError("the pickle is too large")
                yield archive.read(member)


def _directory_of(path: Path) -> int:
    """Where a zip that ends as torch.save ends it has its directory: there, Python and torch's own reader see the same members."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 98))
        tail = file.read().rjust(98, b"\0")
    record, locator, end = tail[:56], tail[56:76], tail[76:]
    if end[:4] != b"PK\5\6":
        raise ValueError("something follows the zip")
    if locator[:4] != b"PK\6\7":
        return int.from_bytes(end[16:20], "little")
    if int.from_bytes(locator[8:16], "little") != size - 98:
        raise ValueError("the zip has more than one end")
    return int.from_bytes(record[48:56], "little")


def _check_globals(stream: BytesIO) -> None:
    objects = 0
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in _NEVER or (opcode.name == "GLOBAL" and not _GLOBAL.fullmatch(argument)):
            raise pickle.UnpicklingError(f"it names {argument or opcode.name}")
        objects += opcode.name in _OBJECTS
        if objects > MOST_OBJECTS:
            raise ValueError("the pickle makes too many objects")


def _plain_tensors(content) -> dict[str, torch.Tensor]:
    """Unwrap ``{"state_dict": …}``, drop other values (step counters), strip what a pickle may attach to a tensor."""
    for _ in range(3):  # at most: a dictionary can contain itself
        if isinstance(content, dict):
            content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), content)
    if not isinstance(content, dict):
        return {}
    tensors = {
        name: torch.Tensor.detach(value)
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if any(tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" for tensor in tensors.values()):
        raise ValueError("a tensor is no plain array")
    return tensors


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor ``[…]`` holds floating-point numbers without NaN and infinity.

    One pass, and no copy but for eight-bit numbers.
    """
    if not tensor.is_floating_point():
        return False
    if not tensor.numel():
        return True
    try:
        tensor = tensor.float() if tensor.element_size() == 1 else tensor
        return all(bound.isfinite() for bound in tensor.aminmax())
    except RuntimeError:  # a dtype in which torch does not count, such as four bits
        return False
