"""Sides, memory and foreign words: bounded, and refused in one short sentence."""

import json

import numpy as np
import pytest
import torch

from tcan_modules.pose import RetargetOptions, detect, draw_frames, read_pose_keypoint, retarget_frames, side_by_side
from tcan_modules.pose.skeleton import PoseFrame
from tcan_modules.values import check_choice, shown
from tests.helpers.graph_error import GraphError
from tests.helpers.host_nodes import Fed, capture
from tests.pose.figures import body, dance, track


@pytest.mark.parametrize(
    ("shape", "resolution", "sentence"),
    [
        ((65, 1), 512, "The picture is 1 x 65 pixels, but poses need at least 8 on each side"),
        ((7, 512), 512, "The picture is 512 x 7 pixels, but"),
        ((8, 4000), 512, "at a resolution of 512 its longer side would have 256000, more than 16384: crop the picture"),
        ((64, 64), 8, "The resolution is 8: choose one between 64 and 4096"),
        ((64, 64), 10**9, "The resolution is 1000000000"),
    ],
)
def test_pictures_that_no_detector_can_take(shape, resolution: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        detect(torch.zeros(1, *shape, 3), "mediapipe", resolution, [])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_other_channels(channels: int, monkeypatch) -> None:
    pictures = []
    finder = type("Finder", (), {"find_people": lambda self, image: pictures.append(image) or [], "close": lambda self: None})
    monkeypatch.setitem(detect.__globals__["CLASSES"], "test", lambda folders, hands, device: finder())
    detect(torch.full((1, 64, 64, channels), 0.5), "test", 64, [])
    assert pictures[0].shape == (64, 64, 3) and (pictures[0] == 128).all()


@pytest.mark.parametrize(
    ("count", "canvas", "asked", "sentence"),
    [
        (1, (1, 16384), (16384, 0), "would be 16384 x 268435456 pixels, but at most 16384 are drawn on a side"),
        (1, (512, 512), (10**9, 0), "at most 16384 are drawn"),
        (40, (16000, 16000), (0, 0), "40 pictures of 16000 x 16000 pixels would take 114 GiB of memory"),
    ],
)
def test_drawings_without_a_bound(count: int, canvas, asked, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        draw_frames([PoseFrame([], *canvas)] * count, *asked)


def test_a_preview_panel_has_a_largest_width() -> None:
    flat = track([body()], 16384, 16)
    preview = side_by_side(flat, flat, flat, torch.ones(1, 16, 16384, 3))
    assert preview.shape == (1, 384, 3 * 1536, 3)
    lit = (preview[0, :, 700] > 0).any(-1).nonzero().ravel().tolist()  # the picture is a line in the middle
    assert lit[0] == 191 and len(lit) <= 2


def test_long_and_strange_values_are_shown_shortly() -> None:
    assert shown("x" * 10**6) == "x" * 80 + "…" and shown("a\nb\x00") == "a?b?" and shown([1] * 9) == "a list of 9"
    assert shown(10**5000) == "a very large number" and shown(30000) == "30000"


@pytest.mark.parametrize("choice", ["y" * 10**6, ["relative"], {}, None, 3])
def test_any_other_choice_is_one_short_sentence(choice) -> None:
    poses = track([body()]).frames()
    for step in (
        lambda: check_choice("fit", choice, {"authors": 1}),
        lambda: retarget_frames(poses, poses, RetargetOptions(mode=choice)),
        lambda: detect(torch.zeros(1, 64, 64, 3), choice, 64, []),
    ):
        with pytest.raises(ValueError, match=" cannot be .*: choose one of ") as error:
            step()
        assert len(str(error.value)) < 200


@pytest.mark.parametrize("strength", [float("nan"), 1e39, -1, "strong"])
def test_a_strength_that_is_no_share_is_a_sentence(strength) -> None:
    poses = track(dance()).frames()
    with pytest.raises(ValueError, match="smoothing_strength cannot be"):
        retarget_frames(poses[:1], poses, RetargetOptions(smoothing="savitzky_golay", smoothing_strength=strength))


@pytest.mark.parametrize(
    ("node", "combo"),
    [
        ("TCANPoseDetect", "detector"),
        ("TCANPoseRetarget", "mode"),
        ("TCANPoseRetarget", "gaps"),
        ("TCANPoseRetarget", "smoothing"),
    ],
)
def test_a_combo_with_another_word_over_the_api(host, node: str, combo: str) -> None:
    """A linked combo is not checked by ComfyUI."""
    poses = [{"people": [{"pose_keypoints_2d": body().ravel().tolist()}], "canvas_width": 512, "canvas_height": 512}]
    graph = {"image": Fed(torch.zeros(1, 64, 64, 3)), "poses": Fed(poses), "word": Fed("../other" * 1000)}
    inputs = {
        "TCANPoseDetect": {"image": ["image", 0], "resolution": 512, "detector": "dwpose"},
        "TCANPoseRetarget": {"character": ["poses", 0], "driving": ["poses", 0], "mode": "relative"},
    }[node]
    graph |= {"1": {"class_type": node, "inputs": inputs | {combo: ["word", 0]}}, "out": capture("1", 1)}
    with pytest.raises(GraphError, match="cannot be '../other.*…': choose one of"):
        host.run_graph(graph)


def damaged(random: np.random.Generator, value, others: list):
    """A copy of JSON with some values exchanged for others, or left out."""
    if random.random() < 0.01:
        return others[random.integers(len(others))]
    if isinstance(value, dict):
        return {key: damaged(random, each, others) for key, each in value.items() if random.random() > 0.005}
    if isinstance(value, list) and len(value) < 9:
        return [damaged(random, each, others) for each in value]
    return value


def test_damaged_json_gives_poses_or_one_sentence() -> None:
    random = np.random.default_rng(0)
    flat = body().ravel().tolist()
    hand = [number for i in range(21) for number in (300 + i, 300, 1)]
    frame = {"people": [{"pose_keypoints_2d": flat, "hand_left_keypoints_2d": hand}], "canvas_width": 512, "canvas_height": 512}
    others = [None, 5, -5, "x" * 10**5, "1", 10**400, float("nan"), 1e308, [], {}, [1], True, [flat], -(10**30), 0.5, flat * 9]
    read = 0
    for _ in range(400):
        data = damaged(random, json.loads(json.dumps([frame] * 3)), others)
        flat_list = frame["people"][0]["pose_keypoints_2d"] = list(flat)
        flat_list[random.integers(54)] = [1e308, float("nan"), None, -1e9, 10**30][random.integers(5)]
        try:
            frames = read_pose_keypoint(data)
            draw_frames(frames[:1], 64, 64)
            retarget_frames(frames[:1], frames)
            read += 1
        except ValueError as error:
            assert len(str(error)) < 400 and "\n" not in str(error)
    assert read > 100
