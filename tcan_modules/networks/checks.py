"""Checks that a file holds what a network needs, before the network takes memory."""

from collections.abc import Callable, Set

import torch
from torch import nn

from ..values import shown
from ..weights.architecture import StateDict
from ..weights.layouts import Part
from ..weights.messages import NAMES, CheckpointError
from ..weights.reading import is_finite


def check_shapes(build: Callable[[], nn.Module], tensors: StateDict, part: Part, key: str) -> dict[str, torch.Tensor]:
    """The tensors ``[…]`` that a network needs, checked before memory is allocated for it.

    Args:
        build: makes the network on the ``meta`` device.

    Raises:
        CheckpointError: in one sentence, what the file lacks.
    """
    try:
        expected = build().state_dict()
    except Exception as error:  # whatever torch raises for impossible shapes
        reason = shown(str(error).strip().partition("\n")[0])
        raise refusal(part, key, f"no SD1.x network has tensors of such shapes ({reason}); choose another checkpoint") from error
    check_complete(expected.keys(), tensors.keys(), part, key)
    for name, tensor in expected.items():
        ours = tensors[name]
        if ours.shape != tensor.shape:
            found = shown(str(tuple(ours.shape)))
            raise refusal(part, key, f"{name} is {found} where {tuple(tensor.shape)} is expected; choose another checkpoint")
    return {name: tensors[name] for name in expected}


def check_complete(expected: Set[str], found: Set[str], part: Part, key: str) -> None:
    """Raise a `CheckpointError` that says how many tensors are missing, and names one."""
    missing = sorted(expected - found)
    if missing:
        raise refusal(
            part, key, f"the file is incomplete: {len(missing)} tensors are missing ({missing[0]}, …); download it again"
        )


def finite_numbers(tensors: StateDict, part: Part, key: str) -> StateDict:
    """Checked tensors ``[…]`` of a part in memory that no file reaches.

    Raises:
        CheckpointError: one holds NaN, infinity or no floating-point numbers, or the file was overwritten.
    """
    numbers = part.numbers(tensors)
    for name, tensor in numbers.items():
        if not tensor.is_meta and not is_finite(tensor):  # a benchmark counts on tensors without data
            found = f"(found NaN, infinity or {tensor.dtype})"
            raise refusal(part, key, f"{name} must hold finite numbers {found}; download the file again")
    return numbers


def refusal(part: Part, key: str, reason: str) -> CheckpointError:
    """The error for a part that cannot be used."""
    return CheckpointError(f"The {NAMES[key]} in '{part.source}' cannot be used: {reason}.")
