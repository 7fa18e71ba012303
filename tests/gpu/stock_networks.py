"""The check that a scene's stock networks still equal their files."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.gpu.models import FILES
from tests.gpu.scene import CardScene
from tests.helpers.host_nodes import capture
from tests.helpers.reference_set import error
from tests.helpers.untouched import structure

# Relative error of a graph run twice in a process; kernels may add in another order when memory is short.
SAME = 1e-3


class StockNetworks:
    """The latents of the stock model without TCAN, and the structure of its networks."""

    def __init__(self, scene: CardScene, models: Path):
        self.scene, self.models = scene, models
        self.plain = scene.run(scene.plain())
        self.built = self._structure()

    def networks(self) -> dict[str, torch.nn.Module]:
        """The networks by the folder of their file, from the executor's cache."""
        graph = self.scene.loaders() | {"a": capture("model"), "b": capture("net")}
        result = self.scene.host.run_graph(graph, executor=self.scene.executor)
        return {"diffusion_models": result.value("model").model.diffusion_model, "controlnet": result.value("net").control_model}

    def check(self) -> None:
        """Compare with the files, after the host has loaded another clone and so taken patches out."""
        assert error(self.scene.run(self.scene.plain()), self.plain) <= SAME
        assert self._structure() == self.built
        for kind, network in self.networks().items():
            filed = load_file(self.models / FILES[kind])
            held = network.state_dict()
            prefix = "control_model." if kind == "controlnet" else ""
            assert {prefix + name for name in held} == filed.keys()
            changed = [name for name, tensor in held.items() if not _equal(tensor, filed[prefix + name])]
            assert not changed, f"{len(changed)} weights of {kind} are not those of the file: {changed[:3]}"

    def _structure(self) -> list[tuple]:
        return [(kind, *module) for kind, network in self.networks().items() for module in structure(network)]


def _equal(held: torch.Tensor, filed: torch.Tensor) -> bool:
    return torch.equal(held.cpu(), filed.to(held.dtype))
