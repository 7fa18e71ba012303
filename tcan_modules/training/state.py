"""Training states on disk, with everything that an exact resume needs.

They are safetensors files, and never half-written.
"""

import json
import os
from pathlib import Path

import torch

Tensors = dict[str, torch.Tensor]


def save_tensors(path: Path, tensors: Tensors, metadata: dict | None = None) -> None:
    """Write a safetensors file atomically: at any moment there is the complete old or new one.

    ``metadata`` values are stored as JSON.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, {key: json.dumps(value) for key, value in (metadata or {}).items()})
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_tensors(path: Path) -> tuple[Tensors, dict]:
    """The tensors and the metadata that `save_tensors` wrote."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (no mapping)


def group(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose names start with a prefix, without the prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def corner(narrow: torch.Tensor) -> tuple[slice, ...]:
    """The place of a tensor in a wider one that begins with its channels.

    Args:
        narrow: of any shape; ``[a, b]`` gives the slices ``[:a, :b]``.
    """
    return tuple(slice(0, size) for size in narrow.shape)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> Tensors:
    """An optimizer's state as named tensors: ``NAME/exp_avg`` and so on.

    Args:
        names: of the parameters, in the optimizer's order.
    """
    state = optimizer.state_dict()["state"]
    return {f"{name}/{key}": value for index, name in enumerate(names) for key, value in state.get(index, {}).items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: Tensors) -> None:
    """Load a state that `optimizer_tensors` gave."""
    state: dict[int, Tensors] = {}
    index = {name: position for position, name in enumerate(names)}
    for full, tensor in tensors.items():
        name, _, key = full.rpartition("/")
        state.setdefault(index[name], {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
