"""Temporal ControlNet beside other ControlNets, its strength and percentages, and prompts for parts of the picture."""

import pytest
import torch

from tests.helpers.reference_set import error


@pytest.fixture(scope="module")
def nets(scene):
    """Our ControlNet and the stock one."""
    return scene.models.control_net(), scene.models.tcan.control_net


def test_stacked_in_both_orders(scene, alone, nets):
    ours, stock = nets
    first = scene.video(controls=[(ours, {}), (stock, {"strength": 0.7})])
    last = scene.video(controls=[(stock, {"strength": 0.7}), (ours, {})])
    only_stock = scene.video(controls=[(stock, {"strength": 0.7})])
    assert error(first, last) <= 1e-5
    assert error(first, alone) > 1e-3
    assert error(first, only_stock) > 1e-3


def test_strength(scene, alone, nets):
    ours, _ = nets
    none = scene.video(controls=[])
    half = scene.video(controls=[(ours, {"strength": 0.5})])
    assert torch.equal(scene.video(controls=[(ours, {"strength": 0.0})]), none)
    assert error(half, none) > 1e-3
    assert error(half, alone) > 1e-3


def test_percentages(scene, nets):
    """It steers exactly the steps that it was given: none, the first, the last."""
    two = {"sampler": {"steps": 2}}
    ours, _ = nets
    none, always = scene.video(controls=[], **two), scene.video(**two)
    first = scene.video(controls=[(ours, {"end_percent": 0.3})], **two)
    last = scene.video(controls=[(ours, {"start_percent": 0.3})], **two)
    both = scene.video(controls=[(ours, {"end_percent": 0.3}), (ours, {"start_percent": 0.3})], **two)
    for one, other in ((first, none), (first, always), (last, none), (last, always), (first, last)):
        assert error(one, other) > 1e-4
    assert error(both, always) <= 1e-5


def test_a_node_that_evaluates_other_latents(scene, nets):
    """Residuals of Self-Attention Guidance's blurred latents are computed from those latents.

    Without temporal layers and with one prompt for both conds, ours equals the stock ControlNet.
    """
    guidance = ("SelfAttentionGuidance", {"scale": 2.0, "blur_sigma": 5.0})
    results = []
    for net in (scene.models.control_net(0.0), nets[1]):
        graph = scene.graph(before=[guidance], controls=[(net, {})])
        graph["negative"] = graph["positive"]
        results.append(scene.host.run_graph(graph).value("end")["samples"])
    assert error(*results) <= 2e-5


def halves(scene, node: str) -> list:
    """A prompt for the left half of the picture and another for the right."""
    call = scene.host.node
    sides = []
    for number, side in enumerate((slice(0, 8), slice(8, 16))):
        prompt = [[scene.text(1)[0][0] * (1 - 2 * number), {}]]
        if node == "mask":
            mask = torch.zeros(1, 128, 128)
            mask[..., 8 * side.start : 8 * side.stop] = 1
            sides += call("ConditioningSetMask")(conditioning=prompt, mask=mask, strength=1.0, set_cond_area="default")[0]
        else:
            area = {"width": 0.5, "height": 1.0, "x": side.start / 16, "y": 0.0, "strength": 1.0}
            sides += call("ConditioningSetAreaPercentage")(conditioning=prompt, **area)[0]
    return sides


def test_prompts_by_mask(scene):
    """Two prompts, one per half: after a single step each half equals the video of its prompt."""
    left, right = halves(scene, "mask")
    alone = {"cfg": 1.0}
    both = scene.video(positive=[left, right], sampler=alone)
    for prompt, side in ((left, slice(0, 8)), (right, slice(8, 16))):
        whole = scene.video(positive=[[prompt[0], {}]], sampler=alone)
        assert error(both[..., side], whole[..., side]) <= 1e-5
    assert error(both[..., :8], scene.video(positive=[[right[0], {}]], sampler=alone)[..., :8]) > 1e-3


def test_prompts_by_area(scene):
    """The host samples each area separately and squeezes the pose into it, as with every ControlNet."""
    left, right = halves(scene, "area")
    both = scene.video(positive=[left, right])
    assert error(scene.video(positive=[left, right], appearance_strength=0.0), both) > 1e-3
    assert error(scene.video(positive=[left, right], controls=[]), both) > 1e-3


def test_two_areas_of_one_size(scene, nets):
    """The host puts them into one call; each gets the residuals of its own area."""
    ours, _ = nets
    left, right = halves(scene, "area")
    settings = {"controls": [(ours, {})], "sampler": {"cfg": 1.0}}
    joined = scene.video(positive=[left, right], **settings)
    other = scene.video(positive=[left, [left[0], right[1]]], **settings)
    assert error(joined[..., 8:], other[..., 8:]) > 1e-4
    assert torch.equal(joined[..., :6], other[..., :6])
