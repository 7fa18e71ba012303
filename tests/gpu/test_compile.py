"""The stock Torch Compile Model after APPA Apply, on the card."""

import shutil

import pytest
import torch
import torch._dynamo.utils

from tests.helpers.reference_set import error


@pytest.mark.timeout(240)
@pytest.mark.parametrize("backend", ["cudagraphs", "inductor"])
def test_compiled_video(scene, card, stock, backend, record_property):
    import nodes

    if "TorchCompileModel" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no node TorchCompileModel")
    if backend == "inductor" and (card.is_rehearsal or not shutil.which("gcc")):
        pytest.skip("inductor needs a card and a C compiler")
    one = {"window_length": card.frames, "window_overlap": 0}  # one window, so one shape to compile
    exact = scene.video(**one)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    try:
        found = error(scene.video(backend=backend, **one), exact)
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    finally:
        torch._dynamo.reset()
    record_property("relative error", found)
    record_property("graphs", graphs)
    assert found <= card.bar
    assert graphs >= 1
    stock.check()
