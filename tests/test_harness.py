"""The helpers `host` and `server`, on the host's own nodes."""

import subprocess
import sys

import pytest

from tests.helpers.graph_error import GraphError, GraphInterrupted
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.server import running

LATENT = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 32, "batch_size": 2}}
IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 255}}


def save(node_id: str) -> dict:
    return {"class_type": "SaveImage", "inputs": {"images": [node_id, 0], "filename_prefix": "test"}}


def sampling(steps: int) -> dict:
    """A KSampler on a very small UNet with random weights."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    config = comfy.supported_models.SD15(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 2],
            "transformer_depth": [0, 1],
            "transformer_depth_output": [0, 0, 1, 1],
            "transformer_depth_middle": 1,
            "context_dim": 16,
            "num_heads": 4,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
            "use_temporal_attention": False,
            "legacy": False,
        }
    )
    model = comfy.model_base.BaseModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))
    patcher = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    conditioning = [[torch.zeros(1, 7, 16), {}]]
    widgets = {"seed": 0, "steps": steps, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        "latent": LATENT,
        "model": Fed(patcher),
        "text": Fed(conditioning),
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["model", 0],
                "positive": ["text", 0],
                "negative": ["text", 0],
                "latent_image": ["latent", 0],
                **widgets,
            },
        },
        "end": capture("sampler"),
    }


def test_graph_gives_values(host):
    result = host.run_graph({"1": LATENT, "2": capture("1")})
    assert result.value("1")["samples"].shape == (2, 4, 4, 8)
    assert result.value("2") is result.value("1")


def test_graph_takes_python_objects(host):
    thing = object()
    assert host.run_graph({"1": Fed(thing), "2": capture("1")}).value("2") is thing


def test_graph_gives_what_the_browser_shows(host):
    result = host.run_graph({"1": IMAGE, "2": save("1")})
    (picture,) = result.ui["2"]["images"]
    assert (host.base / "output" / picture["filename"]).is_file()
    assert result.messages[0][0] == "execution_start"


def test_cache_counts_only_with_the_same_executor(host):
    graph = {"1": LATENT, "2": capture("1")}
    executor = host.executor()
    assert host.run_graph(graph, executor=executor).cached == set()
    assert host.run_graph(graph, executor=executor).cached == {"1", "2"}
    assert host.run_graph(graph).cached == set()


def test_sampler_reports_progress(host):
    result = host.run_graph(sampling(3))
    assert result.value("sampler")["samples"].isfinite().all()
    # newer hosts send at most ten steps per second, but always the first and the last
    assert result.progress in ([("sampler", step, 3) for step in steps] for steps in ((1, 2, 3), (1, 3)))


def test_interrupt(host):
    seen = []

    def cancel(step: int, steps: int) -> None:
        seen.append(step)
        host.interrupt()

    with pytest.raises(GraphInterrupted, match=r"KSampler \(node sampler\)"):
        host.run_graph(sampling(5), on_progress=cancel)
    assert seen == [1]
    assert host.run_graph({"1": LATENT, "2": capture("1")}).value("1")


def test_failing_node_is_named(host):
    invert = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
    with pytest.raises(GraphError, match=r"ImageInvert \(node 2\): .*unsupported operand") as caught:
        host.run_graph({"1": Fed("no picture"), "2": invert, "3": capture("2")})
    assert caught.value.details["exception_type"] == "TypeError"


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"1": {"class_type": "NoSuchNode", "inputs": {}}}, "NoSuchNode"),
        ({"1": IMAGE, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}, r"node 2.*filename_prefix"),
        ({"1": LATENT, "2": save("1")}, r"node 2.*LATENT"),
    ],
)
def test_refused_graph_says_why(host, graph, message):
    with pytest.raises(GraphError, match=message):
        host.run_graph(graph)


def test_nodes_as_functions(host):
    (latent,) = host.node("EmptyLatentImage")(width=32, height=32)
    assert latent["samples"].shape == (1, 4, 4, 4)  # batch_size by default
    (model,) = host.node("CFGNorm")(model=sampling(1)["model"].value)  # a node in the V3 schema
    assert model.model_options["sampler_post_cfg_function"]
    with pytest.raises(TypeError, match="unsupported operand"):
        host.node("ImageInvert")(image="no picture")


def test_server_runs_a_graph(server):
    seen = []
    run = server.wait(server.queue({"1": IMAGE, "2": save("1")}), on_message=lambda event, data: seen.append(event))
    assert server.view(run.outputs["2"]["images"][0]).startswith(b"\x89PNG")
    assert [event for event, _ in run.messages] == seen
    assert {"execution_start", "executing", "executed", "execution_success"} <= set(seen)
    assert run.history["status"]["completed"]


def test_server_knows_stock_nodes_and_the_pack(server):
    assert {"KSampler", "TCANLoad"} <= set(server.object_info())


def test_server_refuses_and_fails_in_words(server):
    with pytest.raises(GraphError, match="NoSuchNode"):
        server.queue({"1": {"class_type": "NoSuchNode", "inputs": {}}})
    (server.base / "input" / "broken.png").write_text("no picture")
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "broken.png"}}, "2": save("1")}
    with pytest.raises(GraphError, match="LoadImage"):
        server.wait(server.queue(graph))


def test_server_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="--no-such-flag"), running("--no-such-flag"):
        pass


def test_our_folders_leave_the_hosts_modules_alone():
    """``nodes`` is the host's module and ``tests`` is ours, under dev.py's path."""
    code = "import importlib.util as u; print(u.find_spec('nodes').origin); print(u.find_spec('tests').origin)"
    nodes, tests = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert nodes.endswith("nodes.py")
    assert tests == __file__.replace("test_harness.py", "__init__.py")
