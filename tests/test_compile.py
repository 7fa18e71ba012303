"""The stock TorchCompileModel node on an animated model."""

import pytest
import torch

from tests.reference_set import Reference

FRAMES = 2


@pytest.fixture(scope="module")
def reference(host) -> Reference:
    return Reference(host)


def test_compiled_once(reference):
    """The whole UNet with all that TCAN adds becomes one graph in the first step, and the next step runs that graph.

    The node's backend ``cudagraphs`` traces and runs without a C++ compiler, which ``inductor`` would need for every kernel.
    """
    import nodes
    from torch._dynamo.utils import counters

    if "TorchCompileModel" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no node TorchCompileModel")
    node, poses = reference.host.node, reference.poses[:FRAMES]
    positive, negative = reference.conditioning()
    model = reference.apply(ptm=reference.ptm(pose_images=poses))

    def sample(model) -> torch.Tensor:
        (latent,) = node("KSampler")(
            model=model,
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(FRAMES, 4, 16, 16)},
            seed=1,
            steps=2,
            cfg=2.0,
            sampler_name="euler",
            scheduler="normal",
        )
        return latent["samples"]

    exact = sample(model)
    torch._dynamo.reset()
    counters.clear()
    try:
        compiled = sample(node("TorchCompileModel")(model=model, backend="cudagraphs")[0])
        assert counters["stats"]["unique_graphs"] == 1
    finally:
        torch._dynamo.reset()
    assert torch.allclose(compiled, exact, rtol=1e-4, atol=1e-5)
