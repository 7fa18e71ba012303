"""The command line of the two stages."""

import argparse
import logging
from pathlib import Path

from ..log import log
from ..weights.messages import CheckpointError
from .model import CONTROLNET_BLOCKS
from .trainer import Options

_ABOUT = """Train TCAN on your own videos, in the authors' two stages.

  stage1   teaches a second UNet to describe the reference picture, and a LoRA (APPA) to read it, on pairs of frames of one video.
           SD1.5's UNet and the OpenPose ControlNet stay as they are.
  stage2   teaches the temporal layers of UNet and ControlNet to see a clip of frames at once. All else stays as it is.

You need an SD1.5 checkpoint, its OpenPose ControlNet (control_v11p_sd15_openpose), and videos of one person each, at least a second long:

  python -m tcan_modules.training stage1 --base v1-5.safetensors --controlnet openpose.safetensors --data VIDEOS --out runs/stage1
  python -m tcan_modules.training stage2 --base v1-5.safetensors --controlnet openpose.safetensors --tcan runs/stage1/tcan.safetensors \\
         --tcan mm_sd_v15_v2.ckpt --data VIDEOS --out runs/stage2

Copy runs/stage2/tcan.safetensors into ComfyUI/models/tcan and choose it in Load TCAN. A run that was stopped goes on when the same command
is given again. For several GPUs put `accelerate launch -m` in place of `python -m`.
"""

_DATA = """--data is a folder with
  videos             a.mp4, b.mov, … (poses are found by --detector and kept beside them as a.mp4.poses.json)
  folders of frames  a/0001.png, a/0002.png, …
  the TikTok layout  a/images.mp4 and a/dwpose.mp4, or a/images/*.png and a/dwpose/*.png; all of it may lie in train/
"""


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="python -m tcan_modules.training", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = whole.add_subparsers(dest="stage", required=True, metavar="stage1 | stage2")
    for stage, about in ((1, "train the appearance UNet and the APPA LoRA"), (2, "train the temporal layers")):
        one = stages.add_parser(
            f"stage{stage}", help=about, description=f"Stage {stage}: {about}.\n\n{_DATA}", formatter_class=_Formatter
        )
        _data_flags(one)
        _training_flags(one, stage)
    return whole


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


def _data_flags(stage: argparse.ArgumentParser) -> None:
    weights = stage.add_argument_group("what to begin with")
    weights.add_argument(
        "--base",
        type=Path,
        required=True,
        help="SD1.5: a .safetensors or .ckpt file, a diffusers folder, or a packed TCAN file that has everything",
    )
    weights.add_argument("--controlnet", type=Path, help="OpenPose ControlNet for SD1.5, a file or a diffusers folder")
    weights.add_argument("--vae", type=Path, help="another VAE than that in --base (the authors: sd-vae-ft-mse)")
    weights.add_argument(
        "--tcan",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an earlier TCAN file or a motion module of AnimateDiff to go on from; may be given several times",
    )
    data = stage.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="folder with the videos")
    data.add_argument("--size", type=int, default=512, help="side of the square that frames are cropped to, a multiple of 64")
    data.add_argument(
        "--detector", choices=("dwpose", "openpose", "mediapipe"), default="dwpose", help="for videos without poses"
    )
    data.add_argument(
        "--detector-models",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="where the detector's files lie, such as ComfyUI/models/dwpose",
    )
    data.add_argument("--workers", type=int, default=2, help="processes that read videos")


