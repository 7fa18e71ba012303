"""ComfyUI-TCAN: animate one picture of a person or a drawn character with the poses of a video (TCAN, ECCV 2024)."""

import os
import sys

from .tcan_modules.host_check import check_host

check_host()  # before anything of a newer ComfyUI is imported

import folder_paths  # noqa: E402
from comfy_api.latest import ComfyExtension, io  # noqa: E402

from .tcan_modules import metadata  # noqa: E402
from .tcan_modules.weights.reading import SUFFIXES  # noqa: E402

WEB_DIRECTORY = "./web"  # help pages: web/docs/<node id>.md and, in other languages, web/docs/<node id>/<language>.md

_paths, _suffixes = folder_paths.folder_names_and_paths.get("tcan", ([], set()))
_default = os.path.join(folder_paths.models_dir, "tcan")
_ours = os.path.join(os.path.dirname(os.path.realpath(__file__)), "models")  # the puppet model of the first run
folder_paths.folder_names_and_paths["tcan"] = (
    [*dict.fromkeys([*_paths, _default, _ours])],
    {*SUFFIXES, *_suffixes},
)


class TCANExtension(ComfyExtension):
    """The pack's nodes, in the order of a graph."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        # imported here, so that a broken dependency of one node is reported by the host and nothing is loaded twice
        """The node classes; ComfyUI asks once, at its start."""
        from .nodes import (
            appearance,
            apply,
            checkpoint,
            control,
            multidiffusion,
            pose_detect,
            pose_draw,
            pose_retarget,
            ptm,
            speed,
        )

        steps = (checkpoint, pose_detect, pose_retarget, pose_draw, appearance, apply, control, ptm, speed, multidiffusion)
        return [node for step in steps for node in step.NODES]


async def comfy_entrypoint() -> TCANExtension:
    """What ComfyUI calls when it loads the pack."""
    metadata.register(sys.modules.get("server"))
    return TCANExtension()
