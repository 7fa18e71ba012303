"""What the pose nodes share: the POSE_KEYPOINT socket, the folders with detector models, progress and cancelling."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

PoseKeypoint = io.Custom("POSE_KEYPOINT")


def model_folders(detector: str) -> list[Path]:
    """Where a detector's files may lie: models/<detector>, folders of that name in extra_model_paths.yaml, and where
    comfyui_controlnet_aux keeps its downloads."""
    folders = [Path(folder_paths.models_dir) / detector]
    if detector in folder_paths.folder_names_and_paths:
        folders += map(Path, folder_paths.get_folder_paths(detector))
    if os.environ.get("AUX_ANNOTATOR_CKPTS_PATH"):
        folders.append(Path(os.environ["AUX_ANNOTATOR_CKPTS_PATH"]))
    for packs in folder_paths.get_folder_paths("custom_nodes"):
        folders += sorted(Path(packs).glob("*controlnet_aux*/ckpts"))
    return folders


def each_frame(total: int):
    """A function to call after each of `total` frames: it moves the node's progress bar, and raises when the run was
    cancelled.
    """
    import comfy.model_management
    import comfy.utils

    bar = comfy.utils.ProgressBar(total)

    def step() -> None:
        bar.update(1)
        comfy.model_management.throw_exception_if_processing_interrupted()

    return step