def _training_flags(stage: argparse.ArgumentParser, number: int) -> None:
    run = stage.add_argument_group("training (defaults are the authors')")
    run.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints, curve and videos; an earlier run in it goes on"
    )
    run.add_argument("--steps", type=int, default=100_000 if number == 1 else 30_000, help="steps of the optimizer in all")
    run.add_argument("--batch", type=int, default=2 if number == 1 else 1, help="pairs or clips at once on each GPU")
    if number == 2:
        run.add_argument("--frames", type=int, default=16, help="frames of a clip")
        run.add_argument(
            "--controlnet-blocks",
            type=int,
            nargs="+",
            default=list(CONTROLNET_BLOCKS),
            metavar="N",
            help="down blocks of the ControlNet, counted from 0, that get temporal layers",
        )
    else:
        run.add_argument("--rank", type=int, default=16, help="rank of the LoRA; its alpha is the same")
        run.add_argument(
            "--drop-reference", type=float, default=0.1, help="share of samples trained without reference, for guidance"
        )
    run.add_argument("--accumulate", type=int, default=1, help="batches for each step of the optimizer")
    run.add_argument("--lr", type=float, default=1e-5, help="learning rate")
    run.add_argument("--schedule", choices=("constant", "cosine"), default="constant", help="of the learning rate")
    run.add_argument("--warmup", type=int, default=0, help="steps over which the learning rate rises")
    run.add_argument("--weight-decay", type=float, default=1e-2, help="of AdamW")
    run.add_argument("--clip", type=float, default=1.0, help="largest norm of all gradients")
    run.add_argument(
        "--adam-betas", dest="betas", type=float, nargs=2, default=(0.9, 0.999), metavar=("B1", "B2"), help="of AdamW"
    )
    run.add_argument("--adam-eps", dest="eps", type=float, default=1e-8, help="of AdamW")
    run.add_argument(
        "--beta-schedule",
        choices=("linear", "scaled_linear"),
        default="linear",
        help="noise over the timesteps; set the same in APPA Apply",
    )
    run.add_argument(
        "--prediction-type",
        choices=("epsilon", "v_prediction"),
        help="what the UNet predicts (default: what its file says, or epsilon)",
    )
    run.add_argument("--ema", type=float, default=0.0, help="decay of averaged weights, such as 0.9999; 0 keeps none")
    run.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no", help="arithmetic of the networks")
    run.add_argument("--gradient-checkpointing", action="store_true", help="half the memory for a third more time")
    run.add_argument("--seed", type=int, default=0, help="of samples, noise and new weights")
    run.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints")
    run.add_argument("--validate-every", type=int, default=1000, help="steps between validation videos (0: none)")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train; errors that a user can mend are one sentence."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _train(given, int(given.stage[-1]))
    except (CheckpointError, ValueError) as error:
        log.error("%s", error)
        raise SystemExit(1) from None


def _train(given: argparse.Namespace, stage: int) -> None:
    from .datasets import FramePairs, VideoClips
    from .poses import find_poses
    from .sources import load_start
    from .stages import train_stage
    from .videos import find_videos

    if given.size % 64:
        raise ValueError(
            f"--size {given.size} is no multiple of 64, and the networks halve it six times: try {given.size // 64 * 64}."
        )
    frames = given.frames if stage == 2 else 1
    videos = find_videos(given.data, max(2, frames))
    log.info("%d videos with %d frames", len(videos), sum(video.frames.count for video in videos))
    find_poses(videos, given.detector, given.size, given.detector_models, _device())
    start = load_start(given.base, given.controlnet, given.vae, given.tcan)
    if stage == 1:
        dataset = FramePairs(videos, given.size, given.seed)
        particular = {"rank": given.rank, "drop_reference": given.drop_reference}
    else:
        dataset = VideoClips(videos, given.size, frames, given.seed)
        particular = {"controlnet_blocks": tuple(given.controlnet_blocks)}
    seen = VideoClips(videos[:1], given.size, min(16, videos[0].frames.count), given.seed)[0] if given.validate_every else None
    shared = {name: getattr(given, name) for name in Options.__dataclass_fields__ if hasattr(given, name)}
    if given.prediction_type:
        start.checkpoint.v_prediction = given.prediction_type == "v_prediction"
    packed = train_stage(
        stage,
        start,
        dataset,
        Options(**shared),
        validation=seen,
        schedule={"beta_schedule": given.beta_schedule},
        gradient_checkpointing=given.gradient_checkpointing,
        **particular,
    )
    log.info("done: copy %s into ComfyUI/models/tcan and choose it in Load TCAN", packed)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
