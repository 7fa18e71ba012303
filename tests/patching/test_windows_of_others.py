"""Our layers and ControlNet in windows of other nodes: the host's and AnimateDiff-Evolved's."""

import inspect

import pytest
import torch

from tests.helpers.other_packs import animatediff_evolved
from tests.helpers.reference_set import error

FRAMES, LENGTH, OVERLAP = 9, 4, 1
ANCHOR = "causal_window_fix"
STEPS = FRAMES - 1  # the host's handler finds the step by comparing sigmas with frames, so their numbers must be equal


def sample(reference, model, control_net, steps: int = STEPS) -> torch.Tensor:
    poses = reference.poses[:FRAMES]
    return reference.sample(model, reference.conditioning(control_net, poses), FRAMES, steps=steps)


def animated(reference):
    return reference.apply(ptm=reference.ptm(pose_images=reference.poses[:FRAMES]))


def in_our_windows(reference, model):
    node = reference.host.node("TCANMultiDiffusion")
    return node(model=model, window_length=LENGTH, window_overlap=OVERLAP, closed_loop=False)[0]


def in_the_hosts_windows(reference, model, **widgets):
    """Static windows with equal weights."""
    if "ContextWindowsManual" not in _nodes():
        pytest.skip("this ComfyUI has no node for context windows")
    defaults = {"context_stride": 1, "closed_loop": False, "dim": 0} | ({ANCHOR: False} if _has_anchor() else {})
    return reference.host.node("ContextWindowsManual")(
        model=model,
        context_length=LENGTH,
        context_overlap=OVERLAP,
        context_schedule="standard_static",
        fuse_method="flat",
        **defaults | widgets,
    )[0]


def _has_anchor() -> bool:
    """Whether this host's windows can begin with the frame before them."""
    import comfy.context_windows

    return ANCHOR in inspect.signature(comfy.context_windows.IndexListContextHandler).parameters


def test_a_frame_in_front_of_the_hosts_windows(reference):
    """Newer hosts put the frame before a window in front of it: it has the residuals of any window."""
    if not _has_anchor():
        pytest.skip("this ComfyUI puts no frame in front of its windows")
    seen, lengths = {}, []

    def watch(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        window = transformer_options["context_window"]
        before = getattr(window, "causal_anchor_index", None)
        frames = [*([] if before is None else [before]), *window.index_list]
        lengths.append(len(frames))
        for place, frame in enumerate(frames):
            seen.setdefault(frame, []).append((x[place].clone(), control["middle"][0][place].clone()))
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

    model = in_the_hosts_windows(reference, animated(reference), **{ANCHOR: True})
    model.add_wrapper_with_key("apply_model", "watch", watch)
    assert sample(reference, model, reference.control_net(), steps=1).isfinite().all()
    assert lengths == [LENGTH, LENGTH + 1, LENGTH + 1]
    for (latents, residual), *others in seen.values():
        for other_latents, other_residual in others:
            assert torch.equal(other_latents, latents) and torch.equal(other_residual, residual)


def test_the_hosts_own_context_windows(reference):
    """The same video as MultiDiffusion Windows."""
    theirs = in_the_hosts_windows(reference, animated(reference))
    expected = sample(reference, in_our_windows(reference, animated(reference)), reference.control_net())
    assert error(sample(reference, theirs, reference.control_net()), expected) <= 1e-5
    assert error(sample(reference, animated(reference), reference.control_net()), expected) > 1e-3


@animatediff_evolved.needed
def test_animatediff_evolveds_context_windows(reference):
    """Its standard static context with equal weights gives the same video too."""
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
    """On a model without TCAN the ControlNet still sees the whole video.

    It has windows of its own, so a frame has the same residuals in each of the UNet's windows.
    """
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


def test_a_control_net_that_sees_only_its_window_warns(reference, caplog):
    """A stock model in the host's windows: poses follow the window, and one warning per run says what is missing."""
    poses = reference.poses[:FRAMES]
    plain = in_the_hosts_windows(reference, reference.tcan.unet)
    sample(reference, plain, reference.control_net())
    assert caplog.text.count("sees only the frames that are sampled at once") == 1
    caplog.clear()
    sample(reference, animated(reference), reference.control_net(), steps=1)
    sample(reference, in_our_windows(reference, reference.tcan.unet), reference.control_net(), steps=1)
    assert "sampled at once" not in caplog.text
    with pytest.raises(ValueError, match="9 pose images, but 6 latents"):
        reference.sample(reference.tcan.unet, reference.conditioning(reference.control_net(), poses), 6)
