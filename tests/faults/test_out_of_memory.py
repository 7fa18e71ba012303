"""Out of memory at every stage: the graph fails with the host's message, and the next one succeeds."""

import contextlib
import importlib
from collections.abc import Iterator

import pytest
import torch

from tests.faults.conftest import run
from tests.faults.stages import NETWORKS, WatchedVAE, at
from tests.helpers.graph_error import GraphError

WORDS = "Allocation on device"


def no_memory() -> None:
    """Raise the host's error of a full card."""
    import comfy.model_management

    raise comfy.model_management.OOM_EXCEPTION(WORDS)


@contextlib.contextmanager
def failing_once(monkeypatch, place: str) -> Iterator[None]:
    """The next call of this function of the host runs out of memory."""
    with monkeypatch.context() as patch:
        target, _, name = place.rpartition(".")
        original, failed = getattr(importlib.import_module(target), name), []

        def once(*args, **kwargs):
            if not failed:
                failed.append(True)
                no_memory()
            return original(*args, **kwargs)

        patch.setattr(place, once)
        yield
        assert failed


@pytest.mark.parametrize("stage", NETWORKS)
def test_while_a_network_computes(scene, expected, untouched, stage):
    with at(scene, stage, no_memory), pytest.raises(GraphError, match=WORDS):
        run(scene)
    untouched.check()
    assert torch.equal(run(scene), expected)


def test_while_the_picture_is_encoded(scene, expected, untouched):
    with pytest.raises(GraphError, match=WORDS) as caught:
        run(scene, WatchedVAE(no_memory))
    assert caught.value.node_type == "TCANAppearanceEncode"
    untouched.check()
    assert torch.equal(run(scene), expected)


@pytest.mark.parametrize("place", ["comfy.model_management.load_models_gpu", "comfy.ldm.modules.attention.optimized_attention"])
def test_in_the_hosts_own_functions(scene, expected, untouched, monkeypatch, place):
    """While models are moved to the device, and in the host's attention that our layers call."""
    with failing_once(monkeypatch, place), pytest.raises(GraphError, match=WORDS):
        run(scene)
    untouched.check()
    assert torch.equal(run(scene), expected)
