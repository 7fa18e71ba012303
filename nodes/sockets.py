"""Socket types of this pack, as workflow JSON names them."""

from comfy_api.latest import io

CATEGORY = "TCAN"

TCAN = io.Custom("TCAN")
Appearance = io.Custom("TCAN_APPEARANCE")
PTM = io.Custom("TCAN_PTM")
