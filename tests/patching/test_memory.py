"""Memory depends on the window and not on the video: counted peak bytes of a step."""

import pytest
import torch

from tests.helpers.allocations import Allocations

WINDOW, SIZE = 4, 16


def peak(reference, frames: int, overlap: int = 0, closed_loop: bool = False) -> int:
    """Peak bytes of two steps of the MultiDiffusion Sampler, without tensors of the video's size."""
    poses = reference.poses[torch.arange(frames) % len(reference.poses)]
    positive, negative = reference.conditioning(reference.control_net(), poses)
    model = reference.apply(ptm=reference.ptm(pose_images=poses))
    with Allocations(apart=(frames, 4, SIZE, SIZE)) as counted:
        reference.host.node("TCANMultiDiffusionSampler")(
            model=model,
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(frames, 4, SIZE, SIZE)},
            steps=2,  # the first step does not have the appearance features yet
            cfg=3.0,
            window_length=WINDOW,
            window_overlap=overlap,
            closed_loop=closed_loop,
        )
    assert counted.peak_apart <= 16 * frames * 4 * SIZE * SIZE * 4  # at most a dozen copies of the latents, and nothing larger
    return counted.peak


def test_peak_does_not_grow_with_the_video(reference):
    """Eight windows take as much memory as one."""
    assert peak(reference, 8 * WINDOW) < 1.05 * peak(reference, WINDOW)


@pytest.mark.parametrize("closed_loop", [False, True])
def test_peak_with_overlap(reference, closed_loop):
    """At most one window's residuals are kept for the next windows, however many windows there are."""
    few = peak(reference, 3 * WINDOW, 1, closed_loop)
    assert peak(reference, 7 * WINDOW, 1, closed_loop) < 1.05 * few


def test_residuals_for_later_windows_rest_beside_the_latents(reference, monkeypatch):
    """While the UNet computes, they are off its device, here on the meta device, which cannot give them back."""
    import comfy.model_management

    class Seen(Exception):
        """The first window has its residuals."""

    poses = reference.poses[: 2 * WINDOW]
    positive, negative = reference.conditioning(reference.control_net(), poses)
    net, places = positive[0][1]["control"], []

    def look(executor, *args, **kwargs):
        video = next(each for each in args if isinstance(each, dict) and "tcan_video" in each)["tcan_video"]
        residuals = [found for cached in video.cache_of(net)._kinds.values() for found in cached.values()]
        places.extend(tensor.device.type for found in residuals for tensor in [*found.output, *found.middle])
        raise Seen

    model = reference.apply()
    model.add_wrapper_with_key("apply_model", "look", look)
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: torch.device("meta"))
    with pytest.raises(Seen):
        reference.host.node("TCANMultiDiffusionSampler")(
            model=model,
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(2 * WINDOW, 4, SIZE, SIZE)},
            steps=1,
            cfg=3.0,
            window_length=WINDOW,
            window_overlap=1,
        )
    assert places and set(places) == {"meta"}


def test_residuals_are_computed_once(reference, monkeypatch):
    """Each window of the ControlNet runs once per step, with any windows of the UNet, also around a loop."""
    frames, runs = 4 * WINDOW + 1, []
    net = reference.control_net()
    cls = type(net)
    run = cls._run

    def watch(self, latents, indices, *args):
        runs.append(tuple(indices))
        return run(self, latents, indices, *args)

    monkeypatch.setattr(cls, "_run", watch)
    for closed_loop in (False, True):
        runs.clear()
        poses = reference.poses[torch.arange(frames) % len(reference.poses)]
        positive, negative = reference.conditioning(net, poses)
        reference.host.node("TCANMultiDiffusionSampler")(
            model=reference.apply(),
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(frames, 4, SIZE, SIZE)},
            steps=1,
            cfg=3.0,
            window_length=WINDOW,
            window_overlap=1,
            closed_loop=closed_loop,
        )
        assert len(runs) == len(set(runs)) == 5


def test_a_kept_prompt_holds_no_others(reference):
    """The host repeats a prompt for every frame of a call; the cache of a step holds it once."""
    import comfy.model_management

    attention = reference.host.pack_module("tcan_modules.patching.reference_attention")
    comfy.model_management.load_models_gpu([reference.tcan.appearance])
    tokens = attention.ReferenceTokens(reference.tcan.appearance.model, reference.appearance, 1.0)
    repeated = reference.text(1).repeat(8, 1, 1)
    with torch.inference_mode():
        cached = tokens.at(reference.tcan.unet.model, (500,), torch.tensor([500.0]), repeated[:1])
    assert cached.text.untyped_storage().nbytes() == repeated[0].nbytes


def test_counted_bytes_are_given_back():
    with Allocations() as counted:
        first = torch.zeros(1000)
        view = first[:10]
        del first
        second = view + 1
        del view
        third = torch.zeros(500)
    assert counted.live[False] == 2040
    assert counted.peak == 4040
    assert second.shape == (10,) and third.shape == (500,)
