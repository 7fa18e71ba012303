"""Graphs of a short video: stock loaders, all of TCAN, the stock sampler or ours."""

from typing import Any

import torch

from tests.gpu.card import Card
from tests.gpu.models import FILES
from tests.helpers.graphs import node
from tests.helpers.host import Host
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.walk import pose_images

STEPS = 2
SAMPLER = {"seed": 5, "steps": STEPS, "cfg": 3.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
NOISY = 14.6  # about the largest sigma of SD1.5
WINDOWS = {"window_length": 4, "window_overlap": 1, "closed_loop": False}


class CardScene:
    """The random models in a host, and an executor that keeps its cache, as in a server."""

    def __init__(self, host: Host, card: Card):
        self.host, self.card = host, card
        self.executor = host.executor()
        side = 8 * card.size
        generator = torch.Generator().manual_seed(3)
        self.picture = Fed(torch.rand(1, side, side, 3, generator=generator))
        self.poses = Fed(pose_images(card.frames, side, side))

    def loaders(self) -> dict:
        """The stock loaders and Load TCAN."""
        return {
            "model": node("UNETLoader", unet_name=FILES["diffusion_models"], weight_dtype="default"),
            "net": node("ControlNetLoader", control_net_name=FILES["controlnet"]),
            "tcan": node("TCANLoad", checkpoint=FILES["tcan"]),
        }

    def graph(
        self,
        *,
        lora: float | None = None,
        tau: float | None = 3.0,
        speed: dict[str, int] | None = None,
        backend: str | None = None,
        own_networks: bool = False,
        temporal_strength: float = 1.0,
        stock_sampler: bool = False,
        add_noise: bool = True,
        **widgets: Any,
    ) -> dict:
        """A video in API format; node "end" captures its latents.

        Args:
            lora: strength of Load LoRA before APPA Apply.
            tau: of PTM Builder; None leaves PTM out.
            speed: widgets of TCAN Speed-ups.
            backend: of Torch Compile Model.
            own_networks: the UNet and the ControlNet of the TCAN checkpoint instead of the stock loaders'.
            stock_sampler: MultiDiffusion Windows and KSampler (Advanced) instead of MultiDiffusion Sampler.
            add_noise: False starts from latents that are noisy already; the two samplers scale the noise that they add differently.
            widgets: of the sampler and of the windows.
        """
        graph = self.loaders() | {"picture": self.picture, "poses": self.poses}
        given = SAMPLER | WINDOWS | widgets
        windows = {name: given.pop(name) for name in WINDOWS}

        def add(name: str, class_type: str, **inputs: Any) -> str:
            graph[name] = node(class_type, **inputs)
            return name

        last = "model"
        if lora is not None:
            last = add("lora", "LoraLoaderModelOnly", model=["model", 0], lora_name=FILES["loras"], strength_model=lora)
        add("vae", "TCANVAE", tcan=["tcan", 0])
        add("appearance", "TCANAppearanceEncode", tcan=["tcan", 0], vae=["vae", 0], image=["picture", 0])
        apply = {"tcan": ["tcan", 0], "appearance": ["appearance", 0]}
        apply |= {} if own_networks else {"model": [last, 0]}
        if tau is not None:
            add("ptm", "TCANPTMBuilder", pose_images=["poses", 0], tau=tau)
            apply["ptm"] = ["ptm", 0]
        last = add("animate", "TCANApply", **apply)
        if stock_sampler:
            last = add("windows", "TCANMultiDiffusion", model=[last, 0], **windows)
        if speed is not None:
            last = add("speed", "TCANSpeed", model=[last, 0], **speed)
        if backend is not None:
            last = add("compile", "TorchCompileModel", model=[last, 0], backend=backend)
        net = {} if own_networks else {"control_net": ["net", 0]}
        add("temporal", "TCANTemporalControlNet", tcan=["tcan", 0], temporal_strength=temporal_strength, **net)
        prompts = {"positive": ["tcan", 1], "negative": ["tcan", 1]}
        add("control", "ControlNetApplyAdvanced", **prompts, control_net=["temporal", 0], image=["poses", 0])
        graph["latents"] = self._latents(0.0 if add_noise else NOISY)
        inputs = {"model": [last, 0], "latent_image": ["latents", 0], "positive": ["control", 0], "negative": ["control", 1]}
        if stock_sampler:
            seed, _ = given.pop("seed"), given.pop("denoise")
            whole = {"start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
            stock = {"noise_seed": seed, "add_noise": "enable" if add_noise else "disable", **whole}
            add("sampler", "KSamplerAdvanced", **inputs, **given, **stock)
        else:
            ours = {"add_noise": add_noise, "noise_mode": "independent"}
            add("sampler", "TCANMultiDiffusionSampler", **inputs, **given, **windows, **ours)
        return graph | {"end": capture("sampler")}

    def plain(self) -> dict:
        """The stock model in the stock sampler, without TCAN."""
        prompts = {"positive": ["tcan", 1], "negative": ["tcan", 1]}
        sampler = node("KSampler", model=["model", 0], latent_image=["latents", 0], **prompts, **SAMPLER)
        return self.loaders() | {"latents": self._latents(), "sampler": sampler, "end": capture("sampler")}

    def _latents(self, noise: float = 0.0) -> Fed:
        """Noise of this strength, new to the executor's cache, so that the sampler runs."""
        generator = torch.Generator().manual_seed(6)
        return Fed({"samples": noise * torch.randn(self.card.frames, 4, self.card.size, self.card.size, generator=generator)})

    def run(self, graph: dict, **options: Any) -> torch.Tensor:
        """The latents ``[frames, 4, height, width]`` at the end of a graph."""
        return self.host.run_graph(graph, executor=self.executor, **options).value("end")["samples"].float().cpu()

    def video(self, **inputs: Any) -> torch.Tensor:
        """The latents of a graph with all of TCAN; they must be finite."""
        samples = self.run(self.graph(**inputs))
        assert torch.isfinite(samples).all()
        return samples
