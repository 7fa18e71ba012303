"""`python dev.py demo`: run workflow ``puppet`` in a real ComfyUI.

The character, the scene and the motion are outside the puppet model's training. The video shows the character, the poses and the
result side by side.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from puppets.clips import Clip, make_clip
from puppets.motion import SIZE
from puppets.pose_images import draw_keypoints
from tests.helpers.scratch import ROOT
from tests.helpers.server import Server, running
from tests.helpers.workflow_files import load, save_frames

FRAMES = 48
# training and evaluation use no seeds that end in 5 and above
CHARACTER, SCENE, MOTION, REFERENCE_MOTION = (2026, 0, 5), (2026, 0, 6), (2026, 0, 7), (2026, 0, 8)


def say(text: str) -> None:
    """Print progress; stdout is only for the video's path."""
    sys.stderr.write(f"{text}\n")


def truth(frames: int) -> Clip:
    """The true video."""
    return make_clip(CHARACTER, SCENE, MOTION, frames)


def pictures(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The character's picture ``[height, width, 3]`` and the poses ``[frames, height, width, 3]``, uint8."""
    return make_clip(CHARACTER, SCENE, REFERENCE_MOTION, 1).frames[0], draw_keypoints(truth(frames).keypoints, SIZE)


def draw_inputs(folder: Path, frames: int = FRAMES) -> None:
    """Write ``puppet.png`` and ``puppet_poses.webp``, as in ``workflows/inputs``."""
    picture, poses = pictures(frames)
    Image.fromarray(picture).save(folder / "puppet.png")
    save_frames(poses, folder / "puppet_poses.webp")


def show_progress(graph: dict, event: str, data: dict) -> None:
    """Print one of ComfyUI's messages."""
    if event == "executing" and data.get("node"):
        say(f"  {graph[data['node']]['_meta']['title']}")
    elif event == "progress":
        say(f"    step {data['value']} of {data['max']}")


def run(server: Server, out: Path) -> Path:
    """Run the workflow, print its progress, and save its video in ``out``."""
    graph = load("puppet", api=True)
    started = time.monotonic()
    done = server.wait(server.queue(graph), on_message=lambda event, data: show_progress(graph, event, data))
    saved = next(
        file for output in done.outputs.values() for file in output.get("images", []) if file["filename"].endswith(".mp4")
    )
    out.mkdir(parents=True, exist_ok=True)
    video = out / "tcan_demo.mp4"
    video.write_bytes(server.view(saved))
    say(f"{FRAMES} frames in {time.monotonic() - started:.0f} s. From left to right: the puppet, its poses, the result.")
    return video


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "output", help="folder for the video (default: output/)")
    out = parser.parse_args().out
    # on a busy machine, spinning threads take ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    say("Starting ComfyUI …")
    with running() as server:
        draw_inputs(server.base / "input")
        say("Running workflows/api/puppet.json:")
        video = run(server, out.resolve())
    sys.stdout.write(f"{video}\n")


if __name__ == "__main__":
    main()
