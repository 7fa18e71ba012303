"""workflows/animate_from_video: its two forms agree, its nodes exist, and its poses come out of a real video."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.host_nodes import capture

WORKFLOWS = Path(__file__).parents[2] / "workflows"
PREVIEW = "11"


def api_graph() -> dict:
    return json.loads((WORKFLOWS / "api" / "animate_from_video.json").read_text())


def shown_graph() -> dict:
    return json.loads((WORKFLOWS / "animate_from_video.json").read_text())


def input_types(class_type: str) -> dict:
    import nodes

    inputs = nodes.NODE_CLASS_MAPPINGS[class_type].INPUT_TYPES()
    return {**inputs["required"], **inputs.get("optional", {})}


def from_shown(graph: dict) -> dict:
    """The API form of a graph as the browser shows it, by the host's own input lists."""
    sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    result = {}
    for node in graph["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        linked = {entry["name"]: entry["link"] for entry in node["inputs"]}
        widgets = iter(node["widgets_values"])
        inputs = {}
        for name, (kind, *_) in input_types(node["type"]).items():
            is_widget = isinstance(kind, list) or str(kind) in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
            value = next(widgets) if is_widget else None
            if name == "seed":
                next(widgets)  # what happens to it after a run
            if linked.get(name) is not None:
                inputs[name] = sources[linked[name]]
            elif is_widget:
                inputs[name] = value
        result[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return result


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        stream.height, stream.width, _ = frames[0].shape
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_both_forms_are_the_same_graph(host) -> None:
    expected = {key: {part: node[part] for part in ("class_type", "inputs")} for key, node in api_graph().items()}
    assert from_shown(shown_graph()) == expected


def test_every_input_exists_and_no_required_one_is_missing(host) -> None:
    import nodes

    for node in api_graph().values():
        assert set(node["inputs"]) <= set(input_types(node["class_type"]))
        assert set(nodes.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()["required"]) <= set(node["inputs"])


def test_links_of_the_shown_form_hold_together() -> None:
    graph = shown_graph()
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, source, output, target, place, kind in graph["links"]:
        assert link in nodes[source]["outputs"][output]["links"] and nodes[source]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][place]["link"] == link and nodes[target]["inputs"][place]["type"] == kind


def test_its_poses_come_out_of_a_real_video(host) -> None:
    """From Load Video to the preview and the size of the latents; the astronaut drives herself, from 5 % nearer each
    frame.
    """
    pytest.importorskip("mediapipe")
    from PIL import Image
    from skimage import data

    astronaut = Image.fromarray(data.astronaut())
    astronaut.save(host.base / "input" / "character.png")
    near = [astronaut.crop((13 * t, 0, 512 - 13 * t, 512 - 26 * t)).resize((640, 480)) for t in range(4)]
    write_video(host.base / "input" / "driving.mp4", [np.asarray(frame) for frame in near])
    graph = api_graph()
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
