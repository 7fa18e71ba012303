"""Errors of a graph, from the host's report."""


class GraphError(Exception):
    """A graph was refused or a node failed; reads `KSampler (node 3): message`."""

    def __init__(self, message: str, node_id: str | None = None, node_type: str | None = None, details: dict | None = None):
        super().__init__(f"{node_type} (node {node_id}): {message}" if node_id else message)
        self.message = message
        self.node_id = node_id
        self.node_type = node_type
        self.details = details or {}


class GraphInterrupted(GraphError):
    """The graph was cancelled."""


def refused(error: dict, node_errors: dict) -> GraphError:
    """The error of a graph that the host's validation refused."""
    for node_id, found in node_errors.items():
        message = "; ".join(f"{reason['message']}: {reason['details']}" for reason in found["errors"])
        return GraphError(message, node_id, found["class_type"], node_errors)
    return GraphError(f"{error['message']} {error['details']}".strip(), details=error)


def failed(messages: list[tuple]) -> GraphError | None:
    """The error or cancel that a graph's messages report, or None."""
    for event, data in messages:
        if event == "execution_error":
            return GraphError(data["exception_message"].strip(), data["node_id"], data["node_type"], data)
        if event == "execution_interrupted":
            return GraphInterrupted("cancelled", data["node_id"], data["node_type"], data)
    return None
