"""One scene, its clean result, and the check that nothing of a fault stays in the models."""

import pytest
import torch

from tests.chaining.scene import Scene
from tests.faults.stages import WatchedVAE, graph


@pytest.fixture(scope="package")
def clean(scene, untouched) -> torch.Tensor:
    """What the graph gives when nothing happens."""
    return run(scene)


def run(scene: Scene, vae: WatchedVAE | None = None) -> torch.Tensor:
    return scene.host.run_graph(graph(scene, vae or WatchedVAE())).value("end")["samples"]
