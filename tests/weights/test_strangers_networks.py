"""Untrusted tensors with known names, renamed, reshaped or of other types.

The result is a clear error or a network that runs.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.helpers.reference_set import FOLDER
from tests.helpers.tiny_models import tiny_checkpoint
from tests.helpers.untrusted_files import assert_sentence, fuzz

HUGE = 1 << 40
FUZZ = fuzz(40)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """Each kind of file, by its name."""
    files = {name: load_file(FOLDER / f"{name}.safetensors") for name in ("unet", "appearance_encoder", "temporal_controlnet")}
    packed = tmp_path_factory.mktemp("packed") / "packed.safetensors"
    tiny_checkpoint(packed)
    layers = {name: tensor for name, tensor in files["unet"].items() if "motion_modules" in name}
    return files | {"packed": load_file(packed), "motion_module": layers}


class Loader:
    """Build everything that the nodes build from files, here from tensors."""

    def __init__(self, host):
        self.checkpoint, self.models, self.apply, self.appearance = (
            host.pack_module(f"tcan_modules.{name}")
            for name in (
                "weights.checkpoint",
                "networks.host_models",
                "apply",
                "networks.appearance",
            )
        )

    def __call__(self, files: dict[str, dict[str, torch.Tensor]], monkeypatch) -> list[str]:
        """The clear errors on the way; any other error is raised."""
        said = []

        def attempt(step):
            try:
                return step()
            except ValueError as error:
                assert_sentence(error)
                said.append(str(error))

        monkeypatch.setattr(self.checkpoint, "open_file", lambda path, mapped: (files[path.stem], None))
        loaded = attempt(lambda: self.checkpoint.load_checkpoint([Path(f"{name}.safetensors") for name in files], "strange"))
        if loaded is None:
            return said
        assert all("\n" not in line and len(line) < 400 for line in loaded.describe())
        tcan = self.models.TCANModels(loaded)
        reference = self.appearance.Appearance(torch.zeros(1, 4, 8, 8))
        if loaded.unet is not None:
            model = attempt(
                lambda: self.apply.apply_tcan(tcan, reference, appearance_strength=float(loaded.appearance is not None))
            )
            if model is not None:
                model.patch_model()
                model.unpatch_model()
        if loaded.appearance is not None:
            attempt(lambda: tcan.appearance)
        if loaded.controlnet is not None:
            net = attempt(lambda: tcan.control_net)
            if net is not None:
                attempt(lambda: tcan.temporal("controlnet_temporal", net.control_model.num_res_blocks))
        return said


@pytest.fixture(scope="module")
def loader(host) -> Loader:
    return Loader(host)


def test_good_files_give_no_errors(loader, good, monkeypatch):
    for name, tensors in good.items():
        assert loader({name: tensors}, monkeypatch) == []
    trio = {name: good[name] for name in ("unet", "appearance_encoder", "temporal_controlnet")}
    assert loader(trio, monkeypatch) == []


EDITS = {
    "gone": lambda tensor: None,
    "no side": lambda tensor: torch.tensor(1.0),
    "flat": lambda tensor: tensor.flatten(),
    "one more side": lambda tensor: tensor[..., None],
    "shorter": lambda tensor: tensor[: max(1, tensor.shape[0] // 2)] if tensor.ndim else tensor,
    "longer": lambda tensor: torch.cat([tensor, tensor]) if tensor.ndim else tensor,
    "turned": lambda tensor: tensor.mT if tensor.ndim > 1 else tensor,
    "empty": lambda tensor: tensor[:0] if tensor.ndim else tensor,
    "huge and empty": lambda tensor: torch.empty(HUGE, *tensor.shape[1:-1], 0),
    "huge and empty in another side": lambda tensor: torch.empty(0, HUGE, *tensor.shape[2:]),
    "integers": lambda tensor: tensor.long(),
    "bool": lambda tensor: tensor.bool(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "double": lambda tensor: tensor.double(),
    "bfloat16": lambda tensor: tensor.bfloat16(),
    "eight bits": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "four bits": lambda tensor: torch.zeros(tensor.shape, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "NaN": lambda tensor: torch.full_like(tensor, float("nan")),
    "infinite": lambda tensor: torch.full_like(tensor, float("-inf")),
}
NAMES = {
    "other block": lambda name: name.replace(".0.", ".7."),
    "far block": lambda name: name.replace(".1.", ".99999999999999999999."),
    "many digits": lambda name: name.replace(".0.", f".{'1' * 6000}."),
    "lines": lambda name: name + "\n\x1b[31mred",
    "long": lambda name: name + "x" * 100_000,
    "wrapped": lambda name: "module." * 1000 + name,
    "packed": lambda name: "tcan.appa." + name,
    "packed unet": lambda name: "tcan.unet." + name,
    "to the ControlNet": lambda name: name.replace("conv_in", "controlnet_cond_embedding.conv_in"),
    "to SDXL": lambda name: "add_embedding." + name,
    "nothing": lambda name: "",
    "a dot": lambda name: ".",
    "surrogate": lambda name: name + "\udcff",
}
# the tensors by whose names and shapes a file is recognized
TELLING = (
    "conv_in.weight",
    "conv_out.weight",
    "down_blocks.0.resnets.0.conv1.weight",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.1.attentions.0.proj_in.weight",
    "mid_block.resnets.0.conv1.weight",
    "time_embedding.linear_1.weight",
    "controlnet_cond_embedding.conv_in.weight",
    "motion_modules.0.temporal_transformer.proj_in.weight",
    "pos_encoder.pe",
    "lora_A",
    "lora_B",
    "empty_prompt",
)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", ["unet", "packed"])
def test_every_tensor_edited(loader, good, kind, edit, monkeypatch):
    """All tensors at once, since any may be read first."""
    edited = {name: EDITS[edit](tensor) for name, tensor in good[kind].items()}
    said = loader({kind: {name: tensor for name, tensor in edited.items() if tensor is not None}}, monkeypatch)
    assert said or edit in ("double", "bfloat16", "eight bits", "shorter", "turned")


@st.composite
def edits(draw) -> tuple[str, list[tuple[str, int, str]]]:
    """A kind of file, and edits of a few of its tensors: (part of their names, which of them, how)."""
    one = st.tuples(st.sampled_from(TELLING) | st.just(""), st.integers(0, 2000), st.sampled_from([*EDITS, *NAMES]))
    kind = draw(st.sampled_from(["unet", "appearance_encoder", "temporal_controlnet", "packed", "motion_module"]))
    return kind, draw(st.lists(one, min_size=1, max_size=4))


@FUZZ
@given(edits())
@example(("packed", [("lora_A", 0, "shorter")]))
@example(("packed", [("empty_prompt", 0, "flat")]))
@example(("unet", [("pos_encoder.pe", 0, "huge and empty in another side")]))
@example(("unet", [("down_blocks.0.resnets.0.conv1.weight", 0, "huge and empty")]))
@example(("temporal_controlnet", [("controlnet_cond_embedding.conv_in.weight", 0, "no side")]))
def test_edited_tensors(loader, good, case):
    kind, changes = case
    tensors = dict(good[kind])
    for part, number, how in changes:
        matching = sorted(name for name in tensors if part in name)
        if not matching:
            continue
        name = matching[number % len(matching)]
        tensor = tensors.pop(name)
        if how in EDITS:
            tensor = EDITS[how](tensor)
            if tensor is not None:
                tensors[name] = tensor
        else:
            tensors[NAMES[how](name)] = tensor
    with pytest.MonkeyPatch.context() as patch:
        if kind == "motion_module":
            loader(
                {kind: tensors, "unet": {name: tensor for name, tensor in good["unet"].items() if "motion" not in name}}, patch
            )
        else:
            loader({kind: tensors}, patch)


@pytest.mark.parametrize(
    "vae",
    [
        {"decoder.conv_in.weight": torch.zeros(4, 4)},
        {"decoder.conv_in.weight": torch.zeros(512, 0, 3, 3)},
        {"decoder.conv_in.weight": torch.zeros(1, 5000, 1, 1)},
        {"decoder.conv_in.weight": torch.full((512, 4, 3, 3), float("nan"))},
        {"taesd_decoder.1.weight": torch.zeros(())},
        {"taesd_decoder.1.weight": torch.zeros(64, 4, 3, 3, dtype=torch.int8)},
        {"something": torch.zeros(4)},
    ],
)
def test_not_a_vae(host, loader, good, vae, monkeypatch):
    tensors = good["packed"] | {f"first_stage_model.{name}": tensor for name, tensor in vae.items()}
    monkeypatch.setattr(loader.checkpoint, "open_file", lambda path, mapped: (tensors, None))
    with pytest.raises(ValueError) as caught:
        loaded = loader.checkpoint.load_checkpoint([Path("packed.safetensors")], "packed")
        host.node("TCANVAE")(tcan=loader.models.TCANModels(loaded))
    assert_sentence(caught.value)
