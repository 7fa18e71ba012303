"""The result without a fault, with which later runs are compared."""

import pytest
import torch

from tests.faults.stages import WatchedVAE, graph
from tests.helpers.scene import Scene


@pytest.fixture(scope="package")
def expected(scene, untouched) -> torch.Tensor:
    """The latents of the graph without a fault."""
    return run(scene)


def run(scene: Scene, vae: WatchedVAE | None = None) -> torch.Tensor:
    """The latents of the graph with all stages."""
    return scene.host.run_graph(graph(scene, vae or WatchedVAE())).value("end")["samples"]
