"""Which frames of the video, in which windows, a call of the host holds."""

from types import SimpleNamespace

import torch

from tcan_modules.patching.batch import batch_of, options_of_cond

WINDOW = SimpleNamespace(index_list=[4, 5, 6], total_frames=20)


def batch(frames: int, options: dict, conds: int | None = None):
    return batch_of(torch.zeros(frames, 4, 8, 8), options, conds)


def test_frames_of_a_call():
    assert list(batch(3, {}).indices) == [0, 1, 2]
    assert batch(3, {"context_window": WINDOW}).indices == [4, 5, 6]
    assert batch(6, {"context_window": WINDOW, "cond_or_uncond": [1, 0]}).indices == [4, 5, 6]
    assert batch(2, {"ad_params": {"sub_idxs": [7, 8]}}).indices == [7, 8]
    assert list(batch(2, {"ad_params": {"sub_idxs": None}}).indices) == [0, 1]
    # the host leaves the last window of an earlier run behind
    assert list(batch(5, {"context_window": WINDOW}).indices) == [0, 1, 2, 3, 4]


def test_windows_of_a_call():
    joined = SimpleNamespace(index_list=[0, 1, 2, 2, 3, 4], windows=[[0, 1, 2], [2, 3, 4]], total_frames=5)
    found = batch(12, {"context_window": joined, "cond_or_uncond": [1, 0]})
    assert found.windows == [[0, 1, 2], [2, 3, 4]]
    assert found.frames == 6
    assert [part.shape[0] for part in found.by_cond(torch.zeros(12, 1))] == [6, 6]
    # a frame that the host puts before its own window
    anchored = SimpleNamespace(index_list=[4, 5], causal_anchor_index=3)
    assert batch(3, {"context_window": anchored}).windows == [[3, 4, 5]]


def test_length_of_the_video():
    assert batch(3, {}).video_frames is None  # outside of a sampling run
    assert batch(3, {"uuids": ["a"]}).video_frames == 3
    assert batch(3, {"uuids": ["a"], "context_window": WINDOW}).video_frames == 20
    assert batch(2, {"ad_params": {"sub_idxs": [7, 8], "full_length": 9}}).video_frames == 9


def test_conds_of_a_call():
    assert batch(4, {"cond_or_uncond": [1, 0]}).conds == [1, 0]
    assert batch(4, {}, conds=2).conds == [0, 0]  # a direct call of a ControlNet
    assert batch(4, {}, conds=2).frames == 2


def test_options_of_one_cond():
    options = {"cond_or_uncond": [1, 0], "uuids": ["a", "b"], "other": 3}
    assert options_of_cond(options, 1) == {"cond_or_uncond": [0], "uuids": ["b"], "other": 3}
    assert options_of_cond({"other": 3}, 0) == {"other": 3}
