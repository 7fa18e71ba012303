"""Load TCAN, what else its file holds, and Save TCAN."""

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..tcan_modules import model_folder
from ..tcan_modules.log import log
from ..tcan_modules.weights.checkpoint import Checkpoint, with_prompt
from .sockets import CATEGORY, TCAN


class TCANLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANLoad",
            display_name="Load TCAN",
            category=CATEGORY,
            description=(
                "Loads a TCAN checkpoint from models/tcan: a folder with the authors' three files, a file packed by Save TCAN, or public"
                " parts (MagicAnimate's appearance encoder, an AnimateDiff motion module). The console lists what was found and what is"
                " missing. Code in the files is never run."
            ),
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=model_folder.choices(),
                    tooltip="A file in models/tcan, or a folder there that holds the files of one model.",
                )
            ],
            outputs=[
                TCAN.Output(display_name="tcan", tooltip="The checkpoint, for the other TCAN nodes."),
                io.Conditioning.Output(
                    display_name="empty_prompt",
                    tooltip="The checkpoint's embedding of the empty prompt, for positive and negative. Not every checkpoint has one.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str):
        return model_folder.fingerprint(checkpoint)

    @classmethod
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        from ..tcan_modules.networks.host_models import TCANModels

        loaded = model_folder.load(checkpoint)
        log.info("%s: %s", loaded.name, "; ".join(loaded.describe()))
        return io.NodeOutput(TCANModels(loaded), _empty_prompt(loaded))


def _empty_prompt(checkpoint: Checkpoint):
    if checkpoint.empty_prompt is not None:
        return [[checkpoint.empty_prompt.float(), {}]]
    return ExecutionBlocker(
        f"The TCAN checkpoint '{checkpoint.name}' has no embedding of the empty prompt: use CLIP Text Encode with an SD1.5 CLIP."
    )


class TCANVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANVAE",
            display_name="TCAN VAE",
            category=CATEGORY,
            description="The VAE in a TCAN checkpoint. Few checkpoints have one; otherwise use the VAE of your SD1.5 checkpoint.",
            inputs=[TCAN.Input("tcan", tooltip="The checkpoint from Load TCAN.")],
            outputs=[io.Vae.Output(display_name="vae", tooltip="For Appearance Encode and VAE Decode.")],
        )

    @classmethod
    def execute(cls, tcan) -> io.NodeOutput:
        return io.NodeOutput(tcan.vae)


class TCANSave(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANSave",
            display_name="Save TCAN",
            category=CATEGORY,
            description="Saves all parts of a TCAN checkpoint in one file, models/tcan/<filename>.safetensors.",
            inputs=[
                TCAN.Input("tcan", tooltip="The checkpoint from Load TCAN."),
                io.String.Input(
                    "filename",
                    default="tcan",
                    tooltip="Name of the new file, without .safetensors. Existing files are not overwritten.",
                ),
                io.Conditioning.Input(
                    "empty_prompt",
                    optional=True,
                    tooltip="An empty CLIP Text Encode. Its embedding is saved in the file, which then needs no CLIP.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, tcan, filename: str, empty_prompt=None) -> io.NodeOutput:
        checkpoint = tcan.checkpoint
        if empty_prompt is not None:
            checkpoint = with_prompt(checkpoint, empty_prompt)
        path = model_folder.save(checkpoint, filename)
        log.info("saved %s", path)
        return io.NodeOutput(ui={"text": (str(path),)})


NODES = [TCANLoad, TCANVAE, TCANSave]
