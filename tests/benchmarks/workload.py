"""Noise predictions and sampling runs of TCAN, and the host's bare networks beside them."""

import copy

import torch

from tests.benchmarks.measure import Cost, cost
from tests.benchmarks.models import random_checkpoint
from tests.helpers.host import Host

TIMESTEP = 481


class Workload:
    """A random model with its inputs: ``frames`` frames of ``size`` x ``size`` latents, guidance in one call."""

    def __init__(self, host: Host, channels: tuple[int, ...], frames: int, size: int, dtype: torch.dtype = torch.float32):
        import comfy.model_management

        models = host.pack_module("tcan_modules.networks.host_models")
        self.host = host
        self.device = comfy.model_management.get_torch_device()
        self.tcan = models.TCANModels(random_checkpoint(channels, dtype=dtype, device=str(self.device)))
        self.text = torch.randn(2, 77, 768, generator=torch.Generator().manual_seed(0)).to(self.device)
        self._fill(frames, size)

    def resized(self, frames: int, size: int) -> "Workload":
        """The same model with another video."""
        other = copy.copy(self)
        other._fill(frames, size)
        return other

    def _fill(self, frames: int, size: int) -> None:
        generator = torch.Generator().manual_seed(frames * size)
        self.frames, self.size = frames, size
        appearance = self.host.pack_module("tcan_modules.networks.appearance")
        self.reference = appearance.Appearance(torch.randn(1, 4, size, size, generator=generator))
        self.poses = torch.zeros(frames, 8 * size, 8 * size, 3)
        for frame in range(frames):
            left = 3 * size + frame % size
            self.poses[frame, 2 * size : 6 * size, left : left + 8] = 1
        self.latents = torch.randn(2 * frames, 4, size, size, generator=generator).to(self.device)

    def ptm(self):
        """PTM Builder of the poses."""
        return self.host.node("TCANPTMBuilder")(pose_images=self.poses)[0]

    @property
    def latents_shape(self) -> tuple[int, ...]:
        """``(frames, 4, height, width)``."""
        return self.frames, 4, self.size, self.size

    def model(self, **inputs):
        """The model of APPA Apply."""
        return self.host.node("TCANApply")(tcan=self.tcan, appearance=self.reference, **inputs)[0]

    def bare_unet(self):
        """The host's UNet on both conds of guidance."""
        return self._bare(self.tcan.unet, self.latents, self.text.repeat_interleave(self.frames, 0))

    def bare_control_net(self):
        """The host's ControlNet, once for each frame."""
        net = self.tcan.control_net
        hint = self.poses.movedim(-1, 1)
        return self._bare(
            net.control_model_wrapped, self.latents[: self.frames], self.text[1:].expand(self.frames, -1, -1), hint=hint
        )

    def bare_appearance(self):
        """The appearance UNet on one cond."""
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

    def control_net(self, temporal_strength: float = 1.0):
        """The ControlNet of Temporal ControlNet."""
        return self.host.node("TCANTemporalControlNet")(tcan=self.tcan, temporal_strength=temporal_strength)[0]

    def sample(self, model, control_net, predict, sigmas: torch.Tensor, cfg: float = 7.5) -> None:
        """Run the host's sampling with ``predict(denoise, x, sigmas)`` as its sampler; ``denoise(x, sigma)`` predicts noise."""
        import comfy.samplers

        def sampler(denoise, x, sigmas, extra_args, callback, disable):
            return predict(lambda x, sigma: denoise(x, sigma * x.new_ones(x.shape[0]), **extra_args), x, sigmas)

        positive, negative = ([[self.text[row : row + 1], {}]] for row in (1, 0))
        if control_net is not None:
            positive, negative = self.host.node("ControlNetApplyAdvanced")(
                positive=positive, negative=negative, control_net=control_net, image=self.poses
            )
        self.host.node("SamplerCustom")(
            model=model,
            add_noise=True,
            noise_seed=0,
            cfg=cfg,
            positive=positive,
            negative=negative,
            sampler=comfy.samplers.KSAMPLER(sampler),
            sigmas=sigmas,
            latent_image={"samples": torch.zeros(self.latents_shape)},
        )

    def step(self, model, control_net, repeats: int) -> Cost:
        """The cost of one noise prediction of the whole video, at a new timestep each time, so that nothing is reused."""
        found = []

        def measure(denoise, x, sigmas):
            left = iter(sigmas.tolist())
            found.append(cost(lambda: denoise(x, next(left)), repeats, self.latents_shape))
            return x

        sigmas = model.get_model_object("model_sampling").sigmas[[TIMESTEP - step for step in range(repeats + 2)]]
        self.sample(model, control_net, measure, sigmas)
        return found[0]
