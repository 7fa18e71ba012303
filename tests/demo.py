"""`python dev.py demo`: the `animate` workflow in a real ComfyUI, from a photograph and a walk to a video.

Its weights are the tiny reference checkpoint with random values, so the picture is noise: it shows that every node runs.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch
from PIL import Image

from tests.server import Server, running
from tests.tiny_models import tiny_checkpoint, tiny_vae
from tests.walk import pose_images

ROOT = Path(__file__).resolve().parent.parent
FRAMES, SIZE = 48, 128


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def photograph(path: Path, size: int = SIZE) -> None:
    """A person who is fine with being animated: the astronaut Eileen Collins, a NASA picture in the public domain."""
    from skimage import data

    Image.fromarray(data.astronaut()).resize((size, size), Image.Resampling.LANCZOS).save(path)


def save_frames(frames: torch.Tensor, path: Path) -> None:
    """An animated WebP without loss, as Load Image reads it: poses need their black to be black."""
    pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=125, lossless=True)


def prepare(base: Path, frames: int = FRAMES, width: int = SIZE, height: int = SIZE) -> None:
    """The files that the workflow names, in a scratch ComfyUI folder."""
    graph = load_graph()
    names = {name: value for node in graph.values() for name, value in node["inputs"].items() if isinstance(value, str)}
    (base / "models" / "vae").mkdir(parents=True, exist_ok=True)
    tiny_checkpoint(base / "models" / "tcan" / names["checkpoint"])
    tiny_vae(base / "models" / "vae" / names["vae_name"])
    photograph(base / "input" / "character.png")
    save_frames(pose_images(frames, width, height), base / "input" / "poses.webp")


def load_graph() -> dict:
    return json.loads((ROOT / "workflows" / "api" / "animate.json").read_text())


def show_progress(graph: dict, event: str, data: dict) -> None:
    """What ComfyUI says while it runs."""
    if event == "executing" and data.get("node"):
        say(f"  {graph[data['node']]['_meta']['title']}")
    elif event == "progress":
        say(f"    step {data['value']} of {data['max']}")


def run(server: Server, out: Path) -> Path:
    """Send the workflow, follow it, and bring its video to ``out``."""
    graph = load_graph()
    started = time.monotonic()
    done = server.wait(server.queue(graph), on_message=lambda event, data: show_progress(graph, event, data))
    saved = next(
        file for output in done.outputs.values() for file in output.get("images", []) if file["filename"].endswith(".mp4")
    )
    out.mkdir(parents=True, exist_ok=True)
    video = out / "tcan_demo.mp4"
    video.write_bytes(server.view(saved))
    say(f"{FRAMES} frames in {time.monotonic() - started:.0f} s. The weights are random, so the video shows noise, not a person:")
    say("it proves that the nodes run on this machine.")
    return video


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "output", help="folder for the video (default: output/)")
    out = parser.parse_args().out
    # on a busy machine, threads that spin while they wait for each other take ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    say("Starting ComfyUI …")
    with running() as server:
        prepare(server.base)
        say("Running workflows/api/animate.json:")
        video = run(server, out.resolve())
    sys.stdout.write(f"{video}\n")


if __name__ == "__main__":
    main()
