"""Every node of the pack in one graph on the card, from pose detection to decoded frames."""

import numpy as np
import pytest
import torch

from tests.gpu.models import FILES
from tests.helpers.host_nodes import Fed, capture
from tests.pose import tiny_onnx


@pytest.fixture(scope="module")
def detector(host):
    """Two tiny files of DWPose, which find one person in red pictures."""
    pytest.importorskip("onnx")
    pytest.importorskip("rtmlib")
    folder = host.base / "models" / "dwpose"
    folder.mkdir(parents=True, exist_ok=True)
    points = np.stack([np.linspace(0.2, 0.8, 133), np.linspace(0.1, 0.9, 133)], axis=-1)
    tiny_onnx.write_finder(folder / "yolox_l.onnx", [(320, 320, 400, 500)], [])
    tiny_onnx.write_pose(folder / "dw-ll_ucoco_384.onnx", points, np.ones(133))


def test_every_node(scene, base, card, stock, detector):
    import nodes

    side = 8 * card.size
    red = torch.zeros(card.frames, side, side, 3)
    red[..., 0] = 1
    graph = scene.graph(speed={"reuse_steps": 2})
    graph["red"] = Fed(red)
    graph["one"] = Fed(red[:1])
    found = {"detector": "dwpose", "resolution": 512}
    graph["character"] = {"class_type": "TCANPoseDetect", "inputs": {"image": ["one", 0], **found}}
    graph["driving"] = {"class_type": "TCANPoseDetect", "inputs": {"image": ["red", 0], **found}}
    graph["retarget"] = {
        "class_type": "TCANPoseRetarget",
        "inputs": {"character": ["character", 0], "driving": ["driving", 0], "mode": "relative"},
    }
    graph["poses"] = {
        "class_type": "TCANPoseDraw",
        "inputs": {"pose_keypoint": ["retarget", 0], "width": side, "height": side},
    }
    windows = {"window_length": 4, "window_overlap": 1, "closed_loop": False}
    graph["windows"] = {"class_type": "TCANMultiDiffusion", "inputs": {"model": ["speed", 0], **windows}}
    graph["sampler"]["inputs"]["model"] = ["windows", 0]
    graph["laid"] = {"class_type": "TCANWindowsPreview", "inputs": {"latent_image": ["latents", 0], **windows}}
    graph["laid end"] = capture("laid")
    graph["decode"] = {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["vae", 0]}}
    graph["frames"] = capture("decode")
    graph["drawn"] = capture("poses")
    graph["save"] = {
        "class_type": "TCANSave",
        "inputs": {"tcan": ["tcan", 0], "filename": "again", "empty_prompt": ["tcan", 1]},
    }
    ours = {name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("TCAN")}
    assert ours == {node["class_type"] for node in graph.values() if node["class_type"].startswith("TCAN")}
    result = scene.host.run_graph(graph, executor=scene.executor)
    frames = result.value("frames")
    assert frames.shape == (card.frames, side, side, 3) and torch.isfinite(frames).all()
    assert result.value("drawn").any()
    saved, loaded = (scene.host.base / "models" / "tcan" / name for name in ("again.safetensors", FILES["tcan"]))
    assert saved.stat().st_size == pytest.approx(loaded.stat().st_size, rel=1e-3)
    saved.unlink()
    stock.check()
