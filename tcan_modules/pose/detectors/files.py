"""Finds libraries and model files for the detectors, or says what is missing."""

import importlib
from pathlib import Path


def find_file(name: str, folders, needed_by: str, source: str) -> Path:
    """The first file of that name in or below the folders. Raises ValueError saying where to get and to put it."""
    for folder in folders:
        for path in sorted(Path(folder).rglob(name)):
            if path.is_file():
                return path
    raise ValueError(
        f"{needed_by} needs the file {name}, which is in none of the model folders: download it from {source} and put"
        f" it into {Path(folders[0]) if folders else 'a folder under models'}."
    )


def import_library(module: str, needed_by: str, install: str):
    """Imports a library that only one detector needs. Raises ValueError with how to install it."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ValueError(
            f"{needed_by} could not load the library {module} ({error}): install it into ComfyUI's Python with "
            f"'pip install {install}', or choose another detector."
        ) from error
