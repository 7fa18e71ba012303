"""The check that nothing of TCAN stays in a checkpoint's networks."""

import torch

from tests.helpers.reference_set import Models


def structure(network: torch.nn.Module) -> list[tuple]:
    """Each module: its name, type and children, and whether something replaced its forward."""
    return [
        (name, type(module), tuple(module._modules), "forward" in module.__dict__) for name, module in network.named_modules()
    ]


class Untouched:
    """All networks of a checkpoint: their structure, weights, patches and options, and what the UNet computes.

        untouched = Untouched(models)
        ...  # runs, errors, cancels
        untouched.check()

    ComfyUI takes patches out of a network when it loads another clone, so `check` loads a clone first.
    """

    def __init__(self, models: Models):
        tcan = models.tcan
        counts = tcan.unet.model.diffusion_model.num_res_blocks
        layers = [tcan.temporal("unet_temporal", counts), tcan.temporal("controlnet_temporal", counts)]
        self.text = models.text(1)
        self.patchers = [patcher.clone() for patcher in (tcan.unet, tcan.appearance, *layers)]
        self.control_net = tcan.control_net
        self.patches = [set(patcher.patches) for patcher in self.patchers]
        self.options = str(tcan.unet.model_options)
        self.unet = tcan.unet
        self.before = self._look()

    def _look(self) -> tuple[list[torch.Tensor], list[tuple]]:
        """The UNet's output and all weights, and the structure of the networks."""
        import comfy.model_management

        clone = self.patchers[0]
        comfy.model_management.load_models_gpu([*self.patchers, *self.control_net.get_models()], force_full_load=True)
        x = torch.linspace(-1, 1, 4 * 64).reshape(1, 4, 8, 8)
        with torch.inference_mode():
            out = clone.model.apply_model(x, torch.tensor([2.0]), c_crossattn=self.text, transformer_options={})
        networks = [*(patcher.model for patcher in self.patchers), self.control_net.control_model]
        built = [module for network in networks for module in structure(network)]
        return [out, *(tensor.clone() for network in networks for tensor in network.state_dict().values())], built

    def check(self) -> None:
        """Compare with the networks as they were when this was made."""
        tensors_now, built = self._look()
        assert built == self.before[1]
        assert not any(replaced for *_, replaced in built)
        assert len(tensors_now) == len(self.before[0])
        assert all(torch.equal(now, then) for now, then in zip(tensors_now, self.before[0]))
        assert [set(patcher.patches) for patcher in self.patchers] == self.patches
        assert str(self.unet.model_options) == self.options
