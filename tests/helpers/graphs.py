"""Nodes of graphs in API format, with the widgets that tests rarely change."""

from typing import Any

WIDGETS: dict[str, dict[str, Any]] = {
    "ControlNetApplyAdvanced": {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0},
    "TCANAppearanceEncode": {"width": 0, "height": 0},
    "TCANApply": {"appa_strength": 1.0, "appearance_strength": 1.0, "beta_schedule": "linear"},
    "TCANPTMBuilder": {"tau": 3.0, "min_resolution": 0},
    "TCANSpeed": {"reuse_steps": 1, "windows_at_once": 1},
    "TCANTemporalControlNet": {"temporal_strength": 1.0},
}


def node(class_type: str, **inputs: Any) -> dict:
    """A node of an API graph; widgets that are not given have their usual values.

    Args:
        inputs: values of widgets, or links ``[node id, output]``.
    """
    return {"class_type": class_type, "inputs": WIDGETS.get(class_type, {}) | inputs}
