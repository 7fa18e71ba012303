"""The host's work on several GPUs, one cond of guidance on each: the same video.

With fewer than two GPUs, the second device is the CPU under another name (``cpu:0``), with networks and a thread of its own, through
the host's own functions.
"""

import pytest
import torch

from tests.helpers.reference_set import error

FRAMES = 9


@pytest.fixture(scope="module", autouse=True)
def several_gpus(host) -> None:
    pytest.importorskip("comfy.multigpu", reason="this ComfyUI does not work on several GPUs")


def on_two_devices(model):
    """The model as node MultiGPU CFG Split makes it with a second device."""
    import comfy.multigpu

    second = torch.device("cuda", 1) if torch.cuda.device_count() > 1 else torch.device("cpu", 0)
    model = model.clone()
    twin = model.deepclone_multigpu(new_load_device=second)
    twin.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [twin])
    model.match_multigpu_clones()
    comfy.multigpu.GPUOptionsGroup().register(model)
    return model


class Networks:
    """Record which networks evaluate which conds."""

    def __init__(self):
        self.rows: dict[int, set] = {}

    def __call__(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        conds = tuple(transformer_options["cond_or_uncond"])
        self.rows.setdefault(id(executor.class_obj.diffusion_model), set()).add(conds)
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


@pytest.mark.parametrize("reuse_steps", [1, 2])
def test_the_same_video(reference, reuse_steps):
    node, poses = reference.host.node, reference.poses[:FRAMES]
    model = reference.apply(ptm=reference.ptm(pose_images=poses))
    (model,) = node("TCANMultiDiffusion")(model=model, window_length=4, window_overlap=1, closed_loop=False)
    (model,) = node("TCANSpeed")(model=model, reuse_steps=reuse_steps)

    def sample(model) -> torch.Tensor:
        return reference.sample(model, reference.conditioning(reference.control_net(), poses), FRAMES)

    alone, networks = sample(model), Networks()
    split = on_two_devices(model)
    split.add_wrapper_with_key("apply_model", "watch", networks)
    assert error(sample(split), alone) <= 1e-5
    assert sorted(conds for (conds,) in networks.rows.values()) == [(0,), (1,)]
    assert torch.equal(sample(model), alone)
