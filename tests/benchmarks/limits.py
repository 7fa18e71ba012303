"""What bounds the puppet model: `python dev.py python -m tests.benchmarks.limits models/tcan_puppets.safetensors`.

How well its VAE alone gives the truth back; how surely it finds a place of the scene in the reference; how uniform its attention over
frames is: 1 is a plain mean over the window, and then there is nothing that a temperature could flatten; and how much of what wrong poses
do to the ControlNet's residuals is left by its temporal layers.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch

from puppets.correspondence import log_attention, same_places
from puppets.datasets import channels_first
from puppets.evaluate import Case, make_case
from puppets.recipe import open_packed
from tcan_modules.maths.temporal import TemporalAttention
from tcan_modules.training import metrics
from tcan_modules.training.model import TCAN
from tcan_modules.training.reference_attention import reference_blocks
from tcan_modules.training.sources import Start
from tcan_modules.training.steps import to_signed

SEED, CASES, FRAMES, TIMESTEPS, TAU = 9, 6, 16, (200, 600, 900), 3.0


def vae_alone(start: Start, cases: list[Case]) -> tuple[float, float]:
    """PSNR and SSIM of true frames that went through the VAE."""
    found = []
    for case in cases:
        decoded = start.vae.decode(start.vae.encode(to_signed(channels_first(case.clip.frames))))
        shown = ((decoded + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        found.append((metrics.psnr(shown, case.truth), metrics.ssim(shown, case.truth)))
    return tuple(np.mean(found, axis=0))


def noisy_clips(start: Start, model: TCAN, case: Case, poses: np.ndarray | None = None, temporal_control: bool = True) -> None:
    """The model sees a case, with its own or other poses, at each timestep."""
    latents = start.vae.encode(to_signed(channels_first(case.clip.frames)))[None]
    reference = start.vae.encode(to_signed(channels_first(case.reference[None])))
    pose = channels_first(case.poses if poses is None else poses)[None].float() / 255
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(SEED))
    for time in map(torch.tensor, TIMESTEPS):
        noisy = model.scheduler.add_noise(latents, noise, time)
        model(noisy, time[None], start.empty_prompt, pose, reference, temporal_control=temporal_control)


def places_found(start: Start, cases: list[Case]) -> dict[int, float]:
    """By the side of a layer's grid, how much of its attention to the reference the best head gives to the very cell that shows the same,
    mean over layers and timesteps.
    """
    model = TCAN(start.checkpoint, temporal=False)
    found: dict[int, list] = {}

    def look(layer, own: torch.Tensor, name: str) -> None:
        side = math.isqrt(own.shape[1])
        chances = log_attention(layer, own, model.reference_tokens.features[name]).diagonal(dim1=-2, dim2=-1).exp()
        still = same_places(channels_first(case.clip.frames), channels_first(case.reference[None]), side)
        found.setdefault(side, []).append(float((chances.amax(1) * still).sum() / still.sum()))

    for name, block in reference_blocks(model.unet).items():
        block.attn1.register_forward_pre_hook(lambda layer, inputs, name=name: look(layer, inputs[0], name))
    for case in cases:
        noisy_clips(start, model, case)
    del found[min(found)]  # cells so large rarely show the same
    return {side: float(np.mean(found[side])) for side in sorted(found)}


def spread(scores: torch.Tensor) -> float:
    """Mean entropy of attention over frames, as a share of the largest possible; ``scores [..., frames, frames]``."""
    weights = scores.softmax(-1)
    return float(torch.special.entr(weights).sum(-1).mean() / math.log(scores.shape[-1]))


def attention_spread(start: Start, case: Case) -> dict[str, tuple[float, float]]:
    """For UNet and ControlNet the spread at temperature 1 and at PTM's largest, mean over layers and timesteps."""
    model = TCAN(start.checkpoint, temporal=True)
    found: dict[str, list] = {"unet": [], "controlnet": []}

    def watched(part: str, theirs):
        def attention(query, key, value, heads):
            split = [tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (query, key)]
            scores = split[0] @ split[1].transpose(-1, -2) / math.sqrt(split[0].shape[-1])
            found[part].append((spread(scores), spread(scores / TAU)))
            return theirs(query, key, value, heads)

        return attention

    for name, module in model.named_modules():
        if isinstance(module, TemporalAttention):
            module.attention = watched(name.partition(".")[0], module.attention)
    noisy_clips(start, model, case)
    return {part: tuple(np.mean(rows, axis=0)) for part, rows in found.items()}


def wrong_poses_left(start: Start, cases: list[Case]) -> list[float]:
    """For each residual of the ControlNet: what wrong poses change in their frames, over what they change without temporal layers."""
    model = TCAN(start.checkpoint, temporal=True)
    seen: list[list[torch.Tensor]] = []
    model.controlnet.register_forward_hook(lambda _net, _inputs, outputs: seen.append([*outputs[0], outputs[1]]))

    def changes(case: Case, temporal_control: bool) -> np.ndarray:
        """Norms ``[timesteps, residuals]``."""
        seen.clear()
        for poses in (case.poses, case.spoiled):
            noisy_clips(start, model, case, poses, temporal_control)
        wrong = (case.poses != case.spoiled).any((1, 2, 3))
        pairs = zip(seen[: len(TIMESTEPS)], seen[len(TIMESTEPS) :], strict=True)
        return np.array([[float((a - b)[wrong].norm()) for a, b in zip(true, false, strict=True)] for true, false in pairs])

    left, all_of_it = (np.mean([changes(case, temporal) for case in cases], axis=(0, 1)) for temporal in (True, False))
    return (left / all_of_it).tolist()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.benchmarks.limits", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a packed puppet model")
    start = open_packed(parser.parse_args().checkpoint)
    cases = [make_case(SEED, number, FRAMES) for number in range(CASES)]
    decibels, similarity = vae_alone(start, cases)
    sys.stdout.write(f"VAE alone: {decibels:.1f} dB, SSIM {similarity:.2f}\n")
    for side, chance in places_found(start, cases[:2]).items():
        sys.stdout.write(
            f"a still place found in the reference, {side}x{side} cells: {chance:.2f} of the best head's attention\n"
        )
    for part, (plain, flattened) in attention_spread(start, cases[0]).items():
        sys.stdout.write(f"attention over frames, {part}: spread {plain:.2f}, at temperature {TAU:.0f} {flattened:.2f}\n")
    shares = ", ".join(f"{share:.2f}" for share in wrong_poses_left(start, cases[:3]))
    sys.stdout.write(f"what wrong poses change in the ControlNet's residuals, first to last, over its frozen self: {shares}\n")


if __name__ == "__main__":
    main()
