"""APPA Apply."""

from comfy_api.latest import io

from ..tcan_modules.patching.noise_schedule import BETA_SCHEDULES
from .sockets import CATEGORY, PTM, TCAN, Appearance


class TCANApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANApply",
            display_name="APPA Apply",
            category=CATEGORY,
            description=(
                "Puts TCAN into a model: APPA layers that align pose and appearance, temporal layers, and the character of the reference"
                " picture. The model then works with every sampler; the frames of the video are the batch."
            ),
            inputs=[
                TCAN.Input("tcan", tooltip="The checkpoint of Load TCAN."),
                Appearance.Input("appearance", tooltip="The character, from Appearance Encode."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="An SD1.5 model, with LoRAs if you like. Left open: the UNet in the checkpoint.",
                ),
                PTM.Input("ptm", optional=True, tooltip="Temperature map of PTM Builder, which keeps the background still."),
                io.Float.Input(
                    "appa_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Strength of the APPA (LoRA) layers that align pose and appearance; 0 leaves them out.",
                ),
                io.Float.Input(
                    "appearance_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much the reference picture counts beside the frame itself; 0 leaves it out.",
                ),
                io.Combo.Input(
                    "beta_schedule",
                    options=list(BETA_SCHEDULES),
                    default=BETA_SCHEDULES[0],
                    tooltip=(
                        "Noise schedule: 'linear' is TCAN's, 'scaled_linear' leaves the model's own (SD1.5's) alone. Put"
                        " ModelSamplingDiscrete before this node: its prediction type and zsnr are kept. Behind this node it replaces"
                        " TCAN's schedule with SD1.5's."
                    ),
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, good for every sampler.")],
        )

    @classmethod
    def execute(
        cls,
        tcan,
        appearance,
        appa_strength: float,
        appearance_strength: float,
        beta_schedule: str,
        model=None,
        ptm=None,
    ) -> io.NodeOutput:
        from ..tcan_modules.apply import apply_tcan

        return io.NodeOutput(apply_tcan(tcan, appearance, model, ptm, appa_strength, appearance_strength, beta_schedule))


NODES = [TCANApply]
