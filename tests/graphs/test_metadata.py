"""Saved files carry a mark of TCAN in the metadata that the host writes."""

import io
import json

import av
from PIL import Image

from tcan_modules.metadata import mark
from tests.graphs.test_workflows import shortened


def test_requests_with_tcan_are_marked():
    nodes = {"1": {"class_type": "TCANApply", "inputs": {}}}
    assert mark({"prompt": nodes})["extra_data"] == {"extra_pnginfo": {"made_with": "TCAN"}}
    kept = mark({"prompt": nodes, "extra_data": {"extra_pnginfo": {"workflow": {"id": 1}}, "user": "me"}})["extra_data"]
    assert kept == {"extra_pnginfo": {"workflow": {"id": 1}, "made_with": "TCAN"}, "user": "me"}
    assert mark({"prompt": nodes, "extra_data": {"extra_pnginfo": None}})["extra_data"]["extra_pnginfo"] == {"made_with": "TCAN"}


def test_other_requests_stay_as_they_are():
    for request in ({}, {"prompt": None}, {"prompt": {"1": None}}, {"prompt": {"1": {"class_type": "KSampler"}}}):
        assert mark(json.loads(json.dumps(request))) == request


def files(prepared, prompt: dict) -> dict[str, bytes]:
    """The files that a graph saved, by suffix."""
    outputs = prepared.wait(prepared.queue(prompt)).outputs.values()
    saved = [file for output in outputs for file in output.get("images", []) if file["type"] == "output"]
    return {file["filename"].rpartition(".")[2]: prepared.view(file) for file in saved}


def test_video_and_picture_are_marked_also_from_the_cache(prepared):
    prompt = shortened("animate", seed=11)
    decoded = next(number for number, node in prompt.items() if node["class_type"] == "VAEDecode")
    for number in range(2):  # the second time only the Save nodes run
        prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": [decoded, 0], "filename_prefix": f"made{number}"}}
        for node in prompt.values():
            if node["class_type"] == "SaveVideo":
                node["inputs"]["filename_prefix"] = f"made{number}"
        saved = files(prepared, prompt)
        with av.open(io.BytesIO(saved["mp4"])) as video:
            assert json.loads(video.metadata["made_with"]) == "TCAN" and "TCANApply" in video.metadata["prompt"]
        with Image.open(io.BytesIO(saved["png"])) as picture:
            assert json.loads(picture.text["made_with"]) == "TCAN"


def test_files_of_other_graphs_are_not_marked(prepared):
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "other"}},
    }
    with Image.open(io.BytesIO(files(prepared, prompt)["png"])) as picture:
        assert "made_with" not in picture.text
