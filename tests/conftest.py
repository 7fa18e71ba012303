"""Fixtures that all tests share."""

import os
from collections.abc import Iterator

import pytest

# One thread, here and in the servers started from here: on a busy machine timings stay steady, and sums do not depend
# on the number of cores. Read when torch is imported, so before the imports below.
os.environ["OMP_NUM_THREADS"] = "1"

from tests.helpers import wide_models
from tests.helpers.host import Host, boot
from tests.helpers.reference_set import Reference
from tests.helpers.scene import Scene
from tests.helpers.server import Server, running
from tests.helpers.untouched import Untouched
from tests.helpers.workflow_files import animate_files
from tests.pose.test_workflow import driving_video
from tests.tools import demo


@pytest.fixture(scope="session")
def host() -> Host:
    """ComfyUI in this process, with the pack."""
    return boot()


@pytest.fixture(scope="module")
def reference(host) -> Reference:
    """The reference set in ComfyUI, loaded anew for each file of tests."""
    return Reference(host)


@pytest.fixture(scope="session")
def scene(host) -> Scene:
    """Graphs of the reference set."""
    return Scene(Reference(host))


@pytest.fixture(scope="session")
def untouched(scene) -> Untouched:
    """The check that the scene's networks are as they were at the start."""
    return Untouched(scene.models)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """ComfyUI in a separate process, with the pack."""
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def object_info(server) -> dict:
    """Every node with its sockets, as the browser gets it."""
    return server.object_info()


@pytest.fixture(scope="session")
def prepared(server) -> Server:
    """The server with the files that the workflows name: small pictures and tiny random models."""
    animate_files(server.base, frames=6, width=128, height=96)
    for folder in ("checkpoints", "loras", "controlnet"):
        (server.base / "models" / folder).mkdir(parents=True, exist_ok=True)
    wide_models.checkpoint(server.base / "models" / "checkpoints" / "v1-5-pruned-emaonly.safetensors")
    wide_models.control_net(server.base / "models" / "controlnet" / "control_v11p_sd15_openpose.pth")
    wide_models.lora(server.base / "models" / "loras" / "your_lora.safetensors")
    wide_models.public_parts(server.base / "models" / "tcan" / "TCAN")
    demo.draw_inputs(server.base / "input", 6)
    driving_video(server.base / "input" / "driving.mp4", 6)
    return server
