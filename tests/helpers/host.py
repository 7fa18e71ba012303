"""A real ComfyUI in this process: run graphs, call nodes as functions.

    host = boot()
    result = host.run_graph({"1": {"class_type": "EmptyLatentImage", "inputs": {...}}, "2": capture("1")})
    latent = result.value("1")

Import ComfyUI's modules only after `boot()`, which sets its command line.
"""

import asyncio
import atexit
import contextlib
import functools
import importlib
import inspect
import json
import logging
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.helpers import graph_error, host_nodes
from tests.helpers.scratch import FLAGS, ROOT, base_directory


@dataclass
class Result:
    """The results of a graph."""

    prompt_id: str
    ui: dict[str, dict]
    outputs: dict[str, list[list]]
    messages: list[tuple[Any, Any]]

    def value(self, node_id: str, output: int = 0) -> Any:
        """One output of a node; of a list output, the first entry (`outputs` has all)."""
        return self.outputs[node_id][output][0]

    @property
    def cached(self) -> set[str]:
        """The nodes that did not have to run."""
        return {node for event, data in self.messages if event == "execution_cached" for node in data["nodes"]}

    @property
    def progress(self) -> list[tuple[str, int, int]]:
        """(node id, step, steps) as the browser gets them."""
        return [(data["node"], data["value"], data["max"]) for event, data in self.messages if event == "progress"]


