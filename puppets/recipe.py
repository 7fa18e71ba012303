"""Train the puppet model: ``python -m puppets.recipe --out DIR``.

One command trains everything from one seed. It may be stopped at any time; the same command resumes it. The phases: a VAE with TAESD's
architecture; a wider decoder for it; a small UNet of SD's kind with its OpenPose ControlNet; with both frozen, TCAN's stage 1; the
ControlNet's temporal layers; stage 2. The result is one packed file for Load TCAN, ``DIR/tcan_puppets.safetensors``. All training data is
drawn (`clips`).
"""

import argparse
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tcan_modules.log import log
from tcan_modules.training.autoencoder import TinyAutoencoder
from tcan_modules.training.model import TCAN
from tcan_modules.training.sources import Start
from tcan_modules.training.stages import temporal_part, train_stage, write_packed
from tcan_modules.training.state import Tensors, group, save_tensors
from tcan_modules.training.trainer import Options, Trainer
from tcan_modules.training.vae import TinyVAE, vae_from_state
from tcan_modules.weights.checkpoint import Checkpoint, load_checkpoint
from tcan_modules.weights.layouts import Part
from tcan_modules.weights.reading import read_file

from .base_model import V_PREDICTION, PuppetBase, empty_prompt, wide_hints
from .datasets import PuppetClips, PuppetCrops, PuppetPairs, PuppetPictures
from .pose_repair import PoseRepair
from .vae_training import AutoencoderStep, DecoderStep

# Learning rates are far above the authors' 1e-5, which finetunes SD1.5 for days: these networks are small and start untrained.
# A batch holds the samples of all processes in a step: in stage 1 references with two frames each, in stage 2 clips.
_BETAS = (0.9, 0.99)
VAE = Options(
    out=Path("vae"), steps=3200, batch=16, lr=2e-3, schedule="cosine", warmup=50, ema=0.995, weight_decay=1e-4, save_every=200
)
DECODER = Options(
    out=Path("decoder"), steps=4500, batch=16, lr=1e-3, schedule="cosine", warmup=50, ema=0.995, weight_decay=1e-4, save_every=200
)
BASE = Options(out=Path("base"), steps=5600, batch=16, lr=6e-4, warmup=100, ema=0.995, betas=_BETAS, save_every=200)
ALONE = 25_600  # single pictures that the base model sees before it sees pairs
STAGE1 = Options(
    out=Path("stage1"), steps=3000, batch=8, lr=6e-4, schedule="cosine", warmup=100, ema=0.995, betas=_BETAS, save_every=100
)
REPAIR = Options(
    out=Path("repair"), steps=1300, batch=2, lr=6e-4, schedule="cosine", warmup=50, ema=0.99, betas=_BETAS, save_every=50
)
STAGE2 = Options(
    out=Path("stage2"), steps=700, batch=2, lr=6e-4, schedule="cosine", warmup=50, ema=0.99, betas=_BETAS, save_every=50
)
STEPS, GUIDANCE = 10, 1.5  # of sampling: this model needs fewer steps and less guidance than SD1.5
CONTROLNET_BLOCKS = (0, 1, 2)  # grids of 16, 8 and 4 cells per side; the authors' layers are on grids of 16 and 8 too
FILE = "tcan_puppets.safetensors"


