"""One denoising step of TCAN through the public nodes' objects, and the bare networks of the host beside it."""

import torch

from tests.benchmarks.models import random_checkpoint
from tests.host import Host

TIMESTEP = 481


class Scene:
    """A random model of some width with its inputs: ``frames`` frames of ``size`` x ``size`` latents, guidance in one call."""

    def __init__(self, host: Host, channels: tuple[int, ...], frames: int, size: int, dtype: torch.dtype = torch.float32):
        import comfy.model_management

        self.frames = frames
        models, appearance = (host.pack_module(f"tcan_modules.{name}") for name in ("host_models", "appearance"))
        self.tcan = models.TCANModels(random_checkpoint(channels, dtype=dtype))
        generator = torch.Generator().manual_seed(0)
        self.reference = appearance.Appearance(torch.randn(1, 4, size, size, generator=generator))
        self.poses = torch.zeros(frames, 8 * size, 8 * size, 3)
        for frame in range(frames):
            self.poses[frame, 2 * size : 6 * size, 3 * size + frame : 3 * size + frame + 8] = 1
        self.host = host
        self.device = comfy.model_management.get_torch_device()
        self.latents = torch.randn(2 * frames, 4, size, size, generator=generator).to(self.device)
        self.text = torch.randn(2, 77, 768, generator=generator).to(self.device)
        self.step = 0

    def ptm(self):
        return self.host.node("TCANPTMBuilder")(pose_images=self.poses)[0]

    def model(self, **inputs):
        return self.host.node("TCANApply")(tcan=self.tcan, appearance=self.reference, **inputs)[0]

    def bare_unet(self):
        """The host's UNet on both rows of guidance."""
        return self._bare(self.tcan.unet, self.latents, self.text.repeat_interleave(self.frames, 0))

    def bare_control_net(self):
        """The host's ControlNet, once for each frame."""
        net = self.tcan.control_net
        hint = self.poses.movedim(-1, 1)
        return self._bare(
            net.control_model_wrapped, self.latents[: self.frames], self.text[1:].expand(self.frames, -1, -1), hint=hint
        )

    def bare_appearance(self):
        """The appearance UNet on one row."""
        import comfy.model_management

        comfy.model_management.load_models_gpu([self.tcan.appearance])
        network = self.tcan.appearance.model
        latents, text = (tensor.to(self.device, network.dtype) for tensor in (self.reference.latents, self.text[1:]))
        timestep = torch.tensor([float(TIMESTEP)], device=self.device)
        return lambda: network.features(latents, timestep, text)

    def _bare(self, patcher, x: torch.Tensor, text: torch.Tensor, **inputs):
        import comfy.model_management

        comfy.model_management.load_models_gpu([patcher])
        network = getattr(patcher.model, "diffusion_model", patcher.model)
        dtype = network.dtype
        timesteps = torch.full((x.shape[0],), float(TIMESTEP), device=self.device)
        inputs = {name: tensor.to(self.device, dtype) for name, tensor in inputs.items()}
        x, text = x.to(self.device, dtype), text.to(self.device, dtype)
        return lambda: network(x, timesteps=timesteps, context=text, **inputs)

    def whole_step(self, model, control_net=None):
        """One noise prediction of TCAN at a new timestep each time, so that nothing of the last one is reused."""
        import comfy.model_management

        base = model.model
        patchers = [model, *model.get_nested_additional_models()]
        if control_net is not None:
            patchers += control_net.get_models()
            control_net = control_net.copy().set_cond_hint(self.poses.movedim(-1, 1))
            control_net.pre_run(base, base.model_sampling.percent_to_sigma)
        comfy.model_management.load_models_gpu(patchers)
        text = self.text.repeat_interleave(self.frames, 0)
        options = {"cond_or_uncond": [1, 0], "wrappers": model.wrappers}

        def call():
            self.step += 1
            sigmas = base.model_sampling.sigmas[TIMESTEP - self.step].to(self.device).expand(2 * self.frames)
            control = None
            if control_net is not None:
                control = control_net.get_control(self.latents, sigmas, {"c_crossattn": text}, 2, options)
            return base.apply_model(self.latents, sigmas, c_crossattn=text, control=control, transformer_options=options)

        return call