class Host:
    """The ComfyUI of this process."""

    def __init__(self, base: Path, loop: asyncio.AbstractEventLoop, server: Any):
        self.base = base
        self._loop = loop
        self.server = server

    def load_pack(self) -> None:
        """Load this repository as the host loads a custom node pack."""
        import nodes

        with _log() as lines:
            loaded = asyncio.run(nodes.load_custom_node(str(ROOT)))
        if not loaded:
            raise RuntimeError("ComfyUI could not load the pack:\n" + "\n".join(lines))

    def pack_module(self, name: str) -> ModuleType:
        """A module of the pack as the nodes see it, for example `tcan_modules.maths.temporal`.

        The host names the pack by its path, so a plain ``import tcan_modules`` is another copy, with other classes.
        """
        return importlib.import_module(f"{str(ROOT).replace('.', '_x_')}.{name}")

    def executor(self) -> Any:
        """A new executor with an empty cache."""
        import execution

        options: dict[str, Any] = {}
        if "cache_args" in inspect.signature(execution.PromptExecutor).parameters:
            options["cache_args"] = defaultdict(float)  # sizes of unused caches
        return execution.PromptExecutor(self.server, **options)

    def run_graph(
        self,
        graph: dict[str, dict],
        *,
        client: str = "tests",
        executor: Any = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Result:
        """Run a graph in API format as the host runs a queued one.

        Args:
            executor: of an earlier run, whose cache it keeps, as in a server.
            on_progress: called with ``(step, steps)`` at each step of a progress bar; it may call `interrupt`.

        Raises:
            GraphError: the graph was refused, failed or was cancelled.
        """
        import execution

        prompt = json.loads(json.dumps(graph))  # the host writes into it
        prompt_id = str(uuid.uuid4())
        valid, error, targets, node_errors = asyncio.run(execution.validate_prompt(prompt_id, prompt, None))
        if not valid or node_errors:
            raise graph_error.refused(error, node_errors)

        executor = executor or self.executor()
        self._messages()
        self.server.last_prompt_id = prompt_id
        with _watch_progress(on_progress):
            executor.execute(prompt, prompt_id, {"client_id": client}, targets)
        messages = self._messages()
        failure = graph_error.failed(executor.status_messages)
        if failure:
            raise failure
        outputs = {node_id: asyncio.run(_cached_outputs(executor, node_id)) for node_id in prompt}
        return Result(
            prompt_id=prompt_id,
            ui=executor.history_result["outputs"],
            outputs={node_id: values for node_id, values in outputs.items() if values is not None},
            messages=messages,
        )

    def interrupt(self) -> None:
        """Cancel the run, as the browser's button does."""
        import nodes

        nodes.interrupt_processing()

    def node(self, class_id: str) -> Callable[..., tuple]:
        """A node as a function: inputs by name, other widgets at their defaults, outputs as a tuple."""
        import nodes
        import torch

        cls = nodes.NODE_CLASS_MAPPINGS[class_id]

        def call(**inputs: Any) -> tuple:
            target = cls if hasattr(cls, "GET_SCHEMA") else cls()
            with torch.inference_mode():
                output = getattr(target, cls.FUNCTION)(**{**_widget_defaults(cls), **inputs})
                if inspect.iscoroutine(output):
                    output = asyncio.run(output)
            if isinstance(output, dict):
                output = output.get("result")
            return tuple(getattr(output, "result", output) or ())

        return call

    def _messages(self) -> list[tuple[Any, Any]]:
        """The host's messages to browsers since the last call."""
        self._loop.run_until_complete(asyncio.sleep(0))
        queue = self.server.messages
        return [queue.get_nowait()[:2] for _ in range(queue.qsize())]


@functools.cache
def boot(pack: bool = True, cpu: bool = True, flags: tuple[str, ...] = ()) -> Host:
    """Start ComfyUI in this process, once.

    Args:
        pack: load this pack beside ComfyUI's built-in nodes.
        cpu: without a GPU.
        flags: more of ComfyUI's command line, which it reads only at its start.
    """
    base = contextlib.ExitStack()
    atexit.register(base.close)
    folder = base.enter_context(base_directory())
    page = folder / "no-page"  # an empty folder instead of ComfyUI's web page, whose package need not be installed
    page.mkdir()
    argv, streams = sys.argv, (sys.stdout, sys.stderr)
    handlers = list(logging.getLogger().handlers)
    sys.argv = ["main.py", *(flag for flag in FLAGS if cpu or flag != "--cpu"), *flags]
    sys.argv += ["--base-directory", str(folder), "--front-end-root", str(page)]
    try:
        import main  # parses the command line

        loop, server, _ = main.start_comfyui()
    finally:
        sys.argv = argv
        # ComfyUI copies all output for its web page, but pytest captures it too.
        sys.stdout, sys.stderr = streams
        logging.getLogger().handlers[:] = handlers
    host_nodes.register()
    host = Host(folder, loop, server)
    host.server.last_prompt_id = ""  # before the first graph, nodes that are called directly report to no prompt
    if pack:
        host.load_pack()
    return host


@contextlib.contextmanager
def _log() -> Iterator[list[str]]:
    """Collect the lines that are logged inside."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def _watch_progress(on_progress: Callable[[int, int], None] | None) -> Iterator[None]:
    """Call ``on_progress`` after the host's own hook."""
    import comfy.utils

    hook = comfy.utils.PROGRESS_BAR_HOOK

    def watching(value: int, total: int, *arguments: Any, **named: Any) -> None:
        hook(value, total, *arguments, **named)
        on_progress(value, total)

    if on_progress:
        comfy.utils.set_progress_bar_global_hook(watching)
    try:
        yield
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)


async def _cached_outputs(executor: Any, node_id: str) -> list[list] | None:
    """A node's outputs from the executor's cache, whose form differs between versions of the host."""
    entry = executor.caches.outputs.get(node_id)
    if inspect.isawaitable(entry):
        entry = await entry
    return getattr(entry, "outputs", entry)


def _widget_defaults(cls: type) -> dict[str, Any]:
    """The values that the browser sends for untouched widgets."""
    defaults = {}
    types = cls.INPUT_TYPES()
    for kind in ("required", "optional"):
        for name, (socket, *rest) in types.get(kind, {}).items():
            options = rest[0] if rest else {}
            choices = socket if isinstance(socket, list) else options.get("options")
            if "default" in options:
                defaults[name] = options["default"]
            elif choices:
                defaults[name] = choices[0]
    return defaults
