"""The workflow animate_from_video finds the poses of a real video."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.helpers.host_nodes import capture
from tests.helpers.workflow_files import load, photograph

PREVIEW = "11"


def driving_video(path: Path, frames: int) -> None:
    """The astronaut comes 5 % nearer each frame."""
    import av
    from PIL import Image
    from skimage import data

    astronaut = Image.fromarray(data.astronaut())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for t in range(frames):
            near = astronaut.crop((13 * t, 0, 512 - 13 * t, 512 - 26 * t)).resize((640, 480))
            container.mux(stream.encode(av.VideoFrame.from_image(near)))
        container.mux(stream.encode())


def test_it_finds_the_poses_of_a_real_video(host) -> None:
    """From Load Video to the preview and the size of the latents.

    The astronaut drives herself, from 5 % nearer in each frame.
    """
    pytest.importorskip("mediapipe")
    photograph(host.base / "input" / "character.png", 512)
    driving_video(host.base / "input" / "driving.mp4", 4)
    graph = load("animate_from_video", api=True)
    wanted = [PREVIEW, "18", "10"]
    keep = set()
    while wanted:
        node = wanted.pop()
        keep.add(node)
        wanted += [value[0] for value in graph[node]["inputs"].values() if isinstance(value, list)]
    graph = {key: graph[key] for key in keep} | {"latent": capture("18"), "poses": capture("10", 0)}
    for node in graph.values():
        if node["class_type"] == "TCANPoseDetect":
            node["inputs"]["detector"] = "mediapipe"
    result = host.run_graph(graph)
    assert result.value("18")["samples"].shape == (4, 4, 64, 64)
    assert all(len(frame["people"]) == 1 for frame in result.value("10"))
    assert result.value("10", 2).shape[0] == 4 and PREVIEW in result.ui
