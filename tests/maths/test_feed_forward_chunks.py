"""Chunked feed-forwards and temporal layers equal unchunked ones and hold less memory."""

import pytest
import torch

from tcan_modules.maths import feed_forward_chunks as chunks
from tcan_modules.maths.temporal import TemporalTransformer
from tests.helpers.allocations import Allocations
from tests.helpers.reference_set import Reference, error

FRAMES = 4


@pytest.mark.parametrize("numbers, expected", [(2**10, 64), (2**15, 2), (2**16, 1), (2**20, 1)])
def test_length(monkeypatch, numbers, expected):
    """Float32 entries that grow eightfold, in chunks of 2 MiB, at least one entry each."""
    monkeypatch.setattr(chunks, "LARGEST_ON_CPU", 2**21)
    assert chunks.chunk_length(torch.empty(numbers)) == expected


def test_a_feed_forward(monkeypatch):
    x, seen = torch.randn(7, 5, 16), []
    monkeypatch.setattr(chunks, "LARGEST_ON_CPU", 16 * 8 * x[0, 0].numel() * 4)

    def forward(piece: torch.Tensor) -> torch.Tensor:
        seen.append(len(piece))
        return 2 * piece

    assert torch.equal(chunks.in_chunks(forward, x), 2 * x)
    assert seen == [16, 16, 3]


@pytest.mark.parametrize("videos", [None, 1, 2])
@pytest.mark.parametrize("channels_last, strength", [(False, 1.0), (True, 1.0), (True, 0.3)])
def test_a_temporal_layer(monkeypatch, videos, channels_last, strength):
    """Temperatures stay with their pixels, and features keep the requested memory layout."""
    torch.manual_seed(0)
    layer = TemporalTransformer(32, heads=8, max_frames=FRAMES, channels_last=channels_last).requires_grad_(False)
    for tensor in layer.state_dict().values():
        torch.nn.init.normal_(tensor, std=0.3)
    x = torch.randn(2 * FRAMES, 32, 6, 5)
    temperature = None if videos is None else 1 + 4 * torch.rand(videos, 6, 5)
    whole = layer(x, FRAMES, temperature, strength)
    with Allocations() as counted:
        layer(x, FRAMES, temperature, strength)
    monkeypatch.setattr(chunks, "LARGEST_ON_CPU", counted.peak // 8)
    with Allocations() as in_chunks:
        parts = layer(x, FRAMES, temperature, strength)
    assert error(parts, whole) <= 1e-6
    assert in_chunks.peak < 0.7 * counted.peak
    assert parts.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    last = layer(x.contiguous(memory_format=torch.channels_last), FRAMES, temperature, strength)
    assert error(last, whole) <= 1e-6


def test_a_whole_run(host, monkeypatch):
    """UNet and ControlNet one entry at a time; nothing of it stays in the networks."""
    import comfy.ldm.modules.attention as attention

    reference = Reference(host)
    poses = reference.poses[:FRAMES]
    conditioning = reference.conditioning(reference.control_net(), poses)
    model = reference.apply(ptm=reference.ptm(pose_images=poses))
    whole = reference.sample(model, conditioning, FRAMES)
    calls = []
    theirs = attention.FeedForward.forward
    monkeypatch.setattr(attention.FeedForward, "forward", lambda layer, x: calls.append(len(x)) or theirs(layer, x))
    monkeypatch.setattr(host.pack_module("tcan_modules.maths.feed_forward_chunks"), "LARGEST_ON_CPU", 1)
    assert error(reference.sample(model, conditioning, FRAMES), whole) <= 1e-5
    # all but the appearance UNet's, which has only one batch entry
    assert set(calls) == {1}
    network = model.get_model_object("diffusion_model")
    assert not any("forward" in module.__dict__ for module in network.modules())
