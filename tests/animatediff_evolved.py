"""AnimateDiff-Evolved for the tests that put its nodes beside ours; they are skipped where there is no copy of it."""

import asyncio
import os

import pytest

FOLDER = os.environ.get("ANIMATEDIFF_EVOLVED_PATH")
needed = pytest.mark.skipif(
    not FOLDER, reason="set ANIMATEDIFF_EVOLVED_PATH to a copy of ComfyUI-AnimateDiff-Evolved to run this"
)


def load() -> None:
    """Into the host of this process, once."""
    import nodes

    if "ADE_UseEvolvedSampling" not in nodes.NODE_CLASS_MAPPINGS:
        assert asyncio.run(nodes.load_custom_node(FOLDER)), "AnimateDiff-Evolved could not be loaded"
