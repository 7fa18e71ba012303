"""The shipped workflows: both formats agree, the template browser finds them, and they run."""

import json
import uuid

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from tests.helpers.workflow_files import WORKFLOWS, load, save_frames, walk
from tests.helpers.workflow_format import WIDGETS
from tests.tools import demo

NAMES = sorted(file.stem for file in WORKFLOWS.glob("*.json"))
# height and width: the detector needs more pixels than the sampler, and the puppet's video shows three pictures
SIZES = {"animate_from_video": (192, 256), "puppet": (128, 384)}
# Newer hosts: each option has its own inputs, sent as "<combo>.<input>". Save Video's "codec" is now "format.codec".
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
NOTES = ("Note", "MarkdownNote")


def as_api(graph: dict, object_info: dict) -> dict:
    """The API format that the browser sends for a graph in UI format."""
    links = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        linked = {socket["name"]: links[socket["link"]] for socket in node["inputs"] if socket["link"] is not None}
        values = list(node["widgets_values"])
        inputs = read_inputs(object_info[node["type"]]["input"], values, linked)
        assert not values, node
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def read_inputs(info: dict, values: list, linked: dict, prefix: str = "") -> dict:
    """The inputs of a node or of an option of a dynamic combo; takes its widgets' values off the list."""
    inputs = {}
    for name, (kind, *more) in {**info.get("required", {}), **info.get("optional", {})}.items():
        name, options = prefix + name, more[0] if more else {}
        if not values and name not in linked:
            continue  # a widget newer than the file: the page uses its default
        if isinstance(kind, list) or kind in (*WIDGETS, DYNAMIC_COMBO):
            inputs[name] = values.pop(0)
            if {"control_after_generate", "image_upload", "video_upload"} & set(options):
                values.pop(0)  # what to do with the seed afterwards; the upload button
        if name in linked:
            inputs[name] = linked[name]
        if kind == DYNAMIC_COMBO:
            (chosen,) = (option for option in options["options"] if option["key"] == inputs[name])
            inputs |= read_inputs(chosen["inputs"], values, linked, f"{name}.")
    return inputs


def test_what_is_shipped():
    assert {"animate", "animate_with_your_checkpoint", "long_video", "puppet"} <= set(NAMES)
    assert sorted(file.stem for file in (WORKFLOWS / "api").glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_agree(server, name):
    twin = {node: {"class_type": entry["class_type"], "inputs": entry["inputs"]} for node, entry in load(name, api=True).items()}
    sent = as_api(load(name), server.object_info())
    for entry in sent.values():  # the twins name an option's input as older hosts do; newer ones take both names
        entry["inputs"] = {key.rpartition(".")[2]: value for key, value in entry["inputs"].items()}
    assert sent == twin


@pytest.mark.parametrize("name", NAMES)
def test_links_hold_together(name):
    graph = load(name)
    assert str(uuid.UUID(graph["id"])) == graph["id"]  # the browser rejects other ids
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, source, output, target, place, kind in graph["links"]:
        given, taken = nodes[source]["outputs"][output], nodes[target]["inputs"][place]
        assert link in given["links"] and taken["link"] == link and given["type"] == kind
    assert sum(len(output["links"] or []) for node in graph["nodes"] for output in node["outputs"]) == len(graph["links"])


@pytest.mark.parametrize("name", NAMES)
def test_it_explains_itself(name):
    graph = load(name)
    assert any(node["type"] in NOTES and "agreed" in node["widgets_values"][0] for node in graph["nodes"])
    assert all(group["title"][0].isdigit() for group in graph["groups"])


def test_the_template_browser_finds_them(server):
    found = json.loads(server.request("/workflow_templates"))
    assert sorted(found["ComfyUI-TCAN"]) == NAMES
    for name in NAMES:
        assert server.request(f"/api/workflow_templates/ComfyUI-TCAN/{name}.json")
        assert server.request(f"/api/workflow_templates/ComfyUI-TCAN/{name}.jpg")[:2] == b"\xff\xd8"


def test_saved_poses_are_lossless(tmp_path):
    """Load Image reads the same pictures, in OpenPose's colours on black."""
    frames = walk(6, 128, 96)
    save_frames(frames, tmp_path / "poses.webp")
    with Image.open(tmp_path / "poses.webp") as file:
        read = [np.array(picture.convert("RGB")) for picture in ImageSequence.Iterator(file)]
    assert np.array_equal(read, frames)
    assert frames.max() == 255 and 0.02 < (frames != 0).any(-1).mean() < 0.5


def test_the_puppets_inputs_are_shipped(tmp_path):
    demo.draw_inputs(tmp_path)
    for drawn in tmp_path.iterdir():
        with Image.open(drawn) as ours, Image.open(WORKFLOWS / "inputs" / drawn.name) as shipped:
            pairs = zip(ImageSequence.Iterator(ours), ImageSequence.Iterator(shipped), strict=True)
            assert all(np.array_equal(one.convert("RGB"), other.convert("RGB")) for one, other in pairs)


def shortened(name: str, **widgets) -> dict:
    """The API twin with few steps and short windows."""
    prompt = load(name, api=True)
    for node in prompt.values():
        for widget, value in ({"steps": 2, "window_length": 4, "window_overlap": 1} | widgets).items():
            if widget in node["inputs"] and not isinstance(node["inputs"][widget], list):
                node["inputs"][widget] = value
    return prompt


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_over_http(prepared, name):
    if name == "animate_from_video":
        pytest.importorskip("mediapipe")
    size = SIZES.get(name, (96, 128))
    prompt = shortened(name, detector="mediapipe", resolution=size[0], height=size[0], width=size[1])
    run = prepared.wait(prepared.queue(prompt))
    saved = next(
        file for output in run.outputs.values() for file in output.get("images", []) if file["filename"].endswith(".mp4")
    )
    assert frames_of(prepared.view(saved)).shape[:3] == (6, *size)
    sampler = next(node for node, entry in prompt.items() if "sampler_name" in entry["inputs"])
    steps = [data for event, data in run.messages if event == "progress" and data["node"] == sampler]
    assert [(data["value"], data["max"]) for data in steps][-1] == (2, 2)


def test_the_log_lists_the_files_found(prepared):
    prompt = shortened("animate_with_your_checkpoint", seed=5)
    prepared.wait(prepared.queue(prompt))
    logs = prepared.logs()
    assert "[TCAN] TCAN: no denoising UNet: wire a model of Load Checkpoint into APPA Apply" in logs
    assert "temporal layers of the middle block in mm_sd_v15_v2.ckpt are left out" in logs


def test_lora_and_prompt_change_the_video(prepared):
    """The stock LoRA loader and the prompt change the video made with your own checkpoint."""
    videos = []
    for widgets in ({}, {"strength_model": 0.0}, {"text": "a robot"}):
        run = prepared.wait(prepared.queue(shortened("animate_with_your_checkpoint", seed=9, **widgets)))
        saved = next(file for output in run.outputs.values() for file in output.get("images", []) if "mp4" in file["filename"])
        videos.append(frames_of(prepared.view(saved)))
    assert not torch.equal(videos[0], videos[1])
    assert not torch.equal(videos[0], videos[2])


def frames_of(video: bytes) -> torch.Tensor:
    """``[frames, height, width, 3]`` of an mp4."""
    import io

    import av

    with av.open(io.BytesIO(video)) as container:
        return torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)])
