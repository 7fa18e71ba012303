"""Find libraries and model files for the detectors, or say what is missing."""

import importlib
from pathlib import Path


def find_file(name: str, folders, needed_by: str, source: str) -> Path:
    """The first file of that name in or below the folders.

    Args:
        name: the file's name.
        folders: searched in order.
        needed_by: the detector, in the words of the error sentence.
        source: where to download the file.

    Raises:
        ValueError: no such file; says where to get it and where to put it.
    """
    for folder in folders:
        for path in sorted(Path(folder).rglob(name)):
            if path.is_file():
                return path
    raise ValueError(
        f"{needed_by} needs the file {name}, which is in none of the model folders: download it from {source} and put"
        f" it into {Path(folders[0]) if folders else 'a folder under models'}."
    )


def import_library(module: str, needed_by: str, install: str):
    """Import a library that only one detector needs.

    Args:
        module: the module.
        needed_by: the detector, in the words of the error sentence.
        install: what pip installs.

    Raises:
        ValueError: the import fails; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ValueError(
            f"{needed_by} could not load the library {module} ({error}): install it into ComfyUI's Python with "
            f"'pip install {install}', or choose another detector."
        ) from error
