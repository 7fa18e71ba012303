"""Twenty queued runs with flat memory; a cancel and an out of memory, then a correct run."""

import contextlib
import gc
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.gpu.memory import used
from tests.gpu.stock_networks import SAME
from tests.helpers.graph_error import GraphError, GraphInterrupted
from tests.helpers.reference_set import error

RUNS, SETTLED = 20, 5
GROWTH = 64 << 20
LEFT = 256 << 20  # bytes of the card that a run may use: less than its activations
STAGES = {
    "UNet": lambda networks: networks["diffusion_models"].middle_block[0],
    "ControlNet": lambda networks: networks["controlnet"].middle_block[0],
}


@contextlib.contextmanager
def at(stock, stage: str, action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` before a layer in the middle of a network computes."""
    handle = STAGES[stage](stock.networks()).register_forward_pre_hook(lambda *_: action())
    try:
        yield
    finally:
        handle.remove()


def test_queued_runs_with_flat_memory(scene, base, card, record_property):
    seen = []
    for seed in range(RUNS):
        scene.video(seed=seed, lora=0.5 + seed / 100)
        seen.append(used(card))
    for kind in seen[0]:
        settled, last = seen[SETTLED][kind], seen[-1][kind]
        record_property(kind, {"after the fifth run": settled, "after the last": last})
        assert last - settled <= GROWTH, kind
    assert error(scene.video(), base) <= SAME


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_while_a_network_computes(scene, base, stock, stage):
    with at(stock, stage, scene.host.interrupt), pytest.raises(GraphInterrupted):
        scene.video()
    stock.check()
    assert error(scene.video(), base) <= SAME


def test_cancel_between_steps(scene, base, stock):
    def on_progress(step: int, _steps: int) -> None:
        if step == 1:
            scene.host.interrupt()

    with pytest.raises(GraphInterrupted):
        scene.run(scene.graph(), on_progress=on_progress)
    stock.check()
    assert error(scene.video(), base) <= SAME


@contextlib.contextmanager
def without_memory(stock, card) -> Iterator[None]:
    """Take nearly all of the card; in a rehearsal, the UNet's middle block raises the host's error."""
    import comfy.model_management as management

    if card.is_rehearsal:

        def fail() -> None:
            raise management.OOM_EXCEPTION("out of memory")

        with at(stock, "UNet", fail):
            yield
        return
    management.unload_all_models()
    management.soft_empty_cache()
    gc.collect()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - LEFT, dtype=torch.uint8, device=card.device)
    try:
        yield
    finally:
        del taken
        torch.cuda.empty_cache()


def test_out_of_memory(scene, base, stock, card, record_property):
    with without_memory(stock, card), pytest.raises(GraphError, match=r"(?i)memory") as caught:
        scene.video()
    record_property("message", caught.value.message[:300])
    del caught
    stock.check()
    assert error(scene.video(), base) <= SAME
