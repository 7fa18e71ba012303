"""`python dev.py demo`: the `animate` workflow in a real ComfyUI, from a photograph and a walk to a video.

Its weights are the tiny reference checkpoint with random values, so the picture is noise: it shows that every node runs.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.pictures import animate_files, animate_graph
from tests.server import Server, running

ROOT = Path(__file__).resolve().parent.parent
FRAMES, SIZE = 48, 128


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def show_progress(graph: dict, event: str, data: dict) -> None:
    """What ComfyUI says while it runs."""
    if event == "executing" and data.get("node"):
        say(f"  {graph[data['node']]['_meta']['title']}")
    elif event == "progress":
        say(f"    step {data['value']} of {data['max']}")


def run(server: Server, out: Path) -> Path:
    """Send the workflow, follow it, and bring its video to ``out``."""
    graph = animate_graph()
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
        animate_files(server.base, FRAMES, SIZE, SIZE)
        say("Running workflows/api/animate.json:")
        video = run(server, out.resolve())
    sys.stdout.write(f"{video}\n")


if __name__ == "__main__":
    main()
