"""Our layers and our ControlNet in windows that other nodes lay: the host's own, and AnimateDiff-Evolved's."""

import pytest
import torch

from tests import animatediff_evolved
from tests.reference_set import Reference, error

FRAMES, LENGTH, OVERLAP = 9, 4, 1
STEPS = FRAMES - 1  # the host's own handler looks the step up by comparing sigmas with frames, which must be as many


@pytest.fixture(scope="module")
def reference(host) -> Reference:
    return Reference(host)


def sample(reference, model, control_net, steps: int = STEPS) -> torch.Tensor:
    poses = reference.poses[:FRAMES]
    return reference.sample(model, reference.conditioning(control_net, poses), FRAMES, steps=steps)


def animated(reference):
    return reference.apply(ptm=reference.ptm(pose_images=reference.poses[:FRAMES]))


def in_our_windows(reference, model):
    node = reference.host.node("TCANMultiDiffusion")
    return node(model=model, window_length=LENGTH, window_overlap=OVERLAP, closed_loop=False)[0]


def test_the_hosts_own_context_windows(reference):
    """Static windows with equal weights are MultiDiffusion's: the same video."""
    if "ContextWindowsManual" not in _nodes():
        pytest.skip("this ComfyUI has no node for context windows")
    (theirs,) = reference.host.node("ContextWindowsManual")(
        model=animated(reference),
        context_length=LENGTH,
        context_overlap=OVERLAP,
        context_schedule="standard_static",
        fuse_method="flat",
        closed_loop=False,
        context_stride=1,
        dim=0,
    )
    expected = sample(reference, in_our_windows(reference, animated(reference)), reference.control_net())
    assert error(sample(reference, theirs, reference.control_net()), expected) <= 1e-5
    assert error(sample(reference, animated(reference), reference.control_net()), expected) > 1e-3


@animatediff_evolved.needed
def test_animatediff_evolveds_context_windows(reference):
    """Its standard static context with equal weights: the same video again."""
    animatediff_evolved.load()
    (options,) = reference.host.node("ADE_StandardStaticContextOptions")(
        context_length=LENGTH, context_overlap=OVERLAP, fuse_method="flat"
    )
    (theirs,) = reference.host.node("ADE_UseEvolvedSampling")(
        model=animated(reference), beta_schedule="use existing", context_options=options
    )
    expected = sample(reference, in_our_windows(reference, animated(reference)), reference.control_net())
    assert error(sample(reference, theirs, reference.control_net()), expected) <= 1e-5


def _nodes() -> dict:
    import nodes

    return nodes.NODE_CLASS_MAPPINGS


def test_control_net_alone_in_windows(reference):
    """On a model without TCAN, in anybody's windows, the ControlNet still sees the whole video: its residuals are those of windows
    of its own. The same poses give the same residual for a frame, whichever of the UNet's windows asks."""
    net = reference.control_net()
    seen: dict[int, list[torch.Tensor]] = {}

    def watch(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        window = transformer_options["context_window"].index_list
        for place, frame in enumerate(window):
            seen.setdefault(frame, []).append(control["middle"][0][place].clone())
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

    plain = in_our_windows(reference, reference.tcan.unet)
    plain.add_wrapper_with_key("apply_model", "watch", watch)
    sample(reference, plain, net, steps=1)
    assert sorted(seen) == list(range(FRAMES))
    shared = [frame for frame, residuals in seen.items() if len(residuals) > 1]
    assert shared
    for frame in shared:
        assert all(torch.equal(residual, seen[frame][0]) for residual in seen[frame])
