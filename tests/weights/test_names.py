"""Names that tools put around a network's own, and names that would take a reader's time."""

import time

import pytest
import torch

from tcan_modules.weights.layouts import split_file
from tcan_modules.weights.messages import CheckpointError
from tcan_modules.weights.wrapped_names import temporal_names
from tests.helpers.untrusted_files import assert_sentence
from tests.weights.test_checkpoint import is_temporal, motion_module, trio

PREFIXES = (
    "module.",
    "module.module.",
    "_orig_mod.",
    "module._orig_mod.",
    "base_model.model.",
    "_orig_mod.base_model.model.",
    "module.base_model.model.module.",
    "unet.",
    "unet.base_model.model.",
    "model.unet._orig_mod.",
)


def shapes(parts) -> dict:
    return {key: {name: tensor.shape for name, tensor in part.tensors.items()} for key, part in parts.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("part", ["unet", "appearance_encoder", "temporal_controlnet"])
def test_prefixes(part, prefix):
    tensors = trio()[part]
    plain = split_file(tensors, "plain")
    found = split_file({prefix + name: tensor for name, tensor in tensors.items()}, "wrapped")
    assert shapes(found) == shapes(plain)
    assert all(found[key].architecture == plain[key].architecture for key in plain)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_a_motion_module(prefix):
    layers = motion_module(2)
    found = split_file({prefix + name: tensor for name, tensor in layers.items()}, "wrapped")
    assert shapes(found) == {"temporal": {name: tensor.shape for name, tensor in layers.items()}}


def test_words_inside_names():
    """``torch.compile`` of single blocks."""
    tensors = trio()["unet"]
    inside = {name.replace("down_blocks.0.", "down_blocks.0._orig_mod.", 1): tensor for name, tensor in tensors.items()}
    assert shapes(split_file(inside, "compiled")) == shapes(split_file(tensors, "plain"))


def test_packed_files_keep_their_names():
    tensors = {f"tcan.unet.{name}": tensor for name, tensor in trio()["appearance_encoder"].items()}
    assert set(split_file(tensors, "packed")) == {"unet"}


def test_a_motion_adapter_of_diffusers(host):
    """The same numbers as diffusers' own module, from its own names."""
    from diffusers import MotionAdapter

    shape = {"block_out_channels": (32, 64), "motion_num_attention_heads": 8, "motion_norm_num_groups": 32}
    adapter = MotionAdapter(**shape, use_motion_mid_block=True).eval()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    models = host.pack_module("tcan_modules.networks.host_models")
    checkpoint = host.pack_module("tcan_modules.weights.checkpoint").Checkpoint
    part = host.pack_module("tcan_modules.weights.layouts").split_file(adapter.state_dict(), "adapter")["temporal"]
    part.tensors = {name: tensor for name, tensor in part.tensors.items() if not name.startswith("mid_block")}
    layers = models.TCANModels(checkpoint("a", unet_temporal=part)).temporal("unet_temporal", (2, 2)).model
    assert sorted(layers) == ["input_1", "input_2", "input_4", "input_5"] + [f"output_{index}" for index in range(6)]
    assert layers.max_frames == 32
    # diffusers normalizes over all frames, AnimateDiff each by itself: frames of the same pixels in another order agree
    pixels = torch.randn(64, 20)
    x = torch.stack([pixels[:, torch.randperm(20)] for _ in range(6)]).unflatten(2, (4, 5))
    with torch.no_grad():
        theirs = adapter.down_blocks[1].motion_modules[0](x, num_frames=6)
        theirs = theirs[0] if isinstance(theirs, tuple) else theirs
        ours = layers["input_4"](x, frames=6)
    assert torch.allclose(ours, theirs, atol=1e-4), float((ours - theirs).abs().max())


@pytest.mark.parametrize(
    "name",
    [
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_lora.down.weight",
        "unet.down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_k.lora.down.weight",
        "base_model.model.up_blocks.0.motion_modules.0.transformer_blocks.0.attn2.to_v.lora_A.default.weight",
    ],
)
def test_a_motion_lora_is_named(name):
    with pytest.raises(CheckpointError, match="is a motion LoRA") as caught:
        split_file({name: torch.ones(4, 4)}, "v2_lora_PanLeft.ckpt")
    assert_sentence(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.up.weight",
        "base_model.model.mid_block.attentions.0.proj_in.lora_A.weight",
        "lora_unet_down_blocks_0_motion_modules_0.lora_up.weight",
    ],
)
def test_other_loras(name):
    with pytest.raises(CheckpointError, match="is a LoRA: load it with Load LoRA"):
        split_file({name: torch.ones(4, 4)}, "style.safetensors")


