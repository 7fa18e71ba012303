"""The stock TorchCompileModel node on a model with TCAN."""

import pytest
import torch

FRAMES = 2


def test_compiled_once(reference):
    """The UNet with TCAN becomes one graph in the first step, and the next step runs it.

    The backend ``cudagraphs`` needs no C++ compiler, which ``inductor`` needs for every kernel.
    """
    import nodes
    from torch._dynamo.utils import counters

    if "TorchCompileModel" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no node TorchCompileModel")
    node, poses = reference.host.node, reference.poses[:FRAMES]
    model = reference.apply(ptm=reference.ptm(pose_images=poses))

    def sample(model) -> torch.Tensor:
        return reference.sample(model, reference.conditioning(), FRAMES)

    exact = sample(model)
    torch._dynamo.reset()
    counters.clear()
    try:
        compiled = sample(node("TorchCompileModel")(model=model, backend="cudagraphs")[0])
        assert counters["stats"]["unique_graphs"] == 1
    finally:
        torch._dynamo.reset()
    assert torch.allclose(compiled, exact, rtol=1e-4, atol=1e-5)
