"""pytest plugin: name test modules from the repository root, although it is a package.

ComfyUI needs an `__init__.py` in the root. pytest makes every folder with one a part of the module's name, so in a
clone called `tcan` it would import the pack, outside of ComfyUI, to reach `tcan.tests.test_x`; and it would run the
pack's `__init__.py` as that package's set-up.
"""

from pathlib import Path

import pytest
from _pytest import pathlib

ROOT = Path(__file__).resolve().parent.parent

_package_of = pathlib.resolve_package_path


def _package_below_root(path: Path) -> Path | None:
    found = _package_of(path)
    return ROOT / "tests" if found == ROOT else found


pathlib.resolve_package_path = _package_below_root  # pytest has no setting for this


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The root is a plain folder to pytest."""
    return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None
