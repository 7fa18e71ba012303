"""Cancel at every stage: the run ends there, nothing stays in the models, and the next run gives the same bits."""

import pytest
import torch

from tests.faults.conftest import run
from tests.faults.stages import NETWORKS, WatchedVAE, at, counted
from tests.helpers.graph_error import GraphInterrupted


@pytest.mark.parametrize("stage", NETWORKS)
def test_cancel_while_a_network_computes(scene, expected, untouched, stage):
    """The host's layers and ours look for a cancel, so the window under way does not end.

    An older host (0.3.64) looks for it only between windows, so there it does.
    """
    import comfy.ops

    with counted(scene) as finished, at(scene, stage, scene.host.interrupt), pytest.raises(GraphInterrupted):
        run(scene)
    earlier, under_way = int(stage == "second window"), int(not hasattr(comfy.ops, "run_every_op"))
    assert len(finished) == earlier + under_way
    untouched.check()
    assert torch.equal(run(scene), expected)


def test_cancel_while_the_picture_is_encoded(scene, expected, untouched):
    with counted(scene) as finished, pytest.raises(GraphInterrupted):
        run(scene, WatchedVAE(scene.host.interrupt))
    assert not finished
    untouched.check()
    assert torch.equal(run(scene), expected)
