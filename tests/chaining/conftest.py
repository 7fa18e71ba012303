"""Every test of this folder leaves the models as they were."""

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.scene import Scene
from tests.helpers.trained import Trained
from tests.helpers.untouched import Untouched


@pytest.fixture(scope="package")
def scene(host) -> Scene:
    return Scene(Trained(host))


@pytest.fixture(scope="package")
def untouched(scene) -> Untouched:
    return Untouched(scene.models)


@pytest.fixture(scope="package")
def alone(scene, untouched) -> torch.Tensor:
    """Our nodes without anybody else's."""
    return scene.video()


@pytest.fixture(autouse=True)
def leaves_networks_untouched(untouched) -> Iterator[None]:
    yield
    untouched.check()
