"""The sampling loops of the authors' code, on any device (`tests/test_parity.py` has them on the CPU, and the single parts)."""

import torch

from tests.helpers.reference_set import Reference, batch, error, tensors

LOOPS = {"full": (1.0, True), "no_ptm": (1.0, False), "frozen_controlnet": (0.0, False)}


def run_loop(reference: Reference, case: str) -> float:
    """The relative error of a loop's latents."""
    strength, with_ptm = LOOPS[case]
    positive, negative = reference.conditioning(reference.control_net(strength))
    model = reference.apply(ptm=reference.ptm() if with_ptm else None)
    sigma = float(model.get_model_object("model_sampling").sigmas[int(tensors()["loop.timesteps"][0])])
    noise = batch(tensors()[f"loop.{case}.noise"]) * (1 + sigma**2) ** 0.5 / 0.18215
    (latent,) = reference.host.node("TCANMultiDiffusionSampler")(
        model=model,
        positive=positive,
        negative=negative,
        latent_image={"samples": noise},
        steps=4,
        cfg=3.5,
        window_length=8,
        window_overlap=2,
        closed_loop=True,
        add_noise=False,
    )
    samples = latent["samples"].float().cpu() * 0.18215
    assert torch.isfinite(samples).all()
    return error(samples, batch(tensors()[f"loop.{case}.latents"]))
