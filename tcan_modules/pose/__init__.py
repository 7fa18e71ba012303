"""Poses: read and write POSE_KEYPOINT, detect, retarget to a character, draw.

Never imports ComfyUI. Importing the package loads no module of it: each name below comes from its module when it is first used
(PEP 562), so that the nodes can read ``choices`` at ComfyUI's start without loading numpy, scipy or torch.
"""

from importlib import import_module

_MODULES = {
    "Person": "skeleton",
    "PoseFrame": "skeleton",
    "PoseTrack": "skeleton",
    "RetargetOptions": "pipeline",
    "Retargeted": "pipeline",
    "RetargetedVideo": "pipeline",
    "as_image": "draw",
    "check_matches": "crop",
    "crop_image": "crop",
    "describe_gaps": "gaps",
    "detect": "detectors",
    "draw_frames": "draw",
    "read_pose_keypoint": "keypoints",
    "retarget_frames": "pipeline",
    "retarget_video": "pipeline",
    "side_by_side": "preview",
    "write_pose_keypoint": "keypoints",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    """Load a name of ``__all__`` from its module, once."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value
