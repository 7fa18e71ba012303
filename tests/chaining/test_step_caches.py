"""The host's EasyCache and LazyCache, which skip noise predictions, before and after APPA Apply."""

import pytest
import torch

from tests.helpers.graph_error import GraphError
from tests.helpers.reference_set import error

FRAMES, STEPS = 5, 8
WIDGETS = {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
WINDOWS = ("TCANMultiDiffusion", {"window_length": 3, "window_overlap": 1, "closed_loop": False})
SPEED = ("TCANSpeed", {"reuse_steps": 2, "windows_at_once": 1})
CHAINS = {"alone": [], "windows": [WINDOWS], "speed-ups": [SPEED], "speed-ups and windows": [SPEED, WINDOWS]}


@pytest.fixture(autouse=True)
def has_nodes(host):
    """Skip the tests if this ComfyUI lacks the nodes."""
    import nodes

    if "EasyCache" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no EasyCache")


def video(scene, after: list, before: list | None = None) -> torch.Tensor:
    latents = {"samples": torch.zeros(FRAMES, 4, 8, 8)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "poses", scene.models.poses[:FRAMES])
        patch.setattr(scene, "ptm", scene.models.ptm(pose_images=scene.poses))
        return scene.video(before=before or [], after=after, latents=latents, sampler={"steps": STEPS})


TAKEN = [
    (cache, chain) for cache in ("EasyCache", "LazyCache") for chain in CHAINS if cache == "LazyCache" or "windows" not in chain
]


@pytest.mark.parametrize(("cache", "chain"), TAKEN)
def test_before_and_after(scene, cache, chain):
    """It skips the same steps in both orders."""
    link, ours = (cache, WIDGETS), CHAINS[chain]
    after = video(scene, [*ours, link])
    assert error(after, video(scene, ours)) > 1e-3
    assert torch.equal(video(scene, [*ours, link]), after)
    assert torch.equal(video(scene, ours, before=[link]), after)


@pytest.mark.parametrize("place", ["before", "after"])
def test_easycache_is_refused_with_windows(scene, place):
    """It caches by prompt, which all windows share: one window's change would go to another."""
    link = ("EasyCache", WIDGETS)
    before, after = ([link], [WINDOWS]) if place == "before" else ([], [WINDOWS, link])
    with pytest.raises(GraphError, match="EasyCache mixes up the windows of MultiDiffusion: use LazyCache"):
        video(scene, after, before=before)


def test_easycache_with_a_video_of_one_window(scene):
    whole = ("TCANMultiDiffusion", {"window_length": FRAMES, "window_overlap": 1, "closed_loop": False})
    link = ("EasyCache", WIDGETS)
    assert torch.equal(video(scene, [whole, link]), video(scene, [link]))
