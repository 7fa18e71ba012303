"""After a run, an error or a cancel, TCAN leaves the host's models as they were."""

import gc
import weakref

import pytest
import torch

from tests.helpers.graph_error import GraphError, GraphInterrupted
from tests.helpers.graphs import node
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import tensors
from tests.helpers.untouched import Untouched


def graph(reference, model, control_net=None, steps: int = 2) -> dict:
    """The MultiDiffusion Sampler on 10 frames, with a given model and ControlNet."""
    text = [[tensors()["text_embeddings"][1:], {}]]
    prompt = {
        "model": Fed(model),
        "text": Fed(text),
        "latents": Fed({"samples": torch.zeros(10, 4, 16, 16)}),
        "poses": Fed(reference.poses[:10]),
        "sampler": node(
            "TCANMultiDiffusionSampler",
            model=["model", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["latents", 0],
            seed=3,
            steps=steps,
            cfg=3.0,
            sampler_name="ddim",
            scheduler="ddim_uniform",
            denoise=1.0,
            window_length=6,
            window_overlap=2,
            closed_loop=False,
            add_noise=True,
            noise_mode="repeat_window",
        ),
        "end": capture("sampler"),
    }
    if control_net is not None:
        prompt["control_net"] = Fed(control_net)
        prompts = {"positive": ["text", 0], "negative": ["text", 0]}
        prompt["apply"] = node("ControlNetApplyAdvanced", **prompts, control_net=["control_net", 0], image=["poses", 0])
        prompt["sampler"]["inputs"] |= {"positive": ["apply", 0], "negative": ["apply", 1]}
    return prompt


def run(reference, *args, **kwargs) -> torch.Tensor:
    return reference.host.run_graph(graph(reference, *args), **kwargs).value("end")["samples"]


def stock(reference) -> torch.Tensor:
    """The latents of the checkpoint's UNet and ControlNet without TCAN."""
    return run(reference, reference.tcan.unet.clone(), reference.tcan.control_net)


def test_after_a_run(reference):
    untouched, plain = Untouched(reference), stock(reference)
    model, net = reference.apply(ptm=reference.ptm(pose_images=reference.poses[:10])), reference.control_net()
    first = run(reference, model, net)
    assert not torch.equal(first, plain)
    untouched.check()
    assert torch.equal(stock(reference), plain)
    assert torch.equal(run(reference, model, net), first)
    untouched.check()


def break_second_call(layer: torch.nn.Module) -> torch.utils.hooks.RemovableHandle:
    calls = []

    def hook(*_):
        calls.append(None)
        if len(calls) == 2:
            raise RuntimeError("broken on purpose")

    return layer.register_forward_pre_hook(hook)


@pytest.mark.parametrize("place", ["unet", "control_net", "temporal", "appearance"])
def test_after_an_exception_inside_sampling(reference, place):
    untouched, plain = Untouched(reference), stock(reference)
    model, net = reference.apply(), reference.control_net()
    expected = run(reference, model, net)
    layer = {
        "unet": lambda: model.model.diffusion_model.middle_block[0],
        "control_net": lambda: net.control_model.middle_block[0],
        "temporal": lambda: next(iter(net.layers.model.values())).proj_out,
        "appearance": lambda: reference.tcan.appearance.model.middle_block[0],
    }[place]()
    hook = break_second_call(layer)
    try:
        with pytest.raises(GraphError, match="broken on purpose"):
            run(reference, model, net)
    finally:
        hook.remove()
    untouched.check()
    assert torch.equal(stock(reference), plain)
    assert torch.equal(run(reference, model, net), expected)


def test_after_a_cancel(reference):
    untouched, plain = Untouched(reference), stock(reference)
    model, net = reference.apply(), reference.control_net()
    expected = run(reference, model, net)

    def cancel(step, steps):
        if step >= 1:
            reference.host.interrupt()

    with pytest.raises(GraphInterrupted):
        run(reference, model, net, 6, on_progress=cancel)
    untouched.check()
    assert torch.equal(stock(reference), plain)
    assert torch.equal(run(reference, model, net), expected)


def test_cancel_between_windows(reference):
    """A cancel between windows ends the step at once."""
    model, windows = reference.apply(), []
    wrapper_type = "apply_model"

    def watch(executor, *args, **kwargs):
        windows.append(len(windows))
        if len(windows) == 1:
            reference.host.interrupt()
        return executor(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper_with_key(wrapper_type, "watch", watch)
    with pytest.raises(GraphInterrupted):
        run(reference, watched)
    assert len(windows) == 1


def test_progress_and_previews(reference):
    """The browser's progress bar gets each step, as with the stock sampler."""
    result = reference.host.run_graph(graph(reference, reference.apply(), None, 3))
    steps = [(step, steps) for node, step, steps in result.progress if node == "sampler"]
    assert steps[-1] == (3, 3)
    assert {step for step, _ in steps} >= {1, 2, 3}


def test_state_dict_has_its_names_during_a_run(reference):
    """While TCAN is in the UNet, the state dict keeps the names that LoRA loaders look for."""
    seen = []
    model = reference.apply().clone()
    names = set(model.model.state_dict())

    def look(executor, *args, **kwargs):
        seen.append(set(model.model.state_dict()))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "look", look)
    run(reference, model)
    assert all(names <= found for found in seen)


def test_memory_is_given_back(reference):
    """The appearance features and residuals of a run are freed at its end."""
    model, net, videos = reference.apply(), reference.control_net(), []

    def look(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        videos.append(weakref.ref(transformer_options["tcan_video"]))
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

    model.add_wrapper_with_key("apply_model", "look", look)
    run(reference, model, net)
    (patches,) = model.get_attachment("tcan").patches.values()
    assert not patches.tokens._references
    gc.collect()
    assert videos and not any(video() for video in videos)


def test_a_graph_without_tcan_is_untouched(reference):
    """The stock nodes compute the same before and after a run of our nodes."""
    other = reference.tcan.unet.clone()
    before = run(reference, other)
    run(reference, reference.apply(), reference.control_net())
    assert torch.equal(run(reference, other), before)
