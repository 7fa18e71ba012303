"""Other custom node packs, for tests of their nodes beside ours.

A test that needs one has its mark and is skipped if no environment variable names a copy:

    @other_packs.gguf.needed
    def test_quantized(host):
        other_packs.gguf.load()
"""

import asyncio
import os
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Pack:
    """One pack, the variable that names the folder of a copy, and one of its nodes."""

    name: str
    variable: str
    node: str

    @property
    def needed(self) -> pytest.MarkDecorator:
        """The mark of a test that needs the pack."""
        return pytest.mark.skipif(
            not os.environ.get(self.variable), reason=f"set {self.variable} to a copy of {self.name} to run this"
        )

    def load(self) -> None:
        """Load the pack into the host of this process, once."""
        import nodes

        if self.node not in nodes.NODE_CLASS_MAPPINGS:
            assert asyncio.run(nodes.load_custom_node(os.environ[self.variable])), f"{self.name} could not be loaded"


animatediff_evolved = Pack("ComfyUI-AnimateDiff-Evolved", "ANIMATEDIFF_EVOLVED_PATH", "ADE_UseEvolvedSampling")
advanced_controlnet = Pack("ComfyUI-Advanced-ControlNet", "ADVANCED_CONTROLNET_PATH", "ACN_AdvancedControlNetApply_v2")
gguf = Pack("ComfyUI-GGUF", "GGUF_PATH", "UnetLoaderGGUF")
ipadapter_plus = Pack("ComfyUI_IPAdapter_plus", "IPADAPTER_PLUS_PATH", "IPAdapterEmbeds")
video_helper_suite = Pack("ComfyUI-VideoHelperSuite", "VIDEO_HELPER_SUITE_PATH", "VHS_LoadVideo")
