"""Every part, and the three sampling loops, against the tensors of the authors' own code: relative error at most 1e-4.

The weights are float16 on disk and exactly the values of the authors' models.
"""

import pytest
import torch
from safetensors.torch import load_file

from tcan_modules.maths.temporal import TemporalTransformer
from tcan_modules.weights.naming import split_temporal
from tests.helpers.reference_set import FOLDER, LOOPS, TIMESTEP, batch, error, tensors

BAR = 1e-4
FRAMES = 8


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("window", ["window0", "all"])
def test_temperature_map(reference, window):
    ours = reference.ptm().image(range(FRAMES if window == "window0" else 16))
    assert error(torch.from_numpy(ours), tensors()[f"ptm.{window}"]) <= BAR


@pytest.mark.parametrize("name", ["y", "y_ptm"])
def test_temporal_layer(reference, name):
    state = load_file(FOLDER / "unet.safetensors")
    state = {key: value.float() for key, value in state.items() if "motion_modules" in key}
    layers = split_temporal(state, (2, 2, 2, 2))
    layer = TemporalTransformer(32, heads=8, max_frames=24)
    layer.load_state_dict(layers["input_4"])  # down_blocks.1.motion_modules.0
    temperature = reference.ptm().grid(range(FRAMES), 8, 8) if name == "y_ptm" else None
    ours = layer(batch(tensors()["temporal_module.x"]), FRAMES, temperature)
    assert error(ours, batch(tensors()[f"temporal_module.{name}"])) <= BAR


def test_appearance_features(reference):
    model = reference.tcan.appearance.model
    context = tensors()["text_embeddings"]
    for row in range(2):
        timestep = torch.tensor([float(TIMESTEP)])
        features = model.features(tensors()["reference_latent"], timestep, context[row : row + 1])
        names = [
            "mid_block.attentions.0",
            *(f"up_blocks.{block}.attentions.{index}" for block in (1, 2, 3) for index in range(3)),
        ]
        assert len(features) == len(names) == 10
        for (_, kept), name in zip(features.items(), names, strict=True):
            theirs = tensors()[f"appearance.{name}.transformer_blocks.0"][row]
            assert error(kept[0], theirs) <= BAR, name


def _noisy(model) -> tuple[torch.Tensor, torch.Tensor]:
    """The window's latents in the host's scale, [unconditional, conditional], and their sigmas."""
    sigma = model.get_model_object("model_sampling").sigmas[TIMESTEP]
    return torch.cat([batch(tensors()["window.x"])] * 2) * torch.sqrt(1 + sigma**2), sigma.expand(2 * FRAMES)


def _residuals(reference, net) -> dict:
    """The residuals of one of the host's ControlNets for the window, for both conds."""
    import comfy.model_management

    model = reference.apply()
    comfy.model_management.load_models_gpu([model, *net.get_models()])
    net = net.copy().set_cond_hint(reference.poses.movedim(-1, 1))
    net.pre_run(model.model, model.model.model_sampling.percent_to_sigma)
    noisy, sigmas = _noisy(model)
    context = tensors()["text_embeddings"].repeat_interleave(FRAMES, 0)
    return net.get_control(noisy, sigmas, {"c_crossattn": context}, 2, {"cond_or_uncond": [1, 0]})


@pytest.mark.parametrize(("name", "strength"), [("temporal_controlnet", 1.0), ("frozen_controlnet", 0.0)])
def test_control_net(reference, name, strength):
    residuals = _residuals(reference, reference.control_net(strength))
    found = {f"down.{level}": tensor for level, tensor in enumerate(residuals["output"])}
    found["mid"] = residuals["middle"][0]
    assert len(found) == 13
    for place, ours in found.items():
        theirs = tensors()[f"{name}.{place}"]
        theirs = batch(theirs) if theirs.ndim == 5 else theirs
        for row in ours.chunk(2):  # the same for both conds
            assert error(row, theirs) <= BAR, place


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("y_plain", ()),
        ("y_control", ("control",)),
        ("y_control_appearance", ("control", "appearance")),
        ("y_full", ("control", "appearance", "ptm")),
    ],
)
def test_unet(reference, name, parts):
    control = _residuals(reference, reference.control_net()) if "control" in parts else None
    model = reference.apply(appearance_strength=float("appearance" in parts), ptm=reference.ptm() if "ptm" in parts else None)
    assert error(_noise_of(model, control), batch(tensors()[f"unet.{name}"])) <= BAR


def _noise_of(model, control: dict | None = None) -> torch.Tensor:
    """The noise that a model predicts for the window, ``[2 * frames, 4, 16, 16]``."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])
    noisy, sigmas = _noisy(model)
    denoised = model.model.apply_model(
        noisy,
        sigmas,
        c_crossattn=tensors()["text_embeddings"].repeat_interleave(FRAMES, 0),
        control=control,
        transformer_options={"cond_or_uncond": [1, 0], "wrappers": model.wrappers},
    )
    return (noisy - denoised) / sigmas[0]


@pytest.mark.parametrize("case", LOOPS)
def test_sampling_loop(reference, case):
    assert reference.loop_error(case) <= BAR


def test_loop_with_the_stock_sampler(reference):
    """MultiDiffusion Windows before the stock sampler is the same as the MultiDiffusion Sampler."""
    positive, negative = reference.conditioning(reference.control_net())
    model = reference.apply(ptm=reference.ptm())
    (windowed,) = reference.host.node("TCANMultiDiffusion")(model=model, window_length=8, window_overlap=2, closed_loop=True)
    (latent,) = reference.host.node("KSamplerAdvanced")(
        model=windowed,
        add_noise="disable",
        noise_seed=0,
        steps=4,
        cfg=3.5,
        sampler_name="ddim",
        scheduler="ddim_uniform",
        positive=positive,
        negative=negative,
        latent_image=reference.loop_latents(model, "full"),
        start_at_step=0,
        end_at_step=10000,
        return_with_leftover_noise="disable",
    )
    assert error(latent["samples"] * 0.18215, batch(tensors()["loop.full.latents"])) <= BAR


def test_bfloat16(reference):
    """Computing in bfloat16, as the host does on cards without fast float16: at most 3e-2."""
    model = reference.apply(ptm=reference.ptm())
    control = _residuals(reference, reference.control_net())
    model.set_model_compute_dtype(torch.bfloat16)
    ours = _noise_of(model, control)
    assert 1e-4 < error(ours, batch(tensors()["unet.y_full"])) <= 3e-2
