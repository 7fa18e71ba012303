"""Marks the files that a graph saves as made with TCAN, through ComfyUI's own metadata."""

from .log import log

KEY, VALUE = "made_with", "TCAN"
_ANIMATES = "TCANApply"  # the node that animates


def mark(request: dict) -> dict:
    """Mark a request to run a graph, as the host's server got it, if TCAN animates in it.

    The host's Save nodes write every entry of ``extra_pnginfo`` beside the workflow: into mp4, webm, PNG and WebP. The mark is set with the
    request, not by a node, so that it is also there if the node's result is cached.
    """
    nodes = request.get("prompt")
    if isinstance(nodes, dict) and any(isinstance(node, dict) and node.get("class_type") == _ANIMATES for node in nodes.values()):
        extra = request["extra_data"] = dict(request.get("extra_data") or {})
        extra["extra_pnginfo"] = {**(extra.get("extra_pnginfo") or {}), KEY: VALUE}
    return request


def register(server) -> None:
    """Ask the host's server to show every request to `mark`.

    Args:
        server: the host's module of that name; None, or without an instance, in a process that serves nobody.
    """
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    if instance is None:
        return
    if hasattr(instance, "add_on_prompt_handler"):
        instance.add_on_prompt_handler(mark)
    else:
        log.warning("this ComfyUI lets no pack add metadata: saved videos will not say that they were made with TCAN")
