"""`--use-sage-attention` with heads that its kernel refuses.

SageAttention 2 raises for SD1.5's widest heads, of 160 channels.
"""

import pytest

from tests.helpers.reference_set import error


@pytest.mark.parametrize("takes_masks", [False, True])
def test_falls_back_as_the_host_does(scene, alone, monkeypatch, takes_masks):
    """Where the kernel raises, the host uses PyTorch's attention, and so do our layers.

    The package needs a GPU. The stand-in for its kernel refuses every call, as the kernel refuses wide heads.
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
    for strength in (1.0, 0.7):  # 0.7 is a bias on the reference tokens
        found = scene.video(appearance_strength=strength)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "optimized_attention", attention.attention_pytorch)
            expected = alone if strength == 1.0 else scene.video(appearance_strength=strength)
        assert error(found, expected) <= 1e-5
    assert asked
