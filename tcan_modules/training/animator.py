"""Animations by the public nodes in a ComfyUI in this process, as in an artist's graph."""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..weights.layouts import PACKED
from ..weights.reading import read_file
from .state import save_tensors

ROOT = Path(__file__).parents[2]
WINDOW, OVERLAP = 16, 4


@dataclass(frozen=True)
class Variant:
    """An ablation: the strengths and parts of the model that are used."""

    appa: float = 1.0
    appearance: float = 1.0
    temporal_control: float = 1.0
    ptm: bool = True
    temporal: bool = True


VARIANTS = {
    "full": Variant(),
    "no_appa": Variant(appa=0.0),
    "no_appearance": Variant(appearance=0.0),
    "frozen_controlnet": Variant(temporal_control=0.0),
    "no_ptm": Variant(ptm=False),
    "no_temporal": Variant(temporal_control=0.0, ptm=False, temporal=False),
}


class Animator:
    """The nodes, with one packed file loaded.

    A ComfyUI must be on ``PYTHONPATH``; ``python dev.py python`` puts it there.

    Args:
        packed: a file with its VAE and its empty prompt.
        steps: sampling steps.
        guidance: the scale of classifier-free guidance.
    """

    def __init__(self, packed: Path, steps: int, guidance: float):
        self._steps, self._guidance = steps, guidance
        self._base = tempfile.TemporaryDirectory()
        models = Path(self._base.name) / "models" / "tcan"
        tensors = read_file(packed)
        save_tensors(models / "whole.safetensors", tensors)
        no_temporal = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith((f"{PACKED}unet_temporal.", f"{PACKED}controlnet_temporal."))
        }
        save_tensors(models / "no_temporal.safetensors", no_temporal)
        self._nodes = _load_nodes(Path(self._base.name))
        self._loaded: dict[str, tuple] = {}

    def close(self) -> None:
        """Delete the temporary folder with the models."""
        self._base.cleanup()

    def animate(self, reference: np.ndarray, poses: np.ndarray, variant: Variant, seed: int, window: int = WINDOW) -> np.ndarray:
        """Animate a picture with drawn poses.

        Args:
            reference: uint8 ``[height, width, 3]``.
            poses: uint8 ``[frames, height, width, 3]``.
            variant: which ablation.
            seed: of the sampler's noise.
            window: frames sampled together; a clip that is not longer is sampled in one pass.

        Returns:
            float32 ``[frames, height, width, 3]`` in 0..1.
        """
        with torch.inference_mode():
            image, drawn = (torch.from_numpy(array).float() / 255 for array in (reference[None], poses))
            tcan, prompt, vae = self._load("whole" if variant.temporal else "no_temporal")
            model = self._model(tcan, vae, image, drawn, variant)
            conds = self._conds(tcan, prompt, drawn, variant)
            frames, height, width = drawn.shape[:3]
            (latent,) = self._run(
                "TCANMultiDiffusionSampler",
                model=model,
                **conds,
                seed=seed,
                steps=self._steps,
                cfg=self._guidance,
                latent_image={"samples": torch.zeros(frames, 4, height // 8, width // 8)},
                sampler_name="ddim",
                scheduler="ddim_uniform",
                denoise=1.0,
                window_length=window,
                window_overlap=min(OVERLAP, window - 1),
                closed_loop=False,
                add_noise=True,
                noise_mode="repeat_window",
            )
            return vae.decode(latent["samples"]).float().clamp(0, 1).cpu().numpy()

    def _model(self, tcan, vae, image: torch.Tensor, drawn: torch.Tensor, variant: Variant):
        """The patched model for a reference picture ``[1, height, width, 3]`` and drawn poses ``[frames, height, width, 3]``."""
        (appearance,) = self._run("TCANAppearanceEncode", tcan=tcan, vae=vae, image=image, width=0, height=0)
        ptm = self._run("TCANPTMBuilder", pose_images=drawn, tau=3.0, min_resolution=0)[0] if variant.ptm else None
        (model,) = self._run(
            "TCANApply",
            tcan=tcan,
            appearance=appearance,
            ptm=ptm,
            appa_strength=variant.appa,
            appearance_strength=variant.appearance,
            beta_schedule="linear",
        )
        return model

    def _conds(self, tcan, prompt, drawn: torch.Tensor, variant: Variant) -> dict:
        """The positive and the negative cond with the Temporal ControlNet on drawn poses ``[frames, height, width, 3]``."""
        (control,) = self._run("TCANTemporalControlNet", tcan=tcan, temporal_strength=variant.temporal_control)
        positive, negative = self._run(
            "ControlNetApplyAdvanced",
            positive=prompt,
            negative=prompt,
            control_net=control,
            image=drawn,
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
        )
        return {"positive": positive, "negative": negative}

    def _load(self, name: str) -> tuple:
        if name not in self._loaded:
            tcan, prompt = self._run("TCANLoad", checkpoint=f"{name}.safetensors")
            self._loaded[name] = (tcan, prompt, *self._run("TCANVAE", tcan=tcan))
        return self._loaded[name]

    def _run(self, node: str, **inputs) -> tuple:
        """The outputs of a node; inputs that are None stay unconnected."""
        cls = self._nodes[node]
        given = {name: value for name, value in inputs.items() if value is not None}
        output = cls.execute(**given) if hasattr(cls, "execute") else getattr(cls(), cls.FUNCTION)(**given)
        return tuple(getattr(output, "result", output))


def _load_nodes(base: Path) -> dict:
    """The node classes of ComfyUI and of this pack; the process must not have imported ComfyUI before."""
    argv, sys.argv = sys.argv, ["main.py", "--base-directory", str(base), *([] if torch.cuda.is_available() else ["--cpu"])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
        import nodes
    finally:
        sys.argv = argv
    if not asyncio.run(nodes.load_custom_node(str(ROOT))):
        raise RuntimeError(f"ComfyUI could not load the nodes in {ROOT}; its log says why.")
    return nodes.NODE_CLASS_MAPPINGS