@dataclass
class Recipe:
    """Where and how one run of the recipe trains."""

    out: Path
    seed: int
    deadline: float
    workers: int
    mixed_precision: str

    def options(self, phase: Options) -> Options:
        """The options of a phase in this run."""
        minutes = (self.deadline - time.monotonic()) / 60
        return replace(
            phase,
            batch=max(1, phase.batch // int(os.environ.get("WORLD_SIZE", 1))),
            out=self.out / phase.out,
            seed=self.seed,
            minutes=minutes,
            workers=self.workers,
            mixed_precision=self.mixed_precision,
        )


def train_vae(recipe: Recipe) -> Path | None:
    """Phase 1: ``vae/vae.safetensors``, the TAESD at its full width."""
    options = recipe.options(VAE)
    target = options.out / "vae.safetensors"
    if target.exists():
        return target
    torch.manual_seed(recipe.seed)
    return _train_autoencoder(AutoencoderStep(TinyAutoencoder()), PuppetCrops(recipe.seed), options, target)


def train_decoder(recipe: Recipe, vae: Path) -> Path | None:
    """Phase 2: ``decoder/vae.safetensors``, the same VAE with a wider decoder."""
    options = recipe.options(DECODER)
    target = options.out / "vae.safetensors"
    if target.exists():
        return target
    torch.manual_seed(recipe.seed + 2)
    wide = TinyAutoencoder.from_full_state(read_file(vae)).with_wide_decoder()
    return _train_autoencoder(DecoderStep(wide), PuppetCrops(recipe.seed + 500), options, target)


def _train_autoencoder(step: AutoencoderStep | DecoderStep, pictures: PuppetCrops, options: Options, target: Path) -> Path | None:
    model = step.model.to(memory_format=torch.channels_last)
    trainer = Trainer(step, pictures, options, title=options.out.name)
    if not trainer.run():
        return None
    model.load_state_dict(model.state_dict() | group(trainer.learned_tensors(), "model."))  # without a frozen encoder
    save_tensors(target, model.full_state())
    return target


def train_base(recipe: Recipe, vae: Path) -> Path | None:
    """Phase 3: ``base/base.safetensors``, a packed file.

    It has the UNet, the ControlNet, the empty prompt and the VAE.
    """
    options = recipe.options(BASE)
    target = options.out / "base.safetensors"
    start = Start(Checkpoint("puppets"), vae_from_state(read_file(vae), vae.name), empty_prompt())

    def export(_folder: Path, learned: Tensors) -> None:
        write_packed(target, base_checkpoint(learned), start, torch.float32)

    torch.manual_seed(recipe.seed + 1)
    model = PuppetBase(start.vae).to(memory_format=torch.channels_last)
    trainer = Trainer(model, PuppetPictures(recipe.seed, ALONE), options, title="base", export=export)
    return target if trainer.run() else None


def base_checkpoint(learned: Tensors) -> Checkpoint:
    """The base phase's trained tensors as the parts of a checkpoint."""

    def rounded(tensors: Tensors) -> Tensors:
        # the packed file is float16: train the stages on exactly its numbers
        return {name: tensor.half().float() for name, tensor in tensors.items()}

    return Checkpoint(
        "puppets",
        unet=Part(rounded(group(learned, "unet.")), "base"),
        controlnet=Part(rounded(wide_hints(group(learned, "controlnet."))), "base"),
        empty_prompt=empty_prompt(),
        v_prediction=V_PREDICTION,
    )


def open_packed(path: Path) -> Start:
    """Read a packed file of the puppet model, with its VAE."""
    checkpoint = load_checkpoint([path], path.name)
    vae: TinyVAE = vae_from_state(read_file(path), path.name).requires_grad_(False)
    return Start(checkpoint, vae, checkpoint.empty_prompt.float())


def train_repair(recipe: Recipe, packed: Path) -> Path | None:
    """Phase 5: ``repair/tcan.safetensors``, stage 1's file with a temporal ControlNet."""
    options, start = recipe.options(REPAIR), open_packed(packed)
    target = options.out / "tcan.safetensors"
    torch.manual_seed(recipe.seed + 3)
    model = TCAN(start.checkpoint, temporal=True, controlnet_blocks=CONTROLNET_BLOCKS)

    def export(_folder: Path, learned: Tensors) -> None:
        part = temporal_part(model.controlnet, "controlnet", learned, "repair")
        write_packed(target, replace(start.checkpoint, controlnet_temporal=part), start)

    trainer = Trainer(
        PoseRepair(model, start), PuppetClips(recipe.seed + 500, truth=True), options, title="repair", export=export
    )
    return target if trainer.run() else None


def train_stages(recipe: Recipe, base: Path) -> Path | None:
    """Phases 4 to 6: the two stages, with `train_repair` between them.

    The stages run the code that trains TCAN on real videos.
    """
    seen = PuppetClips(recipe.seed + 1000, outliers=0.0)[0]
    shared = {"validation": seen, "sampling": {"steps": STEPS, "guidance": GUIDANCE}}
    first = train_stage(1, open_packed(base), PuppetPairs(recipe.seed), recipe.options(STAGE1), **shared)
    repaired = first and train_repair(recipe, first)
    if repaired is None:
        return None
    return train_stage(2, open_packed(repaired), PuppetClips(recipe.seed), recipe.options(STAGE2), **shared)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train all phases."""
    parser = argparse.ArgumentParser(
        prog="python -m puppets.recipe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an earlier run in it is resumed")
    parser.add_argument("--seed", type=int, default=0, help="seed of the whole run (default: 0)")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="save and stop after this time (default: train to the end)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that draw samples (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads for the networks (default: all)")
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no", help="for a GPU (default: no)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = Recipe(given.out, given.seed, time.monotonic() + 60 * given.minutes, given.workers, given.mixed_precision)
    vae = train_vae(recipe)
    vae = vae and train_decoder(recipe, vae)
    base = vae and train_base(recipe, vae)
    packed = base and train_stages(recipe, base)
    if packed is None:
        log.info("stopped before the end; the same command resumes")
        return
    target = recipe.out / FILE
    tensors = read_file(packed)
    save_tensors(target, tensors)
    log.info("%s: %d tensors, %.1f MB", target, len(tensors), target.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
