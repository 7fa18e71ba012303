"""How ComfyUI's page numbers the slots of nodes in workflow files."""

SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20  # node ids of a subgraph's two ends
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def slot_names(info: dict) -> list[str]:
    """A node's inputs in the page's order, from its entry in ``/object_info``: sockets, then widgets."""
    given = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    widgets = [name for name, (kind, *_) in given.items() if isinstance(kind, list) or kind in WIDGETS]
    return [name for name in given if name not in widgets] + widgets
