"""The price of TCAN Speed-ups on a trained model: PSNR, and the operations and time saved."""

import shutil
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from puppets.evaluate import make_case
from puppets.recipe import GUIDANCE
from tcan_modules.training import metrics
from tests.helpers.host import Host

EVERY = (1, 2, 3, 4, 5)
STEPS, FRAMES, CASES, SEED = 25, 16, 2, 7


def reuse_quality(host: Host, checkpoint: Path) -> dict:
    """Sample videos of a packed puppet model with each ``reuse_steps``, through the public nodes.

    Args:
        checkpoint: a file of Save TCAN with its VAE and its empty prompt, trained on the puppets.
    """
    folder = host.base / "models" / "tcan"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint, folder / "psnr.safetensors")
    tcan, prompt = host.node("TCANLoad")(checkpoint="psnr.safetensors")
    loaded = tcan, prompt, host.node("TCANVAE")(tcan=tcan)[0]
    cases = [make_case(SEED, number, FRAMES) for number in range(CASES)]
    _animate(host, *loaded, cases[0], 1)  # moves the models to their device
    exact, figures = [], {}
    for every in EVERY:
        started = time.perf_counter()
        videos = [_animate(host, *loaded, case, every) for case in cases]
        elapsed = (time.perf_counter() - started) / CASES
        with FlopCounterMode(display=False) as counter:
            _animate(host, *loaded, cases[0], every)
        exact = exact or videos
        name, operations = f"reuse_steps {every}", counter.get_total_flops()
        decibels = [metrics.psnr(video, other) for video, other in zip(videos, exact, strict=True)] if every > 1 else []
        figures[name] = {"psnr": decibels, "seconds": elapsed, "operations": operations}
        base = figures["reuse_steps 1"]
        sys.stdout.write(
            f"{name}: {', '.join(f'{value:.1f} dB' for value in decibels) or 'exact'}; {base['operations'] / operations:.2f} times fewer"
            f" operations, {base['seconds'] / elapsed:.2f} times as fast\n"
        )
    return figures


@torch.inference_mode()
def _animate(host: Host, tcan, prompt, vae, case, every: int):
    """float32 ``[frames, height, width, 3]`` in 0..1."""
    node = host.node
    image, poses = (torch.from_numpy(array).float() / 255 for array in (case.reference[None], case.poses))
    (appearance,) = node("TCANAppearanceEncode")(tcan=tcan, vae=vae, image=image)
    ptm = node("TCANPTMBuilder")(pose_images=poses)[0]
    (model,) = node("TCANSpeed")(model=node("TCANApply")(tcan=tcan, appearance=appearance, ptm=ptm)[0], reuse_steps=every)
    (net,) = node("TCANTemporalControlNet")(tcan=tcan)
    positive, negative = node("ControlNetApplyAdvanced")(positive=prompt, negative=prompt, control_net=net, image=poses)
    frames, height, width = poses.shape[:3]
    (latent,) = node("TCANMultiDiffusionSampler")(
        model=model,
        positive=positive,
        negative=negative,
        latent_image={"samples": torch.zeros(frames, 4, height // 8, width // 8)},
        seed=SEED,
        steps=STEPS,
        cfg=GUIDANCE,
    )
    return vae.decode(latent["samples"]).float().clamp(0, 1).cpu().numpy()
