"""Advanced-ControlNet's Apply node with Temporal ControlNet: equal to the stock node, or a clear error."""

import pytest
import torch

from tests.helpers.graph_error import GraphError
from tests.helpers.host_nodes import Fed
from tests.helpers.other_packs import advanced_controlnet

pytestmark = advanced_controlnet.needed
APPLY = "ACN_AdvancedControlNetApply_v2"


@pytest.fixture(scope="module", autouse=True)
def pack(host):
    advanced_controlnet.load()


def graph(scene, **inputs) -> dict:
    """The scene's graph with the ControlNet applied by their node."""
    found = scene.graph()
    found["control 0"]["class_type"] = APPLY
    for name, value in inputs.items():
        found[name] = Fed(value)
        found["control 0"]["inputs"][name] = [name, 0]
    return found


def test_equal_to_the_stock_node(scene, alone):
    ours = scene.host.run_graph(graph(scene)).value("end")["samples"]
    assert torch.equal(ours, alone)


def test_strength_and_percentages(scene):
    settings = {"strength": 0.5, "end_percent": 0.3}
    found = graph(scene)
    found["control 0"]["inputs"] |= settings
    stock = scene.video(controls=[(scene.models.control_net(), settings)])
    assert torch.equal(scene.host.run_graph(found).value("end")["samples"], stock)


def keyframes(scene, node: str):
    return scene.host.node(node)()[0]


def test_unsupported_inputs_are_refused(scene):
    weights = scene.host.node("ScaledSoftMaskedUniversalWeights")(mask=torch.ones(1, 16, 16))[0]
    cases = {
        "mask_optional": (torch.ones(1, 128, 128), "mask"),
        "timestep_kf": (keyframes(scene, "TimestepKeyframe"), "timestep keyframes"),
        "latent_kf_override": (keyframes(scene, "LatentKeyframe"), "latent keyframes"),
        "weights_override": (weights, "weights"),
    }
    for name, (value, words) in cases.items():
        with pytest.raises(GraphError, match=f"cannot use the {words} of Apply Advanced ControlNet"):
            scene.host.run_graph(graph(scene, **{name: value}))
