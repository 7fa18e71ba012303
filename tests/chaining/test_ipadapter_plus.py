"""ComfyUI_IPAdapter_plus's nodes beside ours, with a random IP-Adapter of the model's width."""

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers import other_packs
from tests.helpers.reference_set import error

pytestmark = other_packs.ipadapter_plus.needed
EMBEDDING, TOKENS, FILE = 32, 4, "random_ipadapter.safetensors"
# SD1.5's cross-attentions in the order in which IP-Adapter files number their layers
INPUTS, OUTPUTS = [1, 2, 4, 5, 7, 8], [3, 4, 5, 6, 7, 8, 9, 10, 11]


def widths(network) -> list[tuple[int, int]]:
    """Width and text width of each numbered layer; for one that a smaller network lacks, those of any layer."""
    from comfy.ldm.modules.attention import SpatialTransformer

    sides = {"input": network.input_blocks, "output": network.output_blocks}
    found = []
    for side, number in [*(("input", number) for number in INPUTS), *(("output", number) for number in OUTPUTS)]:
        blocks = sides[side]
        layers = [layer for layer in blocks[number] if isinstance(layer, SpatialTransformer)] if number < len(blocks) else []
        found.append(layers[0].transformer_blocks[0].attn2.to_k.weight.shape if layers else None)
    assert sum(shape is not None for shape in found) > 1
    some = next(shape for shape in found if shape is not None)
    return [tuple(shape or some) for shape in [*found, None]]


@pytest.fixture(scope="module")
def adapter(scene):
    """The model as Load IPAdapter Model gives it."""
    import folder_paths

    other_packs.ipadapter_plus.load()
    generator = torch.Generator().manual_seed(11)
    shapes = widths(scene.models.tcan.unet.model.diffusion_model)
    text = shapes[0][1]
    state = {
        "image_proj.proj.weight": torch.randn(TOKENS * text, EMBEDDING, generator=generator),
        "image_proj.proj.bias": torch.zeros(TOKENS * text),
        "image_proj.norm.weight": torch.ones(text),
        "image_proj.norm.bias": torch.zeros(text),
    }
    for number, shape in enumerate(shapes):
        for name in ("k", "v"):
            state[f"ip_adapter.{2 * number + 1}.to_{name}_ip.weight"] = torch.randn(shape, generator=generator) / text**0.5
    folder = scene.host.base / "models" / "ipadapter"
    folder.mkdir(parents=True, exist_ok=True)
    folder_paths.add_model_folder_path("ipadapter", str(folder))
    save_file(state, folder / FILE)
    return scene.host.node("IPAdapterModelLoader")(ipadapter_file=FILE)[0]


@pytest.mark.parametrize("scaling", ["V only", "K+V"])
def test_before_and_after(scene, alone, adapter, scaling):
    """Its tokens join cross-attention, ours self-attention: both count, in any order."""
    generator = torch.Generator().manual_seed(12)
    picture = torch.randn(1, EMBEDDING, generator=generator)

    def adapted(model):
        return scene.host.node("IPAdapterEmbeds")(
            model=model,
            ipadapter=adapter,
            pos_embed=picture,
            neg_embed=torch.zeros_like(picture),
            weight=1.0,
            weight_type="linear",
            start_at=0.0,
            end_at=1.0,
            embeds_scaling=scaling,
        )[0]

    before, after = scene.video(before=[adapted]), scene.video(after=[adapted])
    assert error(before, after) <= 1e-5
    assert error(after, alone) > 1e-3
    assert error(scene.video(after=[adapted], appearance_strength=0.0), after) > 1e-3
    assert torch.equal(scene.video(after=[adapted]), after)
