"""The command line of the two training stages."""

import argparse
import logging
from pathlib import Path

from ..log import log
from ..weights.messages import CheckpointError
from .model import CONTROLNET_BLOCKS
from .trainer import Options

_ABOUT = """Train TCAN on your own videos, in the authors' two stages.

  stage1   trains the appearance UNet, which describes the reference picture, and the APPA LoRA, on pairs of frames of one video.
           SD1.5's UNet and the OpenPose ControlNet are frozen.
  stage2   trains the temporal layers of UNet and ControlNet on clips of frames. Everything else is frozen.

You need an SD1.5 checkpoint, its OpenPose ControlNet (control_v11p_sd15_openpose), and videos of one person each, at least a second long:

  python -m tcan_modules.training stage1 --base v1-5.safetensors --controlnet openpose.safetensors --data VIDEOS --out runs/stage1
  python -m tcan_modules.training stage2 --base v1-5.safetensors --controlnet openpose.safetensors --tcan runs/stage1/tcan.safetensors \\
         --tcan mm_sd_v15_v2.ckpt --data VIDEOS --out runs/stage2

Copy runs/stage2/tcan.safetensors into ComfyUI/models/tcan and choose it in Load TCAN. The same command resumes a run that was stopped.
For several GPUs replace `python -m` with `accelerate launch -m`.
"""

_DATA = """--data is a folder with
  videos             a.mp4, b.mov, … (--detector finds their poses and stores them next to the video, as a.mp4.poses.json)
  folders of frames  a/0001.png, a/0002.png, …
  the TikTok layout  a/images.mp4 and a/dwpose.mp4, or a/images/*.png and a/dwpose/*.png
All of it may lie in the subfolder train/.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of ``stage1`` and ``stage2`` with their flags."""
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
    weights = stage.add_argument_group("pretrained weights")
    weights.add_argument(
        "--base",
        type=Path,
        required=True,
        help="SD1.5: a .safetensors or .ckpt file, a diffusers folder, or a packed TCAN file with all parts",
    )
    weights.add_argument("--controlnet", type=Path, help="OpenPose ControlNet for SD1.5, a file or a diffusers folder")
    weights.add_argument("--vae", type=Path, help="VAE to use instead of the one in --base (the authors: sd-vae-ft-mse)")
    weights.add_argument(
        "--tcan",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an earlier TCAN file or an AnimateDiff motion module to start from; may be given several times",
    )
    data = stage.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="folder with the videos")
    data.add_argument("--size", type=int, default=512, help="side of the square crops in pixels, a multiple of 64")
    data.add_argument(
        "--detector", choices=("dwpose", "openpose", "mediapipe"), default="dwpose", help="pose detector for videos without poses"
    )
    data.add_argument(
        "--detector-models",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder with the detector's files, such as ComfyUI/models/dwpose; may be given several times",
    )
    data.add_argument("--workers", type=int, default=2, help="processes that load videos")


def _training_flags(stage: argparse.ArgumentParser, number: int) -> None:
    run = stage.add_argument_group("training (defaults are the authors')")
    run.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints, loss curve and videos; an earlier run in it is resumed"
    )
    run.add_argument("--steps", type=int, default=100_000 if number == 1 else 30_000, help="optimizer steps in total")
    run.add_argument("--batch", type=int, default=2 if number == 1 else 1, help="pairs or clips in a batch, on each GPU")
    if number == 2:
        run.add_argument("--frames", type=int, default=16, help="frames in a clip")
        run.add_argument(
            "--controlnet-blocks",
            type=int,
            nargs="+",
            default=list(CONTROLNET_BLOCKS),
            metavar="N",
            help="down blocks of the ControlNet, counted from 0, that get temporal layers",
        )
    else:
        run.add_argument("--rank", type=int, default=16, help="rank and alpha of the LoRA")
        run.add_argument(
            "--drop-reference", type=float, default=0.1, help="share of samples trained without the reference, for guidance"
        )
    run.add_argument("--accumulate", type=int, default=1, help="batches per optimizer step")
    run.add_argument("--lr", type=float, default=1e-5, help="learning rate")
    run.add_argument("--schedule", choices=("constant", "cosine"), default="constant", help="schedule of the learning rate")
    run.add_argument("--warmup", type=int, default=0, help="steps over which the learning rate rises from 0")
    run.add_argument("--weight-decay", type=float, default=1e-2, help="AdamW's weight decay")
    run.add_argument("--clip", type=float, default=1.0, help="maximum norm of the gradients")
    run.add_argument(
        "--adam-betas", dest="betas", type=float, nargs=2, default=(0.9, 0.999), metavar=("B1", "B2"), help="AdamW's betas"
    )
    run.add_argument("--adam-eps", dest="eps", type=float, default=1e-8, help="AdamW's epsilon")
    run.add_argument(
        "--beta-schedule",
        choices=("linear", "scaled_linear"),
        default="linear",
        help="noise schedule; choose the same in APPA Apply",
    )
    run.add_argument(
        "--prediction-type",
        choices=("epsilon", "v_prediction"),
        help="what the UNet predicts (default: what its file says, else epsilon)",
    )
    run.add_argument("--ema", type=float, default=0.0, help="decay of the averaged weights, such as 0.9999; 0: no average")
    run.add_argument(
        "--mixed-precision", choices=("no", "fp16", "bf16"), default="no", help="precision of the networks' arithmetic"
    )
    run.add_argument("--gradient-checkpointing", action="store_true", help="use half the memory; takes a third more time")
    run.add_argument("--seed", type=int, default=0, help="seed of samples, noise and new weights")
    run.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints")
    run.add_argument("--validate-every", type=int, default=1000, help="steps between validation videos (0: none)")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train; log a user's error as one sentence and exit with 1."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _train(given, int(given.stage[-1]))
    except (CheckpointError, ValueError, OSError, FloatingPointError) as error:
        log.debug("the run failed", exc_info=True)
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
            f"--size {given.size} is not a multiple of 64 (the networks halve it six times): try {given.size // 64 * 64}."
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
