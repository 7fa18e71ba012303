"""`--use-sage-attention` with heads that the kernels refuse: SageAttention 2 raises for SD1.5's widest, of 160 channels."""

import pytest

from tests.helpers.reference_set import error


@pytest.mark.parametrize("takes_masks", [False, True])
def test_the_hosts_own_way_out(scene, alone, monkeypatch, takes_masks):
    """The host's attention calls the kernel, and PyTorch's attention where that raises; ours goes the same way.

    The package needs a GPU. What stands in for its kernel here refuses every call, as that does wide heads.
    """
    import comfy.ldm.modules.attention as attention

    if not hasattr(attention, "attention_sage"):
        pytest.skip("this ComfyUI has no SageAttention")
    asked = []

    def sageattn(q, k, v, **_):
        asked.append(q.shape[-1])
        raise ValueError(f"Unsupported head_dim: {q.shape[-1]}")

    monkeypatch.setattr(attention, "sageattn", sageattn, raising=False)
    monkeypatch.setattr(attention, "SAGE_ATTENTION_SUPPORTS_MASK", takes_masks, raising=False)
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_sage)
    for strength in (1.0, 0.7):  # 0.7 is a bias on the kept tokens
        found = scene.video(appearance_strength=strength)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "optimized_attention", attention.attention_pytorch)
            expected = alone if strength == 1.0 else scene.video(appearance_strength=strength)
        assert error(found, expected) <= 1e-5
    assert asked
