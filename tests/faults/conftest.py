"""One scene, its expected result, and the check that nothing of a fault stays in the models."""

import pytest
import torch

from tests.faults.stages import WatchedVAE, graph
from tests.helpers.scene import Scene


@pytest.fixture(scope="package")
def expected(scene, untouched) -> torch.Tensor:
    """What the graph gives when nothing happens."""
    return run(scene)


def run(scene: Scene, vae: WatchedVAE | None = None) -> torch.Tensor:
    return scene.host.run_graph(graph(scene, vae or WatchedVAE())).value("end")["samples"]
