"""Each memory mode and precision of the host gives the same video and leaves the networks alone."""

from pathlib import Path

import pytest
import torch

from tests.gpu.card import BARS, Card
from tests.gpu.processes import Outcome, run_workers
from tests.gpu.stock_networks import SAME
from tests.helpers.reference_set import error

ROOM = 3  # GiB that --reserve-vram leaves: less than the networks
PRECISIONS = {"float32": ("--force-fp32", "--fp32-unet"), "bfloat16": ("--bf16-unet",)}
DYNAMIC = "--disable-dynamic-vram"


def _host_knows(flag: str) -> bool:
    import importlib.util

    # read as text, because the host's parser reads the command line at import
    return flag in (Path(importlib.util.find_spec("execution").origin).parent / "comfy" / "cli_args.py").read_text()


def _modes(card: Card) -> dict[str, tuple[str, ...]]:
    """Flags of the host; modes named ``partly`` leave too little room for all networks."""
    if card.is_rehearsal:  # there is no card whose memory could be managed
        return {"the host's choice": (), "no caches": ("--cache-none",)}
    reserve = f"--reserve-vram={torch.cuda.get_device_properties(0).total_memory / 2**30 - ROOM:.2f}"
    static = (DYNAMIC,) if _host_knows(DYNAMIC) else ()
    modes = {
        "the host's choice": (),
        "lowvram": (*static, "--lowvram"),
        "partly: novram": ("--novram",),
        "partly: reserve": (*static, reserve),
        "highvram": ("--highvram",),
    }
    if static:
        modes |= {"static": static, "dynamic, little room": (reserve,)}
    return modes


@pytest.fixture(scope="module")
def outcomes(card, models) -> dict[str, Outcome]:
    return run_workers("video", _modes(card) | PRECISIONS, card, models)


@pytest.fixture(scope="module")
def exact(outcomes) -> torch.Tensor:
    """The video in float32."""
    return outcomes["float32"].tensors["video"]


def test_modes(outcomes, card, exact, record_property):
    found = {}
    for mode in _modes(card):
        outcome = outcomes[mode]
        assert not outcome.failure, f"{mode}: {outcome.failure}"
        found[mode] = {"relative error": error(outcome.tensors["video"], exact), **outcome.figures}
        record_property(mode, found[mode])
    first = outcomes["the host's choice"].tensors["video"]
    for mode, figures in found.items():
        assert figures["relative error"] <= card.bar, mode
        assert error(outcomes[mode].tensors["video"], first) <= card.bar, mode


def test_partly_modes_leave_networks_off_the_card(outcomes, card):
    """Otherwise these modes would not be tested."""
    if card.is_rehearsal:
        pytest.skip("a rehearsal has no card")
    for mode in (name for name in _modes(card) if name.startswith("partly")):
        figures = outcomes[mode].figures
        assert figures["networks on the card"] < figures["networks"], mode


def test_dynamic_memory_is_on_where_the_host_has_it(outcomes, card):
    if card.is_rehearsal or not _host_knows(DYNAMIC):
        pytest.skip("this host has no dynamic VRAM")
    assert outcomes["the host's choice"].figures["patcher"] == "ModelPatcherDynamic"
    assert outcomes["static"].figures["patcher"] == "ModelPatcher"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions(outcomes, exact, precision, record_property):
    outcome = outcomes[precision]
    assert not outcome.failure, outcome.failure
    found = error(outcome.tensors["video"], exact)
    record_property("relative error", found)
    assert outcome.figures["weights in"] == precision
    assert found <= BARS[precision]


def test_each_process_repeats_itself(outcomes):
    """The same graph again, and after a run of the stock model."""
    for mode, outcome in outcomes.items():
        assert not outcome.failure, f"{mode}: {outcome.failure}"
        for name in ("again", "after"):
            assert error(outcome.tensors[name], outcome.tensors["video"]) <= SAME, f"{mode}, {name}"
