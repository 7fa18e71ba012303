"""Shared by the pose nodes: the POSE_KEYPOINT socket, model folders, progress."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..tcan_modules.pose.choices import LEAST_SCORE

PoseKeypoint = io.Custom("POSE_KEYPOINT")


def score_threshold() -> io.Float.Input:
    """The widget of the nodes that read other detectors' poses."""
    return io.Float.Input(
        "score_threshold",
        default=LEAST_SCORE,
        min=0.0,
        max=1.0,
        step=0.01,
        optional=True,
        tooltip=(
            "Keypoints with a lower score are not seen, for detectors that write a score for every point, such as ComfyUI's SDPose."
            " 0: every score above 0 counts. Poses of this pack's detectors do not change."
        ),
    )


def model_folders(detector: str) -> list[Path]:
    """Folders that may hold a detector's files.

    ``models/<detector>``, the folders of that name in extra_model_paths.yaml, and those to which comfyui_controlnet_aux downloads.
    """
    folders = [Path(folder_paths.models_dir, detector)]
    if detector in folder_paths.folder_names_and_paths:
        folders += map(Path, folder_paths.get_folder_paths(detector))
    if os.environ.get("AUX_ANNOTATOR_CKPTS_PATH"):
        folders.append(Path(os.environ["AUX_ANNOTATOR_CKPTS_PATH"]))
    for packs in folder_paths.get_folder_paths("custom_nodes"):
        folders += sorted(Path(packs).glob("*controlnet_aux*/ckpts"))
    return folders


def each_frame(total: int):
    """A function to call after each of ``total`` frames.

    It moves the node's progress bar, and raises if the run was cancelled.
    """
    import comfy.model_management
    import comfy.utils

    bar = comfy.utils.ProgressBar(total)

    def step() -> None:
        bar.update(1)
        comfy.model_management.throw_exception_if_processing_interrupted()

    return step
