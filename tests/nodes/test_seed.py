"""When only the seed changes, only the sampler runs again."""

import torch

from tests.helpers.graphs import node
from tests.helpers.host_nodes import Fed, capture
from tests.helpers.reference_set import LatentVAE, install, tensors

FRAMES = 2


def test_nothing_before_the_sampler_runs_again(host, monkeypatch):
    computed = []
    ptm = host.pack_module("tcan_modules.maths.temperature")
    distances = ptm.temperature_map
    monkeypatch.setattr(ptm, "temperature_map", lambda *args: computed.append("PTM") or distances(*args))
    poses = tensors()["pose_images"][:FRAMES].float() / 255
    prompts = (Fed([[tensors()["text_embeddings"][row : row + 1], {}]]) for row in (1, 0))
    graph = {
        "vae": Fed(LatentVAE()),
        "image": Fed(torch.zeros(1, 128, 128, 3)),
        "poses": Fed(poses),
        **dict(zip(("positive", "negative"), prompts)),
        "latents": Fed({"samples": torch.zeros(FRAMES, 4, 16, 16)}),
        "tcan": node("TCANLoad", checkpoint=install(host)),
        "appearance": node("TCANAppearanceEncode", tcan=["tcan", 0], vae=["vae", 0], image=["image", 0]),
        "ptm": node("TCANPTMBuilder", pose_images=["poses", 0]),
        "model": node("TCANApply", tcan=["tcan", 0], appearance=["appearance", 0], ptm=["ptm", 0]),
        "net": node("TCANTemporalControlNet", tcan=["tcan", 0]),
        "control": node(
            "ControlNetApplyAdvanced",
            positive=["positive", 0],
            negative=["negative", 0],
            control_net=["net", 0],
            image=["poses", 0],
        ),
        "sampler": node(
            "TCANMultiDiffusionSampler",
            **{"model": ["model", 0], "positive": ["control", 0], "negative": ["control", 1], "latent_image": ["latents", 0]},
            **{"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0},
            **{"window_length": 16, "window_overlap": 4, "closed_loop": False, "add_noise": True, "noise_mode": "repeat_window"},
        ),
        "end": capture("sampler"),
    }
    executor = host.executor()
    first = host.run_graph(graph, executor=executor)
    assert "PTM" in computed
    computed.clear()
    graph["sampler"]["inputs"]["seed"] = 2
    second = host.run_graph(graph, executor=executor)
    assert second.cached == graph.keys() - {"sampler", "end"}
    assert not computed
    assert not torch.equal(first.value("end")["samples"], second.value("end")["samples"])
