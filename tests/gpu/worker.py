"""`python -m tests.gpu.worker TASK OUT …`: a task in a new host, with flags of its command line.

It prints ``ready`` when it has started and begins when it reads a line, so several can start together and compute in turn.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gpu.card import CARD, REHEARSAL, Card, describe
from tests.helpers.host import boot

Found = tuple[dict[str, Any], dict]  # tensors, and plain figures


def parity(host, _card: Card, _models: Path) -> Found:
    """The authors' sampling loops; the figures are relative errors."""
    import torch

    from tests.helpers.reference_set import LOOPS, Reference

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with torch.inference_mode():
        reference = Reference(host)
        return {}, {case: reference.loop_error(case) for case in LOOPS}


def video(host, card: Card, models: Path) -> Found:
    """A video with all of TCAN and a LoRA, twice, and the stock model's before and after it."""
    from tests.gpu.memory import look
    from tests.gpu.models import link
    from tests.gpu.scene import CardScene
    from tests.gpu.stock_networks import StockNetworks

    link(models, host.base)
    scene = CardScene(host, card)
    stock = StockNetworks(scene, models)
    tensors = {"video": scene.video(lora=1.0), "again": scene.video(lora=1.0)}
    figures = look(scene)
    stock.check()
    return tensors | {"after": scene.video(lora=1.0)}, figures


TASKS: dict[str, Callable[[Any, Card, Path], Found]] = {"parity": parity, "video": video}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.gpu.worker", description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("out", type=Path, help="the tensors, as safetensors; the figures lie beside them as JSON")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    given, flags = parser.parse_known_args()
    card = REHEARSAL if given.rehearse else CARD
    host = boot(cpu=card.is_rehearsal, flags=(*card.flags, *flags))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    tensors, figures = TASKS[given.task](host, card, given.models)
    from safetensors.torch import save_file

    save_file(tensors, given.out)
    given.out.with_suffix(".json").write_text(json.dumps({"figures": figures, "ran on": describe()}))


if __name__ == "__main__":
    main()
