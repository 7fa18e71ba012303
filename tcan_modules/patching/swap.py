"""Exchange parts of a network while a ``with`` block runs.

    with swapped_forward(network.norm, forward), swapped_modules(network.block, {"0": layer}):
        network(x)

The former parts come back, also after an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def swapped_modules(block: nn.Module, modules: dict[str, nn.Module]) -> Iterator[None]:
    """Give ``block`` these child modules, by name and in this order."""
    before = block._modules
    block._modules = modules
    try:
        yield
    finally:
        block._modules = before


@contextmanager
def swapped_forward(module: nn.Module, forward) -> Iterator[None]:
    """Give ``module`` another ``forward``; one from another custom node comes back afterwards."""
    theirs = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if theirs is None:
            del module.forward
        else:
            module.forward = theirs