def test_two_adapters_are_refused():
    tensors = trio()["unet"]
    lora = {name.replace(".default.", ".other.") if ".default." in name else name: tensor for name, tensor in tensors.items()}
    lora = {name.replace(".weight", ".other.weight"): tensor for name, tensor in lora.items() if ".lora_" in name} | tensors
    lora = {name.replace(".default.other.", ".other.").replace(".other.other.", ".other."): each for name, each in lora.items()}
    with pytest.raises(CheckpointError, match="several LoRA adapters"):
        split_file(lora, "two.safetensors")


def test_two_tensors_of_one_name():
    with pytest.raises(CheckpointError, match="two tensors for conv_in"):
        split_file({"module.conv_in.weight": torch.ones(2), "conv_in.weight": torch.ones(2)}, "twice.ckpt")


LONG = 200_000
SLOW = (
    "module." * LONG,
    "a." * LONG,
    "down_blocks.1." * LONG,
    "down_blocks." + "1" * LONG,
    "down_blocks.1.motion_modules.x\n" * (LONG // 10),
    "lora_A." * LONG + "weight",
    ".lora_A.x.weight" * (LONG // 8),
    "base_model.model." * LONG,
    "mid_block.motion_modules." * LONG,
)


@pytest.mark.parametrize("number", range(len(SLOW)))
def test_long_names_take_no_time(number):
    begin = time.monotonic()
    for tensors in ({SLOW[number]: torch.ones(2)}, {SLOW[number]: torch.ones(2)} | trio()["appearance_encoder"]):
        with pytest.raises(CheckpointError) as caught:
            split_file(tensors, "long.safetensors")
        assert_sentence(caught.value)
    temporal_names(SLOW[number])
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("number", range(len(SLOW)))
def test_many_names_of_the_longest_kind(number):
    """Two megabytes of names, as many as a file may have."""
    tensors = {f"{index}.{SLOW[number][:980]}": torch.ones(2) for index in range(2000)}
    begin = time.monotonic()
    with pytest.raises(CheckpointError):
        split_file(tensors, "many.safetensors")
    assert time.monotonic() - begin < 5


def test_many_levels_take_no_time(host):
    """A name for each of 1,024 resnets, and as many others as a header holds."""
    names = {f"down_blocks.{level}.resnets.{index}.conv1.weight" for level in range(32) for index in range(32)}
    names |= {f"x{index}" for index in range(40_000)} | {f"up_blocks.{level}.x" for level in range(32)}
    names |= {"conv_in.weight", "time_embedding.linear_1.weight", "mid_block.resnets.0.conv1.weight", "a.attn2.to_k.weight"}
    models = host.pack_module("tcan_modules.networks.host_models")
    layouts, checkpoint = (host.pack_module(f"tcan_modules.weights.{name}") for name in ("layouts", "checkpoint"))
    begin = time.monotonic()
    with pytest.raises(ValueError) as caught:
        parts = layouts.split_file({name: torch.ones(32, 32, 3, 3) for name in names}, "levels.safetensors")
        _ = models.TCANModels(checkpoint.Checkpoint("levels", **parts)).appearance
    assert_sentence(caught.value)
    assert time.monotonic() - begin < 20


def bomb(blocks: int, attentions: int, grid: bool) -> dict[str, torch.Tensor]:
    """A temporal layer whose names tell of many attentions: along two edges, or all of them; none has numbers."""
    layer = "down_blocks.2.motion_modules.0.temporal_transformer"
    pairs = [(block, number) for block in range(blocks) for number in range(attentions) if grid or not block or not number]
    tensors = {f"{layer}.transformer_blocks.{block}.attention_blocks.{number}.x": torch.ones(0) for block, number in pairs}
    return {f"{layer}.proj_in.weight": torch.ones(32, 32)} | tensors


@pytest.mark.parametrize("size", [(100, 100, False), (300, 300, False), (100, 100, True), (30, 30, True), (20_000, 1, True)])
def test_grids_are_counted_before_anything_is_built(host, size):
    models = host.pack_module("tcan_modules.networks.host_models")
    layouts, checkpoint = (host.pack_module(f"tcan_modules.weights.{name}") for name in ("layouts", "checkpoint"))
    begin = time.monotonic()
    part = layouts.split_file(bomb(*size), "bomb.safetensors")["temporal"]
    with pytest.raises(ValueError, match="temporal attentions in") as caught:
        models.TCANModels(checkpoint.Checkpoint("bomb", unet_temporal=part)).temporal("unet_temporal", (2, 2, 2, 2))
    assert_sentence(caught.value)
    assert time.monotonic() - begin < 5


def test_transformer_blocks_are_counted(host):
    """A UNet whose names tell of more blocks than it has tensors for."""
    tensors = {name: tensor for name, tensor in trio()["appearance_encoder"].items() if not is_temporal(name)}
    for level in range(3):
        for index in range(2):
            for block in range(32):
                name = f"down_blocks.{level}.attentions.{index}.transformer_blocks.{block}.x"
                tensors.setdefault(name, torch.ones(0))
    with pytest.raises(CheckpointError, match="transformer blocks") as caught:
        split_file(tensors, "deep.safetensors")
    assert_sentence(caught.value)
