"""The pose nodes in a real ComfyUI."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tcan_modules.pose import write_pose_keypoint
from tests.helpers.graph_error import GraphError, GraphInterrupted
from tests.helpers.host_nodes import Fed, capture
from tests.pose.figures import FIXTURES, body, dance, fixture, track

NODES = Path(__file__).parents[2] / "nodes"


def keypoints(bodies, width: int = 512, height: int = 512) -> list[dict]:
    return write_pose_keypoint(track(bodies, width, height).frames())


def retarget(character, driving, **inputs) -> dict:
    """A graph of the Retarget node with all its outputs."""
    return {
        "character": Fed(character),
        "driving": Fed(driving),
        "1": {
            "class_type": "TCANPoseRetarget",
            "inputs": {"character": ["character", 0], "driving": ["driving", 0], "mode": "relative", **inputs},
        },
        "poses": capture("1", 0),
        "pictures": capture("1", 1),
        "preview": capture("1", 2),
    }


def test_the_nodes_have_the_contracts_sockets(host) -> None:
    import nodes

    contract = {
        "TCANPoseDetect": (
            ["image", "detector", "resolution"],
            ["POSE_KEYPOINT", "IMAGE"],
            ["pose_keypoint", "pose_images"],
        ),
        "TCANPoseRetarget": (
            ["character", "driving", "mode"],
            ["POSE_KEYPOINT", "IMAGE"],
            ["pose_keypoint", "pose_images"],
        ),
        "TCANPoseDraw": (["pose_keypoint", "width", "height"], ["IMAGE"], ["pose_images"]),
    }
    for name, (required, types, names) in contract.items():
        node = nodes.NODE_CLASS_MAPPINGS[name]
        inputs = node.INPUT_TYPES()
        assert list(inputs["required"]) == required
        assert list(node.RETURN_TYPES)[: len(types)] == types and list(node.RETURN_NAMES)[: len(names)] == names
        assert node.CATEGORY == "TCAN" and node.DESCRIPTION
        assert all(options["tooltip"] for group in ("required", "optional") for _, options in inputs.get(group, {}).values())
        assert all(node.OUTPUT_TOOLTIPS) and len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES)


def test_mediapipe_through_the_graph(host) -> None:
    pytest.importorskip("mediapipe")
    from skimage import data

    image = torch.from_numpy(data.astronaut().astype(np.float32) / 255)[None]
    graph = {
        "image": Fed(torch.cat([image, torch.zeros_like(image)])),
        "1": {
            "class_type": "TCANPoseDetect",
            "inputs": {"image": ["image", 0], "detector": "mediapipe", "resolution": 384},
        },
        "2": {"class_type": "TCANPoseDraw", "inputs": {"pose_keypoint": ["1", 0], "width": 0, "height": 0}},
        "detected": capture("1", 0),
        "pictures": capture("1", 1),
        "drawn": capture("2", 0),
    }
    result = host.run_graph(graph)
    found = result.value("1", 0)
    assert [len(frame["people"]) for frame in found] == [1, 0] and found[0]["canvas_width"] == 384
    assert result.value("1", 1).shape == (2, 384, 384, 3)
    assert result.value("1", 1).equal(result.value("2"))
    assert ("1", 2, 2) in result.progress


def test_json_of_controlnet_aux_is_drawn(host) -> None:
    for name in ("dwpreprocessor", "openposepreprocessor"):
        (pictures,) = host.node("TCANPoseDraw")(pose_keypoint=fixture(name))
        theirs = np.stack([np.asarray(Image.open(FIXTURES / f"frame{t}.png")) for t in range(3)])
        assert (np.rint(pictures.numpy() * 255) != theirs).any(-1).sum() < 100


def test_retarget_needs_two_inputs(host) -> None:
    result = host.run_graph(retarget(keypoints([body(60)], 400, 600), keypoints(dance())))
    poses = result.value("1", 0)
    assert len(poses) == 8 and (poses[0]["canvas_width"], poses[0]["canvas_height"]) == (400, 600)
    assert json.loads(json.dumps(poses)) == poses
    assert result.value("1", 1).shape == (8, 600, 400, 3) and result.value("1", 1).dtype == torch.float32
    assert result.value("1", 2).shape[0] == 8
    (drawn,) = host.node("TCANPoseDraw")(pose_keypoint=poses)
    assert drawn.equal(result.value("1", 1))
    assert ("1", 8, 8) in result.progress


def test_picture_and_poses_are_cropped_alike(host) -> None:
    character = keypoints([body(40, missing=(8, 9, 10, 11, 12, 13))])
    picture = torch.rand(1, 1024, 1024, 3)
    _, poses, _, cut = host.node("TCANPoseRetarget")(
        character=character, driving=keypoints(dance()), crop=True, character_image=picture
    )
    assert cut.shape[1] in (2 * poses.shape[1], 2 * poses.shape[1] + 1) and cut.shape[1] < 1024
    assert cut.equal(picture[:, : cut.shape[1]])


def test_options_reach_the_engine(host) -> None:
    """Each option changes the result of a video in which it matters."""
    video = dance(12)
    video[3] = video[4] = None
    two = [
        frame | {"people": [*frame["people"], *other["people"]]}
        for frame, other in zip(keypoints(video), keypoints([body(20, neck=(80, 80))] * 12))
    ]
    plain = host.node("TCANPoseRetarget")(character=keypoints([body(60)]), driving=two)[0]
    for option in (
        {"mode": "absolute"},
        {"fit": "keep_character"},
        {"driving_person": "leftmost"},
        {"driving_person": "index", "driving_index": 1},
        {"gaps": "hold"},
        {"smoothing": "one_euro"},
        {"smoothing": "savitzky_golay", "smoothing_strength": 1.0},
        {"crop": True},
    ):
        assert host.node("TCANPoseRetarget")(character=keypoints([body(60)]), driving=two, **option)[0] != plain, option


def test_filled_gaps_are_logged(host, caplog) -> None:
    bodies = dance()
    bodies[2] = None
    with caplog.at_level("WARNING", logger="TCAN"):
        host.node("TCANPoseRetarget")(character=keypoints([body()]), driving=keypoints(bodies))
    assert "The driver was not found in 1 of 8 frames (2)" in caplog.text


def test_the_picture_output_without_a_picture_says_what_to_connect(host) -> None:
    graph = retarget(keypoints([body()]), keypoints([body()]))
    graph["cut"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 3]}}
    messages = host.run_graph(graph).messages
    (message,) = [data["exception_message"] for event, data in messages if event == "execution_error"]
    assert "Pose Retarget has no character_image to output: connect one to its input." in message


@pytest.mark.parametrize(
    ("character", "driving", "sentence"),
    [
        (keypoints([body()]), [{"nodes": []}], "Frame 0 has no list 'people'"),
        (
            keypoints([body()]),
            keypoints([None, None]),
            "In the poses of the driving video: Nobody was found in any frame",
        ),
        (keypoints([body(missing=(1,))]), keypoints([body()]), "The character's neck was not found"),
    ],
)
def test_bad_poses_give_an_error_in_the_graph(host, character, driving, sentence: str) -> None:
    with pytest.raises(GraphError, match=sentence):
        host.run_graph(retarget(character, driving))


def test_a_missing_detector_file_gives_an_error_in_the_graph(host) -> None:
    graph = {
        "image": Fed(torch.zeros(1, 64, 64, 3)),
        "1": {
            "class_type": "TCANPoseDetect",
            "inputs": {"image": ["image", 0], "detector": "dwpose", "resolution": 512},
        },
        "out": capture("1", 1),
    }
    with pytest.raises(GraphError, match=r"DWPose needs the file yolox_l\.onnx.*models.dwpose"):
        host.run_graph(graph)


def test_cancelling_between_frames(host) -> None:
    graph = retarget(keypoints([body()]), keypoints(dance(40)))
    seen = []

    def on_progress(step: int, steps: int) -> None:
        seen.append(step)
        host.interrupt()

    with pytest.raises(GraphInterrupted):
        host.run_graph(graph, on_progress=on_progress)
    assert seen == [1]


@pytest.mark.parametrize("path", sorted(NODES.glob("pose_*.py")), ids=lambda path: path.stem)
def test_the_nodes_compute_nothing(path: Path) -> None:
    """They import neither torch nor numpy, and the only operator joins paths."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"torch", "numpy", "scipy", "PIL"}
    operators = {type(node.op) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    assert not operators - {ast.Div}  # Path / name
