"""The hint layers run once per window and not at every step; the run frees their features."""

import torch

FRAMES, STEPS = 4, 3


def run(reference, net, poses: torch.Tensor, **inputs) -> torch.Tensor:
    positive, negative = reference.conditioning(net, poses)
    return reference.host.node("TCANMultiDiffusionSampler")(
        model=reference.apply(),
        positive=positive,
        negative=negative,
        latent_image={"samples": torch.zeros(len(poses), 4, 16, 16)},
        steps=STEPS,
        cfg=3.0,
        **inputs,
    )[0]["samples"]


def watched(net, monkeypatch) -> list[int]:
    """Record the number of frames of each call of the hint layers."""
    layers, seen = net.control_model.input_hint_block, []
    theirs = type(layers).forward
    monkeypatch.setattr(
        layers, "forward", lambda hint, *args: seen.append(len(hint)) or theirs(layers, hint, *args), raising=False
    )
    return seen


def test_computed_once_per_run(reference, monkeypatch):
    net = reference.control_net()
    seen = watched(net, monkeypatch)
    run(reference, net, reference.poses[:FRAMES])
    assert sum(seen) == FRAMES


def test_computed_at_each_step_with_several_windows(reference, monkeypatch):
    """Otherwise memory would grow with the video."""
    net = reference.control_net()
    seen = watched(net, monkeypatch)
    run(reference, net, reference.poses[: 2 * FRAMES], window_length=FRAMES, window_overlap=0)
    assert sum(seen) == STEPS * 2 * FRAMES


def test_new_poses_are_computed(reference):
    """The same ControlNet with other poses, then with the first poses again."""
    net, poses = reference.control_net(), reference.poses[:FRAMES]
    first = run(reference, net, poses)
    other = run(reference, net, poses.flip(1))
    assert not torch.allclose(first, other, atol=1e-3)
    assert torch.equal(run(reference, net, poses), first)


def test_nothing_is_kept_after_a_run(reference):
    net = reference.control_net()
    positive, _ = reference.conditioning(net, reference.poses[:FRAMES])
    used = positive[0][1]["control"]
    reference.sample(reference.apply(), ([*positive], [*positive]), FRAMES)
    assert used._model.hints._features is None
