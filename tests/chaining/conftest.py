"""Every test of this folder leaves the models as they were."""

from collections.abc import Iterator

import pytest
import torch

from tests.chaining.scene import Scene, Untouched
from tests.helpers.trained import Trained


@pytest.fixture(scope="package")
def scene(host) -> Scene:
    return Scene(Trained(host))


@pytest.fixture(scope="package")
def untouched(scene) -> Untouched:
    return Untouched(scene)


@pytest.fixture(scope="package")
def alone(scene, untouched) -> torch.Tensor:
    """Our nodes without anybody else's."""
    return scene.video()


@pytest.fixture(autouse=True)
def clean(untouched) -> Iterator[None]:
    yield
    untouched.check()
