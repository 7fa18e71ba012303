"""Fixtures that all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import Host, boot
from tests.server import Server, running

# One thread, here and in the servers started from here: on a busy machine timings stay steady, and sums do not depend
# on the number of cores. Read when torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def host() -> Host:
    """ComfyUI in this process, with the pack."""
    return boot()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """ComfyUI in a process of its own, with the pack."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """The tensors that the authors' code computed."""
    return Path(__file__).with_name("reference")
