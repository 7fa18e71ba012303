"""Training states on disk, with everything that an exact resume needs.

They are safetensors files, and never half-written.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError

from ..log import log
from .files import replaced

Tensors = dict[str, torch.Tensor]


def save_tensors(path: Path, tensors: Tensors, metadata: dict | None = None) -> None:
    """Write a safetensors file atomically: at any moment there is the complete old or new one.

    ``metadata`` values are stored as JSON.
    """
    from safetensors.torch import save_file

    with replaced(path) as scratch:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, scratch, {key: json.dumps(value) for key, value in (metadata or {}).items()})


def load_tensors(path: Path) -> tuple[Tensors, dict]:
    """The tensors and the metadata that `save_tensors` wrote."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "format"}
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (no mapping)


def load_state(path: Path, title: str, seed: int, learned: Tensors) -> tuple[Tensors, dict]:
    """The tensors and the metadata of a training state from which a run goes on.

    Args:
        path: what `save_tensors` wrote.
        title, seed: of the run.
        learned: the tensors ``[…]`` that it trains, by name.

    Raises:
        ValueError: the file is damaged or belongs to another run.
    """
    try:
        tensors, metadata = load_tensors(path)
        whole = isinstance(metadata["step"], int) and {"title", "seed"} <= metadata.keys() and tensors["losses"].ndim == 1
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        log.debug("reading %s: %s", path, error)
        whole = False
    if not whole:
        raise ValueError(f"'{path}' is damaged or cut off: put a copy in its place, or delete it and train from the start.")
    if (metadata["title"], metadata["seed"]) != (title, seed):
        raise ValueError(
            f"'{path}' belongs to another run ({metadata['title']}, seed {metadata['seed']}): choose another folder for --out, or the same"
            " stage and seed."
        )
    weights = group(tensors, "weights/")
    if weights.keys() != learned.keys():
        raise ValueError(f"'{path}' holds other tensors than this run trains: choose another folder for --out.")
    for full, tensor in tensors.items():
        kind, _, name = full.partition("/")
        if not name or name.endswith("/step"):
            continue
        own = learned.get(name.rpartition("/")[0] if kind == "optimizer" else name)
        if own is None or tensor.shape != own.shape:
            raise ValueError(
                f"'{path}' is from a run with other sizes ({_shape(tensor)} for {_shape(own)} of this run in {name}): resume with the same"
                " --rank, --controlnet-blocks and weight files, or choose another folder for --out."
            )
    return tensors, metadata


def _shape(tensor: torch.Tensor | None) -> str:
    return "no tensor" if tensor is None else " x ".join(map(str, tensor.shape)) or "1"


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
