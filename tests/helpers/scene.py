"""Graphs of a short video in the real executor, with other nodes before and after ours."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.helpers.graphs import node
from tests.helpers.host_nodes import Fed, call, capture
from tests.helpers.reference_set import Models

FRAMES, SIZE, STEPS = 2, 16, 1
SAMPLER = {"seed": 5, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
Link = tuple[str, dict]  # a stock node between models: its id and its widgets


class Scene:
    """A checkpoint's models, poses and prompts, from which it makes graphs and videos."""

    def __init__(self, models: Models):
        self.host = models.host
        self.models = models
        self.poses = models.poses[:FRAMES]
        self.ptm = models.ptm(pose_images=self.poses)
        self.latents = {"samples": torch.zeros(FRAMES, 4, SIZE, SIZE)}

    def text(self, cond: int = 1) -> list:
        """A prompt; 0 is the negative one, 1 the positive."""
        return [[self.models.text(cond), {}]]

    def graph(
        self,
        *,
        before: Sequence[Link | Callable] = (),
        after: Sequence[Link | Callable] = (),
        controls: Sequence[tuple[Any, dict]] | None = None,
        positive: list | None = None,
        latents: dict | None = None,
        sampler: dict | None = None,
        sampler_node: str = "KSampler",
        **apply: Any,
    ) -> dict:
        """A graph in API format; node "end" captures the sampler's latents.

        Args:
            before, after: stock nodes, or functions of a model, before and after APPA Apply.
            controls: ControlNets in the order of their Apply nodes, with widgets of those nodes; by default only ours.
            sampler: widgets of `sampler_node` that differ from `SAMPLER`.
        """
        graph = {
            "model": Fed(self.models.tcan.unet),
            "tcan": Fed(self.models.tcan),
            "appearance": Fed(self.models.appearance),
            "ptm": Fed(self.ptm),
            "positive": Fed(positive or self.text(1)),
            "negative": Fed(self.text(0)),
            "latents": Fed(latents or self.latents),
            "poses": Fed(self.poses),
        }
        last = _chain(graph, "model", before, "before")
        links = {"tcan": ["tcan", 0], "appearance": ["appearance", 0], "model": [last, 0], "ptm": ["ptm", 0]}
        graph["animate"] = node("TCANApply", **links | apply)
        last = _chain(graph, "animate", after, "after")
        prompts = {"positive": ["positive", 0], "negative": ["negative", 0]}
        for number, (net, settings) in enumerate([(self.models.control_net(), {})] if controls is None else controls):
            graph[f"net {number}"] = Fed(net)
            links = {**prompts, "control_net": [f"net {number}", 0], "image": ["poses", 0]}
            graph[f"control {number}"] = node("ControlNetApplyAdvanced", **links, **settings)
            prompts = {"positive": [f"control {number}", 0], "negative": [f"control {number}", 1]}
        links = {**prompts, "model": [last, 0], "latent_image": ["latents", 0]}
        graph["sampler"] = node(sampler_node, **links, **SAMPLER | (sampler or {}))
        graph["end"] = capture("sampler")
        return graph

    def video(self, **inputs: Any) -> torch.Tensor:
        """The latents ``[frames, 4, height, width]`` of a graph; they must be finite."""
        samples = self.host.run_graph(self.graph(**inputs)).value("end")["samples"]
        assert torch.isfinite(samples).all()
        return samples


def _chain(graph: dict, last: str, links: Sequence[Link | Callable], name: str) -> str:
    for number, link in enumerate(links):
        key = f"{name} {number}"
        if callable(link):
            graph[f"{key} function"] = Fed(link)
            graph[key] = call(f"{key} function", last)
        else:
            class_type, widgets = link
            graph[key] = node(class_type, model=[last, 0], **widgets)
        last = key
    return last
