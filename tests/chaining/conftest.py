"""Every test of this folder leaves the networks as they were."""

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.scene import Scene
from tests.helpers.trained import Trained
from tests.helpers.untouched import Untouched


@pytest.fixture(scope="package")
def scene(host) -> Scene:
    """Graphs of the trained puppet model."""
    return Scene(Trained(host))


@pytest.fixture(scope="package")
def untouched(scene) -> Untouched:
    """The check that the scene's networks are as they were at the start."""
    return Untouched(scene.models)


@pytest.fixture(scope="package")
def alone(scene, untouched) -> torch.Tensor:
    """The video of our nodes without another custom node."""
    return scene.video()


@pytest.fixture(autouse=True)
def leaves_networks_untouched(untouched) -> Iterator[None]:
    """Check the networks after each test."""
    yield
    untouched.check()
