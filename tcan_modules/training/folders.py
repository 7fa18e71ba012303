"""Weights in a diffusers folder, read with the same care as single files.

See ``weights/reading.py``. Diffusers and transformers would load a ``.bin`` with no limit to the memory that it claims.
"""

from pathlib import Path

from ..weights.architecture import StateDict
from ..weights.messages import CheckpointError
from ..weights.reading import read_file

_NAMES = [
    f"{name}{suffix}"
    for name in ("diffusion_pytorch_model", "model", "pytorch_model")
    for suffix in (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
]


def read_part(folder: Path, part: str) -> StateDict:
    """The tensors of a part: of the subfolder with its name, or of the folder itself.

    Args:
        folder: of a whole model or of the part.
        part: ``unet``, ``controlnet``, ``vae`` or ``text_encoder``.

    Raises:
        CheckpointError: there is none, or the file is damaged.
    """
    folder = folder / part if (folder / part).is_dir() else folder
    path = next((folder / name for name in _NAMES if (folder / name).exists()), None)
    if path is None:
        raise CheckpointError(f"'{folder}' holds no {part}: give a diffusers folder with diffusion_pytorch_model.safetensors.")
    return read_file(path)
