"""Combinations of nodes on the card: equal videos, different ones, and untouched networks."""

import pytest
import torch

from tests.gpu.scene import STEPS
from tests.gpu.stock_networks import SAME
from tests.helpers.reference_set import error

EQUAL = {
    "the checkpoint's own networks": {"own_networks": True},
    "a LoRA of strength 0": {"lora": 0.0},
    "reuse_steps 1": {"speed": {"reuse_steps": 1}},
    "two windows at once": {"speed": {"windows_at_once": 2}},
}
OTHER = {
    "a LoRA": {"lora": 1.0},
    "no PTM": {"tau": None},
    "a stronger PTM": {"tau": 30.0},
    "reuse_steps 2": {"speed": {"reuse_steps": 2}},
    "a frozen ControlNet": {"temporal_strength": 0.0},
    "a closed loop": {"closed_loop": True},
    "other guidance": {"cfg": 1.0},
}
DIFFERENT = 2e-4  # each changes a random model's video by more


@pytest.mark.parametrize("name", EQUAL)
def test_same_video(scene, base, card, stock, name, record_property):
    found = error(scene.video(**EQUAL[name]), base)
    record_property("relative error", found)
    assert found <= card.bar
    stock.check()


@pytest.mark.parametrize("name", OTHER)
def test_another_video_and_then_the_first_again(scene, base, stock, name, record_property):
    found = error(scene.video(**OTHER[name]), base)
    record_property("relative difference", found)
    assert found > DIFFERENT
    stock.check()
    assert error(scene.video(), base) <= SAME


def test_tau_0_is_no_ptm(scene, base, card):
    assert error(scene.video(tau=0.0), scene.video(tau=None)) <= card.bar


def test_the_stock_sampler_in_windows(scene, card):
    """From the same noise, MultiDiffusion Windows before a stock sampler is the MultiDiffusion Sampler."""
    assert error(scene.video(stock_sampler=True, add_noise=False), scene.video(add_noise=False)) <= card.bar


@pytest.mark.parametrize("stock_sampler", [False, True])
def test_previews_in_every_step(scene, base, stock_sampler):
    """The host sends preview pictures under numbers instead of names."""
    graph = scene.graph(stock_sampler=stock_sampler)
    result = scene.host.run_graph(graph, executor=scene.executor)
    pictures = [data for event, data in result.messages if not isinstance(event, str)]
    assert len(pictures) >= STEPS
    assert torch.isfinite(result.value("end")["samples"]).all()
