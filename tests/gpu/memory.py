"""Memory in use on the card: by the host's count, PyTorch's allocator and the driver."""

import gc
from typing import Any

import psutil
import torch

from tests.gpu.card import Card


def used(card: Card) -> dict[str, int]:
    """Bytes in use: tensors, the whole device, and this process's main memory.

    With dynamic VRAM the networks are not in tensors, so only the device shows them.
    """
    gc.collect()
    found = {"resident": psutil.Process().memory_info().rss}
    if not card.is_rehearsal:
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        found |= {"tensors": torch.cuda.memory_allocated(), "device": total - free}
    return found


def look(scene) -> dict[str, Any]:
    """The networks that the host has loaded, and the peak so far."""
    import comfy.model_management as management

    unet = _unet(scene)
    loaded = [entry for entry in management.current_loaded_models if entry.model is not None]
    found = {
        "patcher": type(unet).__name__,
        "weights in": str(unet.model.get_dtype()).removeprefix("torch."),
        "networks": sum(entry.model.model_size() for entry in loaded),
        "networks on the card": sum(entry.model.loaded_size() for entry in loaded),
    }
    if not scene.card.is_rehearsal:
        found["peak of tensors"] = torch.cuda.max_memory_allocated()
    return found


def _unet(scene):
    from tests.helpers.host_nodes import capture

    graph = scene.loaders() | {"end": capture("model")}
    return scene.host.run_graph(graph, executor=scene.executor).value("model")
