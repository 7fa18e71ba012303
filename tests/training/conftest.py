"""Fixtures that the tests of training share."""

from pathlib import Path

import pytest

from tcan_modules.training.stages import write_packed

from .parts import tiny_start
from .test_data import numbered, save_pictures


@pytest.fixture
def given(tmp_path) -> Path:
    """A folder with ``base.safetensors`` (tiny random networks) and ``data`` (one clip of four frames with poses)."""
    start = tiny_start()
    write_packed(tmp_path / "base.safetensors", start.checkpoint, start)
    save_pictures(tmp_path / "data" / "a" / "images", numbered(4))
    save_pictures(tmp_path / "data" / "a" / "dwpose", numbered(4))
    return tmp_path
