"""Many runs in one process: memory stays flat, and two checkpoints do not disturb each other."""

import gc
import logging
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.reference_set import FOLDER, install

RUNS, EVERY = 50, 10


def small(scene) -> dict:
    """One frame, one step, no poses."""
    graph = scene.graph(latents={"samples": torch.zeros(1, 4, 8, 8)}, controls=[])
    del graph["ptm"], graph["animate"]["inputs"]["ptm"]
    return graph


def held() -> tuple[int, int]:
    """Live tensors of this process, and its resident bytes."""
    gc.collect()
    tensors = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
    return tensors, psutil.Process().memory_info().rss


def test_fifty_runs_with_flat_memory(scene, caplog):
    """One executor keeps its cache between runs, as in a server; APPA Apply and the sampler run each time."""
    caplog.set_level(logging.WARNING)  # newer hosts log sigmas, which pytest would keep
    executor, graph = scene.host.executor(), small(scene)
    seen = []
    for seed in range(RUNS):
        graph["sampler"]["inputs"]["seed"] = seed
        graph["animate"]["inputs"]["appearance_strength"] = 0.5 + seed / 100
        result = scene.host.run_graph(graph, executor=executor)
        assert torch.isfinite(result.value("end")["samples"]).all()
        del result
        if (seed + 1) % EVERY == 0:
            seen.append(held())
    tensors, memory = zip(*seen)
    print(f"live tensors {min(tensors)}..{max(tensors)}, resident {min(memory) >> 20}..{max(memory) >> 20} MiB")
    assert max(tensors) - min(tensors) <= 2
    assert memory[-1] - memory[0] < 8 << 20


@pytest.fixture(scope="module")
def other(host) -> str:
    """Another TCAN checkpoint of the same architecture."""
    name = "other"
    install(host, name)
    for part in (host.base / "models" / "tcan" / name).iterdir():
        state = load_file(FOLDER / Path(part).name)
        save_file({key: tensor if key.endswith(".pe") else tensor.roll(1, 0) for key, tensor in state.items()}, part)
    return name


def test_two_checkpoints_in_one_queue(scene, other):
    """Runs of the two in turn, from Load TCAN on, equal those of each alone."""

    def graph(checkpoint: str) -> dict:
        prompt = scene.graph()
        prompt["tcan"] = {"class_type": "TCANLoad", "inputs": {"checkpoint": checkpoint}}
        del prompt["animate"]["inputs"]["model"]  # the UNet in the checkpoint
        prompt["net 0"] = {"class_type": "TCANTemporalControlNet", "inputs": {"tcan": ["tcan", 0], "temporal_strength": 1.0}}
        return prompt

    graphs = [graph("reference"), graph(other)]
    alone = [scene.host.run_graph(prompt).value("end")["samples"] for prompt in graphs]
    assert not torch.equal(*alone)
    executor = scene.host.executor()
    for seed in (1, 2):
        for prompt, expected in zip(graphs, alone):
            prompt["sampler"]["inputs"]["seed"] = seed  # or the cache would answer
            scene.host.run_graph(prompt, executor=executor)
            prompt["sampler"]["inputs"]["seed"] = 5
            again = scene.host.run_graph(prompt, executor=executor).value("end")["samples"]
            assert torch.equal(again, expected)
