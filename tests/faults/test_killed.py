"""Kill the server in the middle of a run: after a restart the same graph gives the same result."""

import json
import threading

import pytest

from tests.helpers.scratch import base_directory
from tests.helpers.server import running
from tests.helpers.workflow_files import animate_files, load

FRAMES, SIZE = 3, 64


def prepared(base) -> dict:
    """The shipped graph with tiny models; it saves its latents."""
    animate_files(base, FRAMES, SIZE, SIZE)
    graph = load("animate", api=True)
    sampler = next(node for node, entry in graph.items() if entry["class_type"] == "TCANMultiDiffusionSampler")
    wanted, todo = set(), [sampler]
    while todo:
        node = todo.pop()
        wanted.add(node)
        todo += [value[0] for value in graph[node]["inputs"].values() if isinstance(value, list)]
    graph = {node: entry for node, entry in graph.items() if node in wanted}
    for entry in graph.values():
        entry["inputs"] |= {side: SIZE for side in ("width", "height") if side in entry["inputs"]}
    graph[sampler]["inputs"] |= {"steps": 2, "window_length": 2, "window_overlap": 1}
    graph["save"] = {"class_type": "SaveLatent", "inputs": {"samples": [sampler, 0], "filename_prefix": "video"}}
    return graph


def saved(server, graph: dict) -> bytes:
    """The latents that the graph saves, without the file's header, which holds the graph."""
    from safetensors.numpy import load_file

    run = server.wait(server.queue(graph))
    file = run.outputs["save"]["latents"][0]
    return load_file(server.base / "output" / file["filename"])["latent_tensor"].tobytes()


def test_killed_in_the_middle_of_a_run():
    with base_directory() as base:
        with running(base=base) as server:
            graph = prepared(base)
            first = saved(server, graph)
            long = json.loads(json.dumps(graph))
            sampler = graph["save"]["inputs"]["samples"][0]
            long[sampler]["inputs"] |= {"steps": 200, "seed": 1}
            sampling = threading.Event()

            def watch(event, data):
                if event == "progress" and data["node"] == sampler and not sampling.is_set():
                    sampling.set()
                    server.kill()

            with pytest.raises(RuntimeError, match="ended with code -9"):
                server.wait(server.queue(long), on_message=watch)
            assert sampling.is_set()
        assert not list((base / "models" / "tcan").glob("*.part"))
        with running(base=base) as server:
            assert saved(server, graph) == first
