"""`--use-sage-attention` with heads that SageAttention's kernels refuse, as SD1.5's are (40, 80 and 160 wide)."""

import pytest

from tests.reference_set import error


@pytest.mark.parametrize("takes_masks", [False, True])
def test_the_hosts_own_way_out(scene, alone, monkeypatch, takes_masks):
    """The host's attention calls the kernel, and PyTorch's attention where that raises; ours goes the same way.

    The package needs a GPU. What stands in for its kernel here does what that does with such heads: it raises.
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
    assert asked and not {64, 96, 128} & set(asked)
