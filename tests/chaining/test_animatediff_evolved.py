"""AnimateDiff-Evolved's nodes beside ours: its contexts, noise and guidance."""

import pytest
import torch

from tests.helpers.host_nodes import Fed
from tests.helpers.other_packs import animatediff_evolved
from tests.helpers.reference_set import error

pytestmark = animatediff_evolved.needed
FRAMES = 5
SAME_NOISE = {"batch_offset": 0, "noise_type": "default", "seed_gen": "comfy", "seed_offset": 0}


@pytest.fixture(scope="module")
def evolved(scene):
    """AnimateDiff-Evolved in this host; `evolved(node, …)` calls one of its nodes."""
    animatediff_evolved.load()
    return lambda node, **inputs: scene.host.node(f"ADE_{node}")(**inputs)[0]


def video(scene, evolved, *, before: bool = False, apply: dict | None = None, **options) -> torch.Tensor:
    """Five frames, with Use Evolved Sampling before or after APPA Apply."""

    def sampling(model):
        return evolved("UseEvolvedSampling", model=model, beta_schedule="use existing", **options)

    graph = scene.graph(
        **{"before" if before else "after": [sampling]},
        latents={"samples": torch.zeros(FRAMES, 4, 8, 8)},
        **(apply or {}),
    )
    graph["poses"] = Fed(scene.models.poses[:FRAMES])
    graph["ptm"] = Fed(scene.models.ptm(pose_images=scene.models.poses[:FRAMES]))
    samples = scene.host.run_graph(graph).value("end")["samples"]
    assert torch.isfinite(samples).all()
    return samples


@pytest.fixture(scope="module")
def plain(scene, evolved) -> torch.Tensor:
    return video(scene, evolved)


def test_sampling_without_options_changes_nothing(scene, evolved, plain):
    graph = scene.graph(latents={"samples": torch.zeros(FRAMES, 4, 8, 8)})
    graph["poses"] = Fed(scene.models.poses[:FRAMES])
    graph["ptm"] = Fed(scene.models.ptm(pose_images=scene.models.poses[:FRAMES]))
    ours = scene.host.run_graph(graph).value("end")["samples"]
    assert error(plain, ours) <= 1e-5
    assert error(video(scene, evolved, before=True), ours) <= 1e-5


@pytest.mark.parametrize("kind", ["StandardStatic", "StandardUniform", "LoopedUniform"])
def test_contexts(scene, evolved, plain, kind):
    """Each kind of its windows gives the same video before and after APPA Apply."""
    context = evolved(f"{kind}ContextOptions", context_length=3, context_overlap=1)
    after = video(scene, evolved, context_options=context)
    assert error(after, plain) > 1e-4
    assert error(video(scene, evolved, before=True, context_options=context), after) <= 1e-5
    assert error(video(scene, evolved, context_options=context, apply={"appearance_strength": 0.0}), after) > 1e-3


def test_its_noise(scene, evolved):
    settings = evolved("AnimateDiffSamplingSettings", **SAME_NOISE | {"noise_type": "FreeNoise"})
    context = evolved("StandardStaticContextOptions", context_length=3, context_overlap=1)
    with_noise = video(scene, evolved, sample_settings=settings, context_options=context)
    assert error(with_noise, video(scene, evolved, context_options=context)) > 1e-2


def test_its_guidance(scene, evolved, plain):
    """Guidance per frame, and its Perturbed-Attention Guidance."""
    strength = torch.linspace(1.5, 6.0, FRAMES)[:, None, None].expand(-1, 8, 8)
    by_frame = evolved("CustomCFG", cfg_multival=strength)
    guided = evolved("CustomCFGSimple", cfg=3.0, cfg_extras=evolved("CFGExtrasPAGSimple", scale=2.0))
    for guidance in (by_frame, guided):
        settings = evolved("AnimateDiffSamplingSettings", custom_cfg=guidance, **SAME_NOISE)
        assert error(video(scene, evolved, sample_settings=settings), plain) > 1e-3
